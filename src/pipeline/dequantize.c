/* Expanding packed modules to plain tensors: see convert.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "pipeline/convert.h"
#include "pipeline/verify.h"

/* Elements expanded or read back at a time. */
#define SLICE ((int64_t)1 << 20)

/* Two float32 copies of a slice, before and after rounding, and its stored bytes. */
struct slice {
    float *exact, *rounded;
    void *stored;
};

static enum llmq_status slice_alloc(int64_t elements, struct slice *s, llmq_error *err) {
    s->exact = malloc((size_t)elements * sizeof *s->exact);
    s->rounded = malloc((size_t)elements * sizeof *s->rounded);
    s->stored = malloc((size_t)elements * sizeof(float));
    return s->exact && s->rounded && s->stored ? LLMQ_OK : error_memory(err, "a slice of weights");
}

static void slice_free(struct slice *s) {
    free(s->exact);
    free(s->rounded);
    free(s->stored);
}

static enum llmq_status note_rounding(const struct slice *s, int64_t count, llmq_convert_report *r,
                                      llmq_error *err) {
    for (int64_t i = 0; i < count; i++) {
        const double w = (double)s->exact[i], error = fabs((double)s->rounded[i] - w);
        if (!isfinite(s->rounded[i])) {
            error_set(err, LLMQ_E_NUMERIC, "a weight of %g is beyond the range of %s", w, r->to);
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

/* Rows [begin, end) of module i. */
static enum llmq_status write_rows(struct convert *c, const char *name, const struct qlinear *q,
                                   int64_t begin, int64_t end, struct slice *s, uint64_t *hash,
                                   llmq_error *err) {
    const int64_t count = (end - begin) * q->k;
    const size_t element = dtype_bits(c->plan.plain_dtype) / 8;
    enum llmq_status status = LLMQ_OK;
    qlinear_dequantize(q, begin, end, s->exact);
    dtype_from_f32(c->plan.plain_dtype, s->exact, (size_t)count, s->stored);
    dtype_to_f32(c->plan.plain_dtype, s->stored, (size_t)count, s->rounded);
    LLMQ_TRY(note_rounding(s, count, c->report, err));
    *hash = hash_bytes(*hash, s->stored, (size_t)count * element);
    LLMQ_TRY(st_writer_put_part(c->writer, name, (uint64_t)(begin * q->k) * element, s->stored,
                                (size_t)count * element, err));
cleanup:
    return status;
}

enum llmq_status dequantize_module(struct convert *c, int64_t i, llmq_error *err) {
    const struct plan_module *module = &c->plan.modules[i];
    const int64_t rows = module->shape.k < SLICE ? SLICE / module->shape.k : 1;
    char name[MODEL_NAME_MAX];
    struct qlinear q = {0};
    struct slice slice = {0};
    enum llmq_status status = LLMQ_OK;
    (void)snprintf(name, sizeof name, "%s.weight", module->name);
    LLMQ_TRY(model_load_qlinear(&c->model, module->block, module->role, &q, err));
    LLMQ_TRY(slice_alloc(rows * q.k, &slice, err));
    c->hashes[i] = HASH_INIT;
    for (int64_t begin = 0; begin < q.n; begin += rows) {
        const int64_t end = begin + rows < q.n ? begin + rows : q.n;
        LLMQ_TRY(write_rows(c, name, &q, begin, end, &slice, &c->hashes[i], err));
    }
cleanup:
    slice_free(&slice);
    qlinear_free(&q);
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
    LLMQ_TRY(verify_written(c->output.partial_dir, err));
    LLMQ_TRY(model_open(c->output.partial_dir, &stored, err));
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
