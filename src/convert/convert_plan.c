/* SPDX-License-Identifier: Apache-2.0 */
/* Planning a conversion: what each tensor becomes, and whether it can.
 *
 * Whether a layout can hold a module depends on its shape and on its contents: zero points, scales,
 * the order of groups. The layout's own encoder is the judge: every module is decoded and encoded
 * once into memory before the first file is made. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/name_index.h"
#include "base/strbuf.h"
#include "convert/convert.h"
#include "formats/loaders/layout_load.h"
#include "graph/inventory.h"
#include "llmq/version.h"
#include "pipeline/store.h"

/* --- target ----------------------------------------------------------------------------------- */

static const struct convert_target dtypes[] = {
    {"f16", NULL, DTYPE_F16}, {"bf16", NULL, DTYPE_BF16}, {"f32", NULL, DTYPE_F32}};

enum llmq_status convert_target_find(const char *format, struct convert_target *out,
                                     llmq_error *err) {
    const struct layout *layout = layout_find(format);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, format) == 0) {
            *out = dtypes[i];
            return LLMQ_OK;
        }
    if (!layout)
        return error_set(err, LLMQ_E_USAGE, "--format %s: unknown format", format);
    *out = (struct convert_target){layout->name, layout, DTYPE_F32};
    return LLMQ_OK;
}

/* Room for a mark at each layout that llmq has. */
enum { LAYOUTS_MOST = 16 };

/* --- modules ---------------------------------------------------------------------------------- */

/* A linear, or the head, which has no place. */
static enum llmq_status add_module(struct convert *c, const struct linear_place *at,
                                   llmq_error *err) {
    struct plan *p = &c->plan;
    const struct model *m = &c->model;
    char name[MODEL_NAME_MAX];
    struct plan_module *module = &p->modules[p->module_count];
    *module =
        (struct plan_module){.at = at ? *at : (struct linear_place){m->config.blocks - 1, -1, -1}};
    module->name =
        strdup(at ? blocks_node_name(m->blocks, *at, "", name) : model_head_name(m, name));
    if (!module->name)
        return error_memory(err, "the plan");
    p->module_count++;
    module->shape.n = m->config.vocab;
    module->shape.k = m->config.hidden;
    if (at)
        blocks_linear_shape(m->blocks, *at, &module->shape.n, &module->shape.k);
    return LLMQ_OK;
}

/* Every linear of the blocks: a module to convert, or one that stays plain; and a packed head. */
static enum llmq_status list_modules(struct convert *c, llmq_error *err) {
    const struct blocks *blocks = c->model.blocks;
    const int64_t count = blocks_linear_count(blocks);
    enum llmq_status status = LLMQ_OK;
    char name[MODEL_NAME_MAX];
    c->plan.modules = calloc((size_t)count + 1, sizeof *c->plan.modules);
    if (!c->plan.modules)
        return error_memory(err, "the plan");
    for (int64_t i = 0; status == LLMQ_OK && i < count; i++) {
        const struct linear_place at = blocks_linear_at(blocks, i);
        status = model_linear_packed(&c->model, at)
                     ? add_module(c, &at, err)
                     : plan_add_plain(&c->plan, blocks_node_name(blocks, at, "", name), err);
    }
    if (status == LLMQ_OK && model_head_packed(&c->model))
        status = add_module(c, NULL, err);
    if (status == LLMQ_OK && c->plan.module_count == 0 && c->model.layout)
        status =
            error_set(err, LLMQ_E_INPUT, "%s: no linear is packed as %s, which its config names",
                      c->model.dir, c->model.layout->name);
    return status;
}

static enum llmq_status decode(const struct convert *c, const struct plan_module *module,
                               struct qlinear *q, struct quant_shape *shape, llmq_error *err) {
    enum llmq_status status =
        model_load_qlinear(&c->model, module->name, module->shape.n, module->shape.k, q, err);
    if (status != LLMQ_OK)
        return status;
    const bool whole = c->model.layout_config.group == -1 && q->group == q->k;
    *shape = (struct quant_shape){q->n, q->k, q->bits, whole ? -1 : q->group, q->sym};
    return LLMQ_OK;
}

/* Which of the layouts still hold everything when this module is looked at too? `first` is the
 * shape of the first one. */
