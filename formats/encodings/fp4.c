/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of 4-bit floats (E2M1) as the compressed-tensors library packs them, in groups of 32 with
 * a power of two (mxfp4-pack-quantized) or of 16 with an E4M3 and a number for the whole
 * (nvfp4-pack-quantized): see formats/layouts/layout_fp4.c, which writes them.
 *
 *     w[r][c] = code[r][c] * scale[r][c / group] (/ global) */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "formats/encodings/encoding.h"
#include "formats/encodings/float_keys.h"
#include "formats/layouts/compressed_tensors.h"
#include "formats/layouts/quant_config_keys.h"
#include "tensor/minifloat.h"

#define PACKED "_packed" /* behind the name of the weight */

/* --- config ----------------------------------------------------------------------------------- */

static const char *text_of(const struct json *config, const char *key) {
    const char *text = json_string(json_get(config, key));
    return text ? text : "";
}

static bool is_mx(const struct json *config) {
    return strcmp(text_of(config, "format"), "mxfp4-pack-quantized") == 0;
}

static bool config_matches(const struct json *config) {
    return strcmp(text_of(config, "quant_method"), "compressed-tensors") == 0 &&
           (is_mx(config) || strcmp(text_of(config, "format"), "nvfp4-pack-quantized") == 0);
}

#define FORMATS  "mxfp4-pack-quantized nvfp4-pack-quantized "
#define NOT_E2M1 "the weights are not of E2M1"

/* clang-format off */
static const struct config_key keys[] = {FLOAT_CONFIG_KEYS(FORMATS)};
static const struct config_key group_keys[] = {FLOAT_GROUP_KEYS(FORMATS)};
static const struct config_key weight_keys[] = {
    {"num_bits", KEY_NUMBER, NULL, NULL},
    {"type", KEY_TEXT, "float FLOAT ", NOT_E2M1},
    {"symmetric", KEY_BOOL, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"strategy", KEY_TEXT, "group tensor_group ", NULL},
    {"block_structure", KEY_EMPTY, NULL, NULL},
    {"dynamic", KEY_EMPTY, NULL, "weights are quantized at run time"},
    {"actorder", KEY_TEXT, "static weight ", "columns are out of order"},
    {"observer", KEY_ANY, NULL, NULL},
    {"observer_kwargs", KEY_ANY, NULL, NULL},
    {"scale_dtype", KEY_TEXT, NULL, NULL},
    {"zp_dtype", KEY_TEXT, NULL, NULL},
    {"is_mx", KEY_BOOL, NULL, NULL},
    {.name = NULL},
};
/* clang-format on */

static enum llmq_status read_group(const struct json *group, struct encoding_settings *out,
                                   llmq_error *err) {
    char where[128];
    int64_t bits = 0, size = 0;
    const struct json *weights = json_get(group, "weights");
    enum llmq_status status = LLMQ_OK;
    (void)snprintf(where, sizeof where, "quantization_config: config_groups: %.60s",
                   json_key(group));
    LLMQ_TRY(config_keys_check(group, where, group_keys, err));
    if (json_type(weights) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "%s: weights: expected an object", where);
    LLMQ_TRY(config_keys_check(weights, where, weight_keys, err));
    if (!json_as_int64(json_get(weights, "num_bits"), &bits) || bits != 4 ||
        !json_as_int64(json_get(weights, "group_size"), &size) ||
        size != (int64_t)out->block_columns)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "%s: expected 4 bits in groups of %" PRIu64 ", found %" PRId64
                         " in groups of %" PRId64,
                         where, out->block_columns, bits, size);
    out->activations |= json_type(json_get(group, "input_activations")) == JSON_OBJECT;
cleanup:
    return status;
}

static enum llmq_status config_read(const struct json *config, struct encoding_settings *out,
                                    llmq_error *err) {
    const struct json *groups = json_get(config, "config_groups");
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(config_keys_check(config, "quantization_config", keys, err));
    LLMQ_TRY(ct_check_sparsity(config, err));
    out->block_rows = 1;
    out->block_columns = is_mx(config) ? 32 : 16;
    if (json_type(groups) != JSON_OBJECT || !json_first(groups))
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: config_groups: expected an object with a group");
    for (const struct json *g = json_first(groups); g; g = json_next(g))
        LLMQ_TRY(read_group(g, out, err));
cleanup:
    return status;
}

