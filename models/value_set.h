/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of values (models/schema.h). */
#ifndef LLMQ_MODELS_VALUE_SET_H
#define LLMQ_MODELS_VALUE_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "models/schema.h"

enum { VALUE_SET_WORDS = (V_COUNT + 63) / 64 };

/* All zero: the empty set. */
struct value_set {
    uint64_t word[VALUE_SET_WORDS];
};

static inline bool value_set_has(struct value_set s, int v) {
    return s.word[v / 64] >> v % 64 & 1;
}

static inline struct value_set value_set_with(struct value_set s, enum value v) {
    s.word[(int)v / 64] |= UINT64_C(1) << (int)v % 64;
    return s;
}

static inline struct value_set value_set_of(enum value v) {
    return value_set_with((struct value_set){{0}}, v);
}

static inline struct value_set value_set_union(struct value_set a, struct value_set b) {
    for (int i = 0; i < VALUE_SET_WORDS; i++)
        a.word[i] |= b.word[i];
    return a;
}

/* What is in `a` and not in `b`. */
static inline struct value_set value_set_minus(struct value_set a, struct value_set b) {
    for (int i = 0; i < VALUE_SET_WORDS; i++)
        a.word[i] &= ~b.word[i];
    return a;
}

static inline bool value_set_empty(struct value_set s) {
    uint64_t any = 0;
    for (int i = 0; i < VALUE_SET_WORDS; i++)
        any |= s.word[i];
    return any == 0;
}

#endif
