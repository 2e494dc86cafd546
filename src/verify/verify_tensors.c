/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for the tensors of a checkpoint, by their headers and, where it takes more, by their
 * contents: see verify.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/name_index.h"
#include "formats/safetensors/value_peak.h"
#include "graph/required.h"
#include "models/parts.h"
#include "verify/verify.h"

/* Elements read at a time. */
#define CHUNK ((uint64_t)1 << 20)

/* --- what the family asks for ----------------------------------------------------------------- */

/* Weights that are packed in a layout that no config names. */
static const char *missing_hint(const struct verify *v, const char *name) {
    const size_t len = strlen(name), suffix = strlen(".weight");
    char module[LAYOUT_NAME_MAX];
    const struct layout *layout;
    (void)snprintf(module, sizeof module, "%.*s", (int)(len > suffix ? len - suffix : 0), name);
    for (int i = 0; (layout = layout_at(i)); i++)
        if (layout != v->layout && layout_has_module(v->tensors, layout, module))
            return "it is there in packed form: put back the quantization_config that the "
                   "quantizer wrote into config.json";
    if (strcmp(name, v->model.family->head) == 0)
        return "save the model with its head, or set tie_word_embeddings to true";
    return "complete the checkpoint";
}

static enum llmq_status want(void *checkpoint, const struct required *r, llmq_error *err) {
    struct verify *v = checkpoint;
    const struct tensor_fit fit = tensor_fits(v->tensors, r);
    (void)err;
    if (fit.misfit == MISFIT_MISSING)
        verify_found(v, NULL, r->name, missing_hint(v, r->name), "the tensor is missing");
    else if (fit.misfit == MISFIT_SHAPE)
        verify_found(v, verify_file_of(v, fit.tensor), r->name, NULL,
                     "expected %s by config.json, found %s", fit.expected, fit.found);
    else if (fit.misfit == MISFIT_DTYPE)
        verify_found(v, verify_file_of(v, fit.tensor), r->name, NULL,
                     "expected a floating type, found %s", fit.found);
    return LLMQ_OK;
}

static bool head_packed(const struct verify *v) {
    char name[FAMILY_NAME_MAX];
    return layout_has_module(v->tensors, v->layout, ends_head_module(v->model.family, name));
}

static enum llmq_status model_tensors(struct verify *v, llmq_error *err) {
    const struct required_of of = {v->blocks, v->tensors, v->layout};
    return v->known ? required_each(&of, want, v, err) : LLMQ_OK;
}

/* --- packed tensors by name ------------------------------------------------------------------- */

static enum llmq_status packed_orphans(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; v->layout && i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        char module[LAYOUT_NAME_MAX];
        size_t len = 0;
        if (layout_suffix(v->layout, t->name, &len) < 1 || len >= sizeof module)
            continue;
        (void)snprintf(module, sizeof module, "%.*s", (int)len, t->name);
        if (!layout_has_module(v->tensors, v->layout, module))
            verify_found(v, verify_file_of(v, t), t->name, NULL,
                         "a part of a packed module that has no %s", v->layout->suffixes[0]);
    }
    return LLMQ_OK;
}

/* A module that has both forms of its weight: which one is used depends on the loader. */
static enum llmq_status packed_and_plain(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; i < v->report->module_count; i++) {
        char name[LAYOUT_NAME_MAX];
        (void)snprintf(name, sizeof name, "%s.weight", v->report->modules[i].name);
        const struct st_tensor *t = st_find(v->tensors, name);
        if (t && !layout_owns(v->tensors, v->layout, name))
            verify_found(v, verify_file_of(v, t), name, "leave one of them out",
                         "a plain weight beside the packed one");
    }
    return LLMQ_OK;
}

/* Without a list of modules vLLM takes every module that owns a tensor of such a type for
 * quantized. */
static enum llmq_status stray_buffers(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; v->layout && i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        size_t len = 0;
        if (!dtype_is_float(t->dtype) && layout_suffix(v->layout, t->name, &len) < 0 &&
            !layout_owns(v->tensors, v->layout, t->name))
            verify_found(v, verify_file_of(v, t), t->name, "llmq convert leaves such tensors out",
                         "a %s tensor that is no part of a packed module: loaders take its module "
                         "for quantized",
                         dtype_name(t->dtype));
    }
    return LLMQ_OK;
}

/* --- fused modules ---------------------------------------------------------------------------- */

