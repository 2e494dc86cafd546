/* SPDX-License-Identifier: Apache-2.0 */
/* Planning a run: see plan.h. */
#include "pipeline/plan.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "graph/inventory.h"
#include "llmq/ranks.h"
#include "llmq/version.h"
#include "pipeline/block_fold.h"
#include "quant/quant.h"
#include "setup/setup.h"

/* --- growing lists ---------------------------------------------------------------------------- */

enum llmq_status plan_list_add(char ***list, size_t *count, size_t *cap, const char *name,
                               llmq_error *err) {
    if (*count == *cap) {
        size_t grown = *cap ? 2 * *cap : 64;
        char **names = realloc(*list, grown * sizeof *names);
        if (!names)
            return error_memory(err, "the plan");
        *list = names;
        *cap = grown;
    }
    (*list)[*count] = strdup(name);
    if (!(*list)[*count])
        return error_memory(err, "the plan");
    (*count)++;
    return LLMQ_OK;
}

enum llmq_status plan_add_spec(struct plan *p, const char *name, const struct st_spec *spec,
                               llmq_error *err) {
    if (p->spec_count == p->spec_cap) {
        size_t cap = p->spec_cap ? 2 * p->spec_cap : 64;
        struct st_spec *specs = realloc(p->specs, cap * sizeof *specs);
        if (!specs)
            return error_memory(err, "the plan");
        p->specs = specs;
        p->spec_cap = cap;
    }
    char *copy = strdup(name);
    if (!copy)
        return error_memory(err, "the plan");
    p->specs[p->spec_count] = *spec;
    p->specs[p->spec_count++].name = copy;
    uint64_t elements = 1, bytes = 0;
    for (int d = 0; d < spec->rank; d++)
        elements *= spec->shape[d];
    if (dtype_bytes(spec->dtype, elements, &bytes))
        p->disk_bytes += bytes;
    return LLMQ_OK;
}

enum dtype plan_kept_dtype(const struct plan *p, const struct st_tensor *t) {
    if (p->gguf && plan_rounded_bits(p, t->name))
        return plan_rounded_bits(p, t->name) == 8 ? DTYPE_Q8_0 : DTYPE_Q4_0;
    if (p->gguf)
        return gguf_export_dtype(t);
    const bool as_it_is = p->layout || !dtype_is_float(t->dtype) ||
                          plan_list_has(p->carried, p->carried_count, t->name);
    return as_it_is ? st_copy_dtype(t) : p->plain_dtype;
}

enum llmq_status plan_keep(struct plan *p, const struct st_tensor *t, llmq_error *err) {
    struct st_spec spec = {.dtype = plan_kept_dtype(p, t), .rank = t->rank};
    memcpy(spec.shape, t->shape, sizeof spec.shape);
    if (p->gguf && gguf_export_drops(p->gguf, t))
        return plan_drop(p, t, err);
    enum llmq_status status = LLMQ_OK;
    if (p->gguf)
        LLMQ_TRY(gguf_export_check(p->gguf, t, err));
    LLMQ_TRY(plan_list_add(&p->kept, &p->kept_count, &p->kept_cap, t->name, err));
    LLMQ_TRY(plan_add_spec(p, t->name, &spec, err));
cleanup:
    return status;
}

/* A tensor that folds change, stored with its block. */
static enum llmq_status plan_fold(struct plan *p, const struct st_tensor *t, llmq_error *err) {
    struct st_spec spec = {.dtype = p->gguf ? gguf_export_dtype(t) : st_copy_dtype(t),
                           .rank = t->rank};
    memcpy(spec.shape, t->shape, sizeof spec.shape);
    enum llmq_status status =
        plan_list_add(&p->folded, &p->folded_count, &p->folded_cap, t->name, err);
    return status == LLMQ_OK ? plan_add_spec(p, t->name, &spec, err) : status;
}

enum llmq_status plan_drop(struct plan *p, const struct st_tensor *t, llmq_error *err) {
    return plan_list_add(&p->dropped, &p->dropped_count, &p->dropped_cap, t->name, err);
}

enum llmq_status plan_rest(const struct model *m, struct plan *p, const struct st_tensor *t,
                           llmq_error *err) {
    const enum tensor_use use = inventory_use(m->blocks, m->layout, t);
    const bool scales_cache = use == USE_CACHE_SCALE && p->layout && p->layout->cache_scheme &&
                              p->layout_config.cache_scheme;
    if (use == USE_BESIDE && !p->gguf)
        return plan_carry(m, p, t, err);
    return use == USE_PART || scales_cache ? plan_keep(p, t, err) : plan_drop(p, t, err);
}

