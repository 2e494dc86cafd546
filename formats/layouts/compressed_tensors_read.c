/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the quantization_config of a compressed-tensors checkpoint.
 *
 * Groups of settings name their modules by `targets`, and `ignore` names those that no group has:
 * whole names, "re:" and an expression that begins with the name, or a class. The library takes
 * whole names before expressions and these before classes. llmq reads what is packed integers and
 * nothing else: no activations in few bits, no rotation at run time, no sparsity. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "formats/layouts/compressed_tensors.h"
#include "formats/layouts/quant_config_keys.h"

bool ct_config_matches(const struct json *quantization_config) {
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    return method && strcmp(method, layout_compressed_tensors.name) == 0;
}

/* --- keys ------------------------------------------------------------------------------------- */

#define NOT_PACKED "the weights are not packed integers"

/* clang-format off */
static const struct config_key keys[] = {
    {"quant_method", KEY_TEXT, NULL, NULL},
    {"format", KEY_TEXT, "pack-quantized ", NOT_PACKED},
    /* What the status says of the weights their names say too: verify holds it to "compressed". */
    {"quantization_status", KEY_TEXT, "compressed frozen calibration initialized decompressed ",
     NULL},
    {"config_groups", KEY_OBJECT, NULL, NULL},
    {"ignore", KEY_LIST, NULL, NULL},
    {"kv_cache_scheme", KEY_OBJECT, NULL, NULL}, /* of the cache, not of the weights */
    {"sparsity_config", KEY_OBJECT, NULL, NULL},
    {"transform_config", KEY_OBJECT, NULL, NULL},
    {"global_compression_ratio", KEY_NUMBER, NULL, NULL},
    {"run_compressed", KEY_ANY, NULL, NULL},
    {"version", KEY_ANY, NULL, NULL},
    {.name = NULL},
};
static const struct config_key group_keys[] = {
    {"input_activations", KEY_NULL, NULL, "activations are quantized at run time"},
    {"output_activations", KEY_NULL, NULL, "activations are quantized at run time"},
    {"targets", KEY_LIST, NULL, NULL},
    {"weights", KEY_OBJECT, NULL, NULL},
    {"format", KEY_TEXT, "pack-quantized ", NOT_PACKED},
    {.name = NULL},
};
static const struct config_key weight_keys[] = {
    {"num_bits", KEY_NUMBER, NULL, NULL},
    {"type", KEY_TEXT, "int INT ", NOT_PACKED},
    {"symmetric", KEY_BOOL, NULL, NULL},
    {"group_size", KEY_NUMBER, NULL, NULL},
    {"strategy", KEY_TEXT, "group channel GROUP CHANNEL ", NULL},
    {"block_structure", KEY_EMPTY, NULL, NULL},
    {"dynamic", KEY_EMPTY, NULL, "weights are quantized at run time"},
    {"actorder", KEY_TEXT | KEY_BOOL, "group weight static dynamic ", NULL},
    {"observer", KEY_ANY, NULL, NULL},
    {"observer_kwargs", KEY_ANY, NULL, NULL},
    {"scale_dtype", KEY_TEXT, NULL, NULL},
    {"zp_dtype", KEY_TEXT, NULL, NULL},
    {"is_mx", KEY_EMPTY, NULL, NOT_PACKED},
    {.name = NULL},
};
static const struct config_key sparsity_keys[] = {
    {"format", KEY_TEXT, "dense ", "the weights are stored without their zeros"},
    {"targets", KEY_ANY, NULL, NULL},
    {"ignore", KEY_ANY, NULL, NULL},
    {"global_sparsity", KEY_ANY, NULL, NULL},
    {"sparsity_structure", KEY_ANY, NULL, NULL},
    {"registry_requires_subclass", KEY_ANY, NULL, NULL},
    {.name = NULL},
};
/* clang-format on */

/* A transform of weights is in the weights already; one of anything else happens at run time. */
static bool is_in_weights(const struct json *transforms) {
    const struct json *groups = json_get(transforms, "config_groups");
    bool inside = json_type(groups) == JSON_OBJECT;
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        const struct json *list = json_get(g, "apply");
        inside = inside && json_type(list) == JSON_ARRAY;
        for (const struct json *c = json_first(list); c; c = json_next(c)) {
            const char *location = json_string(json_get(c, "location"));
            inside =
                inside && location &&
                (strcmp(location, "weight_input") == 0 || strcmp(location, "weight_output") == 0);
        }
    }
    return inside;
}

