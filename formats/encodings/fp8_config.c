/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of 8-bit floats (E4M3) with scales: what the configs say.
 *
 * quant_method "fp8", of transformers (quantizers/quantizer_finegrained_fp8.py) and vLLM
 * (layers/quantization/fp8.py): <weight>_scale_inv for blocks of weight_block_size, or without it
 * <weight>_scale(_inv) for a tensor. "fbgemm_fp8" of transformers: <weight>_scale for each row,
 * "modelopt" of FP8 for a tensor. compressed-tensors float-quantized: <weight>_scale for a tensor,
 * for each row, or for blocks of block_structure. In each of them a weight is its code times its
 * scale, whatever the scale is called. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "formats/encodings/float_keys.h"
#include "formats/encodings/fp8.h"
#include "formats/layouts/compressed_tensors.h"
#include "formats/layouts/quant_config_keys.h"

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

static bool is_modelopt(const struct json *config) {
    return strcmp(text_of(config, "quant_method"), "modelopt") == 0 &&
           strcmp(text_of(config, "quant_algo"), "FP8") == 0;
}

bool fp8_config_matches(const struct json *config) {
    return strcmp(text_of(config, "quant_method"), "fp8") == 0 || is_fbgemm(config) ||
           is_modelopt(config) || is_compressed_tensors(config);
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
static const struct config_key modelopt_keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"quant_algo", KEY_TEXT, "FP8 ", NOT_E4M3},
    {"config_groups", KEY_OBJECT, NULL, NULL},
    {"ignore", KEY_LIST, NULL, NULL},
    {"kv_cache_scheme", KEY_OBJECT, NULL, NULL},
    {"kv_cache_quant_algo", KEY_TEXT, NULL, NULL},
    {"producer", KEY_ANY, NULL, NULL},
    {.name = NULL},
};
static const struct config_key floats_keys[] = {FLOAT_CONFIG_KEYS(FLOATS)};
static const struct config_key group_keys[] = {FLOAT_GROUP_KEYS(FLOATS)};
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

/* compressed-tensors' and ModelOpt's: at least one group, where there has to be any. */
static enum llmq_status read_groups(const struct json *config, bool required,
                                    struct encoding_settings *out, llmq_error *err) {
    const struct json *groups = json_get(config, "config_groups");
    enum llmq_status status = LLMQ_OK;
    out->whole = !required;
    if (required && (json_type(groups) != JSON_OBJECT || !json_first(groups)))
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: config_groups: expected an object with a group");
    for (const struct json *g = json_first(groups); g; g = json_next(g))
        LLMQ_TRY(read_group(g, out, err));
cleanup:
    return status;
}

enum llmq_status fp8_config_read(const struct json *config, struct encoding_settings *out,
                                 llmq_error *err) {
    static const char where[] = "quantization_config";
    const bool groups = is_compressed_tensors(config), modelopt = is_modelopt(config);
    const struct config_key *keys = groups              ? floats_keys
                                    : modelopt          ? modelopt_keys
                                    : is_fbgemm(config) ? fbgemm_keys
                                                        : fp8_keys;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(config_keys_check(config, where, keys, err));
    LLMQ_TRY(ct_check_sparsity(config, err));
    out->activations = !groups && strcmp(text_of(config, "activation_scheme"), "none") != 0;
    status = groups || modelopt
                 ? read_groups(config, groups, out, err)
                 : read_block(json_get(config, "weight_block_size"), where, out, err);
cleanup:
    return status;
}
