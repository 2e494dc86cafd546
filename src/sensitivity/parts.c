/* SPDX-License-Identifier: Apache-2.0 */
/* Which modules there are to choose settings for, together where they have to agree, and what each
 * setting takes: see study.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "sensitivity/study.h"
#include "tensor/dtype.h"

#define UNFIT UINT64_MAX

/* What is known of a part while its modules are counted. */
struct draft {
    int64_t number;                       /* in the order of the data flow; -1: not studied */
    int64_t modules, weights;             /* so far */
    uint64_t bytes[LLMQ_CANDIDATES_MOST]; /* UNFIT: a module does not take that candidate */
    int64_t group[LLMQ_CANDIDATES_MOST];
};

llmq_part_settings *study_part(const struct study *s, int64_t linear) {
    return linear < 0 || s->part_of[linear] < 0 ? NULL : &s->out->parts[s->part_of[linear]];
}

int64_t study_linear(const struct study *s, struct linear_place at) {
    const struct graph *g = blocks_graph_of(s->run.model.blocks, at);
    for (int i = 0; i < g->linear_count; i++)
        if (g->linear[i] == at.node)
            return blocks_linear_number(s->run.model.blocks, at);
    return -1;
}

/* --- sizes ------------------------------------------------------------------------------------ */

/* Bytes of a module of that shape in the result; UNFIT: the layout does not hold it. */
static uint64_t module_bytes(const struct layout *layout, const struct quant_shape *shape) {
    struct layout_tensor tensors[LAYOUT_MAX_TENSORS];
    uint64_t sum = 0;
    if ((shape->group > 0 && shape->k % shape->group != 0) ||
        layout->accepts(shape, NULL) != LLMQ_OK)
        return UNFIT;
    const int count = layout->tensors(shape, tensors);
    for (int i = 0; i < count; i++) {
        uint64_t elements = 1, bytes = 0;
        for (int d = 0; d < tensors[i].rank; d++)
            elements *= tensors[i].shape[d];
        if (!dtype_bytes(tensors[i].dtype, elements, &bytes))
            return UNFIT;
        sum += bytes;
    }
    return sum;
}

static struct quant_shape shape_of(const struct study *s, const struct plan_module *module,
                                   const llmq_precision *c) {
    const llmq_quantize_options *o = &s->asked;
    struct quant_shape shape = module->shape;
    shape.bits = c->bits;
    shape.group = c->group
                      ? c->group
                      : plan_group(&s->run.model, module->at, shape.k, o->group, o->group_auto_fit);
    return shape;
}

static void add_module(struct study *s, const struct plan_module *module, struct draft *d) {
    const struct layout *layout = s->run.plan.layout;
    d->modules++;
    d->weights += module->shape.n * module->shape.k;
    s->out->fixed_bytes -= module_bytes(layout, &module->shape);
    for (int c = 0; c < s->candidate_count; c++) {
        const struct quant_shape shape = shape_of(s, module, &s->candidates[c]);
        const uint64_t bytes = module_bytes(layout, &shape);
        d->group[c] = shape.group;
        d->bytes[c] = bytes == UNFIT || d->bytes[c] == UNFIT ? UNFIT : d->bytes[c] + bytes;
    }
}

/* --- parts ------------------------------------------------------------------------------------ */

/* Number the parts by the first of their modules, and those that are studied only: no rule has a
 * say in any of their modules. */
static int64_t number_parts(const struct study *s, const int64_t *leader, struct draft *drafts) {
    const int64_t linears = blocks_linear_count(s->run.model.blocks);
    int64_t count = 0;
    for (int64_t i = 0; i < linears; i++) {
        const struct plan_module *module = &s->run.plan.modules[i];
        if (module->fate != MODULE_QUANTIZED || module->rule)
            drafts[leader[i]].number = -1;
    }
    for (int64_t i = 0; i < linears; i++)
        if (leader[i] == i && drafts[i].number == 0)
            drafts[i].number = count++;
    return count;
}

static enum llmq_status add_names(struct study *s, llmq_error *err) {
    const int64_t linears = blocks_linear_count(s->run.model.blocks);
    for (int64_t i = 0; i < linears; i++) {
        llmq_part_settings *part = study_part(s, i);
        char *name = part ? strdup(s->run.plan.modules[i].name) : NULL;
        if (!part)
            continue;
        if (!name)
            return error_memory(err, "the table of modules");
        part->modules[part->module_count++] = name;
    }
    return LLMQ_OK;
}

static bool listed(const llmq_part_settings *part, int bits, int64_t group) {
    for (size_t i = 0; i < part->setting_count; i++)
        if (part->settings[i].bits == bits && part->settings[i].group == group)
            return true;
    return false;
}