static enum llmq_status check_transforms(const struct json *config, llmq_error *err) {
    const struct json *transforms = json_get(config, "transform_config");
    if (config_value_is_empty(transforms) || is_in_weights(transforms))
        return LLMQ_OK;
    return config_key_refuse(transforms, "quantization_config", "none",
                             "activations are rotated at run time (QuaRot, SpinQuant, QuIP)", err);
}

enum llmq_status ct_check_sparsity(const struct json *quantization_config, llmq_error *err) {
    return config_keys_check(json_get(quantization_config, "sparsity_config"),
                             "quantization_config: sparsity_config", sparsity_keys, err);
}

/* --- groups ----------------------------------------------------------------------------------- */

static enum llmq_status refuse(llmq_error *err, const char *where, const char *expected) {
    return error_set(err, LLMQ_E_UNSUPPORTED, "%s: expected %s, found another value", where,
                     expected);
}

/* Columns per group: the strategy's, which may be left out where the group size tells it. */
static enum llmq_status read_columns(const struct json *weights, const char *where,
                                     int64_t *columns, llmq_error *err) {
    const char *strategy = json_string(json_get(weights, "strategy"));
    int64_t size = 0;
    const bool sized = json_as_int64(json_get(weights, "group_size"), &size);
    *columns = -1;
    if (strategy ? strcasecmp(strategy, "channel") == 0 : sized && size == -1)
        return LLMQ_OK;
    if (!strategy && !sized)
        return refuse(err, where, "strategy to be group or channel");
    if (!sized || size <= 0)
        return refuse(err, where, "group_size to be a positive integer");
    *columns = size;
    return LLMQ_OK;
}

static enum llmq_status read_weights(const struct json *weights, const char *where,
                                     struct layout_config *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int64_t bits = 0, columns = 0;
    bool sym = true;
    if (json_type(weights) != JSON_OBJECT)
        return refuse(err, where, "weights to be an object");
    LLMQ_TRY(config_keys_check(weights, where, weight_keys, err));
    if (!json_as_int64(json_get(weights, "num_bits"), &bits) ||
        (bits != 2 && bits != 3 && bits != 4 && bits != 8))
        LLMQ_TRY(refuse(err, where, "num_bits to be 2, 3, 4 or 8"));
    LLMQ_TRY(read_columns(weights, where, &columns, err));
    json_as_bool(json_get(weights, "symmetric"), &sym);
    *out = (struct layout_config){.bits = (int)bits, .group = columns, .sym = sym};

cleanup:
    return status;
}

static enum llmq_status read_group(const struct json *group, struct layout_config *out,
                                   llmq_error *err) {
    char where[128];
    (void)snprintf(where, sizeof where, "quantization_config: config_groups: %.60s",
                   json_key(group));
    if (json_type(group) != JSON_OBJECT)
        return refuse(err, where, "an object");
    enum llmq_status status = config_keys_check(group, where, group_keys, err);
    return status == LLMQ_OK ? read_weights(json_get(group, "weights"), where, out, err) : status;
}

/* The settings are those of the first group; modules of the others tell theirs by their shapes.
 * One symmetric group is enough for modules without zero points to be in order. */
enum llmq_status ct_config_read(const struct json *quantization_config, struct layout_config *out,
                                llmq_error *err) {
    static const char where[] = "quantization_config";
    const struct json *groups = json_get(quantization_config, "config_groups");
    enum llmq_status status = LLMQ_OK;
    *out = (struct layout_config){0};
    LLMQ_TRY(config_keys_check(quantization_config, where, keys, err));
    LLMQ_TRY(check_transforms(quantization_config, err));
    LLMQ_TRY(ct_check_sparsity(quantization_config, err));
    if (json_type(groups) != JSON_OBJECT || !json_first(groups))
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: config_groups: expected an object with a group");
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        struct layout_config found = {0};
        LLMQ_TRY(read_group(g, &found, err));
        if (g == json_first(groups))
            *out = found;
        out->sym = out->sym || found.sym;
    }
    const struct json *scheme = json_get(quantization_config, "kv_cache_scheme");
    out->cache_scheme = json_type(scheme) == JSON_OBJECT ? scheme : NULL;

