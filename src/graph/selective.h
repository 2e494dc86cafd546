/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrences with a state for every channel: Mamba-1's selective scan, and RG-LRU. */
#ifndef LLMQ_GRAPH_SELECTIVE_H
#define LLMQ_GRAPH_SELECTIVE_H

#include <stdint.h>

/* For each channel, with the state S [state] zero before the first token:
 *
 *     S <- exp(-exp(A_log) step) S + step x B         y = S C + D x
 *
 * (Gu & Dao, arXiv:2312.00752, algorithm 2), where B and C serve all channels. */
struct selective {
    int64_t channels, state;
    const float *A_log; /* [channels, state] */
    const float *D;     /* [channels] */
    float *carried;     /* [selective_states(channels), state]: the states before the sequence and,
                         * when it is done, behind it; NULL: it begins with 0 */
};

struct selective_input {
    const float *x;     /* [length, channels] */
    const float *b, *c; /* [length, state] */
    const float *step;  /* [length, channels], at least 0 */
};

/* The channels of carried states, which lie in blocks. */
int64_t selective_states(int64_t channels);

/* Entries of scratch. */
int64_t selective_scratch(const struct selective *s);

/* out [length, channels], parallel over blocks of channels. */
void selective_sequence(const struct selective *s, int64_t length, const struct selective_input *in,
                        float *scratch, float *out);

/* The real-gated linear recurrent unit (De et al., arXiv:2402.19427, section 2.4), h zero before
 * the first token:
 *
 *     i = sigmoid(W_i u + b_i), r = sigmoid(W_r u + b_r), a = exp(-8 r softplus(parameter))
 *     h <- a h + m i u, m = sqrt(1 - a^2), for the first token 1
 *
 * W_i and W_r have a block for each head. */
struct lru {
    int64_t heads, width;            /* of a head */
    const float *input, *input_bias; /* [heads, width, width], u times it; [heads, width] */
    const float *recurrent, *recurrent_bias;
    const float *parameter; /* [heads, width] */
    float *carried; /* [heads, width]: h before the sequence and, when it is done, behind it; NULL:
                     * it begins with 0 */
    int64_t past;   /* tokens before those */
};

int64_t lru_scratch(const struct lru *l);

/* out [length, heads x width] = h, parallel over heads. */
void lru_sequence(const struct lru *l, int64_t length, const float *u, float *scratch, float *out);

/* --- the way back: dx is the gradient towards x, dy that towards what is made of it ----------- */

/* Of selective_sequence, shapes as there. */
struct selective_back {
    const float *dy;
    float *dx, *db, *dc; /* added to */
    float *dstep;        /* set */
    double *A_log, *D;   /* as those of the scan, added to, or NULL */
};
int64_t selective_back_scratch(const struct selective *s, int64_t max_length);

/* Parallel over blocks of channels. */
void selective_back(const struct selective *s, int64_t length, const struct selective_input *in,
                    const struct selective_back *b, float *scratch);

/* Of lru_sequence: du += the gradient towards u, where `out` is what it made of u and dy the
 * gradient towards that. */
struct lru_back {
    const float *u, *out, *dy; /* [length, heads x width] */
    float *du;
};
int64_t lru_back_scratch(const struct lru *l);
void lru_back(const struct lru *l, int64_t length, const struct lru_back *b, float *scratch);

#endif
