/* The quantization_config of a compressed-tensors checkpoint.
 *
 * The library validates groups with extra keys forbidden, so that only keys every version knows are
 * written. Modules are targeted by the class name "Linear" and, where they deviate, by their own
 * names, which take precedence; loaders look up each part of a fused layer by its own name too. */
#include "formats/compressed_tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const char pack_quantized[] = "pack-quantized";

/* --- writing ---------------------------------------------------------------------------------- */

/* One group per row, however it is spelled, is -1. */
static struct quant_shape normal(const struct quant_shape *shape) {
    struct quant_shape s = *shape;
    s.group = s.group == s.k ? -1 : s.group;
    return s;
}

/* Does a module have the settings of `base`, whose k is the module's own? */
static bool alike(const struct quant_shape *module, const struct quant_shape *base) {
    struct quant_shape a = *module, b = *base;
    b.k = a.k;
    a = normal(&a);
    b = normal(&b);
    return a.bits == b.bits && a.group == b.group && a.sym == b.sym;
}

static struct json *weights_of(const struct quant_shape *s) {
    struct json *weights = json_new_object();
    json_add_int64(weights, "num_bits", s->bits);
    json_add_string(weights, "type", "int");
    json_add_bool(weights, "symmetric", s->sym);
    json_add_string(weights, "strategy", s->group == -1 ? "channel" : "group");
    if (s->group == -1)
        json_add_null(weights, "group_size");
    else
        json_add_int64(weights, "group_size", s->group);
    json_add_bool(weights, "dynamic", false);
    json_add_null(weights, "actorder");
    json_add_null(weights, "block_structure");
    json_add_string(weights, "observer", "minmax");
    json_add(weights, "observer_kwargs", json_new_object());
    return weights;
}

/* Add config_groups.group_<index>; `targets` belongs to it afterwards. */
static void add_group(struct json *groups, int64_t index, struct json *targets,
                      const struct quant_shape *settings) {
    char name[32];
    struct json *group = json_new_object();
    (void)snprintf(name, sizeof name, "group_%" PRId64, index);
    json_add(group, "targets", targets);
    json_add(group, "weights", weights_of(settings));
    json_add_null(group, "input_activations");
    json_add_null(group, "output_activations");
    json_add(groups, name, group);
}

/* A group for each kind of module that deviates, in the order of their first members. */
static void add_deviating(struct json *groups, const struct quant_shape *base,
                          const struct layout_module *modules, int64_t count) {
    int64_t index = 1;
    for (int64_t i = 0; i < count; i++) {
        const struct quant_shape settings = normal(&modules[i].shape);
        bool known = alike(&settings, base);
        for (int64_t j = 0; !known && j < i; j++) {
            const struct quant_shape earlier = normal(&modules[j].shape);
            known = !alike(&earlier, base) && alike(&settings, &earlier);
        }
        if (known)
            continue;
        struct json *targets = json_new_array();
        for (int64_t j = i; j < count; j++)
            if (!alike(&modules[j].shape, base) && alike(&modules[j].shape, &settings))
                json_add_string(targets, NULL, modules[j].name);
        add_group(groups, index++, targets, &settings);
    }
}

static bool quantizes_head(const struct layout_module *modules, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (strcmp(modules[i].name, "lm_head") == 0)
            return true;
    return false;
}

struct json *ct_config_write(const struct layout_config *config,
                             const struct layout_module *modules, int64_t count) {
    const struct quant_shape base = {
        .bits = config->bits, .group = config->group, .sym = config->sym};
    struct json *root = json_new_object(), *groups = json_new_object();
    struct json *targets = json_new_array(), *ignore = json_new_array();
    json_add_string(targets, NULL, "Linear");
    add_group(groups, 0, targets, &base);
    add_deviating(groups, &base, modules, count);
    if (!quantizes_head(modules, count))
        json_add_string(ignore, NULL, "lm_head");
    for (int64_t i = 0; i < config->plain_count; i++)
        json_add_string(ignore, NULL, config->plain[i]);
    json_add_string(root, "quant_method", layout_compressed_tensors.name);
    json_add_string(root, "format", pack_quantized);
    json_add_string(root, "quantization_status", "compressed");
    json_add(root, "config_groups", groups);
    json_add(root, "ignore", ignore);
    json_add_null(root, "kv_cache_scheme");
    json_add_null(root, "global_compression_ratio");
    return root;
}

