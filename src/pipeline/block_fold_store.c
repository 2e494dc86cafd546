/* SPDX-License-Identifier: Apache-2.0 */
/* What folds change and the file keeps in its own type: see block_fold.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "pipeline/block_fold_private.h"
#include "pipeline/run.h"

/* --- the tensors ------------------------------------------------------------------------------ */

int block_fold_list(const struct graph *g, struct source_fold out[GRAPH_TASKS]) {
    int count = 0;
    for (int t = 0; t < g->task_count; t++) {
        const enum value source = g->task[t].source;
        bool listed = false;
        for (int i = 0; i < count; i++)
            listed = listed || out[i].source == source;
        out[count] = (struct source_fold){source, graph_fold_find(g, source)};
        count += !listed && out[count].fold.producer >= 0;
    }
    return count;
}

/* The producer's vector of this suffix, if the file has it. */
static bool anchor_named(const struct model *m, int64_t index, const struct graph_fold *fold,
                         const char *suffix, struct anchor *out) {
    *out = (struct anchor){.count = fold->channels};
    model_node_name(m, index, fold->producer, suffix, out->name);
    const struct st_tensor *t = st_find(m->tensors, out->name);
    out->dtype = t ? st_copy_dtype(t) : DTYPE_F32;
    return t != NULL;
}

int block_fold_anchors(const struct model *m, int64_t index, const struct graph_fold *fold,
                       const struct block *block, struct anchor out[ANCHORS]) {
    const struct graph *g = model_graph(m, index);
    const struct graph_node *n = &g->node[fold->producer];
    const struct params *params = block ? &block->node[fold->producer] : NULL;
    const bool norm = n->row->op == OP_NORM;
    int count = 0;
    if (norm && anchor_named(m, index, fold, ".weight", &out[count])) {
        out[count].added = norm_adds_one(n->norm) ? 1 : 0;
        out[count++].values = params ? params->weight : NULL;
    }
    if ((norm ? norm_has_bias(n->norm) : graph_node_biased(g, n)) &&
        anchor_named(m, index, fold, ".bias", &out[count])) {
        out[count++].values = !params ? NULL : norm ? params->bias : params->linear.bias;
    }
    return count;
}

int block_fold_tensors(const struct model *m, int64_t index, const struct graph_fold *fold,
                       const struct block *block, struct anchor out[FOLD_TENSORS]) {
    const struct graph *g = model_graph(m, index);
    int count = block_fold_anchors(m, index, fold, block, out);
    for (int i = 0; i < g->count; i++) {
        if (!(fold->consumers >> i & 1) || graph_node_quantized(&g->node[i]))
            continue;
        struct anchor *a = &out[count++];
        const struct graph_fold matrix = {
            .producer = i, .channels = g->node[i].width[0] * g->width[g->node[i].in[0]]};
        (void)anchor_named(m, index, &matrix, ".weight", a);
        a->values = block ? block->node[i].linear.w : NULL;
    }
    return count;
}

/* The values in the type of the file; the caller frees. */
static void *encode(const struct anchor *a, size_t *bytes, llmq_error *err) {
    *bytes = (size_t)a->count * (dtype_bits(a->dtype) / 8);
    void *data = malloc(*bytes);
    if (!data) {
        (void)error_memory(err, a->name);
    } else if (a->dtype == DTYPE_F64) {
        for (int64_t i = 0; i < a->count; i++)
            ((double *)data)[i] = (double)a->values[i];
    } else {
        dtype_from_f32(a->dtype, a->values, (size_t)a->count, data);
    }
    return data;
}

enum llmq_status anchor_divide(const struct anchor *a, const float *scales, llmq_error *err) {
    size_t bytes = 0;
    for (int64_t i = 0; i < a->count; i++)
        a->values[i] = (a->values[i] + a->added) / scales[i] - a->added;
    void *data = encode(a, &bytes, err);
    if (!data)
        return LLMQ_E_MEMORY;
    dtype_to_f32(a->dtype, data, (size_t)a->count, a->values);
    free(data);
    return LLMQ_OK;
}

