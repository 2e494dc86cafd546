/* Weights of 8-bit floats (E4M3) with scales: what the configs say, and where the scales lie.
 *
 * quant_method "fp8", of transformers (quantizers/quantizer_finegrained_fp8.py) and vLLM
 * (layers/quantization/fp8.py): <weight>_scale_inv for blocks of weight_block_size, or without it
 * <weight>_scale(_inv) for a tensor. "fbgemm_fp8" of transformers: <weight>_scale for each row.
 * compressed-tensors float-quantized: <weight>_scale for a tensor, for each row, or for blocks of
 * block_structure. In each of them a weight is its code times its scale, whatever the scale is
 * called. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "formats/encodings/encoding.h"
#include "formats/layouts/quant_config_keys.h"
#include "tensor/minifloat.h"

/* --- config ----------------------------------------------------------------------------------- */

static const char *text_of(const struct json *config, const char *key) {
    const char *text = json_string(json_get(config, key));
    return text ? text : "";
}

static bool is_compressed_tensors(const struct json *config) {
    const char *format = text_of(config, "format");
    return strcmp(text_of(config, "quant_method"), "compressed-tensors") == 0 &&
           (strcmp(format, "float-quantized") == 0 || strcmp(format, "naive-quantized") == 0);
}

static bool is_fbgemm(const struct json *config) {
    return strcmp(text_of(config, "quant_method"), "fbgemm_fp8") == 0;
}

static bool config_matches(const struct json *config) {
    return strcmp(text_of(config, "quant_method"), "fp8") == 0 || is_fbgemm(config) ||
           is_compressed_tensors(config);
}

#define NOT_E4M3 "the weights are not of E4M3"
#define FLOATS   "float-quantized naive-quantized "

/* clang-format off */
static const struct config_key fp8_keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"fmt", KEY_TEXT, "e4m3 e4m3fn float8_e4m3fn ", NOT_E4M3},
    {"weight_block_size", KEY_LIST, NULL, NULL},
    {"activation_scheme", KEY_TEXT, "dynamic static none ", NULL},
    {"scale_fmt", KEY_TEXT, "ue8m0 float ", NULL}, /* how scales were rounded when they were made */
    {"modules_to_not_convert", KEY_LIST, NULL, NULL},
    {"ignored_layers", KEY_LIST, NULL, NULL},
    {"ignore", KEY_LIST, NULL, NULL},
    {"kv_cache_scheme", KEY_ANY, NULL, NULL}, /* of the cache, not of the weights */
    {"kv_cache_quant_method", KEY_TEXT, NULL, NULL},
    {"dequantize", KEY_BOOL, NULL, NULL},
    {.name = NULL},
};
static const struct config_key fbgemm_keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"activation_scale_ub", KEY_NUMBER, NULL, NULL}, /* where servers cut activations off */
    {"modules_to_not_convert", KEY_LIST, NULL, NULL},
    {.name = NULL},
};
static const struct config_key floats_keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"format", KEY_TEXT, FLOATS, NULL},
    {"quantization_status", KEY_TEXT, "compressed frozen ", NULL},
    {"config_groups", KEY_OBJECT, NULL, NULL},
    {"ignore", KEY_LIST, NULL, NULL},
    {"kv_cache_scheme", KEY_OBJECT, NULL, NULL},
    {"global_compression_ratio", KEY_NUMBER, NULL, NULL},
    {"run_compressed", KEY_ANY, NULL, NULL},
    {"version", KEY_ANY, NULL, NULL},
    {.name = NULL},
};
static const struct config_key group_keys[] = {
    {"input_activations", KEY_OBJECT, NULL, NULL}, /* rounded by servers, not in the weights */
    {"output_activations", KEY_OBJECT, NULL, NULL},
    {"targets", KEY_LIST, NULL, NULL},
    {"weights", KEY_OBJECT, NULL, NULL},
    {"format", KEY_TEXT, FLOATS, NULL},
    {.name = NULL},
};
static const struct config_key weight_keys[] = {
    {"num_bits", KEY_NUMBER, NULL, NULL},
    {"type", KEY_TEXT, "float FLOAT ", NOT_E4M3},
    {"symmetric", KEY_BOOL, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"strategy", KEY_TEXT, "tensor channel block ", NULL},
    {"block_structure", KEY_LIST, NULL, NULL},
    {"dynamic", KEY_EMPTY, NULL, "weights are quantized at run time"},
    {"actorder", KEY_EMPTY, NULL, NULL},
    {"observer", KEY_ANY, NULL, NULL},
    {"observer_kwargs", KEY_ANY, NULL, NULL},
    {"scale_dtype", KEY_TEXT, NULL, NULL},
    {"zp_dtype", KEY_TEXT, NULL, NULL},
    {"is_mx", KEY_EMPTY, NULL, NOT_E4M3},
    {.name = NULL},
};
/* clang-format on */

