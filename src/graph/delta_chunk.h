/* SPDX-License-Identifier: Apache-2.0 */
/* A chunk of the gated delta rule, on the way forth and back. Not for use outside
 * src/graph/delta*.c.
 */
#ifndef LLMQ_GRAPH_DELTA_CHUNK_H
#define LLMQ_GRAPH_DELTA_CHUNK_H

#include <stdint.h>

#include "graph/delta.h"

enum { DELTA_SQUARE = DELTA_CHUNK * DELTA_CHUNK };
enum { DELTA_SOLVED = 16 }; /* rows that are solved one by one; the others by a product */

/* A chunk of one head: its tokens begin at `begin`. */
struct delta_chunk {
    const struct delta *d;
    const struct delta_input *in;
    int64_t head, begin, rows, length;
    const float *products;   /* k k^T [rows, rows], DELTA_SQUARE entries on: q k^T */
    float *fade, *triangle;  /* [rows, rows] */
    float *scaled;           /* [rows, key] */
    float *added;            /* [rows, value]: the e of the tokens */
    float *state;            /* [key, value] */
    float *out;              /* of the chunk's first token and the head */
    double sum[DELTA_CHUNK]; /* of the decays from the chunk's first token to each */
    float factor[DELTA_CHUNK];
};

/* Of all: keys times keys and queries times keys of every chunk. */
int64_t delta_products_scratch(const struct delta *d, int64_t max_length);

/* k k^T and q k^T of every chunk of every key head: value heads share them. */
void delta_multiply_inputs(const struct delta *d, int64_t length, const struct delta_input *in,
                           float *products);

/* The head's keys or queries from the chunk's first token on; the stride is delta_keys_stride. */
const float *delta_keys_of(const struct delta_chunk *c, const float *all);
int64_t delta_keys_stride(const struct delta_chunk *c);
int64_t delta_values_stride(const struct delta_chunk *c);
const float *delta_betas(const struct delta_chunk *c);

/* fade[t, i]: what is left at token t of what token i added, i <= t. */
void delta_find_decays(struct delta_chunk *c);

/* factor = what is left at each token of what was there before the chunk, times `scale`. */
void delta_decays_from_begin(struct delta_chunk *c, float scale);

/* factor = what is left behind the chunk of what each token adds. */
void delta_decays_to_end(struct delta_chunk *c);

/* factor = the same for every token. */
void delta_set_factors(struct delta_chunk *c, float factor);

/* scaled = rows of keys or queries, each times its factor. */
void delta_scale_rows(const struct delta_chunk *c, const float *from);

/* triangle[t, i] = factor[t] fade[t, i] products[t, i], 0 above the diagonal. */
void delta_fill_triangle(struct delta_chunk *c, const float *products, const float *factor);

/* added = the e of the tokens, of `state` before the chunk. */
void delta_solve_added(struct delta_chunk *c);

/* state = the one behind the chunk. */
void delta_pass_state_on(struct delta_chunk *c);

#endif
