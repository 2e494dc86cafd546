/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a run: see report.h and llmq/quantize.h. */
#include "pipeline/report.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "pipeline/plan.h"
#include "pipeline/serving.h"
#include "setup/setup.h"

/* Methods a module can end with; reports hold these static strings. */
static const char *const methods[] = {"rtn", "gptq", "awq", "awq+gptq", REPORT_KEPT, REPORT_PLAIN};

const char *report_method(const llmq_quantize_options *options) {
    switch (options->method) {
    case LLMQ_METHOD_GPTQ:
        return options->awq ? "awq+gptq" : "gptq";
    case LLMQ_METHOD_AWQ:
        return "awq";
    case LLMQ_METHOD_RTN:
    default:
        return "rtn";
    }
}

/* What a module's method is called that is still to be applied. */
static const char *planned_method(const struct plan_module *module,
                                  const llmq_quantize_options *options) {
    const bool gptq = module->manner.method == LLMQ_METHOD_GPTQ;
    if (module->fate == MODULE_PACKED)
        return REPORT_KEPT;
    if (module->fate == MODULE_PLAIN)
        return REPORT_PLAIN;
    if (plan_folds(options) && module->at.node >= 0)
        return gptq ? "awq+gptq" : "awq";
    return gptq ? "gptq" : "rtn";
}

llmq_module_report report_planned(const struct plan_module *module,
                                  const llmq_quantize_options *options, int plain_bits) {
    const bool plain = module->fate == MODULE_PLAIN;
    return (llmq_module_report){.name = strdup(module->name),
                                .method = planned_method(module, options),
                                .n = module->shape.n,
                                .k = module->shape.k,
                                .bits = plain ? plain_bits : module->shape.bits,
                                .group = plain ? 0 : module->shape.group,
                                .events = strdup("")};
}

void report_module_free(llmq_module_report *module) {
    free(module->name);
    free(module->events);
    *module = (llmq_module_report){0};
}

enum llmq_status report_add_module(llmq_quantize_report *report, const llmq_module_report *module,
                                   llmq_error *err) {
    llmq_module_report mine = *module;
    llmq_module_report *modules =
        realloc(report->modules, (report->module_count + 1) * sizeof *modules);
    if (!modules) {
        report_module_free(&mine);
        return error_memory(err, "the report");
    }
    report->modules = modules;
    modules[report->module_count++] = mine;
    return LLMQ_OK;
}

_Static_assert(TALLY_KINDS <= LLMQ_WORK_MAX, "every kind of work has its place in the report");

void report_work(llmq_quantize_report *report, const struct tally *tally) {
    report->work_count = 0;
    for (enum tally_kind kind = 0; kind < TALLY_KINDS; kind++)
        if (tally->seconds[kind] > 0)
            report->work[report->work_count++] =
                (llmq_work){tally_name(kind), tally->seconds[kind], tally->flops[kind]};
}

static struct json *work_json(const llmq_work *work) {
    struct json *o = json_new_object();
    json_add_string(o, "name", work->name);
    json_add_double(o, "seconds", work->seconds);
    json_add_double(o, "flops", work->flops);
    return o;
}

struct json *report_module_json(const llmq_module_report *module) {
    struct json *o = json_new_object();
    json_add_string(o, "name", module->name);
    json_add_string(o, "method", module->method);
    json_add_int64(o, "n", module->n);
    json_add_int64(o, "k", module->k);
    json_add_int64(o, "bits", module->bits);
    json_add_int64(o, "group", module->group);
    json_add_int64(o, "tokens", module->tokens);
    json_add_int64(o, "borrowed", module->borrowed);
    json_add_double(o, "error", module->error);
    json_add_double(o, "rtn_error", module->rtn_error);
    json_add_double(o, "damp", module->damp);
    json_add_double(o, "alpha", module->alpha);
    json_add_double(o, "beta", module->beta);
    json_add_double(o, "fold_error", module->fold_error);
    json_add_int64(o, "outliers", module->outliers);
    json_add_double(o, "outlier_share", module->outlier_share);
    json_add_bool(o, "fell_back", module->fell_back);
    json_add_string(o, "events", module->events);
    return o;
}

