/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of each module, from the options and the rules of a recipe: see plan.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "pipeline/plan.h"

/* --- how codes are chosen --------------------------------------------------------------------- */

static struct module_manner manner_of(const llmq_quantize_options *o, enum llmq_method method) {
    return (struct module_manner){.method = method,
                                  .act_order = o->act_order,
                                  .search = o->search,
                                  .percentile = o->percentile,
                                  .correct = o->correct,
                                  .descent = o->descent,
                                  .rounds = o->rounds,
                                  .curvature = o->curvature,
                                  .restarts = o->restarts};
}

/* After AWQ's scaling weights are rounded to nearest. */
struct module_manner plan_manner(const llmq_quantize_options *o) {
    return manner_of(o, o->method == LLMQ_METHOD_GPTQ ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_RTN);
}

/* Another method than the run's comes with its own defaults. */
static void set_method(enum llmq_method method, struct module_manner *manner) {
    llmq_quantize_options defaults;
    if (manner->method == method)
        return;
    llmq_quantize_options_init(&defaults, method);
    *manner = manner_of(&defaults, method);
}

static enum llmq_status set_quality(const struct plan_module *module, enum llmq_quality quality,
                                    struct module_manner *manner, llmq_error *err) {
    llmq_quantize_options o = {.method = LLMQ_METHOD_GPTQ};
    char rule[RECIPE_SHOWN];
    if (manner->method != LLMQ_METHOD_GPTQ) {
        error_set(err, LLMQ_E_USAGE, "%s: quality is gptq's, and changes nothing of rounding",
                  module->name);
        error_hint(err, "give rule %s method=gptq too", recipe_show(module->rule, rule));
        return LLMQ_E_USAGE;
    }
    llmq_quantize_options_quality(&o, quality);
    *manner = manner_of(&o, LLMQ_METHOD_GPTQ);
    return LLMQ_OK;
}

/* --- a rule's settings ------------------------------------------------------------------------ */

/* What was packed is no plain weight to leave as it is. */
static enum llmq_status keep(const struct model *m, struct plan_module *module, llmq_error *err) {
    char rule[RECIPE_SHOWN];
    module->fate = MODULE_PLAIN;
    if (module->at.node < 0 || !model_linear_packed(m, module->at))
        return LLMQ_OK;
    error_set(err, LLMQ_E_USAGE, "%s is packed in the source: it cannot be kept in 16 bits",
              module->name);
    error_hint(err,
               "leave it out of rule %s; --source-quantized keep leaves packed linears as they "
               "are, and llmq convert --format bf16 makes a plain checkpoint of it",
               recipe_show(module->rule, rule));
    return LLMQ_E_USAGE;
}

static enum llmq_status apply(const struct model *m, struct plan_module *module, llmq_error *err) {
    const struct recipe_rule *rule = module->rule;
    struct quant_shape *s = &module->shape;
    enum llmq_status status = LLMQ_OK;
    if (rule->given & RECIPE_KEEP)
        return keep(m, module, err);
    module->fate = MODULE_QUANTIZED;
    if (rule->given & RECIPE_BITS)
        s->bits = rule->bits;
    if (rule->given & RECIPE_SYM)
        s->sym = rule->sym;
    if (rule->given & RECIPE_GROUP)
        s->group = plan_group(m, module->at, s->k, rule->group, rule->group_fit);
    if (rule->given & RECIPE_METHOD)
        set_method(rule->method, &module->manner);
    if (rule->given & RECIPE_QUALITY)
        status = set_quality(module, rule->quality, &module->manner, err);
    if (rule->given & RECIPE_SEARCH) {
        module->manner.search = rule->search;
        if (rule->percentile > 0)
            module->manner.percentile = rule->percentile;
    }
    if (module->at.node < 0) /* there is no stream behind it that it could repair */
        module->manner.correct.mode = LLMQ_CORRECT_OFF;
    if (module->at.node < 0) {
        module->manner.curvature = LLMQ_CURVATURE_OFF;
        module->manner.restarts = 0;
    }
    return status;
}

/* --- which rule ------------------------------------------------------------------------------- */

/* How often each rule matched, and how often it was the first to do so. */
struct uses {
    int64_t *matched, *first;
};

/* An expression reaches the model's ends only by the last part of their names. */
static bool reaches(const struct recipe_rule *rule, const struct plan_module *module) {
    const char *dot = strrchr(module->name, '.');
    return module->at.node >= 0 || strstr(rule->match, dot ? dot + 1 : module->name);
}

static enum llmq_status find_rule(const llmq_recipe *recipe, struct plan_module *module,
                                  const struct uses *uses, llmq_error *err) {
    for (size_t i = 0; i < recipe->count; i++) {
        const struct recipe_rule *rule = &recipe->rules[i];
        bool matches = false;
        enum llmq_status status = regex_matches(rule->regex, module->name, &matches, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "rule '%.80s'", rule->match);
        if (!matches || !reaches(rule, module))
            continue;
        uses->matched[i]++;
        uses->first[i] += module->rule == NULL;
        module->rule = module->rule ? module->rule : rule;
    }
    return LLMQ_OK;
}

