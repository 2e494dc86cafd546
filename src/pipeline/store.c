/* SPDX-License-Identifier: Apache-2.0 */
/* See store.h. */
#include "pipeline/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/hugemem.h"
#include "base/int64.h"
#include "base/log.h"
#include "formats/loaders/layout_load.h"
#include "formats/safetensors/safetensors_coded.h"
#include "formats/safetensors/safetensors_watch.h"
#include "graph/model.h"
#include "quant/quant.h"

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

static enum llmq_status copy_part(const struct st_set *from, const struct st_tensor *t,
                                  struct st_writer *writer, llmq_error *err) {
    void *data = huge_malloc(t->nbytes ? t->nbytes : 1);
    enum llmq_status status =
        data ? st_read(from, t, 0, t->nbytes, data, err) : error_memory(err, t->name);
    if (status == LLMQ_OK)
        status = st_writer_put(writer, t->name, data, t->nbytes, err);
    if (status == LLMQ_OK && st_watched(from))
        status = st_note(from, t, st_hash_part(0, data, t->nbytes), err);
    free(data);
    return status;
}

enum llmq_status store_packed(const struct layout *layout, const struct plan_module *module,
                              const struct st_set *from, struct st_writer *writer,
                              llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && layout->suffixes[i]; i++) {
        const struct st_tensor *t = layout_tensor_of(from, layout, module->name, i);
        if (t)
            status = copy_part(from, t, writer, err);
    }
    return status;
}

/* --- tensors that are kept -------------------------------------------------------------------- */

/* Elements converted at a time, of 8 bytes at most. */
#define CONVERT_ELEMENTS (COPY_BYTES / 8)

/* A tensor on its way to another type. One allocation that `exact` owns. */
struct conversion {
    const struct st_set *from;
    const struct st_tensor *t;
    enum dtype type;
    const struct layout *layout; /* of blocks of codes, where `type` is one */
    float *exact, *rounded;      /* a slice of it */
    void *stored;                /* the slice as in the file, before and after */
    uint64_t hash;               /* of what was read */
};

static void note_rounding(const struct conversion *c, size_t count, struct store_rounding *out) {
    for (size_t i = 0; i < count; i++) {
        const double v = (double)c->exact[i], error = fabs((double)c->rounded[i] - v);
        if (error > out->max_error)
            out->max_error = error;
        if (error > out->max_relative_error * fabs(v))
            out->max_relative_error = error / fabs(v);
    }
}

/* Each run of so many elements, which lies within a row, has a scale: the whole is a matrix of one
 * group to a row. */
static enum llmq_status round_to_blocks(struct conversion *c, size_t count, llmq_error *err) {
    const int64_t block = dtype_block(c->type), rows = (int64_t)count / block;
    void *const data[LAYOUT_MAX_TENSORS] = {c->stored};
    struct quant_grid grid = {.bits = c->type == DTYPE_Q8_0 ? 8 : 4,
                              .group = block,
                              .sym = true,
                              .storage = SCALE_F16,
                              .search = RANGE_PLAIN};
    struct qlinear q = {0};
    grid.zmax = (1 << grid.bits) - 1;
    enum llmq_status status = rtn_quantize(&grid, c->exact, NULL, rows, block, &q, err);
    if (status == LLMQ_OK)
        status = c->layout->encode(&q, data, err);
    if (status == LLMQ_OK)
        qlinear_dequantize(&q, 0, rows, c->rounded);
    qlinear_free(&q);
    return status;
}

static enum llmq_status convert_slice(struct conversion *c, uint64_t begin, size_t count,
                                      struct st_writer *writer, llmq_error *err) {
    const size_t ours = dtype_bits(c->t->dtype) / 8, theirs = dtype_bits(c->type) / 8;
    const size_t block = dtype_block(c->type);
    enum llmq_status status = st_read(c->from, c->t, begin * ours, count * ours, c->stored, err);
    if (status != LLMQ_OK)
        return status;
    if (st_watched(c->from))
        c->hash += st_hash_part(begin * ours, c->stored, count * ours);
    dtype_to_f32(c->t->dtype, c->stored, count, c->exact);
    if (block > 1) {
        status = round_to_blocks(c, count, err);
    } else {
        dtype_from_f32(c->type, c->exact, count, c->stored);
        dtype_to_f32(c->type, c->stored, count, c->rounded);
    }
    return status != LLMQ_OK ? status
                             : st_writer_put_part(writer, c->t->name, begin / block * theirs,
                                                  c->stored, count / block * theirs, err);
}

