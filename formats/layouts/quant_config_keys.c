/* SPDX-License-Identifier: Apache-2.0 */
/* See quant_config_keys.h. */
#include "formats/layouts/quant_config_keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* --- what every reader knows -------------------------------------------------------------------
 */

/* How the quantizer was run: what GPTQModel, AutoGPTQ, AutoAWQ, optimum and AutoRound wrote over
 * their versions, also into configs of each other's formats. None of it changes the model that is
 * stored. The act_* keys count with act_bits only; static_kv_dtype is of the cache. */
/* clang-format off */
static const char *const of_runs[] = {
    /* GPTQModel and AutoGPTQ: the solver, its memory, where it ran */
    "act_group_aware", "auto_forward_data_parallel", "autogptq_version", "awq_gemm_checkpoint",
    "calibration_data_device", "compute_device_filter", "damp_auto_increment", "damp_percent",
    "dense_vram_strategy", "dense_vram_strategy_devices", "device", "fail_safe", "failsafe",
    "failsafe_strategy", "failsafe_with_rtn", "fallback", "foem", "gc_mode", "gptaq",
    "gptaq_alpha", "gptaq_memory_device", "hessian", "hessian_chunk_bytes", "hessian_chunk_size",
    "hessian_use_bfloat16_staging", "hyb_act", "mock_quantization", "model_file_base_name",
    "model_name_or_path", "moe", "moe_vram_strategy", "moe_vram_strategy_devices", "mse",
    "offload_to_disk", "offload_to_disk_path", "pack_impl", "parallel_packing", "preprocessors",
    "process", "quantizer", "scale_search_chunked_activations", "smooth", "smoother",
    "static_groups", "true_sequential", "uri", "v2", "v2_alpha", "v2_memory_device",
    "vram_strategy", "wait_for_submodule_finalizers", "weight_only",
    /* optimum and transformers: calibration, kernels */
    "backend", "batch_size", "cache_block_outputs", "dataset", "disable_exllama", "do_fuse",
    "exllama_config", "fuse_max_seq_len", "max_input_length", "model_seqlen",
    "module_name_preceding_first_block", "modules_to_fuse", "pad_token_id", "tokenizer",
    "use_cuda_fp16", "use_exllama",
    /* AutoRound: tuning */
    "act_data_type", "act_dynamic", "act_group_size", "act_sym", "amp", "autoround_version",
    "enable_adam", "enable_alg_ext", "enable_minmax_tuning", "enable_norm_bias_tuning",
    "enable_quanted_input", "gradient_accumulate_steps", "iters", "low_gpu_mem_usage", "lr",
    "lr_scheduler", "minmax_lr", "momentum", "n_samples", "nsamples", "provider", "scale_dtype",
    "seed", "seqlen", "static_attention_granularity", "static_kv_dtype", "static_kv_granularity",
    "supported_types", "train_bs", "use_quant_input", "vllm_backend",
    NULL,
};

#define ROTATES  "activations are rotated at run time (QuaRot, SpinQuant, QuIP)"
#define ADAPTER  "an adapter is added to the weights at run time (EoRA, LoRA)"
#define FEW_BITS "activations are quantized at run time"
#define SCALES   "the scales are quantized themselves"

static const struct config_key refused[] = {
    {"rotation", KEY_EMPTY, NULL, ROTATES},
    {"rotation_config", KEY_EMPTY, NULL, ROTATES},
    {"rotation_configs", KEY_EMPTY, NULL, ROTATES},
    {"hadamard", KEY_EMPTY, NULL, ROTATES},
    {"hadamard_config", KEY_EMPTY, NULL, ROTATES},
    {"transform_config", KEY_EMPTY, NULL, ROTATES},
    {"adapter", KEY_EMPTY, NULL, ADAPTER},
    {"eora", KEY_EMPTY, NULL, ADAPTER},
    {"lora", KEY_EMPTY, NULL, ADAPTER},
    {"act_bits", KEY_WHOLE, NULL, FEW_BITS},
    {"activation_scheme", KEY_EMPTY, NULL, FEW_BITS},
    {"input_activations", KEY_EMPTY, NULL, FEW_BITS},
    {"output_activations", KEY_EMPTY, NULL, FEW_BITS},
    {"static_attention_dtype", KEY_EMPTY, NULL, FEW_BITS},
    {"super_bits", KEY_EMPTY, NULL, SCALES},
    {"super_group_size", KEY_EMPTY, NULL, SCALES},
    {.name = NULL},
};
/* clang-format on */

/* --- checking --------------------------------------------------------------------------------- */

bool config_value_is_empty(const struct json *value) {
    double number = 0;
    bool flag = false;
    switch (json_type(value)) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return json_as_bool(value, &flag) && !flag;
    case JSON_NUMBER:
        return json_as_double(value, &number) && !(number < 0 || number > 0);
    case JSON_STRING:
        return !*json_string(value);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return !json_first(value);
    }
    return false;
}

