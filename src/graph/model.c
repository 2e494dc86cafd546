/* SPDX-License-Identifier: Apache-2.0 */
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
    return blocks_node_name(m->blocks, (struct linear_place){block, node, -1}, suffix, buf);
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

enum llmq_status model_read_vector(const struct model *m, const struct st_tensor *t, float *out,
                                   llmq_error *err) {
    const enum llmq_status status = st_read_f32(m->tensors, t, out, err);
    if (status == LLMQ_OK && m->edit && m->edit->vector)
        m->edit->vector(m->edit->c, t, out);
    return status;
}

bool model_linear_packed(const struct model *m, struct linear_place at) {
    char name[MODEL_NAME_MAX];
    return layout_has_module(m->tensors, m->layout, blocks_node_name(m->blocks, at, "", name));
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

enum llmq_status model_load_packed(const struct model *m, const char *name, int64_t n, int64_t k,
                                   llmq_qmat **out, llmq_error *err) {
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(model_load_qlinear(m, name, n, k, &q, err));
    const llmq_qmat_desc desc = {.size = sizeof desc,
                                 .n = n,
                                 .k = k,
                                 .bits = q.bits,
                                 .group = q.group,
                                 .codes = q.codes,
                                 .scales = q.scales,
                                 .zeros = q.zeros,
                                 .group_of = q.group_of};
    LLMQ_TRY(llmq_qmat_create(&desc, out, err));
cleanup:
    qlinear_free(&q);
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