static enum llmq_status make_part(const struct study *s, const struct draft *d,
                                  llmq_part_settings *part, llmq_error *err) {
    part->weights = d->weights;
    part->modules = calloc((size_t)d->modules, sizeof *part->modules);
    part->settings = calloc((size_t)s->candidate_count, sizeof *part->settings);
    if (!part->modules || !part->settings)
        return error_memory(err, "the table of modules");
    for (int c = 0; c < s->candidate_count; c++) {
        const int bits = s->candidates[c].bits;
        if (d->bytes[c] == UNFIT || listed(part, bits, d->group[c]))
            continue;
        part->settings[part->setting_count++] =
            (llmq_setting){bits, d->group[c], d->bytes[c], (double)NAN};
    }
    return LLMQ_OK;
}

/* --- what does not fit ------------------------------------------------------------------------ */

static enum llmq_status refuse_part(const struct plan_module *module, llmq_error *err) {
    error_set(err, LLMQ_E_USAGE,
              "%s [%" PRId64 ", %" PRId64
              "]: no candidate fits: groups have to divide in_features, "
              "and the format has to hold the bits",
              module->name, module->shape.n, module->shape.k);
    error_hint(err, "give --group auto-fit, --candidates BITS:GROUP, or --keep for such modules");
    return LLMQ_E_USAGE;
}

static enum llmq_status check_candidates(const struct study *s, const int64_t *leader,
                                         const struct draft *drafts, llmq_error *err) {
    const int64_t linears = blocks_linear_count(s->run.model.blocks);
    bool fits[LLMQ_CANDIDATES_MOST] = {false};
    for (int64_t i = 0; i < linears; i++) {
        bool any = false;
        if (leader[i] != i || drafts[i].number < 0)
            continue;
        for (int c = 0; c < s->candidate_count; c++) {
            fits[c] = fits[c] || drafts[i].bytes[c] != UNFIT;
            any = any || drafts[i].bytes[c] != UNFIT;
        }
        if (!any)
            return refuse_part(&s->run.plan.modules[i], err);
    }
    for (int c = 0; c < s->candidate_count; c++)
        if (!fits[c] && s->options->candidates)
            return error_set(err, LLMQ_E_USAGE,
                             "candidate %d:%" PRId64 " fits no module: its group has to divide "
                             "in_features, and %s files have to hold it",
                             s->candidates[c].bits, s->candidates[c].group,
                             s->run.plan.layout->name);
    return LLMQ_OK;
}

static enum llmq_status make_parts(struct study *s, const int64_t *leader, struct draft *drafts,
                                   llmq_error *err) {
    const int64_t linears = blocks_linear_count(s->run.model.blocks);
    const size_t count = (size_t)number_parts(s, leader, drafts);
    enum llmq_status status = LLMQ_OK;
    s->out->parts = calloc(count + 1, sizeof *s->out->parts);
    s->errors = calloc((count + 1) * LLMQ_CANDIDATES_MOST, sizeof *s->errors);
    s->norms = calloc(count + 1, sizeof *s->norms);
    if (!s->out->parts || !s->errors || !s->norms)
        return error_memory(err, "the table of modules");
    for (int64_t i = 0; i < linears; i++) {
        s->part_of[i] = drafts[leader[i]].number;
        if (s->part_of[i] >= 0)
            add_module(s, &s->run.plan.modules[i], &drafts[leader[i]]);
    }
    LLMQ_TRY(check_candidates(s, leader, drafts, err));
    for (int64_t i = 0; i < linears; i++) {
        if (leader[i] != i || drafts[i].number < 0)
            continue;
        LLMQ_TRY(make_part(s, &drafts[i], &s->out->parts[s->out->part_count++], err));
        s->out->weights += drafts[i].weights;
    }
    LLMQ_TRY(add_names(s, err));
    if (s->out->part_count == 0)
        status = error_set(err, LLMQ_E_USAGE,
                           "rules have a say in every module: there is nothing to choose");
cleanup:
    return status;
}

enum llmq_status study_list(struct study *s, llmq_error *err) {
    const size_t linears = (size_t)blocks_linear_count(s->run.model.blocks);
    int64_t *leader = plan_layers(&s->run.model, &s->run.plan);
    struct draft *drafts = calloc(linears + 1, sizeof *drafts);
    enum llmq_status status = LLMQ_OK;
    s->out->fixed_bytes = s->run.plan.disk_bytes;
    s->part_of = calloc(linears + 1, sizeof *s->part_of);
    if (!leader || !drafts || !s->part_of)
        status = error_memory(err, "the table of modules");
    else
        status = make_parts(s, leader, drafts, err);
    free(leader);
    free(drafts);
    return status;
}
