/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of 4-bit floats (E2M1) as the compressed-tensors library packs them:
 *
 *                         mxfp4-pack-quantized    nvfp4-pack-quantized
 *     weight_packed       U8 [N, K / 2]           the same: even columns in the low four bits
 *     weight_scale        U8 [N, K / 32], E8M0    F8_E4M3 [N, K / 16]
 *     weight_global_scale                         F32 [1]: scales are divided by it
 *
 * Source: compressors/nvfp4/base.py and helpers.py, compressors/mxfp4/base.py and mx_utils.py,
 * quantization/quant_scheme.py (presets MXFP4A16, NVFP4A16) at ac8e2ba8; vLLM reads them in
 * schemes/compressed_tensors_w4a16_mxfp4.py (1a6da548) and _w4a16_nvfp4.py (17b6501a), which takes
 * the largest of the global scales of linears that it merges. Ours are powers of two, so that a
 * scale is the same however it is computed from its parts. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/compressed_tensors.h"
#include "formats/layouts/parts.h"

enum { BITS = 4, MX_GROUP = 32, NV_GROUP = 16 };

/* Positions in data[]. */
enum fp4_tensor { FP4_PACKED, FP4_SCALE, FP4_GLOBAL };
static const char *const mx_suffixes[] = {"weight_packed", "weight_scale", NULL};
static const char *const nv_suffixes[] = {"weight_packed", "weight_scale", "weight_global_scale",
                                          NULL};

/* --- what fits -------------------------------------------------------------------------------- */

static enum llmq_status accept(const struct quant_shape *shape, const struct layout *layout,
                               int64_t group, const char *scheme, llmq_error *err) {
    if (shape->bits == BITS && shape->sym && shape->group == group)
        return parts_accept_group(shape, err);
    error_set(err, LLMQ_E_UNSUPPORTED,
              "expected 4 bits, symmetric, in groups of %" PRId64
              " for the %s format, found %d bits, %s, in groups of %" PRId64,
              group, layout->name, shape->bits, shape->sym ? "symmetric" : "asymmetric",
              shape->group);
    error_hint(err, "--scheme %s sets all of them", scheme);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status mx_accepts(const struct quant_shape *shape, llmq_error *err) {
    return accept(shape, &layout_mxfp4, MX_GROUP, "MXFP4A16", err);
}

static enum llmq_status nv_accepts(const struct quant_shape *shape, llmq_error *err) {
    return accept(shape, &layout_nvfp4, NV_GROUP, "NVFP4A16", err);
}

static const char *mx_caveat(const struct layout_config *config) {
    (void)config;
    return "mxfp4-pack-quantized files load in transformers and, since 2026, in vLLM only";
}

static const char *nv_caveat(const struct layout_config *config) {
    (void)config;
    return "nvfp4-pack-quantized files load in vLLM, SGLang and transformers only";
}

static void no_zeros(int bits, int *zmin, int *zmax) {
    (void)bits;
    *zmin = *zmax = 0;
}

static int mx_tensors(const struct quant_shape *shape,
                      struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    const uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k;
    out[FP4_PACKED] = (struct layout_tensor){mx_suffixes[FP4_PACKED], DTYPE_U8, 2, {n, k / 2}};
    out[FP4_SCALE] = (struct layout_tensor){mx_suffixes[FP4_SCALE], DTYPE_U8, 2, {n, k / MX_GROUP}};
    return FP4_SCALE + 1;
}

static int nv_tensors(const struct quant_shape *shape,
                      struct layout_tensor out[LAYOUT_MAX_TENSORS]) {
    const uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k;
    out[FP4_PACKED] = (struct layout_tensor){nv_suffixes[FP4_PACKED], DTYPE_U8, 2, {n, k / 2}};
    out[FP4_SCALE] =
        (struct layout_tensor){nv_suffixes[FP4_SCALE], DTYPE_F8_E4M3, 2, {n, k / NV_GROUP}};
    out[FP4_GLOBAL] = (struct layout_tensor){nv_suffixes[FP4_GLOBAL], DTYPE_F32, 1, {1, 0}};
    return FP4_GLOBAL + 1;
}

/* --- encoding --------------------------------------------------------------------------------- */

static void pack_codes(const struct qlinear *q, unsigned char *bytes) {
    for (int64_t i = 0; i < q->n * q->k / 2; i++)
        bytes[i] = (unsigned char)(q->codes[2 * i] | q->codes[2 * i + 1] << 4);
}

static enum llmq_status refuse_scale(const struct qlinear *q, int64_t i, const char *what,
                                     llmq_error *err) {
    return error_set(err, LLMQ_E_INPUT,
                     "row %" PRId64 ", group %" PRId64 ": expected %s, found the scale %g",
                     i / q->groups, i % q->groups, what, (double)q->scales[i]);
}

static enum llmq_status mx_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                  llmq_error *err) {
    unsigned char *scales = data[FP4_SCALE];
    enum llmq_status status = parts_check_number(q, NUMBER_E2M1, err);
    for (int64_t i = 0; status == LLMQ_OK && i < q->n * q->groups; i++) {
        if (e8m0_nearest(q->scales[i]) != q->scales[i])
            status = refuse_scale(q, i, "a power of two", err);
        else
            scales[i] = e8m0_code(q->scales[i]);
    }
    if (status == LLMQ_OK)
        pack_codes(q, data[FP4_PACKED]);
    return status;
}