/* --- reading ---------------------------------------------------------------------------------- */

bool ct_config_matches(const struct json *quantization_config) {
    const char *method = json_string(json_get(quantization_config, "quant_method"));
    return method && strcmp(method, layout_compressed_tensors.name) == 0;
}

static bool is_null(const struct json *v) {
    return json_type(v) == JSON_NULL;
}

/* Is the member absent, null or this text? */
static bool is_text(const struct json *object, const char *key, const char *text) {
    const struct json *v = json_get(object, key);
    return is_null(v) || (json_string(v) && strcmp(json_string(v), text) == 0);
}

static enum llmq_status refuse(llmq_error *err, const char *group, const char *expected) {
    return error_set(err, LLMQ_E_UNSUPPORTED,
                     "quantization_config: config_groups: %.60s: expected %s, found another value",
                     group, expected);
}

/* What llmq cannot compute with: activations in few bits, floats, formats other than packed. */
static enum llmq_status check_group(const struct json *group, llmq_error *err) {
    const struct json *weights = json_get(group, "weights");
    const char *name = json_key(group);
    bool dynamic = false;
    if (json_type(weights) != JSON_OBJECT)
        return refuse(err, name, "weights to be an object");
    if (!is_null(json_get(group, "input_activations")) ||
        !is_null(json_get(group, "output_activations")))
        return refuse(err, name, "activations to be null");
    if (!is_text(group, "format", pack_quantized))
        return refuse(err, name, "format to be pack-quantized");
    if (!is_text(weights, "type", "int"))
        return refuse(err, name, "type to be int");
    if (json_as_bool(json_get(weights, "dynamic"), &dynamic) && dynamic)
        return refuse(err, name, "dynamic to be false");
    return LLMQ_OK;
}

static enum llmq_status read_group(const struct json *group, struct layout_config *out,
                                   llmq_error *err) {
    const struct json *weights = json_get(group, "weights");
    const char *name = json_key(group), *strategy = json_string(json_get(weights, "strategy"));
    int64_t bits = 0, columns = -1;
    bool sym = true;
    if (!json_as_int64(json_get(weights, "num_bits"), &bits) ||
        (bits != 2 && bits != 3 && bits != 4 && bits != 8))
        return refuse(err, name, "num_bits to be 2, 3, 4 or 8");
    if (strategy && strcmp(strategy, "group") == 0) {
        if (!json_as_int64(json_get(weights, "group_size"), &columns) || columns <= 0)
            return refuse(err, name, "group_size to be a positive integer");
    } else if (!strategy || strcmp(strategy, "channel") != 0) {
        return refuse(err, name, "strategy to be group or channel");
    }
    if (!is_null(json_get(weights, "symmetric")) &&
        !json_as_bool(json_get(weights, "symmetric"), &sym))
        return refuse(err, name, "symmetric to be true or false");
    *out = (struct layout_config){.bits = (int)bits, .group = columns, .sym = sym};
    return LLMQ_OK;
}

/* The settings are those of the first group; modules of the others tell theirs by their shapes.
 * One symmetric group is enough for modules without zero points to be in order. */
enum llmq_status ct_config_read(const struct json *quantization_config, struct layout_config *out,
                                llmq_error *err) {
    const struct json *groups = json_get(quantization_config, "config_groups");
    enum llmq_status status = LLMQ_OK;
    *out = (struct layout_config){0};
    if (!is_text(quantization_config, "format", pack_quantized))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "quantization_config: format: expected pack-quantized, found another");
    if (json_type(groups) != JSON_OBJECT || !json_first(groups))
        return error_set(err, LLMQ_E_INPUT,
                         "quantization_config: config_groups: expected an object with a group");
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        struct layout_config found = {0};
        LLMQ_TRY(check_group(g, err));
        LLMQ_TRY(read_group(g, &found, err));
        if (g == json_first(groups))
            *out = found;
        out->sym = out->sym || found.sym;
    }

cleanup:
    return status;
}
