/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that fold and that store what folds change. Not for use outside
 * src/pipeline/block_fold*.c. */
#ifndef LLMQ_PIPELINE_BLOCK_FOLD_PRIVATE_H
#define LLMQ_PIPELINE_BLOCK_FOLD_PRIVATE_H

#include "graph/block.h"

/* A value that tasks read, and what its scales are divided out of. */
struct source_fold {
    enum value source;
    struct graph_fold fold;
};

/* The distinct ones that can be folded, in the order of the tasks; returns how many. */
int block_fold_list(const struct graph *g, struct source_fold out[GRAPH_TASKS]);

/* A tensor that a fold changes and the file keeps in its own type. Of a vector of the producer what
 * is divided is each value and what the norm adds to it. */
struct anchor {
    char name[MODEL_NAME_MAX];
    enum dtype dtype;
    int64_t count;
    float added;
    float *values; /* in the block; NULL when no block was given */
};

/* The first is the one that scales are made for (quant/awq.h), the second follows: a norm's weight
 * and bias, or a linear's bias. Returns how many there are. */
enum { ANCHORS = 2 };
int block_fold_anchors(const struct model *m, int64_t index, const struct graph_fold *fold,
                       const struct block *block, struct anchor out[ANCHORS]);

/* These, and the matrices of plain linears whose columns are multiplied. */
enum { FOLD_TENSORS = ANCHORS + GRAPH_NODES };
int block_fold_tensors(const struct model *m, int64_t index, const struct graph_fold *fold,
                       const struct block *block, struct anchor out[FOLD_TENSORS]);

/* scales[c] = 1 where a matrix's column times it is not what its type holds exactly. */
LLMQ_NODISCARD enum llmq_status anchor_keep_exact(const struct anchor *matrix, int64_t channels,
                                                  float *scales, llmq_error *err);

/* Divide by the scales [count] and let the values be what the file will say. */
LLMQ_NODISCARD enum llmq_status anchor_divide(const struct anchor *a, const float *scales,
                                              llmq_error *err);

#endif
