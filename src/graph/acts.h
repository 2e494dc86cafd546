/* SPDX-License-Identifier: Apache-2.0 */
/* A matrix of activations [rows, width] kept in memory or, when memory is short, in an unlinked
 * file. Readers and writers do not see the difference. */
#ifndef LLMQ_GRAPH_ACTS_H
#define LLMQ_GRAPH_ACTS_H

#include <stdint.h>

#include "base/fileio.h"
#include "llmq/error.h"

struct acts {
    int64_t rows, width;
    int64_t max_width;
    float *data;      /* in memory: the matrix; else NULL */
    size_t mapped;    /* bytes behind data */
    struct file file; /* in a file: its descriptor */
};

/* Zero-width stores are allowed. `spill_dir` NULL keeps the matrix in memory; otherwise it is the
 * folder that holds the (unlinked) file. Release with acts_free. */
LLMQ_NODISCARD enum llmq_status acts_create(int64_t rows, int64_t width, const char *spill_dir,
                                            struct acts *out, llmq_error *err);
void acts_free(struct acts *a); /* accepts a zeroed struct */

/* Use the store for rows of another width, at most the one it was created with; what it held is
 * lost. */
void acts_set_width(struct acts *a, int64_t width);

/* Rows [begin, begin + count), for reading and changing: *out points into the store, or at `buf`
 * [count, width] filled from the file. */
LLMQ_NODISCARD enum llmq_status acts_load(const struct acts *a, int64_t begin, int64_t count,
                                          float *buf, float **out, llmq_error *err);

/* Where to produce rows [begin, ...): in the store itself or, for a file, in `buf`. */
float *acts_target(const struct acts *a, int64_t begin, float *buf);

/* Give back rows that were changed or produced; `rows` is what acts_load or acts_target gave. */
LLMQ_NODISCARD enum llmq_status acts_store(const struct acts *a, int64_t begin, int64_t count,
                                           const float *rows, llmq_error *err);

/* The same rows at values [count, width], wherever the store has them; and back. */
LLMQ_NODISCARD enum llmq_status acts_read(const struct acts *a, int64_t begin, int64_t count,
                                          float *values, llmq_error *err);
LLMQ_NODISCARD enum llmq_status acts_write(const struct acts *a, int64_t begin, int64_t count,
                                           float *values, llmq_error *err);

/* All rows of a store to one of the same size, `step` of them at a time; `buf` holds so many where
 * both are files. */
LLMQ_NODISCARD enum llmq_status acts_copy(const struct acts *from, const struct acts *to,
                                          int64_t step, float *buf, llmq_error *err);

/* A part of the matrix. */
struct acts_part {
    int64_t begin, count, first, columns;
};

/* Columns [first, first + columns) of rows [begin, begin + count) = values [count, columns]. */
LLMQ_NODISCARD enum llmq_status acts_store_part(const struct acts *a, const struct acts_part *part,
                                                const float *values, llmq_error *err);

/* --- single rows ------------------------------------------------------------------------------ */

/* Some of the rows, ascending, and how much each counts; NULL: once. */
struct row_list {
    const int32_t *row;
    const float *weight;
    int64_t count;
};

/* out [count, width] = the listed rows. */
LLMQ_NODISCARD enum llmq_status acts_gather(const struct acts *a, const struct row_list *rows,
                                            float *out, llmq_error *err);

/* Add y [count, width] to the listed rows, each times its weight. For a file `buf` [count, width]
 * holds them meanwhile. */
LLMQ_NODISCARD enum llmq_status acts_add(const struct acts *a, const struct row_list *rows,
                                         const float *y, float *buf, llmq_error *err);

/* Set all rows to 0. */
LLMQ_NODISCARD enum llmq_status acts_clear(const struct acts *a, llmq_error *err);

#endif
