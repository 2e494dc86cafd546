/* SPDX-License-Identifier: Apache-2.0 */
/* What would do instead of a grid or a format that cannot be: see plan_hint.
 *
 * Candidates are tried on every module, as the plan itself would, so that following a hint ends the
 * chain: other group sizes first, then other formats of the same bits, then other bits. */
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "pipeline/plan.h"
#include "quant/quant.h"

/* Smaller groups cost more for their scales than they save. */
#define GROUP_MIN 8

/* A step of fast kernels along the columns; their groups are multiples of it. */
#define KERNEL_STEP 32

enum { SIZES_LISTED = 8 };

/* A grid and a format, as options would name them. */
struct candidate {
    const struct layout *layout;
    int bits;
    bool sym;
    int64_t group;
    bool fit;
};

static int64_t group_of(const struct candidate *c, int64_t k) {
    return c->fit ? quant_fit_group(k, c->group) : c->group;
}

/* Has the candidate a say in the module's shape? What a rule sets stays so. */
static bool shaped(const struct plan_module *module) {
    return module->fate == MODULE_QUANTIZED && module->at.node >= 0;
}

static struct quant_shape shape_by(const struct candidate *c, const struct plan_module *module) {
    const unsigned given = module->rule ? module->rule->given : 0;
    struct quant_shape shape = module->shape;
    shape.bits = given & RECIPE_BITS ? shape.bits : c->bits;
    shape.sym = given & RECIPE_SYM ? shape.sym : c->sym;
    shape.group = given & RECIPE_GROUP ? shape.group : group_of(c, shape.k);
    return shape;
}

/* Would a plan of these settings be made? */
static bool works(const struct plan *p, const struct candidate *c) {
    int64_t first = 0;
    for (int64_t i = 0; i < p->module_count; i++) {
        if (!shaped(&p->modules[i]))
            continue;
        const struct quant_shape shape = shape_by(c, &p->modules[i]);
        first = first ? first : shape.group;
        if (!shape.sym && c->layout->asym_if_exact)
            return false;
        if (shape.group != -1 && (shape.group < GROUP_MIN || shape.k % shape.group != 0))
            return false;
        if (!c->layout->overrides && shape.group != first)
            return false;
        if (c->layout->accepts(&shape, NULL) != LLMQ_OK)
            return false;
    }
    return true;
}

static int64_t gcd(int64_t a, int64_t b) {
    return b == 0 ? a : gcd(b, a % b);
}

/* Fast kernels take powers of two from 32 to 128, then other multiples of 32, then any; the larger
 * the cheaper. */
static int rank_of(int64_t group) {
    if (group == 128 || group == 64 || group == KERNEL_STEP)
        return 0;
    return group % KERNEL_STEP == 0 ? 1 : 2;
}

/* Add the sizes of one rank that work to the list. */
static void list_rank(const struct plan *p, struct candidate c, int64_t common, int rank,
                      struct strbuf *sizes, int *listed) {
    for (c.group = common; c.group >= GROUP_MIN && *listed < SIZES_LISTED; c.group--)
        if (common % c.group == 0 && rank_of(c.group) == rank && works(p, &c))
            strbuf_printf(sizes, "%s%" PRId64, (*listed)++ ? ", " : "", c.group);
}

/* Group sizes that would do with the format and bits as they are, or one size for each module, or
 * a group for each row. False: none. */
static bool hint_sizes(const struct plan *p, struct candidate c, llmq_error *err) {
    struct strbuf sizes = {0};
    int64_t common = 0;
    int listed = 0;
    for (int64_t i = 0; i < p->module_count; i++)
        common = shaped(&p->modules[i]) ? gcd(common, p->modules[i].shape.k) : common;
    c.fit = false;
    for (int rank = 0; rank < 3; rank++)
        list_rank(p, c, common, rank, &sizes, &listed);
    c.group = 128;
    c.fit = true;
    const bool fit = works(p, &c);
    c.group = -1;
    c.fit = false;
    const bool row = works(p, &c);
    if (listed > 0 && strbuf_ok(&sizes))
        error_hint(err, "group sizes that divide every module: %s%s", sizes.data,
                   fit ? "; or --group auto-fit" : "");
    else if (fit || row)
        error_hint(err, "give --group %s", fit ? "auto-fit" : "-1");
    strbuf_free(&sizes);
    return listed > 0 || fit || row;
}

