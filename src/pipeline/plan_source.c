/* SPDX-License-Identifier: Apache-2.0 */
/* Sources whose linears are packed already: see plan.h. Those that are kept are modules of the plan
 * like others, with the settings that the source's config has for them; their tensors are copied,
 * so the result has to be of the source's layout and its config able to say what they are. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "formats/loaders/layout_load.h"
#include "graph/inventory.h"
#include "graph/loading.h"
#include "pipeline/plan.h"

static const char requantize_hint[] =
    "--source-quantized requantize decodes the packed linears and quantizes all anew";

/* --- whether ---------------------------------------------------------------------------------- */

static enum llmq_status refuse_packed(const struct model *m, llmq_error *err) {
    error_set(err, LLMQ_E_UNSUPPORTED, "%s is quantized already (%s)", m->dir, m->layout->name);
    error_hint(
        err, "take the checkpoint that it was made from; or give --source-quantized requantize to "
             "decode it and quantize anew, keep to leave packed linears as they are; llmq convert "
             "changes the format without loss, and --format bf16 there dequantizes");
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status refuse_head(const struct model *m, llmq_error *err) {
    char name[MODEL_NAME_MAX];
    error_set(err, LLMQ_E_UNSUPPORTED,
              "%s: %s is packed: expected a plain output head to quantize anew", m->dir,
              model_head_name(m, name));
    error_hint(err, "llmq convert --format bf16 makes a plain checkpoint of it, to quantize that");
    return LLMQ_E_UNSUPPORTED;
}

enum llmq_status plan_check_source(const struct model *m, const llmq_quantize_options *o,
                                   llmq_error *err) {
    if (!m->layout)
        return LLMQ_OK;
    const bool readable = m->layout->container == LAYOUT_SAFETENSORS && !m->layout->write_beside;
    if (o->source_quantized == LLMQ_SOURCE_REFUSE || !readable)
        return refuse_packed(m, err);
    return model_head_packed(m) && o->source_quantized == LLMQ_SOURCE_REQUANTIZE
               ? refuse_head(m, err)
               : LLMQ_OK;
}

/* --- what is kept ----------------------------------------------------------------------------- */

static enum llmq_status refuse_module(const struct plan_module *module, const char *what,
                                      llmq_error *err) {
    error_set(err, LLMQ_E_UNSUPPORTED, "%s: cannot be kept: %s", module->name, what);
    error_hint(err, "%s", requantize_hint);
    return LLMQ_E_UNSUPPORTED;
}

static const struct layout_tensor *find_suffix(const struct layout_tensor *tensors, int count,
                                               const char *suffix) {
    for (int i = 0; i < count; i++)
        if (strcmp(tensors[i].suffix, suffix) == 0)
            return &tensors[i];
    return NULL;
}

/* The module's tensors are those, in those shapes, that the layout has for its settings: then what
 * the result's config says of it is what they are. Types of scales may differ. */
static enum llmq_status check_tensors(const struct model *m, const struct plan_module *module,
                                      llmq_error *err) {
    struct layout_tensor wanted[LAYOUT_MAX_TENSORS];
    const int count = m->layout->tensors(&module->shape, wanted);
    int found = 0;
    for (int i = 0; m->layout->suffixes[i]; i++) {
        const struct st_tensor *t = layout_tensor_of(m->tensors, m->layout, module->name, i);
        const struct layout_tensor *w = find_suffix(wanted, count, m->layout->suffixes[i]);
        if (!t)
            continue;
        if (!w || t->rank != w->rank ||
            memcmp(t->shape, w->shape, (size_t)w->rank * sizeof *w->shape) != 0)
            return refuse_module(module,
                                 "its tensors are not those of the settings that the "
                                 "config has for it",
                                 err);
        found++;
    }
    return found == count ? LLMQ_OK
                          : refuse_module(module,
                                          "the format has more tensors for it than the "
                                          "source",
                                          err);
}

/* Only where columns may have been reordered: it takes reading the module. */
static enum llmq_status check_order(const struct model *m, const struct plan_module *module,
                                    llmq_error *err) {
    struct qlinear q = {0};
    if (!m->layout_config.desc_act)
        return LLMQ_OK;
    enum llmq_status status =
        model_load_qlinear(m, module->name, module->shape.n, module->shape.k, &q, err);
    if (status == LLMQ_OK && q.group_of)
        status =
            refuse_module(module, "its columns' groups are out of order, which vLLM ignores", err);
    qlinear_free(&q);
    return status;
}

/* Take the settings from the source. */
static enum llmq_status keep_module(const struct model *m, const struct module_rules *rules,
                                    struct plan_module *module, llmq_error *err) {
    struct module_setting setting;
    enum llmq_status status = module_rules_find(rules, module->name, &setting, err);
    if (status != LLMQ_OK)
        return status;
    if (!setting.packed)
        return refuse_module(module, "it is packed, and the config says that it is not", err);
    module->fate = MODULE_PACKED;
    module->shape.bits = setting.bits;
    module->shape.group = setting.group;
    module->shape.sym = setting.sym;
    status = check_tensors(m, module, err);
    return status == LLMQ_OK ? check_order(m, module, err) : status;
}

static enum llmq_status check_format(const struct model *m, const struct plan *p, llmq_error *err) {
    if (p->layout == m->layout)
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "--source-quantized keep: linears packed as %s do not fit byte for byte into %s",
              m->layout->name, p->layout->name);
    error_hint(err, "give --format %s; or %s", m->layout->name, requantize_hint);
    return LLMQ_E_UNSUPPORTED;
}