/* --- decoding --------------------------------------------------------------------------------- */

/* Weights decoded at a time. */
#define SLICE ((size_t)1 << 20)

struct tables {
    float values[16], scales[256]; /* of codes and scales */
};

/* The number that all scales are divided by; 1: none. */
static enum llmq_status read_global(const struct st_set *set, const struct st_coded *c,
                                    float *global, llmq_error *err) {
    *global = 1;
    if (c->global.nbytes == 0)
        return LLMQ_OK;
    enum llmq_status status = st_read(set, &c->global, 0, sizeof *global, global, err);
    if (status == LLMQ_OK && (!(*global > 0) || !isfinite(*global)))
        status =
            st_coded_refuse(set, &c->global, 0, 0, "a number that is not finite and positive", err);
    return status;
}

static struct tables tables_of(const struct st_coded *c, float global) {
    struct tables t;
    for (int code = 0; code < 256; code++) {
        const bool mx = c->global.nbytes == 0;
        t.values[code & 15] = e2m1_to_f32((unsigned)code);
        t.scales[code] = mx ? e8m0_to_f32((uint8_t)code) : e4m3_to_f32((uint8_t)code) / global;
    }
    return t;
}

/* Codes and scales of a run of elements, whose first byte and group are those of `begin`. */
struct slice {
    const struct st_set *set;
    const struct st_coded *c;
    struct tables tables;
    uint8_t *codes, *scales;
    uint64_t begin;
    size_t count;
};

static enum llmq_status read_slice(const struct slice *s, llmq_error *err) {
    const uint64_t group = s->c->block_columns, first = s->begin, last = first + s->count - 1;
    const enum llmq_status status =
        st_read(s->set, &s->c->codes, first / 2, (size_t)(last / 2 - first / 2 + 1), s->codes, err);
    return status != LLMQ_OK ? status
                             : st_read(s->set, &s->c->scales, first / group,
                                       (size_t)(last / group - first / group + 1), s->scales, err);
}

static enum llmq_status decode_slice(const struct slice *s, float *out, llmq_error *err) {
    const uint64_t columns = s->c->block_columns, groups = s->c->columns / columns;
    for (size_t i = 0; i < s->count; i++) {
        const uint64_t at = s->begin + i, group = at / columns;
        const uint8_t byte = s->codes[at / 2 - s->begin / 2];
        const float scale = s->tables.scales[s->scales[group - s->begin / columns]];
        out[i] = s->tables.values[at % 2 ? byte >> 4 : byte & 15] * scale;
        if (!(scale >= 0) || !isfinite(out[i]))
            return st_coded_refuse(s->set, &s->c->scales, group / groups, group % groups,
                                   "a scale that is negative, stands for NaN or leads beyond "
                                   "float32",
                                   err);
    }
    return LLMQ_OK;
}

static enum llmq_status decode(const struct st_set *set, const struct st_coded *c, uint64_t begin,
                               size_t count, float *out, llmq_error *err) {
    struct slice s = {.set = set, .c = c, .codes = malloc(SLICE + 4), .begin = begin};
    float global = 1;
    if (!s.codes)
        return error_memory(err, "decoding a tensor");
    enum llmq_status status = read_global(set, c, &global, err);
    s.scales = s.codes + SLICE / 2 + 2;
    s.tables = tables_of(c, global);
    while (status == LLMQ_OK && count > 0) {
        s.count = count < SLICE ? count : SLICE;
        status = read_slice(&s, err);
        if (status == LLMQ_OK)
            status = decode_slice(&s, out, err);
        s.begin += s.count;
        count -= s.count;
        out += s.count;
    }
    free(s.codes);
    return status;
}

/* --- parts ------------------------------------------------------------------------------------ */

