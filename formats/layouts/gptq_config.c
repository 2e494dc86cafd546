/* SPDX-License-Identifier: Apache-2.0 */
/* The quantization_config of a GPTQ checkpoint.
 *
 * Written with the keys every loader needs and no others that one of them trips over: TGI takes
 * the mere presence of `zero_point` for asymmetry, transformers refuses datasets it does not know,
 * and a `damp_percent` outside (0, 1). */
#include "formats/layouts/gptq.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "formats/layouts/auto_round.h"
#include "formats/layouts/quant_config_keys.h"

/* --- reading ---------------------------------------------------------------------------------- */

/* Newest GPTQModel calls the keys `method` and `format` and keeps writing the older names. */
static const struct json *either(const struct json *config, const char *key, const char *other) {
    const struct json *v = json_get(config, key);
    return v ? v : json_get(config, other);
}

/* checkpoint_format, "gptq" when absent, NULL when it is not a string. */
static const char *format_of(const struct json *config) {
    const struct json *v = either(config, "checkpoint_format", "format");
    return v ? json_string(v) : layout_gptq.name;
}

/* Is this a GPTQ config of this format? Stand-alone files of AutoGPTQ lack quant_method. The flag
 * is_marlin_format is older than checkpoint_format and no part of it: tensors in Marlin's order
 * have other names, so that a flag beside GPTQ's names is a mistake and verify says so. */
static bool matches(const struct json *config, const char *format) {
    const struct json *method = either(config, "quant_method", "method");
    const char *found = format_of(config);
    if (auto_round_config(config))
        return auto_round_packs(config, format);
    if (method ? !json_string(method) || strcmp(json_string(method), "gptq") != 0
               : !json_get(config, "desc_act"))
        return false;
    return found && strcmp(found, format) == 0;
}

bool gptq_v1_config_matches(const struct json *quantization_config) {
    return matches(quantization_config, layout_gptq.name);
}

bool gptq_v2_config_matches(const struct json *quantization_config) {
    return matches(quantization_config, layout_gptq_v2.name);
}

static enum llmq_status bad_key(llmq_error *err, enum llmq_status code, const char *key,
                                const char *expected) {
    return error_set(err, code, "quantization_config: %s: expected %s, found %s", key, expected,
                     code == LLMQ_E_UNSUPPORTED ? "another value" : "none such");
}

/* A boolean that may be absent. */
static enum llmq_status read_flag(const struct json *config, const char *key, bool fallback,
                                  bool *out, llmq_error *err) {
    const struct json *v = json_get(config, key);
    *out = fallback;
    if (v && json_type(v) != JSON_NULL && !json_as_bool(v, out))
        return bad_key(err, LLMQ_E_INPUT, key, "true or false");
    return LLMQ_OK;
}

static enum llmq_status read_sizes(const struct json *config, struct layout_config *out,
                                   llmq_error *err) {
    int64_t bits = 0;
    if (!json_as_int64(json_get(config, "bits"), &bits))
        return bad_key(err, LLMQ_E_INPUT, "bits", "an integer");
    if (!gptq_has_bits(bits))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "quantization_config: bits: expected 2, 3, 4 or 8, found %" PRId64, bits);
    out->bits = (int)bits;
    if (!json_as_int64(json_get(config, "group_size"), &out->group))
        return bad_key(err, LLMQ_E_INPUT, "group_size", "an integer");
    if (out->group != -1 && out->group <= 0)
        return error_set(
            err, LLMQ_E_INPUT,
            "quantization_config: group_size: expected -1 or a positive integer, found %" PRId64,
            out->group);
    return LLMQ_OK;
}

/* Both spellings of the format, when both are there, agree. */
static enum llmq_status read_format(const struct json *config, struct layout_config *out,
                                    llmq_error *err) {
    const char *format = json_string(json_get(config, "checkpoint_format"));
    const char *other = json_string(json_get(config, "format"));
    if (format && other && strcmp(format, other) != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: expected checkpoint_format and format to agree, "
                         "found '%.60s' and '%.60s'",
                         format, other);
    out->zeros_minus_one = gptq_v1_config_matches(config);
    if (!out->zeros_minus_one && !gptq_v2_config_matches(config)) {
        format = format_of(config);
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "quantization_config: expected quant_method gptq and checkpoint_format "
                         "%s or %s, found '%.60s'",
                         layout_gptq.name, layout_gptq_v2.name, format ? format : "no text");
    }
    return LLMQ_OK;
}

