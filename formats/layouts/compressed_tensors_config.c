/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the quantization_config of a compressed-tensors checkpoint; compressed_tensors_read.c
 * reads it.
 *
 * The library validates groups with extra keys forbidden, so that only keys every version knows are
 * written. Modules are targeted by the class name "Linear" and, where they deviate, by their own
 * names, which take precedence; loaders look up each part of a fused layer by its own name too. */
#include "formats/layouts/compressed_tensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct ct_form ct_packed_integers = {.format = "pack-quantized", .type = "int"};

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

static struct quant_shape base_of(const struct layout_config *config) {
    return (struct quant_shape){.bits = config->bits, .group = config->group, .sym = config->sym};
}

static struct json *weights_of(const struct ct_form *form, const struct quant_shape *s) {
    const char *by_group = s->group == -1 ? "channel" : "group";
    struct json *weights = json_new_object();
    json_add_int64(weights, "num_bits", s->bits);
    json_add_string(weights, "type", form->type);
    json_add_bool(weights, "symmetric", s->sym);
    json_add_string(weights, "strategy", form->strategy ? form->strategy : by_group);
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

/* The preset FP8_DYNAMIC's, see compressed_tensors/quantization/quant_scheme.py at ac8e2ba8. */
static struct json *activations_of(const struct ct_form *form, const struct quant_shape *s) {
    struct json *activations = json_new_object();
    json_add_int64(activations, "num_bits", s->bits);
    json_add_string(activations, "type", form->type);
    json_add_bool(activations, "symmetric", true);
    json_add_string(activations, "strategy", "token");
    json_add_null(activations, "group_size");
    json_add_bool(activations, "dynamic", true);
    json_add_null(activations, "actorder");
    json_add_null(activations, "block_structure");
    json_add_null(activations, "observer");
    json_add(activations, "observer_kwargs", json_new_object());
    return activations;
}

/* Add config_groups.group_<index>; `targets` belongs to it afterwards. */
static void add_group(const struct ct_form *form, struct json *groups, int64_t index,
                      struct json *targets, const struct quant_shape *settings) {
    char name[32];
    struct json *group = json_new_object();
    (void)snprintf(name, sizeof name, "group_%" PRId64, index);
    json_add(group, "targets", targets);
    json_add(group, "weights", weights_of(form, settings));
    if (form->tokens)
        json_add(group, "input_activations", activations_of(form, settings));
    else
        json_add_null(group, "input_activations");
    json_add_null(group, "output_activations");
    json_add(groups, name, group);
}

static bool same_words(const struct quant_shape *a, const struct quant_shape *b) {
    return a->bits == b->bits && a->group == b->group && a->sym == b->sym;
}

/* How the config spells a module's settings. One group per row is "channel", unless other modules
 * have groups of that size: loaders want the parts of a fused layer spelled alike, of which one may
 * have a single group in its rows. */
static struct quant_shape spelled(const struct quant_shape *shape,
                                  const struct layout_module *modules, int64_t count) {
    for (int64_t i = 0; shape->group == shape->k && i < count; i++)
        if (same_words(&modules[i].shape, shape) && modules[i].shape.k != shape->k)
            return *shape;
    return normal(shape);
}

/* Does the first group, which is of the class Linear, cover a module? vLLM's output head is of
 * another class, so that it has to be named (get_quant_method of
 * vllm/model_executor/layers/quantization/compressed_tensors/compressed_tensors.py at 055e47c2). */
static bool covered(const struct layout_config *config, const struct layout_module *module,
                    const struct quant_shape *words) {
    const struct quant_shape base = base_of(config);
    return alike(words, &base) && strcmp(module->name, layout_head(config)) != 0;
}

/* A group for each kind of module that is not covered, in the order of their first members; `words`
 * is how their settings are spelled. */
static void add_groups(const struct ct_form *form, struct json *groups,
                       const struct layout_config *config, const struct layout_module *modules,
                       const struct quant_shape *words, int64_t count) {
    int64_t index = 1;
    for (int64_t i = 0; i < count; i++) {
        bool known = covered(config, &modules[i], &words[i]);
        for (int64_t j = 0; !known && j < i; j++)
            known = !covered(config, &modules[j], &words[j]) && same_words(&words[i], &words[j]);
        if (known)
            continue;
        struct json *targets = json_new_array();
        for (int64_t j = i; j < count; j++)
            if (!covered(config, &modules[j], &words[j]) && same_words(&words[j], &words[i]))
                json_add_string(targets, NULL, modules[j].name);
        add_group(form, groups, index++, targets, &words[i]);
    }
}

static bool add_deviating(const struct ct_form *form, struct json *groups,
                          const struct layout_config *config, const struct layout_module *modules,
                          int64_t count) {
    struct quant_shape *words = calloc((size_t)count + 1, sizeof *words);
    for (int64_t i = 0; words && i < count; i++)
        words[i] = spelled(&modules[i].shape, modules, count);
    if (words)
        add_groups(form, groups, config, modules, words, count);
    free(words);
    return words != NULL;
}

struct json *ct_form_write(const struct ct_form *form, const struct layout_config *config,
                           const struct layout_module *modules, int64_t count) {
    const struct quant_shape base = base_of(config);
    struct json *root = json_new_object(), *groups = json_new_object();
    struct json *targets = json_new_array(), *ignore = json_new_array();
    json_add_string(targets, NULL, "Linear");
    add_group(form, groups, 0, targets, &base);
    const bool complete = add_deviating(form, groups, config, modules, count);
    if (!layout_quantizes_head(config, modules, count))
        json_add_string(ignore, NULL, layout_head(config));
    for (int64_t i = 0; i < config->plain_count; i++)
        json_add_string(ignore, NULL, config->plain[i]);
    for (int64_t i = 0; i < config->beside_count; i++)
        json_add_string(ignore, NULL, config->beside[i]);
    json_add_string(root, "quant_method", layout_compressed_tensors.name);
    json_add_string(root, "format", form->format);
    json_add_string(root, "quantization_status", "compressed");
    json_add(root, "config_groups", groups);
    json_add(root, "ignore", ignore);
    if (config->cache_scheme)
        json_add(root, "kv_cache_scheme", json_copy(config->cache_scheme));
    else
        json_add_null(root, "kv_cache_scheme");
    json_add_null(root, "global_compression_ratio");
    if (!complete)
        json_free(&root);
    return root;
}

struct json *ct_config_write(const struct layout_config *config,
                             const struct layout_module *modules, int64_t count) {
    return ct_form_write(&ct_packed_integers, config, modules, count);
}