enum llmq_status report_module_parse(const struct json *json, llmq_module_report *out,
                                     llmq_error *err) {
    int64_t bits = 0;
    const char *name = json_string(json_get(json, "name"));
    const char *method = json_string(json_get(json, "method"));
    const char *events = json_string(json_get(json, "events"));
    *out = (llmq_module_report){0};
    for (size_t i = 0; method && i < sizeof methods / sizeof methods[0]; i++)
        if (strcmp(method, methods[i]) == 0)
            out->method = methods[i];
    bool complete = name && out->method && events && json_as_int64(json_get(json, "n"), &out->n) &&
                    json_as_int64(json_get(json, "k"), &out->k) &&
                    json_as_int64(json_get(json, "bits"), &bits) &&
                    json_as_int64(json_get(json, "group"), &out->group) &&
                    json_as_int64(json_get(json, "tokens"), &out->tokens) &&
                    json_as_int64(json_get(json, "borrowed"), &out->borrowed) &&
                    json_as_double(json_get(json, "error"), &out->error) &&
                    json_as_double(json_get(json, "rtn_error"), &out->rtn_error) &&
                    json_as_double(json_get(json, "damp"), &out->damp) &&
                    json_as_double(json_get(json, "alpha"), &out->alpha) &&
                    json_as_double(json_get(json, "beta"), &out->beta) &&
                    json_as_double(json_get(json, "fold_error"), &out->fold_error) &&
                    json_as_int64(json_get(json, "outliers"), &out->outliers) &&
                    json_as_double(json_get(json, "outlier_share"), &out->outlier_share) &&
                    json_as_bool(json_get(json, "fell_back"), &out->fell_back);
    if (!complete)
        return error_set(err, LLMQ_E_INPUT, "a module's record is incomplete");
    out->bits = (int)bits;
    out->name = strdup(name);
    out->events = strdup(events);
    if (!out->name || !out->events) {
        report_module_free(out);
        return error_memory(err, "the report");
    }
    return LLMQ_OK;
}

void llmq_quantize_report_free(llmq_quantize_report *report) {
    for (size_t i = 0; i < report->module_count; i++)
        report_module_free(&report->modules[i]);
    for (size_t i = 0; i < report->kept_count; i++)
        free(report->kept[i]);
    for (size_t i = 0; i < report->rounded_count; i++)
        free(report->rounded[i].name);
    for (size_t i = 0; i < report->carried_count; i++)
        free(report->carried[i].name);
    for (size_t i = 0; i < report->folded_count; i++)
        free(report->folded[i]);
    for (size_t i = 0; i < report->dropped_count; i++)
        free(report->dropped[i]);
    serving_free(&report->servings);
    free(report->modules);
    free(report->kept);
    free(report->rounded);
    free(report->carried);
    free(report->folded);
    free(report->dropped);
    free(report->model);
    free(report->out);
    free(report->format);
    *report = (llmq_quantize_report){0};
}

static void add_names(struct json *object, const char *key, char *const *names, size_t count) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < count; i++)
        json_add_string(array, NULL, names[i]);
    json_add(object, key, array);
}

static struct json *parts_json(const llmq_part *parts, size_t count) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < count; i++) {
        struct json *o = json_new_object();
        json_add_string(o, "part", parts[i].name);
        json_add_int64(o, "tensors", parts[i].tensors);
        json_add_int64(o, "bytes", (int64_t)parts[i].bytes);
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *rounded_json(const llmq_rounded *rounded, size_t count) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < count; i++) {
        struct json *o = json_new_object();
        json_add_string(o, "name", rounded[i].name);
        json_add_string(o, "type", rounded[i].type);
        json_add(array, NULL, o);
    }
    return array;
}

static void add_tuning(struct json *object, const llmq_tuning *t) {
    struct json *o = json_new_object();
    json_add_int64(o, "windows", t->windows);
    json_add_int64(o, "held", t->held);
    json_add_int64(o, "fresh", t->fresh);
    json_add_double(o, "before", t->before);
    json_add_double(o, "after", t->after);
    json_add_int64(o, "steps", t->steps);
    json_add(object, "tuning", o);
}

