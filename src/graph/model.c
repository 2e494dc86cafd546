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
    const char *head = m->config.family->head, *dot = strrchr(head, '.');
    (void)snprintf(buf, MODEL_NAME_MAX, "%.*s", dot ? (int)(dot - head) : 0, head);
    return buf;
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

enum llmq_status model_load_weight(const struct model *m, struct linear_place at, float *out,
                                   llmq_error *err) {
    char name[MODEL_NAME_MAX];
    int64_t n = 0, k = 0;
    const struct st_tensor *t = NULL;
    blocks_linear_shape(m->blocks, at, &n, &k);
    model_node_name(m, at.block, at.node, ".weight", name);
    enum llmq_status status = model_require(m, name, n, k, &t, err);
    return status == LLMQ_OK ? st_read_f32(m->tensors, t, out, err) : status;
}

/* --- the ends --------------------------------------------------------------------------------- */

static enum llmq_status read_rows(const struct model *m, const struct st_tensor *t, int64_t begin,
                                  int64_t end, float *out, llmq_error *err) {
    size_t width = (size_t)m->config.hidden, count = (size_t)(end - begin) * width;
    size_t element = dtype_bits(t->dtype) / 8;
    if (t->dtype == DTYPE_F32)
        return st_read(m->tensors, t, (uint64_t)begin * width * element, count * element, out, err);
    void *raw = malloc(count * element);
    if (!raw)
        return error_memory(err, "embedding rows");
    enum llmq_status status =
        st_read(m->tensors, t, (uint64_t)begin * width * element, count * element, raw, err);
    if (status == LLMQ_OK)
        dtype_to_f32(t->dtype, raw, count, out);
    free(raw);
    return status;
}

enum llmq_status model_embed(const struct model *m, const int32_t *ids, int64_t count, float *out,
                             llmq_error *err) {
    const struct st_tensor *t = st_find(m->tensors, m->config.family->embedding);
    for (int64_t i = 0; i < count; i++) {
        enum llmq_status status =
            read_rows(m, t, ids[i], ids[i] + 1, out + i * m->config.hidden, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

enum llmq_status model_final_norm(const struct model *m, float *out, llmq_error *err) {
    return st_read_f32(m->tensors, st_find(m->tensors, m->config.family->final_norm), out, err);
}

enum llmq_status model_head_rows(const struct model *m, int64_t begin, int64_t end, float *out,
                                 llmq_error *err) {
    const struct family *f = m->config.family;
    return read_rows(m, st_find(m->tensors, m->config.tied ? f->embedding : f->head), begin, end,
                     out, err);
}
