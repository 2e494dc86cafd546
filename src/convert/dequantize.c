/* SPDX-License-Identifier: Apache-2.0 */
/* Expanding packed modules to plain tensors: see convert.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "convert/convert.h"
#include "graph/weights.h"
#include "verify/verify.h"

/* Elements expanded or read back at a time. */
#define SLICE ((int64_t)1 << 20)

/* One module on its way: two float32 copies of a slice of rows, before and after rounding, and the
 * slice as it is stored. */
struct expansion {
    char name[MODEL_NAME_MAX];
    struct qlinear q;
    bool turned; /* stored as [k, n], for which the slice is the whole */
    float *exact, *rounded;
    void *stored;
    uint64_t hash; /* of what was stored so far */
};

static enum llmq_status expansion_alloc(struct expansion *x, int64_t rows, llmq_error *err) {
    const size_t elements = (size_t)(rows * x->q.k);
    x->exact = malloc(elements * sizeof *x->exact);
    x->rounded = malloc(elements * sizeof *x->rounded);
    x->stored = malloc(elements * sizeof(float));
    return x->exact && x->rounded && x->stored ? LLMQ_OK : error_memory(err, "a slice of weights");
}

static void expansion_free(struct expansion *x) {
    qlinear_free(&x->q);
    free(x->exact);
    free(x->rounded);
    free(x->stored);
}

/* `count` weights from row `row`. */
static enum llmq_status note_rounding(const struct expansion *x, int64_t row, int64_t count,
                                      llmq_convert_report *r, llmq_error *err) {
    for (int64_t i = 0; i < count; i++) {
        const double w = (double)x->exact[i], error = fabs((double)x->rounded[i] - w);
        if (!isfinite(x->rounded[i])) {
            const int64_t width = x->turned ? x->q.n : x->q.k;
            error_set(err, LLMQ_E_NUMERIC,
                      "row %" PRId64 ", column %" PRId64 ": a weight of %g is beyond the range of "
                      "%s",
                      row + i / width, i % width, w, r->to);
            error_hint(err, "choose --format bf16 or f32");
            return LLMQ_E_NUMERIC;
        }
        if (error > r->max_error)
            r->max_error = error;
        if (error > r->max_relative_error * fabs(w))
            r->max_relative_error = error / fabs(w);
    }
    return LLMQ_OK;
}

/* Rows [begin, end). */
static enum llmq_status write_rows(struct convert *c, struct expansion *x, int64_t begin,
                                   int64_t end, llmq_error *err) {
    const enum dtype dtype = c->plan.plain_dtype;
    const int64_t count = (end - begin) * x->q.k;
    const size_t element = dtype_bits(dtype) / 8, bytes = (size_t)count * element;
    qlinear_dequantize(&x->q, begin, end, x->turned ? x->rounded : x->exact);
    if (x->turned)
        weights_turn(x->rounded, x->q.n, x->q.k, x->exact);
    dtype_from_f32(dtype, x->exact, (size_t)count, x->stored);
    dtype_to_f32(dtype, x->stored, (size_t)count, x->rounded);
    enum llmq_status status = note_rounding(x, begin, count, c->report, err);
    if (status != LLMQ_OK)
        return status;
    x->hash = hash_bytes(x->hash, x->stored, bytes);
    return st_writer_put_part(c->writer, x->name, (uint64_t)(begin * x->q.k) * element, x->stored,
                              bytes, err);
}

enum llmq_status dequantize_module(struct convert *c, int64_t i, llmq_error *err) {
    const struct plan_module *module = &c->plan.modules[i];
    struct expansion x = {.hash = HASH_INIT, .turned = plan_module_turned(&c->model, module)};
    const int64_t slice = module->shape.k < SLICE ? SLICE / module->shape.k : 1;
    const int64_t rows = x.turned ? module->shape.n : slice;
    enum llmq_status status = LLMQ_OK;
    (void)snprintf(x.name, sizeof x.name, "%s.weight", module->name);
    LLMQ_TRY(
        model_load_qlinear(&c->model, module->name, module->shape.n, module->shape.k, &x.q, err));
    LLMQ_TRY(expansion_alloc(&x, rows, err));
    for (int64_t begin = 0; begin < x.q.n; begin += rows) {
        const int64_t end = begin + rows < x.q.n ? begin + rows : x.q.n;
        LLMQ_TRY(write_rows(c, &x, begin, end, err));
    }
    c->hashes[i] = x.hash;
cleanup:
    expansion_free(&x);
    return status;
}

static enum llmq_status hash_tensor(const struct st_set *set, const struct st_tensor *t,
                                    uint64_t *hash, llmq_error *err) {
    const size_t size = (size_t)SLICE * sizeof(float);
    void *buffer = malloc(size);
    enum llmq_status status = buffer ? LLMQ_OK : error_memory(err, "a buffer");
    *hash = HASH_INIT;
    for (uint64_t at = 0; status == LLMQ_OK && at < t->nbytes; at += size) {
        const size_t part = t->nbytes - at < size ? (size_t)(t->nbytes - at) : size;
        status = st_read(set, t, at, part, buffer, err);
        if (status == LLMQ_OK)
            *hash = hash_bytes(*hash, buffer, part);
    }
    free(buffer);
    return status;
}

enum llmq_status dequantize_verify(struct convert *c, llmq_error *err) {
    struct model stored = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(verify_written(c->output.partial_dir, c->options->family, err));
    LLMQ_TRY(model_open_as(c->output.partial_dir, c->options->family, &stored, err));
    for (int64_t i = 0; i < c->plan.module_count; i++) {
        char name[MODEL_NAME_MAX];
        uint64_t hash = 0;
        (void)snprintf(name, sizeof name, "%s.weight", c->plan.modules[i].name);
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(hash_tensor(stored.tensors, st_find(stored.tensors, name), &hash, err));
        if (hash != c->hashes[i])
            LLMQ_TRY(error_set(err, LLMQ_E_CHECK,
                               "%s: what was read back differs from what was stored", name));
    }
cleanup:
    model_close(&stored);
    return status;
}