static void narrow(const struct plan_module *module, const struct qlinear *q,
                   const struct quant_shape *first, bool *holds) {
    const struct layout *layout;
    for (int i = 0; i < LAYOUTS_MOST && (layout = layout_at(i)); i++)
        holds[i] = holds[i] &&
                   (layout->overrides ||
                    (module->shape.group == first->group && module->shape.bits == first->bits)) &&
                   layout->accepts(&module->shape, NULL) == LLMQ_OK &&
                   store_module(layout, module, q, NULL, NULL) == LLMQ_OK;
}

/* The other layouts that can hold every module, and what is always possible. */
static void hint_layouts(const struct convert *c, llmq_error *err) {
    struct strbuf fits = {0};
    struct quant_shape first = {0};
    bool holds[LAYOUTS_MOST];
    bool all = true;
    const struct layout *layout;
    for (int i = 0; i < LAYOUTS_MOST; i++)
        holds[i] = (layout = layout_at(i)) && layout != c->plan.layout && layout != c->model.layout;
    for (int64_t i = 0; all && i < c->plan.module_count; i++) {
        struct plan_module module = c->plan.modules[i];
        struct qlinear q = {0};
        all = interrupt_check(c->ctx, NULL) == LLMQ_OK &&
              decode(c, &module, &q, &module.shape, NULL) == LLMQ_OK;
        first = i == 0 ? module.shape : first;
        if (all)
            narrow(&module, &q, &first, holds);
        qlinear_free(&q);
    }
    for (int i = 0; all && i < LAYOUTS_MOST && (layout = layout_at(i)); i++)
        if (holds[i])
            strbuf_printf(&fits, "%s%s", fits.len ? ", " : "", layout->name);
    if (fits.len > 0 && strbuf_ok(&fits))
        error_hint(err, "can hold all modules: %s; --format bf16 dequantizes", fits.data);
    else
        error_hint(err, "--format bf16 dequantizes, and quantizing the original again is better");
    strbuf_free(&fits);
}

/* Decode a module, note its shape, and try the target layout on it. */
static enum llmq_status try_module(struct convert *c, struct plan_module *module, llmq_error *err) {
    struct qlinear q = {0};
    enum llmq_status status = decode(c, module, &q, &module->shape, err);
    if (status != LLMQ_OK)
        return status;
    status = c->plan.layout->accepts(&module->shape, err);
    if (status == LLMQ_OK)
        status = store_module(c->plan.layout, module, &q, NULL, err);
    if (status != LLMQ_OK && status != LLMQ_E_MEMORY) {
        error_prefix(err, status, "%s", module->name);
        hint_layouts(c, err);
    }
    qlinear_free(&q);
    return status;
}

static enum llmq_status try_modules(struct convert *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < c->plan.module_count; i++) {
        struct plan_module *module = &c->plan.modules[i];
        log_progress(c->ctx, i, 3 * c->plan.module_count, "checking block %" PRId64 "/%" PRId64,
                     module->at.block + 1, c->model.blocks->count);
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(try_module(c, module, err));
    }
cleanup:
    return status;
}

/* --- settings --------------------------------------------------------------------------------- */

