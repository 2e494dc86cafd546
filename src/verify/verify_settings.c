/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for what the config says of each module, resolved as loaders do
 * (formats/layouts/module_rules.h) and held against the tensors: see verify.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/inventory.h"
#include "verify/verify.h"

/* --- what the config says --------------------------------------------------------------------- */

bool verify_setting(struct verify *v, const char *module, struct module_setting *setting) {
    llmq_error found = {0};
    *setting = module_plain;
    if (!v->ruled)
        return false;
    if (module_rules_find(&v->rules, module, setting, &found) == LLMQ_OK)
        return true;
    /* Told once: an expression that gives up on one name would on the others too. */
    v->ruled = false;
    verify_found_error(v, "config-patterns", v->quant.file, module, &found);
    return false;
}

enum llmq_status verify_settle(struct verify *v, llmq_error *err) {
    const llmq_verify_report *r = v->report;
    llmq_error found = {0};
    if (!v->decodable)
        return LLMQ_OK;
    enum llmq_status status =
        module_rules_read(v->quant.object, v->layout, &v->layout_config, &v->rules, &found);
    if (status == LLMQ_E_MEMORY)
        return error_memory(err, "the rules for modules");
    v->ruled = status == LLMQ_OK;
    if (!v->ruled)
        verify_found_error(v, "config-patterns", v->quant.file, NULL, &found);
    v->settings = calloc(r->module_count ? r->module_count : 1, sizeof *v->settings);
    if (!v->settings)
        return error_memory(err, "the settings of the modules");
    for (size_t i = 0; i < r->module_count && v->ruled; i++)
        (void)verify_setting(v, r->modules[i].name, &v->settings[i]);
    return LLMQ_OK;
}

bool verify_names_modules(const struct verify *v) {
    return v->layout && (v->layout->rules || auto_round_config(v->quant.object));
}

/* What the config says of a packed module; NULL: nothing that can be told. */
const struct module_setting *verify_setting_of(const struct verify *v,
                                               const llmq_verify_module *m) {
    const struct module_setting *s = &v->settings[m - v->report->modules];
    return v->ruled && s->packed ? s : NULL;
}

/* --- packed or not ---------------------------------------------------------------------------- */

static enum llmq_status skip_packed(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; v->ruled && i < v->report->module_count; i++) {
        const struct module_setting *s = &v->settings[i];
        const char *name = v->report->modules[i].name;
        if (s->packed)
            continue;
        if (*s->entry)
            verify_found(v, v->quant.file, name, "llmq convert to the same format corrects it",
                         "'%.80s' says that it is not quantized, but it is packed", s->entry);
        else
            verify_found(v, v->quant.file, name, "llmq convert to the same format corrects it",
                         "no entry of the config covers it, but it is packed");
    }
    return LLMQ_OK;
}

/* Call `found` for every linear of a known family that is not packed although the config says so:
 * those of the blocks, and the head where the format's loaders treat it like these. */
static void each_plain(struct verify *v, void (*found)(struct verify *v, const char *name)) {
    struct module_setting s;
    char name[LAYOUT_NAME_MAX];
    const int64_t count = v->known && v->layout ? blocks_linear_count(v->blocks) : 0;
    for (int64_t i = 0; i < count; i++) {
        blocks_node_name(v->blocks, blocks_linear_at(v->blocks, i), "", name);
        if (!layout_has_module(v->tensors, v->layout, name) && verify_setting(v, name, &s) &&
            s.packed)
            found(v, name);
    }
    if (v->known && v->layout && v->layout->of_library &&
        st_find(v->tensors, v->model.family->head)) {
        ends_head_module(v->model.family, name);
        if (!layout_has_module(v->tensors, v->layout, name) && verify_setting(v, name, &s) &&
            s.packed)
            found(v, name);
    }
}

/* The same for what is beside the model. */
static void each_beside(struct verify *v, void (*found)(struct verify *v, const char *name)) {
    struct module_setting s;
    char name[LAYOUT_NAME_MAX];
    for (size_t i = 0; v->known && v->layout && i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        const size_t len = inventory_linear(t);
        if (len == 0 || len >= sizeof name || inventory_use(v->blocks, v->layout, t) != USE_BESIDE)
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)len, t->name);
        if (verify_setting(v, name, &s) && s.packed)
            found(v, name);
    }
}

static bool is_gptq(const struct verify *v) {
    return (v->layout == &layout_gptq || v->layout == &layout_gptq_v2) &&
           !auto_round_config(v->quant.object);
}

static void plain_not_listed(struct verify *v, const char *name) {
    verify_found(v, v->quant.file, name, "llmq convert to the same format names it",
                 "a linear that is not packed, which the config takes for quantized: loaders look "
                 "for packed weights");
}

static enum llmq_status skip_plain(struct verify *v, llmq_error *err) {
    (void)err;
    if (!is_gptq(v) && verify_names_modules(v)) {
        each_plain(v, plain_not_listed);
        each_beside(v, plain_not_listed);
    }
    return LLMQ_OK;
}

static void plain_not_told(struct verify *v, const char *name) {
    verify_found(v, v->quant.file, name, "llmq convert to the same format names it",
                 "a linear that is not packed and that the config does not name: transformers "
                 "looks for packed weights");
}

