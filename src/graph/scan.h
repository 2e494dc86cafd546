/* SPDX-License-Identifier: Apache-2.0 */
/* Linear recurrences with a matrix for a state, in chunks.
 *
 * For each head, with the state S [width, state] zero before the first token:
 *
 *     S <- exp(decay) S + gain x B^T         y = S C + skip x
 *
 * Mamba-2's scan is this one (Dao & Gu, arXiv:2405.21060, section 6): within a chunk of tokens the
 * outputs are a product with a lower triangular matrix, like attention without a softmax, and the
 * state passes from chunk to chunk. The numbers are those of the recurrence, but for rounding. */
#ifndef LLMQ_GRAPH_SCAN_H
#define LLMQ_GRAPH_SCAN_H

#include <stdint.h>

/* Tokens that share products. */
#define SCAN_CHUNK 64

/* Head h reads B and C of group h / (heads / groups). */
struct scan {
    int64_t heads, groups;
    int64_t width;     /* of a head's x and of what it makes */
    int64_t state;     /* of its B and its C */
    const float *skip; /* [heads]; NULL: nothing is passed by */
    float *carried; /* [heads, width, state]: the states before the sequence and, when it is done,
                     * behind it; NULL: it begins with 0 */
};

struct scan_input {
    const float *x;     /* [length, heads x width] */
    const float *b, *c; /* [length, groups x state] */
    const float *decay; /* [heads, length] exponents, at most 0 */
    const float *gain;  /* [heads, length] */
};

/* Entries of scratch for sequences up to `max_length`. */
int64_t scan_scratch(const struct scan *s, int64_t max_length);

/* out [length, heads x width], parallel over heads. Beside rounding to float32, what it differs
 * from the recurrence by is that of sums of at most SCAN_CHUNK terms. */
void scan_sequence(const struct scan *s, int64_t length, const struct scan_input *in,
                   float *scratch, float *out);

/* Mamba-2's time steps: gain = softplus(dt + bias) within [min, max], decay = -exp(A_log) gain.
 * dt [length, heads]; decay, gain [heads, length]. */
struct scan_steps {
    int64_t heads;
    const float *bias, *A_log; /* [heads] */
    double min, max;
};
void scan_steps(const struct scan_steps *s, int64_t length, const float *dt, float *decay,
                float *gain);

/* --- the way back: dx is the gradient towards x, dy that towards what is made of it ----------- */

/* Of scan_sequence, shapes as there. Those of a group's heads add to the same db and dc. */
struct scan_back {
    const float *dy;
    float *dx, *db, *dc;   /* added to */
    float *ddecay, *dgain; /* [heads, length], set */
    double *skip;          /* [heads], added to, or NULL */
};

/* Entries of scratch for sequences up to `max_length`. */
int64_t scan_back_scratch(const struct scan *s, int64_t max_length);

/* Parallel over heads. */
void scan_back(const struct scan *s, int64_t length, const struct scan_input *in,
               const struct scan_back *b, float *scratch);

/* Of scan_steps: ddt [length, heads], bias and A_log [heads] (or NULL) are added to. */
struct scan_steps_back {
    const float *dt, *ddecay, *dgain; /* dgain NULL: nothing depends on the gains */
    float *ddt;
    double *bias, *A_log;
};
void scan_steps_back(const struct scan_steps *s, int64_t length, const struct scan_steps_back *b);

#endif