static int by_grid(const void *a, const void *b) {
    const struct quant_shape *x = &(*(struct plan_module *const *)a)->shape;
    const struct quant_shape *y = &(*(struct plan_module *const *)b)->shape;
    if (x->bits != y->bits)
        return x->bits < y->bits ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

/* A module of an asymmetric checkpoint may happen to have all its zero points in the middle.
 * Loaders want fused modules alike, so those of one bit width and group size are symmetric together
 * or not at all. */
static enum llmq_status settle_symmetry(struct plan *p, llmq_error *err) {
    const int64_t count = p->module_count;
    struct plan_module **sorted = malloc((size_t)count * sizeof(struct plan_module *));
    if (!sorted)
        return error_memory(err, "the plan");
    for (int64_t i = 0; i < count; i++)
        sorted[i] = &p->modules[i];
    qsort(sorted, (size_t)count, sizeof(struct plan_module *), by_grid);
    for (int64_t begin = 0, end; begin < count; begin = end) {
        bool sym = true;
        for (end = begin; end < count && by_grid(&sorted[begin], &sorted[end]) == 0; end++)
            sym = sym && sorted[end]->shape.sym;
        for (int64_t i = begin; i < end; i++)
            sorted[i]->shape.sym = sym;
    }
    free(sorted);
    return LLMQ_OK;
}

static bool fits_settings(const struct quant_shape *s, const struct layout_config *config) {
    const int64_t group = config->group == -1 ? s->k : config->group;
    return s->bits == config->bits && group == (s->group == -1 ? s->k : s->group);
}

/* The settings of the result are those of the source where any module has them, else those of the
 * first module; the others deviate. */
static void settle_config(struct convert *c) {
    const struct layout_config *source = &c->model.layout_config;
    struct plan *p = &c->plan;
    const struct quant_shape *base = NULL;
    for (int64_t i = 0; !base && i < p->module_count; i++)
        if (fits_settings(&p->modules[i].shape, source))
            base = &p->modules[i].shape;
    p->layout_config.group = base ? source->group : p->modules[0].shape.group;
    base = base ? base : &p->modules[0].shape;
    p->layout_config.bits = base->bits;
    p->layout_config.sym = base->sym;
    p->layout_config.damp = source->damp;
    p->layout_config.cache_scheme = p->layout->cache_scheme ? source->cache_scheme : NULL;
    p->layout_config.llmq_version = LLMQ_VERSION;
}

/* --- tensors ---------------------------------------------------------------------------------- */

static const char *module_name(const void *modules, int64_t i) {
    return ((const struct plan_module *)modules)[i].name;
}

static enum llmq_status add_plain_weight(const struct model *m, struct plan *p,
                                         const struct plan_module *module, llmq_error *err) {
    const bool turned = plan_module_turned(m, module);
    struct st_spec spec = {.dtype = p->plain_dtype, .rank = 2};
    spec.shape[turned] = (uint64_t)module->shape.n;
    spec.shape[!turned] = (uint64_t)module->shape.k;
    struct strbuf name = {0};
    strbuf_printf(&name, "%s.weight", module->name);
    enum llmq_status status =
        strbuf_ok(&name) ? plan_add_spec(p, name.data, &spec, err) : error_memory(err, "the plan");
    strbuf_free(&name);
    return status;
}

static enum llmq_status add_tensor(struct convert *c, const struct name_index *modules,
                                   const struct st_tensor *t, llmq_error *err) {
    struct plan *p = &c->plan;
    size_t len = 0;
    const int suffix = layout_suffix(c->model.layout, t->name, &len);
    if (suffix >= 0) {
        const int64_t at = name_index_find(modules, t->name, len);
        const struct plan_module *module = at < 0 ? NULL : &p->modules[at];
        const enum tensor_use use = inventory_use(c->model.blocks, c->model.layout, t);
        if (!module && (use == USE_EXTRA_LAYER || use == USE_OTHER))
            return plan_drop(p, t, err);
        if (!module)
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "tensor '%s' is packed, and belongs to no linear of the blocks that "
                             "llmq knows",
                             t->name);
        if (suffix > 0)
            return LLMQ_OK; /* the module's tensors are listed where its first one stands */
        return p->layout ? plan_add_packed(p, module, err)
                         : add_plain_weight(&c->model, p, module, err);
    }
    return plan_rest(&c->model, p, t, err);
}

static enum llmq_status add_tensors(struct convert *c, llmq_error *err) {
    struct name_index modules;
    enum llmq_status status =
        name_index_create(c->plan.modules, c->plan.module_count, module_name, &modules, err);
    for (size_t i = 0; status == LLMQ_OK && i < st_count(c->model.tensors); i++)
        status = add_tensor(c, &modules, st_at(c->model.tensors, i), err);
    name_index_free(&modules);
    return status;
}

enum llmq_status convert_plan(struct convert *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    c->plan.layout = c->target.layout;
    c->plan.decoded = true;
    c->plan.untied = c->model.tying == TYING_DIFFERS;
    c->plan.plain_dtype = c->target.dtype;
    LLMQ_TRY(list_modules(c, err));
    LLMQ_TRY(plan_add_plain_rows(&c->model, &c->plan, err));
    LLMQ_TRY(plan_name_head(&c->model, &c->plan, err));
    plan_name_fusions(&c->model, &c->plan);
    if (c->plan.layout) {
        LLMQ_TRY(try_modules(c, err));
        LLMQ_TRY(settle_symmetry(&c->plan, err));
        settle_config(c);
        LLMQ_TRY(plan_check_modules(&c->plan, err));
        LLMQ_TRY(plan_container(&c->model, 0, &c->plan, err));
    }
    LLMQ_TRY(add_tensors(c, err));
cleanup:
    return status;
}
