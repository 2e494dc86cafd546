/* SPDX-License-Identifier: Apache-2.0 */
/* What became of a module, in words: see module_report.h. */
#include "pipeline/module_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "graph/weights.h"
#include "pipeline/report.h"

/* A module whose rows AWQ divided rounds a little differently; that much is not worth telling. */
#define WORSE 1.01

/* Nor is what the limits of scales cost when it is less than what 8 bits lose anyway. */
#define MISFIT_SMALL 1e-5

static void add_event(struct strbuf *b, const char *text) {
    strbuf_printf(b, "%s%s", b->len ? "; " : "", text);
}

/* Is what the limits of scales cost worth a warning? */
static bool misfit_hurts(const struct scale_misfit *m) {
    return m->lost > MISFIT_SMALL && m->lost > m->ordinary;
}

static char *describe_events(const struct quant_outcome *o, const struct module_tokens *seen,
                             int64_t n, int64_t groups) {
    struct strbuf b = {0};
    char text[128];
    if (seen && seen->borrowed > 0) {
        snprintf(text, sizeof text,
                 "%" PRId64 " tokens were routed to the expert, %" PRId64
                 " others of its layer stood in",
                 seen->tokens - seen->borrowed, seen->borrowed);
        add_event(&b, text);
    }
    if (o->fell_back)
        add_event(&b, "no Cholesky factor at any damping: rounded to nearest");
    else if (o->damp_retries > 0) {
        snprintf(text, sizeof text, "damping raised to %g", o->damp);
        add_event(&b, text);
    }
    if (o->beaten)
        add_event(&b, "worse than rounded to nearest on tokens held back: rounded");
    if (o->dead_columns > 0) {
        snprintf(text, sizeof text, "%" PRId64 " inputs never active, their weights set to 0",
                 o->dead_columns);
        add_event(&b, text);
    }
    if (!o->fell_back && !o->beaten && o->rows_kept_rtn > 0) {
        snprintf(text, sizeof text, "%" PRId64 " of %" PRId64 " rows better rounded to nearest",
                 o->rows_kept_rtn, n);
        add_event(&b, text);
    }
    if (o->misfit.groups > 0) {
        snprintf(text, sizeof text,
                 "%" PRId64 " of %" PRId64 " groups ask for scales beyond the format's: %.1e of "
                 "the weights lost",
                 o->misfit.groups, groups, o->misfit.lost);
        add_event(&b, text);
    }
    if (o->unscaled) {
        snprintf(text, sizeof text, "no scale for its inputs: %s", o->unscaled);
        add_event(&b, text);
    }
    if (o->error > WORSE * o->rtn_error)
        add_event(&b, "rounding the unscaled weights would have been better on these inputs");
    return strbuf_take(&b);
}

static int64_t module_groups(const struct quant_shape *s) {
    return s->n * (s->group == -1 ? 1 : s->k / s->group);
}

enum llmq_status module_report_add(struct run *run, const struct plan_module *module,
                                   const struct quant_outcome *outcome, struct correction strength,
                                   const struct module_tokens *seen, llmq_error *err) {
    llmq_module_report r = {
        .name = strdup(module->name),
        .method = outcome->method,
        .n = module->shape.n,
        .k = module->shape.k,
        .bits = module->shape.bits,
        .group = module->shape.group,
        .tokens = seen ? seen->tokens : 0,
        .borrowed = seen ? seen->borrowed : 0,
        .error = outcome->error,
        .rtn_error = outcome->rtn_error,
        .damp = outcome->damp,
        .alpha = strength.alpha,
        .beta = strength.beta,
        .outliers = outcome->outliers.count,
        .outlier_share = outcome->outliers.share,
        .fold_error = module->at.node < 0 ? 0 : run->fold.difference,
        .fell_back = module->manner.method == LLMQ_METHOD_GPTQ && !strstr(outcome->method, "gptq"),
        .events = describe_events(outcome, seen, module->shape.n, module_groups(&module->shape)),
    };
    if (!r.name || !r.events) {
        report_module_free(&r);
        return error_memory(err, "the report");
    }
    bool warn = outcome->fell_back || misfit_hurts(&outcome->misfit);
    if (*r.events)
        log_message(run->ctx, warn ? LLMQ_LOG_WARNING : LLMQ_LOG_DETAIL, "%s: %s", r.name,
                    r.events);
    return report_add_module(run->report, &r, err);
}

enum llmq_status module_report_kept(struct run *run, const struct plan_module *module,
                                    llmq_error *err) {
    llmq_module_report r =
        report_planned(module, run->options, run_plain_bits(run, module - run->plan.modules));
    if (r.name && r.events)
        return report_add_module(run->report, &r, err);
    report_module_free(&r);
    return error_memory(err, "the report");
}

int run_plain_bits(const struct run *run, int64_t i) {
    const struct plan_module *module = &run->plan.modules[i];
    const struct st_tensor *t =
        module->at.node < 0 ? NULL
                            : weights_find_stack(run->model.tensors, run->model.blocks, module->at);
    char name[MODEL_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s.weight", module->name);
    t = t ? t : st_find(run->model.tensors, name);
    return t ? (int)dtype_bits(st_copy_dtype(t)) : 16;
}