/* clang-format off */
static const struct config_key keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"method", KEY_TEXT, NULL, NULL},
    {"checkpoint_format", KEY_TEXT, NULL, NULL},
    {"format", KEY_TEXT, NULL, NULL},
    {"bits", KEY_NUMBER, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"sym", KEY_BOOL, NULL, NULL},
    {"desc_act", KEY_BOOL, NULL, NULL},
    {"lm_head", KEY_BOOL, NULL, NULL},
    {"dynamic", KEY_OBJECT | KEY_BOOL, NULL, NULL},
    {"modules_in_block_to_quantize", KEY_LIST, NULL, NULL},
    {"modules_to_not_convert", KEY_LIST, NULL, NULL},
    {"block_name_to_quantize", KEY_TEXT | KEY_LIST, NULL, NULL},
    {"to_quant_block_names", KEY_TEXT | KEY_LIST, NULL, NULL},
    {"quant_block_list", KEY_LIST, NULL, NULL},
    {"pack_dtype", KEY_TEXT, "int32 ", NULL},
    {"is_marlin_format", KEY_BOOL, NULL, NULL},
    {"zero_point", KEY_BOOL, NULL, NULL},
    {"meta", KEY_OBJECT, NULL, NULL},
    {"data_type", KEY_TEXT, "int int_sym int_asym ", "weights of this type are not integers"},
    {.name = NULL},
};
static const struct config_key override_keys[] = {
    {"bits", KEY_NUMBER, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"sym", KEY_BOOL, NULL, NULL},
    {"desc_act", KEY_BOOL, NULL, NULL},
    {"format", KEY_TEXT, "gptq gptq_v2 ", NULL},
    {.name = NULL},
};
/* clang-format on */

static enum llmq_status check_keys(const struct json *config, llmq_error *err) {
    static const char where[] = "quantization_config";
    enum llmq_status status = LLMQ_OK;
    if (auto_round_config(config))
        return auto_round_check(config, err);
    LLMQ_TRY(config_keys_check(config, where, keys, err));
    LLMQ_TRY(config_notes_check(json_get(config, "meta"), "quantization_config: meta", err));
    for (const struct json *c = json_first(json_get(config, "dynamic")); c; c = json_next(c)) {
        status = config_keys_check(c, "quantization_config: dynamic", override_keys, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "'%.80s'", json_key(c));
    }

cleanup:
    return status;
}

enum llmq_status gptq_config_read(const struct json *quantization_config, struct layout_config *out,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct json *config = quantization_config;
    *out = (struct layout_config){0};
    LLMQ_TRY(read_format(config, out, err));
    LLMQ_TRY(check_keys(config, err));
    LLMQ_TRY(read_sizes(config, out, err));
    LLMQ_TRY(read_flag(config, "sym", true, &out->sym, err));
    LLMQ_TRY(read_flag(config, "desc_act", false, &out->desc_act, err));
    json_as_double(json_get(config, "damp_percent"), &out->damp);

cleanup:
    return status;
}

/* --- modules ---------------------------------------------------------------------------------- */

/* Overrides, a minus before those that exclude. */
static enum llmq_status add_overrides(const struct json *dynamic, bool excluding,
                                      const struct layout_config *settings,
                                      struct module_rules *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *c = json_first(dynamic); status == LLMQ_OK && c; c = json_next(c)) {
        const char *key = json_key(c);
        const bool minus = strncmp(key, "-:", 2) == 0, plus = strncmp(key, "+:", 2) == 0;
        struct module_setting s = minus ? module_plain : module_general(settings);
        int64_t bits = s.bits;
        if (minus != excluding)
            continue;
        if (json_as_int64(json_get(c, "bits"), &bits) && gptq_has_bits(bits))
            s.bits = (int)bits;
        json_as_int64(json_get(c, "group_size"), &s.group);
        json_as_bool(json_get(c, "sym"), &s.sym);
        status = module_rules_add_regex(out, key + (minus || plus ? 2 : 0), REGEX_AT_START, key, &s,
                                        err);
    }
    return status;
}

/* GPTQModel looks at exclusions first. modules_in_block_to_quantize is matched in more than one
 * way, and is looked at by itself. */
