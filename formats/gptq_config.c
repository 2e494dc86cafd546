/* The quantization_config of a GPTQ checkpoint.
 *
 * Written with the keys every loader needs and no others that one of them trips over: TGI takes
 * the mere presence of `zero_point` for asymmetry, transformers refuses datasets it does not know,
 * and a `damp_percent` outside (0, 1). */
#include "formats/gptq.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "formats/auto_round.h"

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

/* Is this a GPTQ config of this format? Stand-alone files of AutoGPTQ lack quant_method. */
static bool matches(const struct json *config, const char *format) {
    const struct json *method = either(config, "quant_method", "method");
    const char *found = format_of(config);
    bool marlin = false;
    if (auto_round_config(config))
        return auto_round_packs(config, format);
    if (method ? !json_string(method) || strcmp(json_string(method), "gptq") != 0
               : !json_get(config, "desc_act"))
        return false;
    if (json_as_bool(json_get(config, "is_marlin_format"), &marlin) && marlin)
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

enum llmq_status gptq_config_read(const struct json *quantization_config, struct layout_config *out,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct json *config = quantization_config;
    const char *pack = json_string(json_get(config, "pack_dtype"));
    *out = (struct layout_config){0};
    LLMQ_TRY(read_format(config, out, err));
    LLMQ_TRY(read_sizes(config, out, err));
    LLMQ_TRY(read_flag(config, "sym", true, &out->sym, err));
    LLMQ_TRY(read_flag(config, "desc_act", false, &out->desc_act, err));
    if (pack && strcmp(pack, "int32") != 0)
        LLMQ_TRY(bad_key(err, LLMQ_E_UNSUPPORTED, "pack_dtype", "int32"));
    json_as_double(json_get(config, "damp_percent"), &out->damp);

cleanup:
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool quantizes_head(const struct layout_module *modules, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const char *dot = strrchr(modules[i].name, '.');
        if (strcmp(dot ? dot + 1 : modules[i].name, "lm_head") == 0)
            return true;
    }
    return false;
}

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
 * only some blocks keep plain cannot be told: then there is none, and `dynamic` alone says it. */
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
    json_add_bool(root, "lm_head", quantizes_head(modules, count));
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