enum llmq_status anchor_keep_exact(const struct anchor *matrix, int64_t channels, float *scales,
                                   llmq_error *err) {
    struct anchor row = {.dtype = matrix->dtype, .count = channels};
    float *scaled = malloc(2 * (size_t)channels * sizeof *scaled);
    float *held = scaled + channels;
    enum llmq_status status = LLMQ_OK;
    size_t bytes = 0;
    if (!scaled)
        return error_memory(err, matrix->name);
    snprintf(row.name, sizeof row.name, "%s", matrix->name);
    row.values = scaled;
    for (int64_t at = 0; status == LLMQ_OK && at < matrix->count; at += channels) {
        for (int64_t c = 0; c < channels; c++)
            scaled[c] = matrix->values[at + c] * scales[c];
        void *data = encode(&row, &bytes, err);
        status = data ? LLMQ_OK : LLMQ_E_MEMORY;
        if (data)
            dtype_to_f32(row.dtype, data, (size_t)channels, held);
        for (int64_t c = 0; data && c < channels; c++)
            if (held[c] != scaled[c])
                scales[c] = 1;
        free(data);
    }
    free(scaled);
    return status;
}

/* --- in the run ------------------------------------------------------------------------------- */

bool block_fold_changes(const struct model *m, const char *tensor) {
    struct source_fold folds[GRAPH_TASKS];
    int64_t block = 0;
    const char *rest = NULL;
    if (!family_block_of(m->config.family, tensor, &block, &rest) || block >= m->blocks->count)
        return false;
    const int count = block_fold_list(model_graph(m, block), folds);
    for (int i = 0; i < count; i++) {
        struct anchor tensors[FOLD_TENSORS];
        const int changed = block_fold_tensors(m, block, &folds[i].fold, NULL, tensors);
        for (int a = 0; a < changed; a++)
            if (strcmp(tensors[a].name, tensor) == 0)
                return true;
    }
    return false;
}

/* Store one, its fingerprint added to *hash. */
static enum llmq_status store(const struct run *run, struct anchor *a, uint64_t *hash,
                              llmq_error *err) {
    size_t bytes = 0;
    if (run->plan.gguf) { /* holds every vector in float32, and what norms add added already */
        a->dtype = DTYPE_F32;
        for (int64_t i = 0; i < a->count; i++)
            a->values[i] = (a->values[i] + a->added) - a->added;
    }
    void *data = encode(a, &bytes, err);
    if (!data)
        return LLMQ_E_MEMORY;
    *hash = hash_bytes(*hash, data, bytes);
    enum llmq_status status = st_writer_put(run->writer, a->name, data, bytes, err);
    free(data);
    return status;
}

enum llmq_status block_fold_store(const struct run *run, const struct block *block, uint64_t *hash,
                                  llmq_error *err) {
    struct source_fold folds[GRAPH_TASKS];
    const int count = block_fold_list(block->graph, folds);
    *hash = HASH_INIT;
    for (int i = 0; i < count; i++) {
        struct anchor tensors[FOLD_TENSORS];
        const int changed =
            block_fold_tensors(&run->model, block->index, &folds[i].fold, block, tensors);
        for (int a = 0; a < changed; a++) {
            enum llmq_status status = store(run, &tensors[a], hash, err);
            if (status != LLMQ_OK)
                return status;
        }
    }
    return LLMQ_OK;
}

/* Add what was stored of one to *hash. */
static enum llmq_status reread(const struct model *stored, const struct anchor *a, uint64_t *hash,
                               llmq_error *err) {
    const struct st_tensor *t = st_find(stored->tensors, a->name);
    void *data = malloc((size_t)t->nbytes + 1);
    if (!data)
        return error_memory(err, a->name);
    enum llmq_status status = st_read(stored->tensors, t, 0, (size_t)t->nbytes, data, err);
    if (status == LLMQ_OK)
        *hash = hash_bytes(*hash, data, (size_t)t->nbytes);
    free(data);
    return status;
}

enum llmq_status block_fold_hash(const struct model *stored, int64_t block, uint64_t *hash,
                                 llmq_error *err) {
    struct source_fold folds[GRAPH_TASKS];
    const int count = block_fold_list(model_graph(stored, block), folds);
    *hash = HASH_INIT;
    for (int i = 0; i < count; i++) {
        struct anchor tensors[FOLD_TENSORS];
        const int changed = block_fold_tensors(stored, block, &folds[i].fold, NULL, tensors);
        for (int a = 0; a < changed; a++) {
            enum llmq_status status = reread(stored, &tensors[a], hash, err);
            if (status != LLMQ_OK)
                return status;
        }
    }
    return LLMQ_OK;
}

enum llmq_status block_fold_verify(const struct model *stored, int64_t block, uint64_t expected,
                                   llmq_error *err) {
    uint64_t hash = 0;
    const enum llmq_status status = block_fold_hash(stored, block, &hash, err);
    if (status != LLMQ_OK || hash == expected)
        return status;
    return error_set(err, LLMQ_E_CHECK,
                     "what scales changed of block %" PRId64
                     ": what was read back differs from what was stored",
                     block);
}
