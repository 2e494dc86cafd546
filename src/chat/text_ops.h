/* SPDX-License-Identifier: Apache-2.0 */
/* What Python does with strings, on UTF-8: lengths and places count code points, white space is
 * Unicode's. */
#ifndef LLMQ_CHAT_TEXT_OPS_H
#define LLMQ_CHAT_TEXT_OPS_H

#include "chat/rendering.h"

/* The code point that begins at the byte `at`, and its length; a byte that is no UTF-8 is one. */
size_t jinja_decode(struct jinja_text t, size_t at, int32_t *cp);

/* Write a code point, 1 to 4 bytes. */
size_t jinja_encode(int32_t cp, char out[4]);

/* Bytes of white space at the beginning and at the end. */
size_t jinja_leading_space(struct jinja_text t);
size_t jinja_trailing_space(struct jinja_text t);

/* Take the characters of `chars` (NULL: white space) off the beginning and the end. */
struct jinja_text jinja_strip(struct jinja_text t, const struct jinja_text *chars, bool left,
                              bool right);

/* Code points, and the byte at which the one of number `index` begins (`len` past the end). */
size_t jinja_length(struct jinja_text t);
size_t jinja_byte_of(struct jinja_text t, size_t index);

/* Byte at which `part` is first found from `from` on, or SIZE_MAX. */
size_t jinja_find(struct jinja_text t, struct jinja_text part, size_t from);

bool jinja_starts(struct jinja_text t, struct jinja_text part);
bool jinja_ends(struct jinja_text t, struct jinja_text part);

/* With the first `most` (< 0: all) places of `old` replaced. */
struct jinja_value jinja_replace(struct jinja_run *run, struct jinja_text t, struct jinja_text old,
                                 struct jinja_text new, int64_t most);

/* Parts between separators (NULL: white space), cut at most `most` times (< 0: always), from the
 * end for `right`. */
struct jinja_value jinja_split(struct jinja_run *run, struct jinja_text t,
                               const struct jinja_text *separator, int64_t most, bool right);

/* Lines, without their ends. */
struct jinja_value jinja_lines(struct jinja_run *run, struct jinja_text t);

/* Letters in another case: one for one, as Unicode's simple mappings have it. Of
 * Python's longer ones only that of the German sharp s is made. TITLE: the first letter of every
 * word is a capital, the others are small; words are runs of letters. HEADLINE is Jinja's filter
 * `title`, whose words begin behind white space and -({[<. CAPITALIZED: only the first character.
 */
enum jinja_case { JINJA_UPPER, JINJA_LOWER, JINJA_TITLE, JINJA_HEADLINE, JINJA_CAPITALIZED };
struct jinja_value jinja_change_case(struct jinja_run *run, struct jinja_text t,
                                     enum jinja_case to);

/* Is there a letter of that case, and none of the other? */
bool jinja_is_case(struct jinja_text t, enum jinja_case which);

bool jinja_is_letters(struct jinja_text t);
bool jinja_is_digits(struct jinja_text t);

#endif
