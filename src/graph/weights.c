/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a block's linears, from wherever they lie: see model.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/model_private.h"
#include "graph/required.h"
#include "graph/weights.h"

/* --- matrices stored the other way round ------------------------------------------------------ */

void weights_turn(const float *from, int64_t rows, int64_t columns, float *to) {
#pragma omp parallel for schedule(static) default(none) shared(from, rows, columns, to)
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++)
            to[c * rows + r] = from[r * columns + c];
}

enum llmq_status weights_read_turned(const struct st_set *set, const struct st_tensor *t,
                                     float *out, llmq_error *err) {
    const uint64_t rows = t->shape[0], columns = t->shape[1];
    float *stored = malloc((size_t)rows * (size_t)columns * sizeof *stored);
    if (!stored)
        return error_memory(err, "a linear's weight");
    enum llmq_status status = st_read_f32(set, t, stored, err);
    if (status == LLMQ_OK)
        weights_turn(stored, (int64_t)rows, (int64_t)columns, out);
    free(stored);
    return status;
}

/* --- stacks of experts ------------------------------------------------------------------------ */

/* The row of the stack that is row `r` of the part's `n`. */
static int64_t stack_row(enum stack_part part, int64_t n, int64_t r) {
    switch (part) {
    case PART_FIRST:
    case PART_WHOLE:
        return r;
    case PART_SECOND:
        return n + r;
    case PART_EVEN:
        return 2 * r;
    case PART_ODD:
    default:
        return 2 * r + 1;
    }
}

static const struct graph_param *stack_param(const struct graph *body, int node, bool bias,
                                             struct graph_param params[GRAPH_PARAMS]) {
    const int count = graph_params(body, params);
    for (int i = 0; i < count; i++)
        if (params[i].node == node && params[i].quantized != bias)
            return &params[i];
    return NULL;
}

const struct st_tensor *weights_find_stack(const struct st_set *set, const struct blocks *b,
                                           struct linear_place at) {
    struct graph_param params[GRAPH_PARAMS];
    char name[FAMILY_NAME_MAX];
    if (at.expert < 0 || !blocks_node(b, at)->row->stack ||
        st_find(set, blocks_node_name(b, at, ".weight", name)))
        return NULL;
    const struct graph_param *p =
        stack_param(blocks_graph(b, at.block)->body, at.node, false, params);
    const struct required r = required_param(b, at.block, at.expert, p);
    const struct tensor_fit fit = tensor_fits(set, &r);
    return fit.misfit == FITS ? fit.tensor : NULL;
}

/* Rows that are gathered together: each column of a turned stack holds them side by side. */
enum { ROW_TILE = 64 };

/* One expert's rows [0, n) of `part`: from stored [rows, k], or turned [k, rows]. */
static void gather_rows(const float *stored, size_t rows, enum stack_part part, bool turned,
                        int64_t n, int64_t k, float *out) {
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(stored, rows, part, turned, n, k, out) if (n * k > 1 << 16)
    for (int64_t tile = 0; tile < n; tile += ROW_TILE) {
        const int64_t end = tile + ROW_TILE < n ? tile + ROW_TILE : n;
        for (int64_t r = tile; !turned && r < end; r++)
            memcpy(out + r * k, stored + stack_row(part, n, r) * k, (size_t)k * sizeof *out);
        for (int64_t c = 0; turned && c < k; c++)
            for (int64_t r = tile; r < end; r++)
                out[r * k + c] = stored[(size_t)c * rows + (size_t)stack_row(part, n, r)];
    }
}