static enum llmq_status nv_encode(const struct qlinear *q, void *const data[LAYOUT_MAX_TENSORS],
                                  llmq_error *err) {
    const struct number_form *form = number_form(NUMBER_E4M3);
    const float whole = 1 / q->unit;
    unsigned char *scales = data[FP4_SCALE];
    enum llmq_status status = parts_check_number(q, NUMBER_E2M1, err);
    for (int64_t i = 0; status == LLMQ_OK && i < q->n * q->groups; i++) {
        const float part = q->scales[i] * whole;
        if (!(part > 0) || number_nearest(form, part) != part)
            status = refuse_scale(q, i, "a positive E4M3 times the module's unit", err);
        else
            scales[i] = number_code(form, part);
    }
    memcpy(data[FP4_GLOBAL], &whole, sizeof whole);
    if (status == LLMQ_OK)
        pack_codes(q, data[FP4_PACKED]);
    return status;
}

/* --- decoding --------------------------------------------------------------------------------- */

/* The packed codes and the scales, as many as the groups. */
static enum llmq_status check_tensors(const struct layout_data *d, const char *const *suffixes,
                                      enum parts_kind scales, int64_t group, llmq_error *err) {
    const int count = group == NV_GROUP ? FP4_GLOBAL + 1 : FP4_SCALE + 1;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(parts_check_there(d, suffixes, count, err));
    LLMQ_TRY(parts_check_tensor(&d[FP4_PACKED], suffixes[FP4_PACKED], PARTS_BYTES, 2, err));
    LLMQ_TRY(parts_check_tensor(&d[FP4_SCALE], suffixes[FP4_SCALE], scales, 2, err));
    if (group == NV_GROUP)
        LLMQ_TRY(parts_check_tensor(&d[FP4_GLOBAL], suffixes[FP4_GLOBAL], PARTS_SCALES, 1, err));
    const uint64_t *packed = d[FP4_PACKED].info.shape, *found = d[FP4_SCALE].info.shape;
    if (packed[0] != found[0] || packed[1] * 2 != found[1] * (uint64_t)group)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected one for each %" PRId64 " of [%" PRIu64 ", %" PRIu64
                           "], found [%" PRIu64 ", %" PRIu64 "]",
                           suffixes[FP4_SCALE], group, packed[0], packed[1] * 2, found[0],
                           found[1]));
cleanup:
    return status;
}

/* The codes, and memory for the scales. */
static enum llmq_status unpack(const struct layout_data *d, int64_t group, struct qlinear *q,
                               llmq_error *err) {
    const unsigned char *bytes = d[FP4_PACKED].data;
    const int64_t n = (int64_t)d[FP4_PACKED].info.shape[0];
    const int64_t k = 2 * (int64_t)d[FP4_PACKED].info.shape[1];
    const enum llmq_status status = qlinear_alloc(n, k, BITS, group, q, err);
    if (status != LLMQ_OK)
        return status;
    parts_set_floats(q, NUMBER_E2M1);
    for (int64_t i = 0; i < n * k / 2; i++) {
        q->codes[2 * i] = bytes[i] & 15;
        q->codes[2 * i + 1] = bytes[i] >> 4;
    }
    return LLMQ_OK;
}

static enum llmq_status mx_decode(const struct layout_config *config,
                                  const struct layout_data data[LAYOUT_MAX_TENSORS],
                                  struct qlinear *q, llmq_error *err) {
    const unsigned char *scales = data[FP4_SCALE].data;
    enum llmq_status status = LLMQ_OK;
    (void)config;
    *q = (struct qlinear){0};
    LLMQ_TRY(check_tensors(data, mx_suffixes, PARTS_BYTES, MX_GROUP, err));
    LLMQ_TRY(unpack(data, MX_GROUP, q, err));
    for (int64_t i = 0; i < q->n * q->groups; i++)
        q->scales[i] = e8m0_to_f32(scales[i]); /* NaN is found by qlinear_check */
cleanup:
    return status;
}

