/* A model's blocks and ends, loaded one at a time: see model.h. Opening it is model_open.c. */
#include "graph/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/loaders/layout_load.h"
#include "graph/model_private.h"

/* --- names ------------------------------------------------------------------------------------ */

const char *model_node_name(const struct model *m, int64_t block, int node, const char *suffix,
                            char buf[MODEL_NAME_MAX]) {
    return blocks_node_name(m->blocks, (struct linear_place){block, node}, suffix, buf);
}

/* --- plain tensors ---------------------------------------------------------------------------- */

enum llmq_status model_load_f32(const struct model *m, const char *name, int64_t rows, int64_t cols,
                                struct arena *arena, float **out, llmq_error *err) {
    const struct st_tensor *t = NULL;
    enum llmq_status status = model_require(m, name, rows, cols, &t, err);
    if (status != LLMQ_OK)
        return status;
    *out = arena_alloc(arena, (size_t)(rows ? rows : 1) * (size_t)cols, sizeof **out, err);
    return *out ? st_read_f32(m->tensors, t, *out, err) : LLMQ_E_MEMORY;
}

bool model_linear_packed(const struct model *m, int64_t block, int node) {
    char name[MODEL_NAME_MAX];
    return layout_has_module(m->tensors, m->layout, model_node_name(m, block, node, "", name));
}

const char *model_head_name(const struct model *m, char buf[MODEL_NAME_MAX]) {
    return ends_head_module(m->config.family, buf);
}

bool model_head_packed(const struct model *m) {
    char name[MODEL_NAME_MAX];
    return layout_has_module(m->tensors, m->layout, model_head_name(m, name));
}

void model_close(struct model *m) {
    quant_config_free(&m->quant);
    json_free(&m->config_json);
    blocks_free(&m->blocks);
    config_free(&m->config);
    st_close(&m->tensors);
    free(m->dir);
    *m = (struct model){0};
}

/* --- packed linears --------------------------------------------------------------------------- */

enum llmq_status model_load_qlinear(const struct model *m, const char *name, int64_t n, int64_t k,
                                    struct qlinear *q, llmq_error *err) {
    enum llmq_status status = layout_load(m->tensors, m->layout, &m->layout_config, name, q, err);
    if (status == LLMQ_OK && (q->n != n || q->k != k))
        status = error_set(err, LLMQ_E_INPUT,
                           "packed as [%" PRId64 ", %" PRId64 "]; config.json implies [%" PRId64
                           ", %" PRId64 "]",
                           q->n, q->k, n, k);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s: %s", m->dir, name);
        qlinear_free(q);
    }
    return status;
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Blocks are loaded in order: while one is computed with, the disk can look for the next. */
void model_read_ahead(const struct model *m, int64_t index) {
    char prefix[MODEL_NAME_MAX];
    const size_t len = strlen(family_block_name(m->config.family, index, "", "", prefix));
    for (size_t i = 0; i < st_count(m->tensors); i++)
        if (strncmp(st_at(m->tensors, i)->name, prefix, len) == 0)
            st_read_ahead(m->tensors, st_at(m->tensors, i));
}

const struct graph *model_graph(const struct model *m, int64_t index) {
    return blocks_graph(m->blocks, index);
}

static void transpose(const float *from, int64_t rows, int64_t columns, float *to) {
#pragma omp parallel for schedule(static) default(none) shared(from, rows, columns, to)
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++)
            to[c * rows + r] = from[r * columns + c];
}

/* A tensor [k, n] as [n, k]. */
static enum llmq_status read_transposed(const struct model *m, const struct st_tensor *t, int64_t n,
                                        int64_t k, float *out, llmq_error *err) {
    float *stored = malloc((size_t)n * (size_t)k * sizeof *stored);
    if (!stored)
        return error_memory(err, "a linear's weight");
    enum llmq_status status = st_read_f32(m->tensors, t, stored, err);
    if (status == LLMQ_OK)
        transpose(stored, k, n, out);
    free(stored);
    return status;
}

enum llmq_status model_load_weight(const struct model *m, struct linear_place at, float *out,
                                   llmq_error *err) {
    const struct graph_node *node = &model_graph(m, at.block)->node[at.node];
    const bool turned = node->row->storage == STORED_CONV1D;
    char name[MODEL_NAME_MAX];
    int64_t n = 0, k = 0;
    const struct st_tensor *t = NULL;
    blocks_linear_shape(m->blocks, at, &n, &k);
    model_node_name(m, at.block, at.node, ".weight", name);
    enum llmq_status status = model_require(m, name, turned ? k : n, turned ? n : k, &t, err);
    if (status != LLMQ_OK)
        return status;
    return turned ? read_transposed(m, t, n, k, out, err) : st_read_f32(m->tensors, t, out, err);
}
