/* SPDX-License-Identifier: Apache-2.0 */
/* The entries of a kept distribution: see kept.h. Not for use outside src/eval. */
#ifndef LLMQ_EVAL_KEPT_ENTRIES_H
#define LLMQ_EVAL_KEPT_ENTRIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "eval/kept.h"

/* 16 bits of x = -log p, and back. */
uint16_t kept_code(double x);
double kept_value(uint16_t code);

/* Is an id of that code certain to be kept? */
bool kept_certain(uint16_t code);

/* Where the reading of a token's entries stands. */
struct kept_cursor {
    const unsigned char *at, *end;
    uint64_t left; /* entries behind the current one */
    int64_t id;    /* of the current one; INT64_MAX behind the last */
    uint16_t code;
};

/* False: the bytes end too early, or hold a number of more than 63 bits. */
bool kept_begin(const unsigned char *bytes, const unsigned char *end, struct kept_cursor *out);
bool kept_next(struct kept_cursor *c);

struct kept_entry {
    int32_t id;
    uint16_t code;
};

/* Append a token's entries, in the order of their ids. */
void kept_append(struct strbuf *b, const struct kept_entry *entries, int64_t count);

#endif
