/* SPDX-License-Identifier: Apache-2.0 */
/* Causal convolution of one sequence, channel by channel. */
#ifndef LLMQ_GRAPH_CONVOLVE_H
#define LLMQ_GRAPH_CONVOLVE_H

#include <stdint.h>

struct filter {
    int64_t width;       /* channels */
    int64_t tokens;      /* that an output is made of, its own and those before it */
    const float *weight; /* [width, tokens]; the last is that of the token itself */
    const float *bias;   /* [width] or NULL */
};

/* out[t, c] = bias[c] + sum of weight[c, j] x[t - tokens + 1 + j, c] over j, where what would lie
 * before the sequence is zero (a depthwise convolution, torch.nn.Conv1d with groups = channels and
 * padding on the left). x, out [length, width], which must not overlap. */
void convolve_sequence(const struct filter *f, int64_t length, const float *x, float *out);

/* The same of a sequence that goes on: carried [tokens - 1, width] has the rows before it and,
 * after the call, those before what comes next; all 0 before the first. */
void convolve_onward(const struct filter *f, int64_t length, const float *x, float *carried,
                     float *out);

/* The way back: dx += the gradient towards x, where dy is that towards what convolve_sequence makes
 * of it; weight and bias += those towards the filter's. x, dy, dx [length, width]. Parallel over
 * channels. */
struct filter_back {
    const float *x, *dy;
    float *dx;
    double *weight, *bias; /* [width, tokens] and [width], or NULL */
};
void convolve_back(const struct filter *f, int64_t length, const struct filter_back *b);

#endif
