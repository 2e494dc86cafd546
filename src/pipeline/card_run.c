/* SPDX-License-Identifier: Apache-2.0 */
/* See card_run.h. */
#include "pipeline/card_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "llmq/version.h"
#include "pipeline/card.h"
#include "pipeline/report.h"

/* --- what was done ---------------------------------------------------------------------------- */

static const char *method_name(const llmq_quantize_options *o) {
    switch (o->method) {
    case LLMQ_METHOD_GPTQ:
        return o->awq ? "AWQ and GPTQ" : "GPTQ";
    case LLMQ_METHOD_AWQ:
        return "AWQ";
    case LLMQ_METHOD_RTN:
    default:
        return "rounding to nearest";
    }
}

static void put_grid(struct strbuf *out, const struct run *run) {
    const llmq_quantize_options *o = run->options;
    const bool floats = run->plan.layout->number != NUMBER_INT;
    strbuf_printf(out, "| weights | %d bits%s, ", o->bits, floats ? " (floating point)" : "");
    if (o->group == -1)
        strbuf_puts(out, "a scale for each row");
    else
        strbuf_printf(out, "groups of %s%" PRId64, o->group_auto_fit ? "up to " : "", o->group);
    strbuf_printf(out, ", %s%s |\n", o->sym ? "symmetric" : "asymmetric",
                  o->recipe ? "; some modules by rules, see `options.recipe` in llmq.json" : "");
}

/* An option as the record has it; nothing of one that is off, or that the record does not have. */
static void put_option(struct strbuf *out, const struct json *options, const char *key,
                       const char *before) {
    const struct json *v = json_get(options, key);
    double number = 0;
    bool on = false;
    if (json_type(v) == JSON_NULL || (json_as_bool(v, &on) && !on) ||
        (json_as_double(v, &number) && !(number > 0)))
        return;
    char *text = json_string(v) || on ? NULL : json_print(v, false);
    strbuf_printf(out, "%s%s%s", before, key, on ? "" : " ");
    card_put(out, json_string(v) ? json_string(v) : text ? text : "");
    free(text);
}

/* The method, and those of its options that are its own. */
static void put_method(struct strbuf *out, const struct run *run) {
    static const char *const keys[] = {
        "act-order", "search",           "correct", "descent",       "rounds", "restarts",
        "curvature", "curvature-tokens", "damp",    "token-weights", "tune"};
    const struct json *options = json_get(run->record, "options");
    const char *commit = json_string(json_get(run->record, "commit"));
    strbuf_printf(out, "| method | %s", method_name(run->options));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (run->options->method == LLMQ_METHOD_GPTQ || strcmp(keys[i], "search") == 0)
            put_option(out, options, keys[i], ", ");
    strbuf_printf(out, " |\n| program | llmq %s%s%s |\n", LLMQ_VERSION, commit ? ", commit " : "",
                  commit ? commit : "");
}

static void put_calibration(struct strbuf *out, const struct run *run) {
    const struct json *texts = json_get(json_get(run->record, "made_from"), "texts");
    if (!run->calibrated)
        return;
    strbuf_printf(out, "| calibration | %" PRId64 " windows, %" PRId64 " tokens of ",
                  run->corpus.count - run->corpus.held, calib_fitted_tokens(&run->tokens));
    for (const struct json *t = json_first(texts); t; t = json_next(t)) {
        const char *name = json_string(json_get(t, "name")),
                   *sum = json_string(json_get(t, "sha256"));
        strbuf_puts(out, t == json_first(texts) ? "" : ", ");
        card_put(out, name ? name : "");
        strbuf_printf(out, " (SHA-256 %.12s...)", sum ? sum : "");
    }
    strbuf_puts(out, " |\n");
}

static void put_done(struct strbuf *out, const struct run *run) {
    const struct origin *o = &run->origin;
    strbuf_puts(out, "Made of ");
    card_put(out, o->repository ? o->repository : o->name);
    if (o->revision) {
        strbuf_puts(out, " at ");
        card_put(out, o->revision);
    }
    strbuf_puts(out, " on a CPU with llmq.\n\n| | |\n| --- | --- |\n");
    put_method(out, run);
    put_grid(out, run);
    strbuf_printf(out, "| format | %s |\n", run->plan.layout->name);
    put_calibration(out, run);
    strbuf_printf(out, "| size | %.2f MiB, of %" PRId64 " modules and %zu other tensors |\n",
                  (double)run->plan.disk_bytes / 0x1p20, run->plan.module_count,
                  run->plan.kept_count);
}

/* --- what came of it -------------------------------------------------------------------------- */

/* Modules of one kind. */
struct kind {
    char name[128];
    const llmq_module_report *first;
    size_t count, back;
    double error, worst, rtn;
};

/* "self_attn.q_proj" of model.layers.0.self_attn.q_proj; numbers behind that of the block, which
 * are of experts, become stars. */