enum llmq_status plan_keep_modules(const struct model *m, const llmq_quantize_options *o,
                                   struct plan *p, llmq_error *err) {
    struct module_rules rules = {0};
    enum llmq_status status = LLMQ_OK;
    if (!m->layout || o->source_quantized != LLMQ_SOURCE_KEEP)
        return LLMQ_OK;
    LLMQ_TRY(check_format(m, p, err));
    LLMQ_TRY(module_rules_read(m->quant.object, m->layout, &m->layout_config, &rules, err));
    for (int64_t i = 0; i < p->module_count; i++) {
        struct plan_module *module = &p->modules[i];
        if (!model_linear_packed(m, module->at))
            continue;
        LLMQ_TRY(keep_module(m, &rules, module, err));
    }
    if (model_head_packed(m)) {
        LLMQ_TRY(plan_append_head(m, o, p, err));
        LLMQ_TRY(keep_module(m, &rules, &p->modules[p->module_count - 1], err));
    }
    p->layout_config.desc_act = p->layout_config.desc_act || m->layout_config.desc_act;
cleanup:
    module_rules_free(&rules);
    return status;
}

/* --- memory ----------------------------------------------------------------------------------- */

uint64_t plan_reading_bytes(const struct model *m, const struct plan_module *module) {
    if (model_linear_packed(m, module->at)) /* codes as they are stored, and one to a byte */
        return 2 * (uint64_t)module->shape.n * (uint64_t)module->shape.k;
    return loading_read_bytes(m, module->at);
}

/* --- tensors of the result -------------------------------------------------------------------- */

static enum llmq_status add_kept(const struct model *m, struct plan *p,
                                 const struct plan_module *module, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && m->layout->suffixes[i]; i++) {
        const struct st_tensor *t = layout_tensor_of(m->tensors, m->layout, module->name, i);
        struct st_spec spec = {0};
        if (!t)
            continue;
        spec.dtype = t->dtype;
        spec.rank = t->rank;
        memcpy(spec.shape, t->shape, sizeof spec.shape);
        status = plan_add_spec(p, t->name, &spec, err);
    }
    return status;
}

enum llmq_status plan_add_source_packed(const struct model *m, struct plan *p,
                                        const struct st_tensor *t, bool *is_packed,
                                        llmq_error *err) {
    struct linear_place at;
    char name[MODEL_NAME_MAX];
    size_t len = 0;
    const int suffix = layout_suffix(m->layout, t->name, &len);
    *is_packed = suffix >= 0;
    if (suffix < 0)
        return LLMQ_OK;
    (void)snprintf(name, sizeof name, "%.*s", (int)len, t->name);
    const struct plan_module *head = plan_head(p);
    if (head && head->fate == MODULE_PACKED && strcmp(head->name, name) == 0)
        return suffix > 0 ? LLMQ_OK : add_kept(m, p, head, err);
    if (!blocks_find_linear(m->blocks, name, &at)) {
        const enum tensor_use use = inventory_use(m->blocks, m->layout, t);
        *is_packed = use == USE_PART;
        return use != USE_PART
                   ? LLMQ_OK
                   : error_set(err, LLMQ_E_UNSUPPORTED,
                               "tensor '%s' is packed, and belongs to no linear that llmq "
                               "quantizes",
                               t->name);
    }
    const struct plan_module *module = plan_module_of(m, p, at);
    if (suffix > 0) /* a module's tensors are listed where its first one stands */
        return LLMQ_OK;
    return module->fate == MODULE_PACKED ? add_kept(m, p, module, err)
                                         : plan_add_packed(p, module, err);
}