static enum llmq_status nv_decode(const struct layout_config *config,
                                  const struct layout_data data[LAYOUT_MAX_TENSORS],
                                  struct qlinear *q, llmq_error *err) {
    const unsigned char *scales = data[FP4_SCALE].data;
    float whole = 0;
    enum llmq_status status = LLMQ_OK;
    (void)config;
    *q = (struct qlinear){0};
    LLMQ_TRY(check_tensors(data, nv_suffixes, PARTS_E4M3, NV_GROUP, err));
    scales_to_f32(data[FP4_GLOBAL].info.dtype, data[FP4_GLOBAL].data, 1, &whole);
    if (data[FP4_GLOBAL].info.shape[0] != 1 || !(whole > 0) || !isfinite(whole))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected one finite positive number, found %" PRIu64
                           ", the first is %g",
                           nv_suffixes[FP4_GLOBAL], data[FP4_GLOBAL].info.shape[0], (double)whole));
    LLMQ_TRY(unpack(data, NV_GROUP, q, err));
    q->unit = 1 / whole;
    for (int64_t i = 0; i < q->n * q->groups; i++)
        q->scales[i] = e4m3_to_f32(scales[i]) / whole;
cleanup:
    return status;
}

/* --- configs ---------------------------------------------------------------------------------- */

static const struct ct_form mx_form = {.format = "mxfp4-pack-quantized",
                                       .type = "float",
                                       .strategy = "group",
                                       .bits = BITS,
                                       .group = MX_GROUP};
static const struct ct_form nv_form = {.format = "nvfp4-pack-quantized",
                                       .type = "float",
                                       .strategy = "tensor_group",
                                       .bits = BITS,
                                       .group = NV_GROUP};

static struct json *mx_config_write(const struct layout_config *config,
                                    const struct layout_module *modules, int64_t count) {
    return ct_form_write(&mx_form, config, modules, count);
}

static struct json *nv_config_write(const struct layout_config *config,
                                    const struct layout_module *modules, int64_t count) {
    return ct_form_write(&nv_form, config, modules, count);
}

static bool mx_config_matches(const struct json *quantization_config) {
    return ct_form_matches(&mx_form, quantization_config);
}

static bool nv_config_matches(const struct json *quantization_config) {
    return ct_form_matches(&nv_form, quantization_config);
}

static enum llmq_status mx_config_read(const struct json *quantization_config,
                                       struct layout_config *out, llmq_error *err) {
    (void)quantization_config;
    (void)err;
    *out = (struct layout_config){.bits = BITS, .group = MX_GROUP, .sym = true};
    return LLMQ_OK;
}

static enum llmq_status nv_config_read(const struct json *quantization_config,
                                       struct layout_config *out, llmq_error *err) {
    (void)quantization_config;
    (void)err;
    *out = (struct layout_config){.bits = BITS, .group = NV_GROUP, .sym = true};
    return LLMQ_OK;
}

/* --- vtables ---------------------------------------------------------------------------------- */

const struct layout layout_mxfp4 = {
    .name = "mxfp4-pack-quantized",
    .description = "compressed-tensors MXFP4: E2M1 in groups of 32 with a power of two",
    .number = NUMBER_E2M1,
    .accepts = mx_accepts,
    .scales = DTYPE_F8_E8M0,
    .of_library = true,
    .cache_scheme = true,
    .caveat = mx_caveat,
    .zero_range = no_zeros,
    .tensors = mx_tensors,
    .encode = mx_encode,
    .config_write = mx_config_write,
    .config_matches = mx_config_matches,
    .config_read = mx_config_read,
    .rules = ct_form_rules,
    .suffixes = mx_suffixes,
    .decode = mx_decode,
};

const struct layout layout_nvfp4 = {
    .name = "nvfp4-pack-quantized",
    .description = "compressed-tensors NVFP4: E2M1 in groups of 16 with an E4M3 (vLLM, SGLang)",
    .number = NUMBER_E2M1,
    .accepts = nv_accepts,
    .scales = DTYPE_F8_E4M3,
    .of_library = true,
    .cache_scheme = true,
    .caveat = nv_caveat,
    .zero_range = no_zeros,
    .tensors = nv_tensors,
    .encode = nv_encode,
    .config_write = nv_config_write,
    .config_matches = nv_config_matches,
    .config_read = nv_config_read,
    .rules = ct_form_rules,
    .suffixes = nv_suffixes,
    .decode = nv_decode,
};