enum llmq_status plan_container(const struct model *m, uint64_t max_mem, struct plan *p,
                                llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!p->layout || p->layout->container != LAYOUT_GGUF)
        return LLMQ_OK;
    LLMQ_TRY(setup_check_tokenizer(m->dir, &(struct reading){.max_mem = max_mem}, true, err));
    LLMQ_TRY(gguf_export_create(m, &p->layout_config, &p->gguf, err));
    (void)memory_resident(); /* what reading took goes back to the system */
cleanup:
    return status;
}

enum llmq_status plan_name_head(const struct model *m, struct plan *p, llmq_error *err) {
    char name[MODEL_NAME_MAX];
    p->head = strdup(model_head_name(m, name));
    p->layout_config.head = p->head;
    return p->head ? LLMQ_OK : error_memory(err, "the plan");
}

bool plan_module_turned(const struct model *m, const struct plan_module *module) {
    return module->at.node >= 0 && blocks_linear_turned(m->blocks, module->at);
}

/* --- modules ---------------------------------------------------------------------------------- */

struct calib_options plan_calib_options(const llmq_quantize_options *options,
                                        const struct plan *p) {
    const struct plan_gradients *g = &p->gradients;
    const bool some = options->curvature_tokens > 0;
    return (struct calib_options){
        .paired = p->paired,
        .hold_back = true,
        .compute = options->compute,
        .ranks = p->ranks,
        .expert_tokens = options->expert_tokens,
        .weighing = {.power = g->weights, .offsets = some ? g->offsets : NULL, .count = g->count}};
}

bool plan_folds(const llmq_quantize_options *options) {
    return options->awq || options->method == LLMQ_METHOD_AWQ;
}

const struct plan_module *plan_module_of(const struct model *m, const struct plan *p,
                                         struct linear_place at) {
    return &p->modules[blocks_linear_number(m->blocks, at)];
}

/* A layout without overrides states one group size for all modules. */
static enum llmq_status check_uniform(const struct plan *p, const struct quant_shape *s,
                                      llmq_error *err) {
    const int64_t common = p->layout_config.group;
    if (p->layout->overrides || s->group == common || (common == -1 && s->group == s->k))
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "expected group %" PRId64 " as in the first module, found %" PRId64
              ": %s files hold one group size",
              common, s->group, p->layout->name);
    error_hint(err, "give --format %s, whose files hold a size for each module", layout_gptq.name);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status check_module(const struct plan *p, const struct quant_shape *s,
                                     llmq_error *err) {
    if (!s->sym && p->layout->asym_if_exact && !p->decoded)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "asymmetric: %s files hold asymmetric codes only where they happen to be "
                         "exact",
                         p->layout->name);
    return p->layout->accepts(s, err);
}

/* Formats of floats are read as plain weights, which are another way round in some families; and
 * AWQ's scales are searched on grids of integers. */
static enum llmq_status check_floats(const struct model *m, const llmq_quantize_options *o,
                                     const struct plan *p, llmq_error *err) {
    if (p->layout->number == NUMBER_INT)
        return LLMQ_OK;
    if (plan_folds(o)) {
        error_set(err, LLMQ_E_UNSUPPORTED, "AWQ with --format %s: it scales for grids of integers",
                  p->layout->name);
        error_hint(err, "llmq gptq without --awq, or llmq rtn");
        return LLMQ_E_UNSUPPORTED;
    }
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (module->fate != MODULE_QUANTIZED || !plan_module_turned(m, module))
            continue;
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "%s: --format %s with weights stored as [in, out], which no loader is known to "
                  "read",
                  module->name, p->layout->name);
        error_hint(err, "give --format %s", layout_gptq.name);
        return LLMQ_E_UNSUPPORTED;
    }
    return LLMQ_OK;
}

enum llmq_status plan_check_modules(const struct plan *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; status == LLMQ_OK && i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (module->fate == MODULE_PLAIN)
            continue;
        if (module->fate == MODULE_QUANTIZED)
            status = check_module(p, &module->shape, err);
        if (status == LLMQ_OK)
            status = check_uniform(p, &module->shape, err);
        if (status != LLMQ_OK)
            error_prefix(err, status, "%s", p->modules[i].name);
    }
    return status;
}

