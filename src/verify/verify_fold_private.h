/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that find folds and check them. Not for use outside
 * src/verify/verify_fold*.c.
 */
#ifndef LLMQ_VERIFY_VERIFY_FOLD_PRIVATE_H
#define LLMQ_VERIFY_VERIFY_FOLD_PRIVATE_H

#include "verify/verify_fold.h"
#include "verify/verify_fold_fit.h"

/* Vectors this close are the original's, rounded to another type. */
#define VECTOR_ROUNDING 0.01f

/* A fold of what linears of a block read, or of one of its experts. */
struct candidate {
    enum value source;
    uint64_t consumers; /* the nodes that read it, as bits */
    const struct graph
        *maker;             /* graph that the fold is of: what experts are given, the block has */
    struct linear_place at; /* of what is divided */
    struct graph_fold fold;
};

/* What the steps for one block, or one of its experts, share. */
struct fold_search {
    struct verify *v;
    const struct verify *original;
    struct linear_place at;    /* node: none */
    const struct graph *graph; /* the block's, or the expert's body */
    struct verify_fold *fold;
};

bool made_by_linear(const struct candidate *c);

/* Name of the vector that the fold divides, or of the second one, the bias of a norm; false: there
 * is none. */
bool fold_vector_name(const struct verify *v, const struct candidate *c,
                      char name[FAMILY_NAME_MAX]);
bool fold_follower_name(const struct verify *v, const struct candidate *c,
                        char name[FAMILY_NAME_MAX]);

/* The original's vector divided by the checkpoint's, `added` to both. */
struct quotient {
    int64_t count;
    float added;
    float *values; /* NaN where neither has a number other than 0 */
    bool known;    /* false: there are none to compare */
};
LLMQ_NODISCARD enum llmq_status fold_vector_quotient(const struct fold_search *s, const char *name,
                                                     struct quotient *q, llmq_error *err);

/* The columns of all linears that read the source together: fits [k]. *bits falls to the least that
 * any of them has. */
LLMQ_NODISCARD enum llmq_status fold_fit_source(const struct fold_search *s,
                                                const struct candidate *c, struct fit *fits,
                                                int *bits, llmq_error *err);

/* The channel of what makes the source that a column reads. */
int64_t fold_channel(const struct candidate *c, int64_t column);

/* Compare the columns that read a source with what makes it; fold->sound says whether they agree.
 * Where a vector says nothing, being 0, the columns do. */
LLMQ_NODISCARD enum llmq_status fold_check(struct fold_search *s, const struct candidate *c,
                                           llmq_error *err);

#endif