/* A stack is [experts, rows, k] or [experts, k, rows], or these with one side for the first two. */
enum llmq_status weights_read_stacked(const struct st_set *set, const struct st_tensor *t,
                                      const struct blocks *b, struct linear_place at, float *out,
                                      llmq_error *err) {
    const struct node *row = blocks_node(b, at)->row;
    const bool turned = row->storage == STORED_STACK_T;
    const size_t columns = (size_t)t->shape[t->rank - 1];
    const size_t experts = (size_t)b->config->facts.dims[DIM_EXPERTS];
    const size_t count =
        (size_t)t->shape[0] * (t->rank > 2 ? (size_t)t->shape[1] : 1) * columns / experts;
    int64_t n = 0, k = 0;
    blocks_linear_shape(b, at, &n, &k);
    float *stored = malloc(count * sizeof *stored);
    if (!stored)
        return error_memory(err, "an expert's weight");
    enum llmq_status status =
        st_read_part_f32(set, t, (uint64_t)at.expert * count, count, stored, err);
    if (status == LLMQ_OK)
        gather_rows(stored, columns, row->part, turned, n, k, out);
    free(stored);
    return status;
}

static enum llmq_status load_stacked(const struct model *m, struct linear_place at, float *out,
                                     llmq_error *err) {
    struct graph_param params[GRAPH_PARAMS];
    const struct graph_param *p =
        stack_param(model_graph(m, at.block)->body, at.node, false, params);
    const struct st_tensor *t = NULL;
    enum llmq_status status = model_require_param(m, at.block, at.expert, p, &t, err);
    return status == LLMQ_OK ? weights_read_stacked(m->tensors, t, m->blocks, at, out, err)
                             : status;
}

enum llmq_status model_load_stack_bias(const struct model *m, struct linear_place at, float *out,
                                       llmq_error *err) {
    struct graph_param params[GRAPH_PARAMS];
    const struct graph *body = model_graph(m, at.block)->body;
    const struct graph_param *p = stack_param(body, at.node, true, params);
    const int64_t n = body->node[at.node].width[0];
    const struct st_tensor *t = NULL;
    enum llmq_status status = model_require_param(m, at.block, at.expert, p, &t, err);
    if (status != LLMQ_OK)
        return status;
    float *stored = malloc((size_t)p->columns * sizeof *stored);
    if (!stored)
        return error_memory(err, "an expert's bias");
    status = st_read_part_f32(m->tensors, t, (uint64_t)(at.expert * p->columns), (size_t)p->columns,
                              stored, err);
    for (int64_t r = 0; status == LLMQ_OK && r < n; r++)
        out[r] = stored[stack_row(body->node[at.node].row->part, n, r)];
    free(stored);
    return status;
}

/* --- packed ones ------------------------------------------------------------------------------ */

static enum llmq_status load_unpacked(const struct model *m, struct linear_place at, float *out,
                                      llmq_error *err) {
    char name[MODEL_NAME_MAX];
    struct qlinear q = {0};
    int64_t n = 0, k = 0;
    blocks_linear_shape(m->blocks, at, &n, &k);
    enum llmq_status status =
        model_load_qlinear(m, blocks_node_name(m->blocks, at, "", name), n, k, &q, err);
    if (status == LLMQ_OK)
        qlinear_dequantize(&q, 0, n, out);
    qlinear_free(&q);
    return status;
}

/* --- any -------------------------------------------------------------------------------------- */

static enum llmq_status read_weight(const struct model *m, struct linear_place at, float *out,
                                    llmq_error *err) {
    const struct node *row = blocks_node(m->blocks, at)->row;
    const bool turned = blocks_linear_turned(m->blocks, at);
    char name[MODEL_NAME_MAX];
    int64_t n = 0, k = 0;
    const struct st_tensor *t = NULL;
    if (model_linear_packed(m, at))
        return load_unpacked(m, at, out, err);
    blocks_linear_shape(m->blocks, at, &n, &k);
    blocks_node_name(m->blocks, at, ".weight", name);
    if (row->stack && !st_find(m->tensors, name))
        return load_stacked(m, at, out, err);
    enum llmq_status status = model_require(m, name, turned ? k : n, turned ? n : k, &t, err);
    if (status != LLMQ_OK)
        return status;
    return turned ? weights_read_turned(m->tensors, t, out, err)
                  : st_read_f32(m->tensors, t, out, err);
}

enum llmq_status model_load_weight(const struct model *m, struct linear_place at, float *out,
                                   llmq_error *err) {
    const enum llmq_status status = read_weight(m, at, out, err);
    return status == LLMQ_OK && m->edit ? m->edit->apply(m->edit->c, at, out, err) : status;
}
