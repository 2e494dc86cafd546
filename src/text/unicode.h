/* SPDX-License-Identifier: Apache-2.0 */
/* What Unicode says about code points, in the versions that the reference was built with
 * (unicode_data.c): the same whatever libraries are installed. */
#ifndef LLMQ_TEXT_UNICODE_H
#define LLMQ_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/code_set.h"

/* Sets of a version of their own; the others are of Unicode 16. */
#define UNICODE_WORD          ":word16"       /* \w of UTS #18, with Join_Control */
#define UNICODE_NUMERIC       ":numeric17"    /* general category N */
#define UNICODE_PUNCTUATION   ":punctuation8" /* general category P, and all of ASCII's signs */
#define UNICODE_MARK          ":mark9"        /* general category M */
#define UNICODE_NORMALIZATION ":assigned9"    /* what normalization forms know of */

/* Add the code points of a property to *out: a general category, script, block ("In..."), binary
 * property or class of the reference's expressions, by its short or long name; case, spaces, '-'
 * and '_' do not count. False when there is none of that name. */
bool unicode_property(const char *name, size_t len, struct code_set *out);

/* Property White_Space, which has not changed since Unicode 6.3. */
bool unicode_is_space(uint32_t cp);

/* Lower case of one code point (Unicode 17). U+0130's is two: U+0069, which is returned, and
 * U+0307. */
uint32_t unicode_to_lower(uint32_t cp);

/* Simple case folding (status C of CaseFolding.txt). */
uint32_t unicode_to_fold(uint32_t cp);

/* Add to a set what differs from its members by case only: one character for one. */
void unicode_close_case(struct code_set *s);

/* The code points whose full case folding is `to[0 .. len)`, 2 or 3 of them, added to *out; false
 * when there is none. */
bool unicode_folds_from(const uint32_t *to, size_t len, struct code_set *out);

/* Full case folding of one code point where that is more than one: its length, else 0. */
size_t unicode_fold_expansion(uint32_t cp, uint32_t to[3]);

/* The number of code points with an expansion, and the i-th of them. */
size_t unicode_expansion_count(void);
uint32_t unicode_expansion_from(size_t i);

#endif
