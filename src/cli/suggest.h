/* SPDX-License-Identifier: Apache-2.0 */
/* Near misses: the word somebody probably meant. */
#ifndef LLMQ_CLI_SUGGEST_H
#define LLMQ_CLI_SUGGEST_H

#include <stddef.h>

#include "cli/options.h"

/* Remembers the closest of the candidates it is shown. Zero-initialise, then set `typed`. */
struct suggestion {
    const char *typed;
    const char *best; /* NULL until a candidate was close enough */
    size_t distance;
};

/* Consider one candidate. Close enough means: one edit, in longer words one in three letters (an
 * edit inserts, removes or replaces a letter or swaps two neighbours), or `typed` is three or more
 * letters of its beginning. */
void suggestion_offer(struct suggestion *s, const char *candidate);

/* The command line of other tools in words of this one. Case, leading dashes and whether words are
 * joined by "-", "_" or nothing make no difference. NULL: nothing known.
 *   suggest_command   what a command is called here, with its options: "gptq", "--version"
 *   suggest_option    options of `table`'s command: "--group", "--act-order static"
 *   suggest_choice    one of the words that `option` takes */
const char *suggest_command(const char *typed);
const char *suggest_option(const char *typed, const struct option_table *table);
const char *suggest_choice(const char *typed, const struct option *option);

#endif
