/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of code points: as ranges, to compute with, and as tables, to look up in. */
#ifndef LLMQ_TEXT_CODE_SET_H
#define LLMQ_TEXT_CODE_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

#define CODE_POINT_MAX 0x10ffffu

struct code_range {
    uint32_t first, last;
};

/* Zero-initialise; release with code_set_free. Failure to find memory is sticky, as in strbuf.h.
 * The ranges are sorted and apart from each other, except between an add and the next call of
 * another function. */
struct code_set {
    struct code_range *ranges;
    size_t count, cap;
    bool unsorted;
    bool failed;
};

void code_set_add(struct code_set *s, uint32_t first, uint32_t last);
void code_set_add_set(struct code_set *s, const struct code_set *other);
void code_set_invert(struct code_set *s);
void code_set_intersect(struct code_set *s, struct code_set *other);
void code_set_sort(struct code_set *s);
bool code_set_has(struct code_set *s, uint32_t cp);
void code_set_free(struct code_set *s);

/* Two steps for any code point: `index` names one of the different blocks of 256 bits. */
struct code_table {
    uint64_t ascii[2];
    uint16_t *index;
    unsigned char *blocks; /* 32 bytes each */
};

LLMQ_NODISCARD enum llmq_status code_table_build(struct code_set *s, struct code_table *out,
                                                 llmq_error *err);
void code_table_free(struct code_table *t);

static inline bool code_table_has(const struct code_table *t, uint32_t cp) {
    if (cp < 0x80)
        return t->ascii[cp >> 6] >> (cp & 63) & 1;
    return t->blocks[(size_t)32 * t->index[cp >> 8] + (cp >> 3 & 31)] >> (cp & 7) & 1;
}

#endif