static void name_kind(const char *module, char *out, size_t size) {
    size_t len = 0;
    bool numbered = false;
    const char *from = module;
    for (const char *dot = strchr(module, '.'); dot && !numbered; dot = strchr(dot + 1, '.')) {
        const size_t digits = strspn(dot + 1, "0123456789");
        numbered = digits > 0 && dot[1 + digits] == '.';
        from = numbered ? dot + 2 + digits : from;
    }
    for (const char *p = from; *p && len + 1 < size;) {
        const size_t digits = strspn(p, "0123456789");
        const bool whole =
            digits > 0 && (p == from || p[-1] == '.') && (p[digits] == '.' || p[digits] == '\0');
        out[len++] = whole ? '*' : *p;
        p += whole ? digits : 1;
    }
    out[len] = '\0';
}

static struct kind *kind_of(struct kind *kinds, size_t *count, const llmq_module_report *m) {
    char name[sizeof kinds->name];
    name_kind(m->name, name, sizeof name);
    for (size_t i = 0; i < *count; i++)
        if (strcmp(kinds[i].name, name) == 0 && kinds[i].first->bits == m->bits &&
            kinds[i].first->group == m->group)
            return &kinds[i];
    struct kind *fresh = &kinds[(*count)++];
    *fresh = (struct kind){.first = m};
    memcpy(fresh->name, name, sizeof name);
    return fresh;
}

static bool is_measured(const llmq_module_report *m) {
    return strcmp(m->method, REPORT_KEPT) != 0 && strcmp(m->method, REPORT_PLAIN) != 0;
}

static void put_kind(struct strbuf *out, const struct kind *k) {
    const double n = (double)k->count;
    strbuf_puts(out, "| ");
    card_put(out, k->name);
    strbuf_printf(out, " | %zu | %d | ", k->count, k->first->bits);
    if (k->first->group == -1)
        strbuf_puts(out, "row");
    else
        strbuf_printf(out, "%" PRId64, k->first->group);
    strbuf_printf(out, " | %.2e | %.2e | %.2e |\n", k->error / n, k->worst, k->rtn / n);
}

static enum llmq_status put_errors(struct strbuf *out, const struct run *run, llmq_error *err) {
    const llmq_quantize_report *r = run->report;
    struct kind *kinds = calloc(r->module_count + 1, sizeof *kinds);
    struct kind all = {.count = 0};
    size_t count = 0;
    if (!kinds)
        return error_memory(err, "the model card");
    for (size_t i = 0; i < r->module_count; i++) {
        const llmq_module_report *m = &r->modules[i];
        if (!is_measured(m))
            continue;
        struct kind *const both[] = {kind_of(kinds, &count, m), &all};
        for (size_t k = 0; k < 2; k++) {
            both[k]->count++;
            both[k]->back += m->fell_back;
            both[k]->error += m->error;
            both[k]->rtn += m->rtn_error;
            both[k]->worst = m->error > both[k]->worst ? m->error : both[k]->worst;
        }
    }
    strbuf_puts(out, "\n## Errors\n\n");
    strbuf_printf(out, "Squared error of what a module computes, relative to what it should%s.\n\n",
                  run->calibrated ? ", on\ncalibration tokens that nothing was fitted to" : "");
    strbuf_puts(out, "| modules | count | bits | group | error | worst | by rounding alone |\n"
                     "| --- | --: | --: | --: | --: | --: | --: |\n");
    for (size_t i = 0; i < count; i++)
        put_kind(out, &kinds[i]);
    if (all.count > 0)
        strbuf_printf(out, "| **all** | %zu | | | **%.2e** | %.2e | %.2e |\n", all.count,
                      all.error / (double)all.count, all.worst, all.rtn / (double)all.count);
    if (all.back > 0)
        strbuf_printf(out, "\nOf them %zu are rounded to nearest, which was better.\n", all.back);
    free(kinds);
    return LLMQ_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

enum llmq_status card_run_write(const struct run *run, llmq_error *err) {
    char bits[16], title[64];
    struct strbuf account = {0};
    const char *const tags[] = {"llmq", report_method(run->options), bits, run->plan.layout->name,
                                NULL};
    const bool same = strcmp(tags[1], tags[3]) == 0; /* gptq, of the format gptq */
    const char *const fewer[] = {tags[0], tags[1], tags[2], NULL};
    (void)snprintf(bits, sizeof bits, "%d-bit", run->options->bits);
    (void)snprintf(title, sizeof title, "%s, %d bits", method_name(run->options),
                   run->options->bits);
    put_done(&account, run);
    enum llmq_status status = put_errors(&account, run, err);
    if (status == LLMQ_OK && !strbuf_ok(&account))
        status = error_memory(err, "the model card");
    const struct card card = {
        .origin = &run->origin,
        .companions = &run->source.companions,
        .model_dir = run->model.dir,
        .plan = &run->plan,
        .family = run->model.config.family,
        .title = title,
        .tags = same ? fewer : tags,
        .account = account.data,
    };
    if (status == LLMQ_OK)
        status = card_write(&card, run->output.partial_dir, run->ctx, err);
    strbuf_free(&account);
    return status;
}