/* --- rules that do nothing -------------------------------------------------------------------- */

/* The longest run of characters that stands in both; expressions have names within them. */
static size_t common_run(const char *a, const char *b) {
    size_t most = 0;
    for (; *a; a++)
        for (const char *c = b; *c; c++) {
            size_t n = 0;
            while (a[n] && a[n] == c[n])
                n++;
            most = n > most ? n : most;
        }
    return most;
}

/* Names like the expression: the nearest first, none twice but for the number of its block. */
static void hint_names(const struct plan *p, const struct recipe_rule *rule, llmq_error *err) {
    enum { SHOWN = 4 };
    struct strbuf text = {0};
    const char *shown[SHOWN] = {NULL};
    for (int count = 0; count < SHOWN; count++) {
        size_t most = 0;
        for (int64_t i = 0; i < p->module_count; i++) {
            const char *name = p->modules[i].name, *dot = strrchr(name, '.');
            bool listed = p->modules[i].at.expert > 0;
            for (int s = 0; s < count; s++)
                listed =
                    listed || strcmp(strrchr(shown[s], '.') ? strrchr(shown[s], '.') : shown[s],
                                     dot ? dot : name) == 0;
            const size_t run = listed ? 0 : common_run(rule->match, name) + 1;
            if (run > most) {
                most = run;
                shown[count] = name;
            }
        }
        if (!shown[count])
            break;
        strbuf_printf(&text, "%s%s", count ? ", " : "", shown[count]);
    }
    error_hint(err, "modules are called %s; an expression is searched for anywhere in the name",
               text.data ? text.data : "otherwise");
    strbuf_free(&text);
}

static enum llmq_status check_uses(const struct plan *p, const llmq_recipe *recipe,
                                   const struct uses *uses, llmq_error *err) {
    char text[RECIPE_SHOWN];
    for (size_t i = 0; i < recipe->count; i++) {
        const struct recipe_rule *rule = &recipe->rules[i];
        if (uses->first[i] > 0)
            continue;
        error_set(err, LLMQ_E_USAGE, "rule %s matches no module%s", recipe_show(rule, text),
                  uses->matched[i] > 0 ? " that a rule before it does not match" : "");
        if (uses->matched[i] > 0)
            error_hint(err,
                       "the first rule that matches a module counts: put it before the others");
        else
            hint_names(p, rule, err);
        return LLMQ_E_USAGE;
    }
    return LLMQ_OK;
}

enum llmq_status plan_apply_rules(const struct model *m, const llmq_quantize_options *o,
                                  struct plan *p, llmq_error *err) {
    const llmq_recipe *recipe = o->recipe;
    enum llmq_status status = LLMQ_OK;
    if (!recipe || recipe->count == 0)
        return LLMQ_OK;
    int64_t *counts = calloc(2 * recipe->count, sizeof *counts);
    const struct uses uses = {counts, counts + recipe->count};
    if (!counts)
        return error_memory(err, "the rules for modules");
    for (int64_t i = 0; i < p->module_count; i++) {
        struct plan_module *module = &p->modules[i];
        if (module->fate == MODULE_PACKED)
            continue;
        LLMQ_TRY(find_rule(recipe, module, &uses, err));
        if (module->rule)
            LLMQ_TRY(apply(m, module, err));
    }
    status = check_uses(p, recipe, &uses, err);
cleanup:
    free(counts);
    return status;
}

/* --- what follows for the run ----------------------------------------------------------------- */

bool plan_needs_calibration(const struct plan *p) {
    bool needs = false;
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct module_manner *manner = &p->modules[i].manner;
        needs = needs ||
                (p->modules[i].fate == MODULE_QUANTIZED &&
                 (manner->method == LLMQ_METHOD_GPTQ || manner->correct.mode != LLMQ_CORRECT_OFF ||
                  manner->search == LLMQ_RANGE_WEIGHTED));
    }
    return needs;
}

/* The usual group is that of most modules, where each has one that fits: the experts', which
 * loaders may give their layer whatever else the config says. */
static const struct plan_module *usual_module(const struct model *m, const struct plan *p,
                                              bool fit) {
    const struct plan_module *usual = NULL;
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (module->fate == MODULE_PLAIN || module->at.node < 0)
            continue;
        usual = usual ? usual : module;
        if (fit && module->at.expert == 0 &&
            blocks_graph_of(m->blocks, module->at)->linear[0] == module->at.node)
            return module;
    }
    return usual;
}

enum llmq_status plan_settle_config(const struct model *m, const llmq_quantize_options *o,
                                    struct plan *p, llmq_error *err) {
    const struct plan_module *usual = usual_module(m, p, o->group_auto_fit);
    if (!usual) {
        error_set(err, LLMQ_E_USAGE,
                  "every linear of %s is to stay as it is: nothing is left to "
                  "quantize",
                  m->dir);
        error_hint(err, "leave modules out of --keep, or give a smaller --group");
        return LLMQ_E_USAGE;
    }
    if (o->group_auto_fit || !p->layout->overrides)
        p->layout_config.group = usual->shape.group;
    if (!p->layout->overrides)
        p->layout_config.bits = usual->shape.bits;
    return LLMQ_OK;
}
