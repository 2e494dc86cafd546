/* See store.h. */
#include "pipeline/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/hugemem.h"
#include "base/log.h"
#include "formats/safetensors_watch.h"
#include "graph/model.h"

#define COPY_BYTES (64 * ST_HASH_CHUNK)

enum llmq_status store_module(const struct layout *layout, const struct plan_module *module,
                              const struct qlinear *q, struct st_writer *writer, llmq_error *err) {
    struct layout_tensor tensors[LAYOUT_MAX_TENSORS];
    void *data[LAYOUT_MAX_TENSORS] = {0};
    uint64_t sizes[LAYOUT_MAX_TENSORS] = {0};
    enum llmq_status status = LLMQ_OK;
    int count = layout->tensors(&module->shape, tensors);
    for (int i = 0; i < count; i++) {
        uint64_t elements = tensors[i].shape[0] * (tensors[i].rank > 1 ? tensors[i].shape[1] : 1);
        bool whole = dtype_bytes(tensors[i].dtype, elements, &sizes[i]);
        data[i] = whole ? huge_malloc(sizes[i]) : NULL;
        if (!data[i]) {
            status = error_memory(err, module->name);
            goto cleanup;
        }
    }
    LLMQ_TRY(layout->encode(q, data, err));
    for (int i = 0; writer && i < count; i++) {
        char name[MODEL_NAME_MAX];
        snprintf(name, sizeof name, "%s.%s", module->name, tensors[i].suffix);
        LLMQ_TRY(st_writer_put(writer, name, data[i], sizes[i], err));
    }
cleanup:
    for (int i = 0; i < LAYOUT_MAX_TENSORS; i++)
        free(data[i]);
    return status;
}

/* Store a tensor, a vector, as float32. */
static enum llmq_status widen_tensor(const struct st_set *from, const struct st_tensor *t,
                                     struct st_writer *writer, llmq_error *err) {
    const size_t bytes = (size_t)t->shape[0] * sizeof(float);
    float *values = malloc(bytes ? bytes : 1);
    if (!values)
        return error_memory(err, t->name);
    enum llmq_status status = st_read_f32(from, t, values, err);
    if (status == LLMQ_OK)
        status = st_writer_put(writer, t->name, values, bytes, err);
    free(values);
    return status;
}

static enum llmq_status copy_tensor(const struct st_set *from, const struct st_tensor *t,
                                    struct st_writer *writer, void *buffer, const llmq_context *ctx,
                                    llmq_error *err) {
    const bool watched = st_watched(from);
    uint64_t at = 0, hash = 0;
    do {
        size_t part = t->nbytes - at < COPY_BYTES ? (size_t)(t->nbytes - at) : COPY_BYTES;
        enum llmq_status status = interrupt_check(ctx, err);
        if (status == LLMQ_OK)
            status = st_read(from, t, at, part, buffer, err);
        if (status == LLMQ_OK)
            status = st_writer_put_part(writer, t->name, at, buffer, part, err);
        if (status != LLMQ_OK)
            return status;
        if (watched)
            hash += st_hash_part(at, buffer, part);
        at += part;
    } while (at < t->nbytes);
    return st_note(from, t, hash, err);
}

enum llmq_status store_kept(const struct plan *plan, const struct st_set *from,
                            struct st_writer *writer, const llmq_context *ctx, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    void *buffer = huge_malloc(COPY_BYTES);
    if (!buffer)
        return error_memory(err, "a copy buffer");
    for (size_t i = 0; status == LLMQ_OK && i < plan->kept_count; i++) {
        const struct st_tensor *t = st_find(from, plan->kept[i]);
        bool widen = plan->gguf && gguf_export_dtype(t) != t->dtype;
        status = widen ? widen_tensor(from, t, writer, err)
                       : copy_tensor(from, t, writer, buffer, ctx, err);
    }
    free(buffer);
    return status;
}