/* [rows, columns] of a block, null: there are none. */
static enum llmq_status read_block(const struct json *list, const char *where,
                                   struct encoding_settings *out, llmq_error *err) {
    int64_t rows = 0, columns = 0;
    if (json_type(list) == JSON_NULL) {
        out->whole = true;
        return LLMQ_OK;
    }
    const struct json *first = json_first(list);
    const struct json *second = first ? json_next(first) : NULL;
    if (json_count(list) != 2 || !json_as_int64(first, &rows) || !json_as_int64(second, &columns) ||
        rows < 1 || columns < 1) {
        enum llmq_status status =
            config_key_refuse(list, where, "two positive integers, rows and columns", NULL, err);
        error_hint(err, "put back the quantization_config that the checkpoint was shipped with");
        return status;
    }
    if (out->block_rows > 0 &&
        (out->block_rows != (uint64_t)rows || out->block_columns != (uint64_t)columns))
        return config_key_refuse(list, where, "one size of blocks", NULL, err);
    out->block_rows = (uint64_t)rows;
    out->block_columns = (uint64_t)columns;
    return LLMQ_OK;
}

static enum llmq_status read_group(const struct json *group, struct encoding_settings *out,
                                   llmq_error *err) {
    char where[128];
    int64_t bits = 0;
    const struct json *weights = json_get(group, "weights");
    enum llmq_status status = LLMQ_OK;
    (void)snprintf(where, sizeof where, "quantization_config: config_groups: %.60s",
                   json_key(group));
    LLMQ_TRY(config_keys_check(group, where, group_keys, err));
    if (json_type(weights) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "%s: weights: expected an object", where);
    LLMQ_TRY(config_keys_check(weights, where, weight_keys, err));
    if (!json_as_int64(json_get(weights, "num_bits"), &bits) || bits != 8)
        return error_set(err, LLMQ_E_UNSUPPORTED, "%s: num_bits: expected 8, found another value",
                         where);
    if (strcmp(text_of(weights, "strategy"), "block") == 0)
        LLMQ_TRY(read_block(json_get(weights, "block_structure"), where, out, err));
    else
        out->whole = true;
    out->activations |= json_type(json_get(group, "input_activations")) == JSON_OBJECT;
cleanup:
    return status;
}

static enum llmq_status config_read(const struct json *config, struct encoding_settings *out,
                                    llmq_error *err) {
    static const char where[] = "quantization_config";
    const struct json *groups = json_get(config, "config_groups");
    enum llmq_status status = LLMQ_OK;
    if (!is_compressed_tensors(config)) {
        LLMQ_TRY(config_keys_check(config, where, is_fbgemm(config) ? fbgemm_keys : fp8_keys, err));
        out->activations = strcmp(text_of(config, "activation_scheme"), "none") != 0;
        return read_block(json_get(config, "weight_block_size"), where, out, err);
    }
    LLMQ_TRY(config_keys_check(config, where, floats_keys, err));
    if (json_type(groups) != JSON_OBJECT || !json_first(groups))
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: config_groups: expected an object with a group");
    for (const struct json *g = json_first(groups); g; g = json_next(g))
        LLMQ_TRY(read_group(g, out, err));
cleanup:
    return status;
}

