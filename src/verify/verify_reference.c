/* SPDX-License-Identifier: Apache-2.0 */
/* See verify_reference.h. */
#include "verify/verify_reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/weights.h"

void reference_close(struct reference *r) {
    qlinear_free(&r->packed);
    free(r->whole);
}

/* The embedding, where it is what the head of a tied original is. */
static const struct st_tensor *find_tied(const struct verify *o, const char *module) {
    char head[FAMILY_NAME_MAX];
    if (!o->known || !o->model.tied || strcmp(module, ends_head_module(o->model.family, head)) != 0)
        return NULL;
    return st_find(o->tensors, o->model.family->embedding);
}

/* The module's own tensor, or the stack that it is in. */
static void find_plain(struct reference *r, const char *module) {
    char name[LAYOUT_NAME_MAX];
    const struct verify *o = r->of;
    (void)snprintf(name, sizeof name, "%s.weight", module);
    r->plain = st_find(o->tensors, name);
    r->plain = r->plain ? r->plain : find_tied(o, module);
    if (!o->known || !blocks_find_linear(o->blocks, module, &r->at))
        return;
    r->turned = r->plain && blocks_linear_turned(o->blocks, r->at);
    if (r->plain || layout_has_module(o->tensors, o->layout, module))
        return;
    r->plain = weights_find_stack(o->tensors, o->blocks, r->at);
    r->stacked = r->plain != NULL;
}

enum llmq_status reference_open(const struct verify *of, const char *module, struct reference *r,
                                llmq_error *err) {
    *r = (struct reference){.of = of};
    find_plain(r, module);
    if (r->plain || !layout_has_module(of->tensors, of->layout, module))
        return LLMQ_OK;
    enum llmq_status status =
        layout_load(of->tensors, of->layout, &of->layout_config, module, &r->packed, err);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "%s: %s", of->dir, module);
}

bool reference_fits(const struct reference *r, int64_t n, int64_t k) {
    int64_t rows = r->packed.n, columns = r->packed.k;
    if (!r->plain && !r->packed.codes)
        return false;
    if (r->stacked)
        blocks_linear_shape(r->of->blocks, r->at, &rows, &columns);
    else if (r->plain)
        return r->plain->rank == 2 && r->plain->shape[r->turned] == (uint64_t)n &&
               r->plain->shape[!r->turned] == (uint64_t)k && dtype_is_float(r->plain->dtype);
    return rows == n && columns == k;
}

enum llmq_status reference_prepare(struct reference *r, int64_t n, int64_t k, llmq_error *err) {
    const struct verify *o = r->of;
    if (!r->plain || !(r->turned || r->stacked))
        return LLMQ_OK;
    r->whole = malloc((size_t)n * (size_t)k * sizeof *r->whole);
    if (!r->whole)
        return error_memory(err, "a matrix");
    return r->stacked ? weights_read_stacked(o->tensors, r->plain, o->blocks, r->at, r->whole, err)
                      : weights_read_turned(o->tensors, r->plain, r->whole, err);
}

enum llmq_status reference_rows(const struct reference *r, int64_t begin, int64_t end, int64_t k,
                                float *out, llmq_error *err) {
    const size_t count = (size_t)(end - begin) * (size_t)k;
    if (!r->plain) {
        qlinear_dequantize(&r->packed, begin, end, out);
        return LLMQ_OK;
    }
    if (r->whole) {
        memcpy(out, r->whole + begin * k, count * sizeof *out);
        return LLMQ_OK;
    }
    return st_read_part_f32(r->of->tensors, r->plain, (uint64_t)(begin * k), count, out, err);
}