static bool is_packed(const struct verify *v, struct linear_place at) {
    char name[FAMILY_NAME_MAX];
    return layout_has_module(v->tensors, v->layout, blocks_node_name(v->blocks, at, "", name));
}

/* Are linear number `i` and the next one parts of one layer to loaders? */
static bool fused_with_next(const struct verify *v, int64_t i, struct linear_place *at,
                            struct linear_place *next) {
    if (!part_merged_with_next(v->blocks, i))
        return false;
    *at = blocks_linear_at(v->blocks, i);
    *next = blocks_linear_at(v->blocks, i + 1);
    return true;
}

/* Not those of formats whose loaders keep linears apart. */
static int64_t linears_to_check(const struct verify *v) {
    return v->known && v->layout && v->layout->merges == LAYOUT_MERGES_LAYERS
               ? blocks_linear_count(v->blocks)
               : 0;
}

static const char *module_of(const struct verify *v, struct linear_place at) {
    return blocks_node(v->blocks, at)->row->name;
}

static enum llmq_status fused_status(struct verify *v, llmq_error *err) {
    (void)err;
    for (int64_t i = 0; i < linears_to_check(v); i++) {
        struct linear_place at, next;
        char name[FAMILY_NAME_MAX];
        if (fused_with_next(v, i, &at, &next) && is_packed(v, at) != is_packed(v, next))
            verify_found(v, NULL, blocks_node_name(v->blocks, next, "", name),
                         "quantize all of a fused layer's parts, or none",
                         "loaders fuse it with %s: one is packed, the other is not",
                         module_of(v, at));
    }
    return LLMQ_OK;
}

static const char *report_name(const void *report, int64_t i) {
    return ((const llmq_verify_report *)report)->modules[i].name;
}

/* The packed module of a linear; NULL: it is not packed. */
static const llmq_verify_module *module_at(const struct verify *v, const struct name_index *modules,
                                           struct linear_place at, char name[FAMILY_NAME_MAX]) {
    blocks_node_name(v->blocks, at, "", name);
    const int64_t i = name_index_find(modules, name, strlen(name));
    return i < 0 ? NULL : &v->report->modules[i];
}

static enum llmq_status fused_grid(struct verify *v, llmq_error *err) {
    struct name_index modules;
    enum llmq_status status =
        name_index_create(v->report, (int64_t)v->report->module_count, report_name, &modules, err);
    for (int64_t i = 0; status == LLMQ_OK && i < linears_to_check(v); i++) {
        struct linear_place at, next;
        char name[FAMILY_NAME_MAX];
        if (!fused_with_next(v, i, &at, &next))
            continue;
        const llmq_verify_module *a = module_at(v, &modules, at, name);
        const llmq_verify_module *b = module_at(v, &modules, next, name);
        if (a && b && a->bits && b->bits && (a->bits != b->bits || a->group != b->group))
            verify_found(v, NULL, name, "give the parts of a fused layer one grid",
                         "%d bits in groups of %" PRId64
                         ", but loaders fuse it with %s, which has %d in groups of %" PRId64,
                         b->bits, b->group, module_of(v, at), a->bits, a->group);
    }
    name_index_free(&modules);
    return status;
}

/* --- head ------------------------------------------------------------------------------------- */

static enum llmq_status tied_head_packed(struct verify *v, llmq_error *err) {
    (void)err;
    if (v->known && v->model.tied && v->layout && head_packed(v))
        verify_found(v, NULL, v->model.family->head,
                     "llmq convert sets it to false: the head that is stored counts",
                     "a packed output head where tie_word_embeddings is true");
    return LLMQ_OK;
}

/* --- contents --------------------------------------------------------------------------------- */

/* Call for each chunk of a floating tensor. */
static enum llmq_status count_values(const struct verify *v, const struct st_tensor *t,
                                     uint64_t *not_finite, uint64_t *not_zero, llmq_error *err) {
    const uint64_t count = t->nbytes / (dtype_bits(t->dtype) / 8);
    float *values = malloc((size_t)CHUNK * sizeof *values);
    enum llmq_status status = values ? LLMQ_OK : error_memory(err, "a buffer");
    for (uint64_t at = 0; status == LLMQ_OK && at < count; at += CHUNK) {
        const size_t part = (size_t)(count - at < CHUNK ? count - at : CHUNK);
        status = st_read_part_f32(v->tensors, t, at, part, values, err);
        for (size_t i = 0; status == LLMQ_OK && i < part; i++) {
            *not_finite += isfinite(values[i]) ? 0 : 1;
            *not_zero += values[i] > 0.0f || values[i] < 0.0f ? 1 : 0;
        }
    }
    free(values);
    return status;
}

