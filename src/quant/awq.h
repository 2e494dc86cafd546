/* SPDX-License-Identifier: Apache-2.0 */
/* AWQ: which scale per channel, taken out of what produces an input and put into the weights that
 * read it, makes rounding cost least (Lin et al., arXiv:2306.00978). The scale is found here;
 * folding it into a model is the caller's.
 *
 * Symbols: W [n, k] of each consumer, H [k, k] = (2/T) X^T X of the input they share, s the scale
 * of each channel. */
#ifndef LLMQ_QUANT_AWQ_H
#define LLMQ_QUANT_AWQ_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"
#include "quant/quant.h"
#include "tensor/dtype.h"

/* A linear that reads the input. */
struct awq_consumer {
    const float *W; /* [n, k] */
    int64_t n;
    struct quant_grid grid;
};

struct awq_problem {
    int64_t k;
    const float *H;
    const float *magnitude; /* [k] typical |x| of each column, see awq_magnitude */
    const struct awq_consumer *consumers;
    int count;
    int64_t channels;
    const int64_t *channel; /* [k] the channel each column reads; several may read one */
    /* What the scale is divided out of, when the file stores it rounded: a norm's weight, or the
     * bias of a linear. NULL: nothing that is rounded. */
    const float *anchor; /* [channels] */
    enum dtype anchor_dtype;
    float anchor_added; /* what is divided is anchor + this: 1 for a norm stored less one */
    /* What is divided as well and stored rounded, not exactly: the bias of a norm. NULL: nothing.
     */
    const float *follower; /* [channels] */
    enum dtype follower_dtype;
    const float *limit; /* [channels] largest scale allowed, >= 1; NULL: any */
    bool exact;         /* scales are powers of two */
    /* Try the scale of cross-layer equalization, too (Nagel et al., arXiv:1906.04721, eq. 11), with
     * the largest magnitude of each channel in what makes it: [channels] of a linear's rows; NULL:
     * the anchor's, and 1 without one. */
    bool equalize;
    const float *produced;
};

struct awq_outcome {
    double identity_loss; /* sum over consumers of tr(dW H dW^T) with s = 1 */
    double loss;          /* the same with the scale found */
    bool scaled;          /* false: the scale is 1 throughout */
    bool by_weights;      /* s = x^r / w^(1-r), otherwise s = x^r */
    double power;         /* r */
    bool equalized;       /* neither: s = sqrt(produced / largest weight of the channel) */
};

/* Root mean square of each column from H's diagonal: magnitude [k]. */
void awq_magnitude(const float *H, int64_t k, float *magnitude);

/* The scale of `channels` channels with the least loss: the sum over consumers of
 * tr(dW H dW^T), dW = W - Q(W diag(s)) diag(1/s), Q rounding to nearest on the consumer's grid.
 * Candidates are x^r / w^(1-r) and x^r for r = 0, 1/19, ..., 1, where x is the magnitude and w the
 * mean of |weight| / largest of its group, divided by sqrt(max min); and 1. With `equalize` also
 * the scale that makes what the producer and the consumers have of a channel equally large, divided
 * by the same. A candidate counts only
 * if no consumer is worse than with s = 1, and is taken only if it gains 1 % over that.
 * Scales are such that anchor / s is exact in the anchor's type: s = anchor / round(anchor / s);
 * with a follower they are moved by up to an eighth to where the rounding of follower / s is least,
 * or to the next power of two.
 * scales  [channels], positive and finite; 1 for channels that are never active, and where
 *         anchor / s would leave the range of half precision
 * The result does not depend on the number of threads. LLMQ_E_MEMORY, LLMQ_E_USAGE (the grid does
 * not fit), LLMQ_E_NUMERIC (a weight is not finite). */
LLMQ_NODISCARD enum llmq_status awq_search(const struct awq_problem *p, float *scales,
                                           struct awq_outcome *outcome, llmq_error *err);

/* Bytes awq_search allocates for in_features k. */
uint64_t awq_search_bytes(int64_t k);

/* Largest scale to divide the rows of W [n, k] by so that no group's step falls below what the
 * grid's scales can store: limit [n], at least 1. */
void awq_row_limits(const struct quant_grid *grid, const float *W, int64_t n, int64_t k,
                    float *limit);

#endif
