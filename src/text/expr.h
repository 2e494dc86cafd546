/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions of tokenizers: what the reference's engine (Oniguruma 6.9.10, its own syntax,
 * UTF-8) makes of them, with Unicode 16 whatever is installed.
 *
 * Known: alternation, groups of all kinds without references to them, options i, m, x, greedy, lazy
 * and possessive quantifiers, intervals, lookahead and lookbehind, classes with nested sets, && and
 * POSIX brackets, \p{...}, \w \d \s \h \R \N \O, \x, \u and octal escapes, the anchors ^ $ \A \z \Z
 * \G \b \B. Refused by name: back references, subexpression calls, conditionals, absent groups,
 * callouts, \X \y \Y \K, options other than these. */
#ifndef LLMQ_TEXT_EXPR_H
#define LLMQ_TEXT_EXPR_H

#include <stdbool.h>
#include <stddef.h>

#include "llmq/error.h"

/* A compiled expression. Immutable; safe to use from several threads, each with its own scratch. */
struct expr;

/* Working memory of a search. */
struct expr_scratch;

/* Compile the `len` bytes of UTF-8 at `text`. LLMQ_E_UNSUPPORTED for what is refused, LLMQ_E_INPUT
 * for errors of syntax; both name the expression, the place and what is there. */
LLMQ_NODISCARD enum llmq_status expr_compile(const char *text, size_t len, struct expr **out,
                                             llmq_error *err);
void expr_free(struct expr **r);

LLMQ_NODISCARD enum llmq_status expr_scratch_create(struct expr_scratch **out, llmq_error *err);
void expr_scratch_free(struct expr_scratch **s);

struct expr_span {
    size_t begin, end;
};

/* Find the first match at or after `from` in well-formed UTF-8. LLMQ_E_UNSUPPORTED when it takes
 * more steps than any reasonable expression does. */
LLMQ_NODISCARD enum llmq_status expr_find(const struct expr *r, struct expr_scratch *s,
                                          const char *text, size_t len, size_t from,
                                          struct expr_span *out, bool *found, llmq_error *err);

/* Did the last search ask for what comes after the end of the text? If not, it finds the same
 * whatever follows there. */
bool expr_saw_end(const struct expr_scratch *s);

/* Do matches depend on nothing that comes before them, and have a length? Then a text is searched
 * from the place where a match begins or ends as if it began there. */
bool expr_only_ahead(const struct expr *r);

#endif