/* Can it be made at all, and if not, what can? */
static enum llmq_status check_grid(const struct model *m, const llmq_quantize_options *o,
                                   const struct plan *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!o->sym && p->layout->asym_if_exact)
        status =
            error_set(err, LLMQ_E_UNSUPPORTED,
                      "--asym: %s files hold asymmetric codes only where they happen to be exact",
                      p->layout->name);
    if (status == LLMQ_OK)
        status = plan_check_groups(m, p, err);
    if (status == LLMQ_OK)
        status = plan_check_modules(p, err);
    if (status == LLMQ_E_USAGE || status == LLMQ_E_UNSUPPORTED)
        plan_hint(p, o, err);
    return status;
}

/* --- tensors of the result -------------------------------------------------------------------- */

enum llmq_status plan_add_packed(struct plan *p, const struct plan_module *module,
                                 llmq_error *err) {
    struct layout_tensor tensors[LAYOUT_MAX_TENSORS];
    int count = p->layout->tensors(&module->shape, tensors);
    for (int i = 0; i < count; i++) {
        char name[MODEL_NAME_MAX];
        snprintf(name, sizeof name, "%s.%s", module->name, tensors[i].suffix);
        struct st_spec spec = {.dtype = tensors[i].dtype, .rank = tensors[i].rank};
        memcpy(spec.shape, tensors[i].shape, sizeof tensors[i].shape);
        enum llmq_status status = plan_add_spec(p, name, &spec, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

/* A stack of experts of which some are quantized and some are not. */
static enum llmq_status refuse_stack(const struct st_tensor *t, const struct plan_module *module,
                                     llmq_error *err) {
    char rule[RECIPE_SHOWN];
    error_set(err, LLMQ_E_UNSUPPORTED,
              "%s: to be treated unlike others in the tensor '%.200s': expected all of it to stay "
              "as it is, or none",
              module->name, t->name);
    if (module->rule)
        error_hint(err, "let rule %s match all of them, or none", recipe_show(module->rule, rule));
    return LLMQ_E_UNSUPPORTED;
}

/* The packed tensors of the linears in a tensor of the source; *plain: they stay as they are.
 * *count is how many there are. */
static enum llmq_status add_linears(const struct model *m, const struct st_tensor *t,
                                    struct plan *p, int64_t *count, bool *plain, llmq_error *err) {
    struct linear_place at;
    for (*count = 0; blocks_linear_in(m->blocks, t->name, *count, &at); ++*count) {
        const struct plan_module *module = plan_module_of(m, p, at);
        const bool kept = module->fate == MODULE_PLAIN;
        if (*count > 0 && kept != *plain)
            return refuse_stack(t, module, err);
        *plain = kept;
        enum llmq_status status = kept ? LLMQ_OK : plan_add_packed(p, module, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

/* What becomes of a tensor of the source: packed tensors of the linears in it, a copy, or nothing.
 */
static enum llmq_status add_tensor(const struct model *m, const llmq_quantize_options *o,
                                   const struct st_tensor *t, struct plan *p, llmq_error *err) {
    int64_t linears = 0;
    bool packed = false, plain = false;
    enum llmq_status status = plan_add_source_packed(m, p, t, &packed, err);
    if (status != LLMQ_OK || packed)
        return status;
    status = add_linears(m, t, p, &linears, &plain, err);
    if (status != LLMQ_OK || (linears > 0 && !plain))
        return status;
    if (linears > 0)
        return plan_keep(p, t, err);
    if (plan_is_head(m, p, t->name))
        return plan_add_packed(p, plan_head(p), err);
    return plan_folds(o) && block_fold_changes(m, t->name) ? plan_fold(p, t, err)
                                                           : plan_rest(m, p, t, err);
}

static enum llmq_status add_tensors(const struct model *m, const llmq_quantize_options *o,
                                    struct plan *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; status == LLMQ_OK && i < st_count(m->tensors); i++)
        status = add_tensor(m, o, st_at(m->tensors, i), p, err);
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum llmq_status choose_layout(const struct model *m, const llmq_quantize_options *o,
                                      struct plan *p, llmq_error *err) {
    /* AWQ's own format takes symmetric codes too. */
    bool sym = o->sym && o->method != LLMQ_METHOD_AWQ;
    p->layout = o->format ? layout_find(o->format)
                : m->layout && o->source_quantized == LLMQ_SOURCE_KEEP
                    ? m->layout
                    : layout_default(o->bits, sym, !o->group_auto_fit);
    if (!p->layout)
        return error_set(err, LLMQ_E_USAGE, "--format %s: unknown format", o->format);
    p->layout_config = (struct layout_config){
        .bits = o->bits,
        .group = o->group,
        .sym = o->sym,
        .damp = o->method == LLMQ_METHOD_GPTQ ? o->damp : 0,
        .llmq_version = LLMQ_VERSION,
    };
    return LLMQ_OK;
}

/* A model may have no equal in a container that describes it anew: name those that need none. */
static void hint_container(const struct plan *p, llmq_error *err) {
    struct strbuf fits = {0};
    const struct layout *layout;
    for (int i = 0; err && (layout = layout_at(i)); i++) {
        bool all = layout->container != p->layout->container;
        for (int64_t m = 0; all && m < p->module_count; m++)
            all = layout->accepts(&p->modules[m].shape, NULL) == LLMQ_OK;
        if (all)
            strbuf_printf(&fits, "%s%s", fits.len ? ", " : "", layout->name);
    }
    if (fits.len > 0 && strbuf_ok(&fits)) {
        const llmq_error why = *err;
        error_hint(err, "%.400s%sformats that hold it: %s", why.hint, why.hint[0] ? "; " : "",
                   fits.data);
    }
    strbuf_free(&fits);
}

static bool corrects(const struct plan *p) {
    bool any = false;
    for (int64_t i = 0; i < p->module_count; i++)
        any = any || (p->modules[i].fate == MODULE_QUANTIZED &&
                      p->modules[i].manner.correct.mode != LLMQ_CORRECT_OFF);
    return any;
}

enum llmq_status plan_create(const struct model *m, const llmq_quantize_options *options,
                             const struct calib_tokens *tokens, struct plan *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct plan){.ranks = llmq_ranks_count()};
    LLMQ_TRY(plan_check_source(m, options, err));
    LLMQ_TRY(choose_layout(m, options, out, err));
    LLMQ_TRY(plan_name_head(m, out, err));
    plan_name_fusions(m, out);
    out->untied = m->tying == TYING_DIFFERS;
    LLMQ_TRY(plan_add_modules(m, options, out, err));
    LLMQ_TRY(plan_keep_modules(m, options, out, err));
    LLMQ_TRY(plan_add_ends(m, options, out, err));
    LLMQ_TRY(plan_apply_rules(m, options, out, err));
    LLMQ_TRY(plan_settle_ends(m, out, err));
    LLMQ_TRY(plan_keep_unfit(m, options, out, err));
    LLMQ_TRY(plan_settle_config(m, options, out, err));
    LLMQ_TRY(plan_add_plain_modules(out, err));
    LLMQ_TRY(plan_add_plain_rows(m, out, err));
    LLMQ_TRY(check_grid(m, options, out, err));
    LLMQ_TRY(check_floats(m, options, out, err));
    LLMQ_TRY(plan_check_merged(m, out, err));
    status = plan_container(m, options->max_mem, out, err);
    if (status == LLMQ_E_UNSUPPORTED) {
        hint_container(out, err);
        goto cleanup;
    }
    LLMQ_TRY(status);
    LLMQ_TRY(add_tensors(m, options, out, err));
    LLMQ_TRY(plan_add_untied_head(m, out, err));
    out->paired = tokens && corrects(out);
    plan_settle_passes(m, options, tokens, out);
    LLMQ_TRY(plan_settle_curvature(m, options, tokens, out, err));
    out->flops = plan_flops(m, options, out, tokens);
    out->pass_flops = plan_pass_flops(m, options, out, tokens);
    LLMQ_TRY(plan_memory(m, options, tokens, out, err));
cleanup:
    if (status != LLMQ_OK)
        plan_free(out);
    return status;
}

static void free_names(char **names, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

void plan_free(struct plan *p) {
    for (int64_t i = 0; i < p->module_count; i++)
        free(p->modules[i].name);
    free(p->modules);
    for (size_t i = 0; i < p->spec_count; i++)
        free((char *)(uintptr_t)p->specs[i].name);
    free(p->specs);
    free_names(p->kept, p->kept_count);
    free_names(p->folded, p->folded_count);
    free_names(p->dropped, p->dropped_count);
    free_names(p->plain, p->plain_count);
    free_names(p->carried, p->carried_count);
    free_names(p->beside, p->beside_count);
    free_names(p->beside_parts, p->beside_part_count);
    for (size_t i = 0; i < p->part_count; i++)
        free(p->parts[i].name);
    free(p->parts);
    free(p->head);
    free(p->gradients.begin);
    free(p->gradients.offsets);
    gguf_export_free(&p->gguf);
    *p = (struct plan){0};
}