static bool holds_codes(const struct st_tensor *t) {
    return t->dtype == DTYPE_U8 && text_ends_with(t->name, ".weight" PACKED);
}

static enum llmq_status require_part(const struct st_set *set, const struct st_tensor *codes,
                                     const char *suffix, const struct st_tensor **out,
                                     llmq_error *err) {
    *out = encoding_part(set, codes->name, strlen(PACKED), suffix);
    if (*out)
        return LLMQ_OK;
    (void)error_set(err, LLMQ_E_INPUT,
                    "tensor '%.200s': expected its part '...weight%s', found "
                    "none",
                    codes->name, suffix);
    error_hint(err, "codes without their scales are no weights: complete the download");
    return LLMQ_E_INPUT;
}

static enum llmq_status check_parts(const struct st_tensor *codes, const struct st_tensor *scales,
                                    const struct st_tensor *global, uint64_t group,
                                    llmq_error *err) {
    const bool powers = scales->dtype == DTYPE_U8 || scales->dtype == DTYPE_F8_E8M0;
    const bool typed = global ? scales->dtype == DTYPE_F8_E4M3 : powers;
    if (codes->rank == 2 && scales->rank == 2 && codes->nbytes > 0 && typed &&
        scales->shape[0] == codes->shape[0] && scales->shape[1] * group == codes->shape[1] * 2 &&
        (!global || (global->dtype == DTYPE_F32 && global->nbytes == sizeof(float))))
        return LLMQ_OK;
    char of[ENCODING_SHAPE_MAX], found[ENCODING_SHAPE_MAX];
    (void)error_set(err, LLMQ_E_INPUT,
                    "tensor '%.200s': expected %s, one for each %" PRIu64 " columns of '%.200s' "
                    "%s%s, found %s %s",
                    scales->name, global ? "F8_E4M3" : "U8", group, codes->name,
                    encoding_shape(codes->shape, codes->rank, of),
                    global ? ", and one number of F32 for the whole" : "",
                    dtype_name(scales->dtype), encoding_shape(scales->shape, scales->rank, found));
    encoding_hint(err);
    return LLMQ_E_INPUT;
}

static enum llmq_status view(const struct st_set *set, const struct st_tensor *codes,
                             const struct encoding_settings *settings, struct st_coded_view *out,
                             char *name, bool *hidden, llmq_error *err) {
    const size_t cut = strlen(PACKED);
    const struct st_tensor *scales = NULL, *global = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(require_part(set, codes, "_scale", &scales, err));
    if (settings->block_columns == 16)
        LLMQ_TRY(require_part(set, codes, "_global_scale", &global, err));
    LLMQ_TRY(check_parts(codes, scales, global, settings->block_columns, err));
    out->coded = (struct st_coded){.decode = decode,
                                   .codes = *codes,
                                   .scales = *scales,
                                   .global = global ? *global : (struct st_tensor){0},
                                   .matrices = 1,
                                   .rows = codes->shape[0],
                                   .columns = codes->shape[1] * 2,
                                   .block_rows = 1,
                                   .block_columns = settings->block_columns,
                                   .wide = global != NULL,
                                   .workspace = SLICE};
    out->rank = 2;
    out->shape[0] = out->coded.rows;
    out->shape[1] = out->coded.columns;
    (void)snprintf(name, ENCODING_NAME_MAX, "%.*s", (int)(strlen(codes->name) - cut), codes->name);
    encoding_hide(set, scales, hidden);
    encoding_hide(set, global, hidden);
    encoding_hide(set,
                  encoding_part(set, codes->name, strlen("weight" PACKED), "input_global_scale"),
                  hidden);
cleanup:
    return status;
}

static const char *const scale_suffixes[] = {"_scale", "_global_scale", NULL};

const struct encoding encoding_fp4 = {
    .name = "fp4",
    .description = "E2M1 in groups of 32 or 16",
    .bits = 4,
    .config_matches = config_matches,
    .config_read = config_read,
    .holds_codes = holds_codes,
    .view = view,
    .scale_suffixes = scale_suffixes,
};
