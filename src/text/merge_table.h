/* SPDX-License-Identifier: Apache-2.0 */
/* The merges of a BPE model: which neighbours join, in what order, into what. */
#ifndef LLMQ_TEXT_MERGE_TABLE_H
#define LLMQ_TEXT_MERGE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"
#include "text/vocab.h"

struct merge {
    int32_t left, right; /* left is -1 in an empty slot */
    uint32_t rank;       /* lower ranks first */
    int32_t id;          /* of the joined token */
};

/* Hash table, open addressing; immutable after parsing. Zero-initialise. */
struct merge_table {
    struct merge *slots;
    size_t mask;
};

/* Read the array of "left right" strings or ["left", "right"] pairs. LLMQ_E_INPUT for a token that
 * is not in the vocabulary, with the number of the merge. */
LLMQ_NODISCARD enum llmq_status merge_table_parse(const struct json *array, const struct vocab *v,
                                                  struct merge_table *t, llmq_error *err);
void merge_table_free(struct merge_table *t);

/* The merge of two neighbours, or NULL. */
const struct merge *merge_table_find(const struct merge_table *t, int32_t left, int32_t right);

#endif
