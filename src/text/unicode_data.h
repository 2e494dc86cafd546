/* SPDX-License-Identifier: Apache-2.0 */
/* The generated tables behind unicode.h, which is the only one to read them. */
#ifndef LLMQ_TEXT_UNICODE_DATA_H
#define LLMQ_TEXT_UNICODE_DATA_H

#include <stddef.h>
#include <stdint.h>

/* A set of code points. Its ranges lie in unicode_pool: for each, the gap since the range before
 * and the length less one, seven bits a byte, low bits first, the top bit set where more follow. */
struct unicode_set {
    const char *names; /* lower case, without spaces, '-' and '_'; separated by spaces */
    uint32_t at;       /* in unicode_pool */
    uint32_t count;    /* ranges */
};

/* first, first + stride, ..., last are mapped to themselves + delta. */
struct unicode_run {
    uint32_t first, last;
    uint32_t stride;
    int32_t delta;
};

/* A code point that stands for two or three; the rest is 0. */
struct unicode_expansion {
    uint32_t from;
    uint32_t to[3];
};

extern const uint8_t unicode_pool[];
extern const struct unicode_set unicode_sets[];
extern const size_t unicode_set_count;
extern const struct unicode_run unicode_lower[]; /* to lower case, sorted */
extern const size_t unicode_lower_count;
extern const struct unicode_run unicode_fold[]; /* case folding, status C, sorted */
extern const size_t unicode_fold_count;
extern const struct unicode_expansion unicode_fold_multi[]; /* case folding, status F */
extern const size_t unicode_fold_multi_count;

#endif