enum llmq_status gptq_rules(const struct json *quantization_config,
                            const struct layout_config *settings, struct module_rules *out,
                            llmq_error *err) {
    const struct json *dynamic = json_get(quantization_config, "dynamic");
    const struct module_setting general = module_general(settings);
    enum llmq_status status = LLMQ_OK;
    bool head = false;
    json_as_bool(json_get(quantization_config, "lm_head"), &head);
    LLMQ_TRY(add_overrides(dynamic, true, settings, out, err));
    LLMQ_TRY(add_overrides(dynamic, false, settings, out, err));
    if (!head)
        LLMQ_TRY(module_rules_add(out, MATCH_LAST, "lm_head", &module_plain, err));
    LLMQ_TRY(module_rules_add(out, MATCH_LINEAR, "", &general, err));

cleanup:
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_meta(struct json *root, const char *version) {
    char name[64];
    struct json *meta = json_new_object(), *quantizers = json_new_array();
    (void)snprintf(name, sizeof name, "llmq:%s", version ? version : "unknown");
    json_add_string(quantizers, NULL, name);
    json_add(meta, "quantizer", quantizers);
    json_add(root, "meta", meta);
}

/* A linear's name within its block: "mlp.up_proj" of model.layers.3.mlp.up_proj. */
static const char *name_in_block(const char *name) {
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        const size_t digits = strspn(dot + 1, "0123456789");
        if (digits > 0 && dot[1 + digits] == '.')
            return dot + 2 + digits;
    }
    return name;
}

static bool is_listed(const struct json *list, const char *name) {
    for (const struct json *c = json_first(list); c; c = json_next(c))
        if (json_string(c) && strcmp(json_string(c), name) == 0)
            return true;
    return false;
}

/* transformers converts every linear of a block unless it is given a list of those to convert (a
 * list of lists, which it adds up). The list holds for all blocks alike, so that a linear which
 * only some blocks keep plain cannot be told: then there is none, and `dynamic` alone says it. vLLM
 * looks for the output head in it too (is_layer_gptq_quantized in
 * vllm/model_executor/layers/quantization/utils/gptq_utils.py at 02239f5e). */
static void add_quantized_names(struct json *root, const struct layout_config *config,
                                const struct layout_module *modules, int64_t count) {
    struct json *list = json_new_array(), *lists = json_new_array();
    bool same = config->plain_count > 0;
    for (int64_t i = 0; same && i < count; i++)
        if (!is_listed(list, name_in_block(modules[i].name)))
            json_add_string(list, NULL, name_in_block(modules[i].name));
    for (int64_t i = 0; same && i < config->plain_count; i++)
        same = !is_listed(list, name_in_block(config->plain[i]));
    json_add(lists, NULL, list);
    if (same)
        json_add(root, "modules_in_block_to_quantize", lists);
    else
        json_free(&lists);
}

static struct json *config_write(const struct layout *layout, const struct layout_config *config,
                                 const struct layout_module *modules, int64_t count) {
    bool failed = false;
    struct json *root = json_new_object();
    struct json *overrides = gptq_dynamic(config, modules, count, &failed);
    json_add_int64(root, "bits", config->bits);
    if (overrides)
        json_add(root, "dynamic", overrides);
    json_add_int64(root, "group_size", config->group);
    json_add_bool(root, "desc_act", config->desc_act);
    json_add_bool(root, "sym", config->sym);
    json_add_bool(root, "lm_head", layout_quantizes_head(config, modules, count));
    json_add_string(root, "quant_method", "gptq");
    json_add_string(root, "checkpoint_format", layout->name);
    json_add_string(root, "pack_dtype", "int32");
    add_quantized_names(root, config, modules, count);
    if (config->damp > 0.0)
        json_add_double(root, "damp_percent", config->damp);
    json_add_bool(root, "static_groups", false);
    json_add_bool(root, "true_sequential", true);
    add_meta(root, config->llmq_version);
    if (failed)
        json_free(&root);
    return root;
}

struct json *gptq_v1_config_write(const struct layout_config *config,
                                  const struct layout_module *modules, int64_t count) {
    return config_write(&layout_gptq, config, modules, count);
}

struct json *gptq_v2_config_write(const struct layout_config *config,
                                  const struct layout_module *modules, int64_t count) {
    return config_write(&layout_gptq_v2, config, modules, count);
}
