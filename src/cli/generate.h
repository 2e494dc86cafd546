/* SPDX-License-Identifier: Apache-2.0 */
/* Documents written from the option tables: the man pages and the completions of three shells when
 * llmq is built, the README's reference when an option changes. And what the completions ask for
 * when they run. */
#ifndef LLMQ_CLI_GENERATE_H
#define LLMQ_CLI_GENERATE_H

#include <stdbool.h>

#include "cli/command.h"
#include "llmq/error.h"

/* Write document `what` ("man", "man-COMMAND", "markdown", "bash", "zsh", "fish" or "models") to
 * stdout. Errors: LLMQ_E_USAGE for another name, LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status generate(const char *what, llmq_error *err);

/* Each writes its document to stdout; false when memory is short. */
bool generate_man(void); /* llmq(1), in roff */
bool generate_man_of(const struct command *command);
bool generate_markdown(void); /* the README's command-line reference */
bool generate_bash(void);
bool generate_zsh(void);
bool generate_fish(void);
bool generate_models(void); /* names of models, one a line, for the completions */

#endif