static enum llmq_status not_finite(struct verify *v, const struct st_tensor *t,
                                   const struct value_at *first, llmq_error *err) {
    char place[VALUE_PLACE_MAX];
    uint64_t bad = 0, used = 0;
    enum llmq_status status = count_values(v, t, &bad, &used, err);
    if (status == LLMQ_OK)
        verify_found(v, verify_file_of(v, t), t->name, NULL,
                     "%" PRIu64 " values are not finite, %s is %g", bad,
                     value_place(t, first->index, place), (double)first->value);
    return status;
}

/* The peak of a tensor; of one that cannot be decoded to numbers NaN, and what is wrong. */
static enum llmq_status read_peak(const struct verify *v, const struct st_tensor *t,
                                  struct value_at *peak, llmq_error *wrong, llmq_error *err) {
    *wrong = (llmq_error){0};
    enum llmq_status status = value_peak(v->tensors, t, v->ctx, peak, err);
    if (status != LLMQ_E_NUMERIC || !t->coded)
        return status;
    *wrong = *err;
    peak->value = NAN;
    return LLMQ_OK;
}

static enum llmq_status finite(struct verify *v, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    llmq_error wrong;
    for (size_t i = 0; i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        struct value_at peak = {0};
        if (!dtype_is_float(t->dtype))
            continue;
        LLMQ_TRY(read_peak(v, t, &peak, &wrong, err));
        if (wrong.code != LLMQ_OK)
            verify_found(v, verify_file_of(v, t), t->name, wrong.hint, "%s", wrong.message);
        else if (!isfinite(peak.value))
            LLMQ_TRY(not_finite(v, t, &peak, err));
    }
cleanup:
    return status;
}

/* Tensors that are stored as float16 cannot hold such values. */
static enum llmq_status half_range(struct verify *v, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    llmq_error wrong;
    for (size_t i = 0; config_names_half(v->config) && i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        char place[VALUE_PLACE_MAX];
        struct value_at peak = {0};
        size_t len = 0;
        if (!dtype_is_float(t->dtype) || t->dtype == DTYPE_F16 ||
            layout_suffix(v->layout, t->name, &len) >= 0)
            continue;
        LLMQ_TRY(read_peak(v, t, &peak, &wrong, err));
        if (isfinite(peak.value) && fabsf(peak.value) > HALF_MOST)
            verify_found(v, verify_file_of(v, t), t->name, HALF_HINT,
                         "%s is %g, beyond the range of float16, which config.json names",
                         value_place(t, peak.index, place), (double)peak.value);
    }
cleanup:
    return status;
}

const struct verify_rule verify_tensor_rules[] = {
    {"model-tensors", VERIFY_VIOLATION, VERIFY_HEADERS,
     "every tensor the family asks for is there, floating and of the config's shape", model_tensors,
     NULL},
    {"packed-orphans", VERIFY_VIOLATION, VERIFY_HEADERS,
     "parts of packed modules belong to a packed module", packed_orphans, NULL},
    {"packed-and-plain", VERIFY_VIOLATION, VERIFY_HEADERS,
     "no module has a packed and a plain weight", packed_and_plain, NULL},
    {"stray-buffers", VERIFY_VIOLATION, VERIFY_HEADERS,
     "a quantized checkpoint has no other integer, boolean or 8-bit tensors", stray_buffers, NULL},
    {"fused-status", VERIFY_VIOLATION, VERIFY_HEADERS,
     "of the linears that loaders fuse all are packed or none", fused_status, NULL},
    {"fused-grid", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "the linears that loaders fuse have the same bits and group size", fused_grid, NULL},
    {"tied-head-packed", VERIFY_VIOLATION, VERIFY_HEADERS,
     "an output head tied to the embedding is not packed", tied_head_packed, NULL},
    {"finite", VERIFY_VIOLATION, VERIFY_CONTENTS, "no floating tensor holds NaN or infinity",
     finite, NULL},
    {"half-range", VERIFY_WARNING, VERIFY_CONTENTS,
     "where config.json names float16, no value is beyond its range", half_range, NULL},
    {.id = NULL},
};