cleanup:
    return status;
}

/* --- other forms ------------------------------------------------------------------------------ */

static bool has_text(const struct json *object, const char *key, const char *wanted) {
    const char *text = json_string(json_get(object, key));
    return text && strcasecmp(text, wanted) == 0;
}

/* Is a group's size what the form has, which may leave out what the strategy tells? */
static bool has_group(const struct json *weights, int64_t group) {
    int64_t size = -1;
    (void)json_as_int64(json_get(weights, "group_size"), &size);
    return size == group;
}

bool ct_form_matches(const struct ct_form *form, const struct json *quantization_config) {
    const struct json *groups = json_get(quantization_config, "config_groups");
    bool matches = ct_config_matches(quantization_config) &&
                   has_text(quantization_config, "format", form->format) && json_first(groups);
    for (const struct json *g = json_first(groups); matches && g; g = json_next(g)) {
        const struct json *weights = json_get(g, "weights");
        int64_t bits = 0;
        matches = json_as_int64(json_get(weights, "num_bits"), &bits) && bits == form->bits &&
                  has_text(weights, "type", form->type) &&
                  has_text(weights, "strategy", form->strategy) && has_group(weights, form->group);
    }
    return matches;
}

/* --- modules ---------------------------------------------------------------------------------- */

static const char *expression_of(const char *target) {
    return strncmp(target, "re:", 3) == 0 ? target + 3 : NULL;
}

/* The kinds of targets in the order in which they count. */
enum target { TARGET_NAME, TARGET_EXPRESSION, TARGET_CLASS, TARGETS };

static enum target kind_of(const char *target) {
    return expression_of(target)           ? TARGET_EXPRESSION
           : strcmp(target, "Linear") == 0 ? TARGET_CLASS
                                           : TARGET_NAME;
}

static enum llmq_status add_targets(const struct json *targets, enum target kind,
                                    const struct module_setting *setting, struct module_rules *out,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *c = json_first(targets); status == LLMQ_OK && c; c = json_next(c)) {
        const char *text = json_string(c);
        if (!text || kind_of(text) != kind)
            continue;
        status = kind == TARGET_EXPRESSION
                     ? module_rules_add_regex(out, expression_of(text), REGEX_AT_START, text,
                                              setting, err)
                     : module_rules_add(out, kind == TARGET_CLASS ? MATCH_LINEAR : MATCH_NAME, text,
                                        setting, err);
    }
    return status;
}

/* The rules; `settings` are those of every group, NULL: each says its own. */
static enum llmq_status add_rules(const struct json *quantization_config,
                                  const struct layout_config *settings, struct module_rules *out,
                                  llmq_error *err) {
    const struct json *groups = json_get(quantization_config, "config_groups");
    const struct json *ignored = json_get(quantization_config, "ignore");
    enum llmq_status status = LLMQ_OK;
    for (enum target kind = 0; kind < TARGETS; kind++)
        LLMQ_TRY(add_targets(ignored, kind, &module_plain, out, err));
    for (enum target kind = 0; kind < TARGETS; kind++)
        for (const struct json *g = json_first(groups); g; g = json_next(g)) {
            struct layout_config found = settings ? *settings : (struct layout_config){0};
            if (!settings)
                LLMQ_TRY(read_group(g, &found, err));
            const struct module_setting setting = module_general(&found);
            LLMQ_TRY(add_targets(json_get(g, "targets"), kind, &setting, out, err));
        }

cleanup:
    return status;
}

enum llmq_status ct_rules(const struct json *quantization_config,
                          const struct layout_config *settings, struct module_rules *out,
                          llmq_error *err) {
    (void)settings;
    return add_rules(quantization_config, NULL, out, err);
}

enum llmq_status ct_form_rules(const struct json *quantization_config,
                               const struct layout_config *settings, struct module_rules *out,
                               llmq_error *err) {
    return add_rules(quantization_config, settings, out, err);
}