/* --- tensors ---------------------------------------------------------------------------------- */

static const char *const scale_suffixes[] = {"_scale_inv", "_scale", NULL};

static bool holds_codes(const struct st_tensor *t) {
    return t->dtype == DTYPE_F8_E4M3;
}

static enum llmq_status find_scale(const struct st_set *set, const struct st_tensor *codes,
                                   const struct st_tensor **out, llmq_error *err) {
    const struct st_tensor *inv = encoding_part(set, codes->name, 0, scale_suffixes[0]);
    const struct st_tensor *scale = encoding_part(set, codes->name, 0, scale_suffixes[1]);
    *out = inv ? inv : scale;
    if (inv && scale) {
        (void)error_set(err, LLMQ_E_INPUT,
                        "tensor '%.200s': expected one scale, found '%.200s' and '%.200s'",
                        codes->name, inv->name, scale->name);
        encoding_hint(err);
        return LLMQ_E_INPUT;
    }
    if (*out)
        return LLMQ_OK;
    (void)error_set(err, LLMQ_E_INPUT,
                    "tensor '%.200s' is F8_E4M3: expected its scale '%.200s%s' or '...%s', found "
                    "none",
                    codes->name, codes->name, scale_suffixes[0], scale_suffixes[1]);
    error_hint(err, "codes without their scale are no weights: complete the download");
    return LLMQ_E_INPUT;
}

static enum llmq_status check_dtype(const struct st_tensor *scale, llmq_error *err) {
    if (dtype_is_scale(scale->dtype))
        return LLMQ_OK;
    (void)error_set(err, LLMQ_E_UNSUPPORTED,
                    "tensor '%.200s': expected F32, BF16, F16 or F8_E8M0, found %s", scale->name,
                    dtype_name(scale->dtype));
    encoding_hint(err);
    return LLMQ_E_UNSUPPORTED;
}

/* Is a tensor of scales one for each block of these, whatever dimensions of 1 it has or lacks? */
static bool has_scales(const struct st_tensor *scale, const struct st_coded *c) {
    const uint64_t wanted[3] = {c->matrices, st_coded_scale_rows(c), st_coded_scale_columns(c)};
    int d = 0;
    for (int i = 0; i < 3; i++) {
        while (d < scale->rank && scale->shape[d] == 1 && wanted[i] != 1)
            d++;
        if (d < scale->rank && scale->shape[d] == wanted[i])
            d++;
        else if (wanted[i] != 1)
            return false;
    }
    while (d < scale->rank && scale->shape[d] == 1)
        d++;
    return d == scale->rank;
}

static enum llmq_status refuse_shape(const struct st_tensor *codes, const struct st_tensor *scale,
                                     const struct st_coded *c, const struct encoding_settings *s,
                                     llmq_error *err) {
    char found[ENCODING_SHAPE_MAX], of[ENCODING_SHAPE_MAX], expected[ENCODING_SHAPE_MAX];
    const uint64_t shape[3] = {c->matrices, st_coded_scale_rows(c), st_coded_scale_columns(c)};
    const bool stacked = codes->rank == 3;
    encoding_shape(shape + !stacked, 2 + stacked, expected);
    (void)error_set(err, LLMQ_E_INPUT,
                    "tensor '%.200s': expected shape %s%s for '%.200s' %s, found %s", scale->name,
                    s->block_rows > 0 ? expected : "of one scale, or of one for each row",
                    s->block_rows > 0 && s->whole ? ", or of one scale or one for each row," : "",
                    codes->name, encoding_shape(codes->shape, codes->rank, of),
                    encoding_shape(scale->shape, scale->rank, found));
    error_hint(err, "is the quantization_config the one that the checkpoint was shipped with?");
    return LLMQ_E_INPUT;
}

