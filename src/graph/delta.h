/* SPDX-License-Identifier: Apache-2.0 */
/* The gated delta rule, in chunks (Yang, Kautz & Hatamizadeh, arXiv:2412.06464).
 *
 * For each head, with the state S [key, value] zero before the first token:
 *
 *     S <- exp(decay) S     e = beta (v - S^T k)     S <- S + k e^T     y = scale S^T q
 *
 * What a token adds depends on what those before it added: within a chunk the e of all tokens solve
 * a triangular system, and with them the outputs and the state are products (section 3.3 there).
 * The numbers are those of the recurrence, but for rounding. */
#ifndef LLMQ_GRAPH_DELTA_H
#define LLMQ_GRAPH_DELTA_H

#include <stdint.h>

/* Tokens that share products. */
#define DELTA_CHUNK 64

/* Value head h reads queries and keys of key head h / (value_heads / key_heads). */
struct delta {
    int64_t key_heads, value_heads;
    int64_t key;   /* of a head's query and key */
    int64_t value; /* of a head's value and of what it makes */
    float scale;
    float *carried; /* [value_heads, key, value]: the states before the sequence and, when it is
                     * done, behind it; NULL: it begins with 0 */
};

struct delta_input {
    const float *q, *k; /* [length, key_heads x key] */
    const float *v;     /* [length, value_heads x value] */
    const float *decay; /* [value_heads, length] exponents, at most 0 */
    const float *beta;  /* [value_heads, length] */
};

/* Entries of scratch for sequences up to `max_length`. */
int64_t delta_scratch(const struct delta *d, int64_t max_length);

/* out [length, value_heads x value], parallel over heads. Keys of length 1 and beta within 0 and 2
 * keep errors from growing. */
void delta_sequence(const struct delta *d, int64_t length, const struct delta_input *in,
                    float *scratch, float *out);

/* The way back, shapes as of delta_sequence: dq is the gradient towards q, dy that towards what is
 * made. Value heads that share a key head add to the same dq and dk. */
struct delta_back {
    const float *dy;
    float *dq, *dk, *dv;   /* added to */
    float *ddecay, *dbeta; /* [value_heads, length], set */
};

/* Entries of scratch for sequences up to `max_length`. */
int64_t delta_back_scratch(const struct delta *d, int64_t max_length);

/* Parallel over the heads of the keys. */
void delta_back(const struct delta *d, int64_t length, const struct delta_input *in,
                const struct delta_back *b, float *scratch);

#endif
