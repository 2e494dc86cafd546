/* SPDX-License-Identifier: Apache-2.0 */
/* What tokens themselves say to a block (Gemma 3n and 4: the input of each layer beside the
 * stream). Of the token's row of a table and of a projection of its embedding, each layer has a
 * part; with the numbers of the model, of layer l:
 *
 *     out = c (norm(p W_l (e x)) + t T[id, l]),    e x: the embedding as the model takes it
 *
 * It depends on nothing but the tokens, so that it is made when it is asked for. */
#ifndef LLMQ_GRAPH_TOKEN_H
#define LLMQ_GRAPH_TOKEN_H

#include <stdint.h>

#include "graph/model.h"
#include "llmq/error.h"

/* out [rows, width]: what the tokens `ids` say to block `index`. A token that the table has no row
 * of counts as the first. */
LLMQ_NODISCARD enum llmq_status token_rows(const struct model *m, int64_t index, const int32_t *ids,
                                           int64_t rows, float *out, llmq_error *err);

/* The sum at the end of it: out [rows, width] becomes c (norm(out) + t table). */
struct token_sum {
    int64_t width;
    double eps;
    const float *norm_weight; /* [width] */
    float table_number, number;
};
void token_add(const struct token_sum *s, int64_t rows, const float *table, float *out);

#endif
