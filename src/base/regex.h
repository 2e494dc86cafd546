/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions over names, with the syntax and meaning of Python's `re`, as the configs of
 * quantizers use them. Not for text: tokenizers have their own (text/pattern.h). */
#ifndef LLMQ_BASE_REGEX_H
#define LLMQ_BASE_REGEX_H

#include <stdbool.h>

#include "llmq/error.h"

struct regex;

/* re.match: a match begins with the name; re.search: it begins anywhere. */
enum regex_start { REGEX_AT_START, REGEX_ANYWHERE };

/* Compile; release with regex_free. LLMQ_E_INPUT says what is wrong with the expression, and
 * where. */
LLMQ_NODISCARD enum llmq_status regex_compile(const char *expression, enum regex_start start,
                                              struct regex **out, llmq_error *err);
void regex_free(struct regex **r); /* accepts NULL inside, sets it */

/* Does the expression match the name? LLMQ_E_UNSUPPORTED: finding out takes too many steps. */
LLMQ_NODISCARD enum llmq_status regex_matches(const struct regex *r, const char *name,
                                              bool *matches, llmq_error *err);

#endif
