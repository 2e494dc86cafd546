/* SPDX-License-Identifier: Apache-2.0 */
/* Help texts, written from the option tables. */
#ifndef LLMQ_CLI_HELP_H
#define LLMQ_CLI_HELP_H

#include <stddef.h>
#include <stdio.h>

#include "cli/command.h"

extern const char help_tagline[];

struct exit_code {
    int code;
    const char *meaning;
};

/* The exit codes and their meanings; the list ends with a NULL meaning. */
extern const struct exit_code help_exit_codes[];

/* What `llmq` alone, and `llmq --help`, print. */
void help_program_brief(FILE *stream);
void help_program(FILE *stream);

/* What `llmq <command>` alone, and `llmq <command> --help`, print. `args` holds the defaults. */
void help_command_brief(FILE *stream, const struct command *command);
void help_command(FILE *stream, const struct command *command, const void *args);

/* What stands in brackets behind an option's text: "also --group-size; default: 128", "required",
 * or "" for one that is simply off. `args` holds the defaults. */
void help_note(const struct option *option, const void *args, char *buf, size_t size);

#endif