/* The blocks that the scales are of: those of the config, or rows, or all. */
static enum llmq_status settle_blocks(const struct st_tensor *codes, const struct st_tensor *scale,
                                      const struct encoding_settings *s, struct st_coded *c,
                                      llmq_error *err) {
    const uint64_t sizes[3][2] = {
        {s->block_rows, s->block_columns}, {c->rows, c->columns}, {1, c->columns}};
    for (int i = s->block_rows > 0 ? 0 : 1; i < (s->whole ? 3 : 1); i++) {
        c->block_rows = sizes[i][0];
        c->block_columns = sizes[i][1];
        if (has_scales(scale, c))
            return LLMQ_OK;
    }
    c->block_rows = sizes[s->block_rows == 0][0];
    c->block_columns = sizes[s->block_rows == 0][1];
    return refuse_shape(codes, scale, c, s, err);
}

static enum llmq_status check_codes(const struct st_set *set, const struct st_tensor *codes,
                                    llmq_error *err) {
    const struct st_tensor *zeros = encoding_part(set, codes->name, 0, "_zero_point");
    if (!zeros && (codes->rank == 2 || codes->rank == 3) && codes->nbytes > 0)
        return LLMQ_OK;
    if (zeros)
        (void)error_set(err, LLMQ_E_UNSUPPORTED,
                        "tensor '%.200s': expected no zero points beside F8_E4M3 weights",
                        zeros->name);
    else
        (void)error_set(err, LLMQ_E_UNSUPPORTED,
                        "tensor '%.200s' is F8_E4M3: expected a matrix or a stack of them, found "
                        "%d dimensions",
                        codes->name, codes->rank);
    encoding_hint(err);
    return LLMQ_E_UNSUPPORTED;
}

/* Scales of activations, which are servers' matter: of a linear, or of a stack. */
static void hide_activations(const struct st_set *set, const struct st_tensor *codes,
                             bool *hidden) {
    static const char *const ends[] = {"input_scale", "activation_scale", "input_scale_inv"};
    const size_t cut = text_ends_with(codes->name, ".weight") ? strlen("weight") : 0;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char suffix[32];
        (void)snprintf(suffix, sizeof suffix, "%s%s", cut ? "" : "_", ends[i]);
        encoding_hide(set, encoding_part(set, codes->name, cut, suffix), hidden);
    }
}

static enum llmq_status view(const struct st_set *set, const struct st_tensor *codes,
                             const struct encoding_settings *settings, struct st_coded_view *out,
                             char *name, bool *hidden, llmq_error *err) {
    const struct st_tensor *scale = NULL;
    enum llmq_status status = LLMQ_OK;
    const int stacked = codes->rank == 3;
    LLMQ_TRY(check_codes(set, codes, err));
    LLMQ_TRY(find_scale(set, codes, &scale, err));
    LLMQ_TRY(check_dtype(scale, err));
    out->coded = (struct st_coded){.decode = fp8_decode,
                                   .codes = *codes,
                                   .scales = *scale,
                                   .matrices = stacked ? codes->shape[0] : 1,
                                   .rows = codes->shape[stacked],
                                   .columns = codes->shape[stacked + 1]};
    LLMQ_TRY(settle_blocks(codes, scale, settings, &out->coded, err));
    out->coded.workspace = fp8_workspace(&out->coded);
    out->rank = codes->rank;
    memcpy(out->shape, codes->shape, sizeof out->shape);
    (void)snprintf(name, ENCODING_NAME_MAX, "%s", codes->name);
    encoding_hide(set, scale, hidden);
    hide_activations(set, codes, hidden);
cleanup:
    return status;
}

const struct encoding encoding_fp8 = {
    .name = "fp8",
    .description = "F8_E4M3 with scales",
    .bits = 8,
    .config_matches = config_matches,
    .config_read = config_read,
    .holds_codes = holds_codes,
    .view = view,
    .scale_suffixes = scale_suffixes,
};