/* What is the same for every run that makes the same result. */
static void add_outcome(struct json *o, const llmq_quantize_report *r) {
    json_add_string(o, "format", r->format);
    json_add_string(o, "compute", setup_compute_name(r->compute));
    add_names(o, "kept", r->kept, r->kept_count);
    json_add(o, "rounded", rounded_json(r->rounded, r->rounded_count));
    json_add(o, "carried", parts_json(r->carried, r->carried_count));
    add_names(o, "folded", r->folded, r->folded_count);
    add_names(o, "dropped", r->dropped, r->dropped_count);
    if (r->tuning.held > 0)
        add_tuning(o, &r->tuning);
    else
        json_add_null(o, "tuning");
    json_add_int64(o, "blocks", r->blocks);
    json_add_int64(o, "windows", r->windows);
    json_add_int64(o, "tokens_used", r->tokens_used);
    json_add_int64(o, "held_windows", r->held_windows);
    json_add_int64(o, "held_tokens", r->held_tokens);
    json_add_int64(o, "tokens_dropped", r->tokens_dropped);
    json_add_int64(o, "texts", r->texts);
    json_add_int64(o, "chats", r->chats);
    json_add_int64(o, "texts_empty", r->texts_empty);
    json_add_int64(o, "texts_begun", r->texts_begun);
    json_add_int64(o, "plan_disk_bytes", (int64_t)r->plan_disk_bytes);
    json_add_double(o, "plan_flops", r->plan_flops);
    json_add_double(o, "plan_passes", r->plan_passes);
    json_add_double(o, "plan_tune_passes", r->plan_tune_passes);
}

/* What depends on how the run went about it, and on the machine. */
static void add_manner(struct json *o, const llmq_quantize_report *r) {
    struct json *work = json_new_array();
    for (size_t i = 0; i < r->work_count; i++)
        json_add(work, NULL, work_json(&r->work[i]));
    json_add_int64(o, "blocks_resumed", r->blocks_resumed);
    json_add_int64(o, "plan_ram_bytes", (int64_t)r->plan_ram_bytes);
    json_add_double(o, "plan_seconds", r->plan_seconds);
    json_add_double(o, "sgemm_gflops", r->sgemm_gflops);
    json_add_int64(o, "spill_bytes", (int64_t)r->spill_bytes);
    json_add_int64(o, "gradient_bytes", (int64_t)r->gradient_bytes);
    json_add(o, "work", work);
}

static struct json *ranks_json(const llmq_ranks_plan *r) {
    struct json *o = json_new_object();
    json_add_int64(o, "ranks", r->ranks);
    json_add_int64(o, "ram_bytes", (int64_t)r->ram_bytes);
    json_add_int64(o, "spill_bytes", (int64_t)r->spill_bytes);
    json_add_int64(o, "messages", (int64_t)r->messages);
    json_add_int64(o, "bytes", (int64_t)r->bytes);
    json_add_int64(o, "all_messages", (int64_t)r->all_messages);
    json_add_int64(o, "all_bytes", (int64_t)r->all_bytes);
    json_add_double(o, "flops", r->flops);
    json_add_double(o, "compute_seconds", r->compute_seconds);
    json_add_double(o, "file_seconds", r->file_seconds);
    json_add_double(o, "exchange_seconds", r->exchange_seconds);
    json_add_double(o, "seconds", r->seconds);
    json_add_double(o, "efficiency", r->efficiency);
    return o;
}

/* Nothing where nothing was asked. */
static void add_ranks(struct json *o, const llmq_ranks_question *q) {
    struct json *all = q ? json_new_array() : NULL;
    for (size_t i = 0; q && i < q->count; i++)
        json_add(all, NULL, ranks_json(&q->plans[i]));
    if (all)
        json_add(o, "ranks", all);
}

static struct json *modules_json(const llmq_quantize_report *r) {
    struct json *modules = json_new_array();
    for (size_t i = 0; i < r->module_count; i++)
        json_add(modules, NULL, report_module_json(&r->modules[i]));
    return modules;
}

struct marker_end report_end(const llmq_quantize_report *r, double start, const llmq_context *ctx) {
    struct marker_end end = {
        .report = json_new_object(), .modules = modules_json(r), .run = marker_run(start, ctx)};
    add_outcome(end.report, r);
    add_manner(end.run, r);
    return end;
}

char *llmq_quantize_json(const llmq_quantize_report *r) {
    return llmq_quantize_ranks_json(r, NULL);
}

char *llmq_quantize_ranks_json(const llmq_quantize_report *r, const llmq_ranks_question *ranks) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add_string(o, "model", r->model);
    json_add_string(o, "out", r->out);
    json_add(o, "modules", modules_json(r));
    add_outcome(o, r);
    json_add(o, "servings", serving_json(&r->servings));
    add_ranks(o, ranks);
    json_add_bool(o, "found_finished", r->found_finished);
    add_manner(o, r);
    json_add_double(o, "seconds", r->seconds);
    json_add_int64(o, "peak_rss_bytes", (int64_t)r->peak_rss_bytes);
    return json_print_and_free(o);
}