/* Store a tensor as another type. */
static enum llmq_status convert_tensor(struct conversion *c, struct st_writer *writer,
                                       struct store_rounding *rounding, const llmq_context *ctx,
                                       llmq_error *err) {
    const uint64_t elements = c->t->nbytes / (dtype_bits(c->t->dtype) / 8);
    const size_t part = elements < CONVERT_ELEMENTS ? (size_t)elements : CONVERT_ELEMENTS;
    enum llmq_status status = LLMQ_OK;
    c->exact = malloc((part + 1) * 4 * sizeof *c->exact);
    if (!c->exact)
        return error_memory(err, c->t->name);
    c->rounded = c->exact + part;
    c->stored = c->rounded + part;
    for (uint64_t at = 0; at < elements; at += part) {
        const size_t count = elements - at < part ? (size_t)(elements - at) : part;
        LLMQ_TRY(interrupt_check(ctx, err));
        LLMQ_TRY(convert_slice(c, at, count, writer, err));
        if (rounding)
            note_rounding(c, count, rounding);
    }
    LLMQ_TRY(st_note(c->from, c->t, c->hash, err));
cleanup:
    free(c->exact);
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

/* What is shown decoded goes from file to file as it is stored, under the name that is shown. */
static enum llmq_status copy_codes(const struct st_set *from, const struct st_tensor *t,
                                   struct st_writer *writer, void *buffer, const llmq_context *ctx,
                                   llmq_error *err) {
    struct st_tensor codes = t->coded->codes;
    codes.name = t->name;
    return copy_tensor(from, &codes, writer, buffer, ctx, err);
}

/* A slice as floats before and after, as it is stored, and the codes and scales of blocks. */
static uint64_t conversion_bytes(const struct st_tensor *t, enum dtype type) {
    const uint64_t ours = dtype_bits(t->dtype) / 8, all = t->nbytes / ours;
    const uint64_t theirs = dtype_bits(type) / 8 / dtype_block(type) + 1;
    const uint64_t codes = dtype_block(type) > 1 ? 2 : 0;
    const uint64_t part = all < CONVERT_ELEMENTS ? all : CONVERT_ELEMENTS;
    return part * (2 * sizeof(float) + max_u64(ours, theirs) + codes);
}

uint64_t store_kept_bytes(const struct plan *plan, const struct st_set *from) {
    uint64_t most = 0;
    for (size_t i = 0; i < plan->kept_count; i++) {
        const struct st_tensor *t = st_find(from, plan->kept[i]);
        const enum dtype type = plan_kept_dtype(plan, t);
        if (type != t->dtype && !(t->coded && type == st_stored_dtype(t)))
            most = max_u64(most, conversion_bytes(t, type));
    }
    return most;
}

enum llmq_status store_kept(const struct plan *plan, const struct st_set *from,
                            struct st_writer *writer, struct store_rounding *rounding,
                            const llmq_context *ctx, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    void *buffer = huge_malloc(COPY_BYTES);
    if (!buffer)
        return error_memory(err, "a copy buffer");
    for (size_t i = 0; status == LLMQ_OK && i < plan->kept_count; i++) {
        const struct st_tensor *t = st_find(from, plan->kept[i]);
        struct conversion c = {
            .from = from, .t = t, .type = plan_kept_dtype(plan, t), .layout = plan->layout};
        if (t->coded && c.type == st_stored_dtype(t)) {
            status = copy_codes(from, t, writer, buffer, ctx, err);
            continue;
        }
        status = c.type != t->dtype ? convert_tensor(&c, writer, rounding, ctx, err)
                                    : copy_tensor(from, t, writer, buffer, ctx, err);
    }
    free(buffer);
    (void)memory_resident(); /* gives back what was freed */
    return status;
}
