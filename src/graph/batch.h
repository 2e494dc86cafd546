/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of a corpus: some whole sequences, their rows one after the other. */
#ifndef LLMQ_GRAPH_BATCH_H
#define LLMQ_GRAPH_BATCH_H

#include <stdbool.h>
#include <stdint.h>

/* Sequences of a batch: sequence i has rows [offsets[i], offsets[i+1]), offsets[0] may be any
 * number (offsets are absolute in a corpus); row 0 of the batch is offsets[0]. */
struct batch {
    const int64_t *offsets;
    int64_t sequences;
};

int64_t batch_rows(const struct batch *b);

/* The first row of sequence `i` in the batch, and its length. */
int64_t batch_sequence(const struct batch *b, int64_t i, int64_t *length);

/* The next batch of a corpus: as many whole sequences as fit `max_rows` rows, at least one.
 * offsets [count + 1]. Start with a zeroed batch; false when the corpus is done. */
bool batch_next(const int64_t *offsets, int64_t count, int64_t max_rows, struct batch *b);

/* Rows a batch is filled up to by default: enough for BLAS to run at full speed. */
#define BATCH_ROWS 4096

/* Rows of the largest batch that batch_next makes with `max_rows`. */
int64_t batch_max_rows(const int64_t *offsets, int64_t count, int64_t max_rows);

#endif