enum llmq_status config_key_refuse(const struct json *value, const char *where,
                                   const char *expected, const char *why, llmq_error *err) {
    const char *key = json_key(value);
    char *text = json_print(value, false);
    const char *found = text ? text : "a value", *more = strlen(found) > 100 ? "..." : "";
    const size_t len = strlen(expected);
    error_set(err, LLMQ_E_UNSUPPORTED, "%s: %.80s: expected %.*s, found %.100s%s%s%s", where,
              key ? key : "", (int)(len - (len > 0 && expected[len - 1] == ' ')), expected, found,
              more, why ? ": " : "", why ? why : "");
    if (why)
        error_hint(err, "llmq does not compute that: quantize the original checkpoint with it, or "
                        "have the tool that made this one leave it out");
    free(text);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status wrong_type(const struct json *value, const char *where,
                                   const struct config_key *row, llmq_error *err) {
    static const char *const names[] = {[JSON_BOOL] = "true or false",
                                        [JSON_NUMBER] = "a number",
                                        [JSON_STRING] = "a text",
                                        [JSON_ARRAY] = "a list",
                                        [JSON_OBJECT] = "an object"};
    const char *expected = "a number";
    for (int type = JSON_OBJECT; type >= JSON_BOOL; type--)
        if (row->types >> type & 1)
            expected = names[type];
    (void)config_key_refuse(value, where, expected, NULL, err);
    if (err)
        err->code = LLMQ_E_INPUT;
    return LLMQ_E_INPUT;
}

/* Is `text` one of the words, each of which a space follows? */
static bool is_among(const char *words, const char *text) {
    const size_t len = strlen(text);
    for (const char *at = words; len > 0 && (at = strstr(at, text)) != NULL; at++)
        if (at[len] == ' ' && (at == words || at[-1] == ' '))
            return true;
    return false;
}

static enum llmq_status check_row(const struct json *value, const char *where,
                                  const struct config_key *row, llmq_error *err) {
    const char *text = json_string(value);
    double number = 0;
    if (row->types == KEY_WHOLE && json_as_double(value, &number))
        return number >= CONFIG_WHOLE_BITS ? LLMQ_OK
                                           : config_key_refuse(value, where, "16", row->why, err);
    if (row->types == KEY_NULL)
        return config_key_refuse(value, where, "null", row->why, err);
    if (row->types == KEY_EMPTY)
        return config_value_is_empty(value)
                   ? LLMQ_OK
                   : config_key_refuse(value, where, "none", row->why, err);
    if (!(row->types >> json_type(value) & 1))
        return wrong_type(value, where, row, err);
    if (row->texts && text && !is_among(row->texts, text))
        return config_key_refuse(value, where, row->texts, row->why, err);
    return LLMQ_OK;
}

static const struct config_key *find_row(const struct config_key *rows, const char *key) {
    for (; rows->name; rows++)
        if (strcmp(rows->name, key) == 0)
            return rows;
    return NULL;
}

static bool is_of_runs(const char *key) {
    for (size_t i = 0; of_runs[i]; i++)
        if (strcmp(of_runs[i], key) == 0)
            return true;
    return false;
}

static enum llmq_status check_member(const struct json *value, const char *where,
                                     const struct config_key *rows, llmq_error *err) {
    const char *key = json_key(value);
    const struct config_key *row = find_row(rows, key);
    row = row ? row : find_row(refused, key);
    if (json_type(value) == JSON_NULL)
        return LLMQ_OK;
    if (row)
        return check_row(value, where, row, err);
    if (is_of_runs(key) || config_value_is_empty(value))
        return LLMQ_OK;
    enum llmq_status status = config_key_refuse(value, where, "no such key", NULL, err);
    error_hint(err, "llmq does not know whether the key changes what the model computes: remove it "
                    "if it does not");
    return status;
}

enum llmq_status config_keys_check(const struct json *object, const char *where,
                                   const struct config_key *rows, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (json_type(object) != JSON_OBJECT && !config_value_is_empty(object))
        return error_set(err, LLMQ_E_INPUT, "%s: expected an object, found %s", where,
                         json_type(object) == JSON_ARRAY ? "an array" : "a single value");
    for (const struct json *c = json_first(object); status == LLMQ_OK && c; c = json_next(c))
        status = check_member(c, where, rows, err);
    return status;
}

enum llmq_status config_notes_check(const struct json *object, const char *where, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *c = json_first(object); status == LLMQ_OK && c; c = json_next(c))
        if (json_key(c) && find_row(refused, json_key(c)))
            status = check_member(c, where, refused, err);
    return status;
}