/* The options that make of what was asked for what works. */
static void hint_options(const struct candidate *asked, const struct candidate *c,
                         llmq_error *err) {
    char format[64] = "", bits[32] = "", group[32] = "";
    if (c->layout != asked->layout)
        snprintf(format, sizeof format, " --format %s", c->layout->name);
    if (c->bits != asked->bits)
        snprintf(bits, sizeof bits, " --bits %d", c->bits);
    if (c->fit && !asked->fit)
        snprintf(group, sizeof group, " --group auto-fit");
    else if (!c->fit && (asked->fit || c->group != asked->group))
        snprintf(group, sizeof group, " --group %" PRId64, c->group);
    error_hint(err, "give%s%s%s", format, bits, group);
}

/* The group asked for, the best for each module, or one for each row. */
static bool try_groups(const struct plan *p, const struct candidate *asked, struct candidate *c) {
    c->group = asked->group;
    c->fit = asked->fit;
    if (works(p, c))
        return true;
    c->group = 128;
    c->fit = true;
    if (works(p, c))
        return true;
    c->group = -1;
    c->fit = false;
    return works(p, c);
}

/* Formats in the order of how widely they load; those that a model may not fit for other reasons
 * only where they were asked for. */
static bool try_layouts(const struct plan *p, const struct candidate *asked, struct candidate *c) {
    const struct layout *const order[] = {asked->layout, &layout_gptq, &layout_awq,
                                          &layout_compressed_tensors};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        c->layout = order[i];
        if (try_groups(p, asked, c))
            return true;
    }
    return false;
}

/* The symmetric grid, rather than another format, with group sizes where those asked for do not
 * fit. False: none. */
static bool hint_symmetric(const struct plan *p, struct candidate c, llmq_error *err) {
    llmq_error sizes = {0};
    c.sym = true;
    if (works(p, &c))
        error_hint(err, "give --sym");
    else if (hint_sizes(p, c, &sizes))
        error_hint(err, "give --sym; %.400s", sizes.hint);
    else
        return false;
    return true;
}

static bool fits(const struct plan *p, const struct plan_module *module) {
    const struct quant_shape *s = &module->shape;
    return (s->sym || !p->layout->asym_if_exact) && (s->group <= 0 || s->k % s->group == 0) &&
           p->layout->accepts(s, NULL) == LLMQ_OK;
}

/* Are there modules that the group and the format fit as they were asked for? */
static bool some_fit(const struct plan *p) {
    bool some = false;
    for (int64_t i = 0; i < p->module_count; i++)
        some = some || (shaped(&p->modules[i]) && fits(p, &p->modules[i]));
    return some;
}

/* Is it a rule that asked for what does not fit? */
static bool hint_rule(const struct plan *p, llmq_error *err) {
    const unsigned grid = RECIPE_BITS | RECIPE_GROUP | RECIPE_SYM;
    char rule[RECIPE_SHOWN];
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (module->fate != MODULE_QUANTIZED || !module->rule || !(module->rule->given & grid) ||
            fits(p, module))
            continue;
        error_hint(err, "rule %s asks for it: change its settings, or let it keep the module",
                   recipe_show(module->rule, rule));
        return true;
    }
    return false;
}

/* What always helps where not all modules are to blame. */
static void hint_keep(const struct plan *p, const llmq_quantize_options *o, llmq_error *err) {
    if (!err || o->group_keep || !some_fit(p))
        return;
    const llmq_error said = *err;
    error_hint(err, "%.800s%s--group %s%" PRId64 ",keep leaves the others in 16 bits", said.hint,
               said.hint[0] ? "; " : "", o->group_auto_fit ? "auto-fit:" : "", o->group);
}

static void hint_settings(const struct plan *p, const llmq_quantize_options *o, llmq_error *err) {
    static const int widths[] = {4, 8, 3, 2};
    const struct candidate asked = {.layout = p->layout,
                                    .bits = o->bits,
                                    .sym = o->sym,
                                    .group = o->group,
                                    .fit = o->group_auto_fit};
    struct candidate c = asked;
    if (!o->sym && p->layout->asym_if_exact && hint_symmetric(p, asked, err))
        return;
    if (hint_sizes(p, asked, err))
        return;
    if (try_layouts(p, &asked, &c)) {
        hint_options(&asked, &c, err);
        return;
    }
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        c.bits = widths[i];
        if (try_layouts(p, &asked, &c)) {
            hint_options(&asked, &c, err);
            return;
        }
    }
    error_hint(err, "no format that llmq writes holds modules of these shapes, at any bits");
}

void plan_hint(const struct plan *p, const llmq_quantize_options *o, llmq_error *err) {
    if (hint_rule(p, err))
        return;
    hint_settings(p, o, err);
    hint_keep(p, o, err);
}