static enum llmq_status in_block_plain(struct verify *v, llmq_error *err) {
    (void)err;
    if (is_gptq(v))
        each_beside(v, plain_not_told);
    if (is_gptq(v) &&
        json_type(json_get(v->quant.object, "modules_in_block_to_quantize")) == JSON_NULL)
        each_plain(v, plain_not_told);
    return LLMQ_OK;
}

/* --- the grid --------------------------------------------------------------------------------- */

static const char *file_of(const struct verify *v, const char *module) {
    const struct st_tensor *t = layout_tensor_of(v->tensors, v->layout, module, 0);
    return t ? verify_file_of(v, t) : NULL;
}

/* " by its entry 'x'", for a message. */
static void by_entry(const struct module_setting *s, char *out, size_t size) {
    out[0] = '\0';
    if (*s->entry)
        (void)snprintf(out, size, " (by '%.80s')", s->entry);
}

static void grid_of_config(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    const struct module_setting *s = verify_setting_of(v, m);
    char by[128];
    if (!s || !verify_names_modules(v))
        return;
    const int64_t group = s->group == -1 || s->group > q->k ? q->k : s->group;
    by_entry(s, by, sizeof by);
    /* a row with one group has it by several names */
    if (q->bits != s->bits || (q->group > q->k ? q->k : q->group) != group)
        verify_found(v, file_of(v, m->name), m->name, "correct the config: loaders believe it",
                     "%d bits in groups of %" PRId64 ", the config says %d in groups of %" PRId64
                     "%s",
                     q->bits, q->group, s->bits, s->group, by);
}

static void zeros_symmetric(struct verify *v, const llmq_verify_module *m,
                            const struct qlinear *q) {
    const struct module_setting *s = verify_setting_of(v, m);
    if (s && verify_names_modules(v) && s->sym && !q->sym)
        verify_found(v, file_of(v, m->name), m->name,
                     "the config or the zero points are wrong: kernels for symmetric codes do not "
                     "look at zero points",
                     "zero points that are not %d although the config says symmetric",
                     1 << (q->bits - 1));
}

/* --- forms that llmq reads and current loaders do not ------------------------------------------
 */

static const struct st_tensor *part_of(const struct verify *v, const char *module,
                                       const char *suffix) {
    char name[LAYOUT_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s.%s", module, suffix);
    return v->layout == &layout_compressed_tensors ? st_find(v->tensors, name) : NULL;
}

static void old_form(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    static const char hint[] = "llmq convert to the same format writes them as loaders expect";
    const struct st_tensor *zeros = part_of(v, m->name, "weight_zero_point");
    const struct st_tensor *codes = part_of(v, m->name, "weight_packed");
    if (zeros && zeros->dtype == DTYPE_I8)
        verify_found(v, verify_file_of(v, zeros), m->name, hint,
                     "signed zero points, one by one: loaders want them packed into words");
    if (codes && codes->shape[1] != ((uint64_t)q->k * (uint64_t)q->bits + 31) / 32)
        verify_found(v, verify_file_of(v, codes), m->name, hint,
                     "codes of %d bits with gaps, as packed before 2026: loaders want none",
                     q->bits);
}

/* Does any group of a compressed-tensors config reorder columns, so that its loader has a map? */
static bool reorders(const struct verify *v) {
    const struct json *groups = json_get(v->quant.object, "config_groups");
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        const struct json *order = json_get(json_get(g, "weights"), "actorder");
        const char *text = json_string(order);
        bool flag = false;
        if ((text && (strcmp(text, "group") == 0 || strcmp(text, "dynamic") == 0)) ||
            (json_as_bool(order, &flag) && flag))
            return true;
    }
    return false;
}

static void idle_map(struct verify *v, const llmq_verify_module *m, const struct qlinear *q) {
    const struct st_tensor *map = part_of(v, m->name, "weight_g_idx");
    (void)q;
    if (map && !reorders(v))
        verify_found(v, verify_file_of(v, map), m->name, "llmq convert leaves it out",
                     "a map of groups where the config has no actorder: servers have no place for "
                     "the tensor");
}

const struct verify_rule verify_setting_rules[] = {
    {"config-patterns", VERIFY_VIOLATION, VERIFY_HEADERS,
     "the entries that name modules are ones that loaders can use", NULL, NULL},
    {"skip-packed", VERIFY_VIOLATION, VERIFY_HEADERS,
     "every packed module is one that the config says is quantized", skip_packed, NULL},
    {"skip-plain", VERIFY_VIOLATION, VERIFY_HEADERS,
     "awq, compressed-tensors and AutoRound configs say which linears are not packed", skip_plain,
     NULL},
    {"in-block-plain", VERIFY_WARNING, VERIFY_HEADERS,
     "gptq configs name the linears that are not packed", in_block_plain, NULL},
    {"grid-config", VERIFY_VIOLATION, VERIFY_MODULE,
     "packed modules have the bits and group size that the config states for them", NULL,
     grid_of_config},
    {"zeros-symmetric", VERIFY_VIOLATION, VERIFY_MODULE,
     "zero points lie in the middle where the config says symmetric", NULL, zeros_symmetric},
    {"old-form", VERIFY_WARNING, VERIFY_MODULE,
     "packed modules are stored as current loaders read them", NULL, old_form},
    {"idle-map", VERIFY_WARNING, VERIFY_MODULE,
     "compressed-tensors modules have a map of groups only where the config reorders columns", NULL,
     idle_map},
    {.id = NULL},
};
