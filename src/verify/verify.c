/* SPDX-License-Identifier: Apache-2.0 */
/* Running the rules: see verify.h and llmq/verify.h. */
#include "verify/verify.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/tally.h"
#include "formats/loaders/model_folder.h"
#include "graph/draft_layers.h"
#include "graph/tying.h"
#include "llmq/model.h"
#include "setup/setup.h"

/* --- the tables ------------------------------------------------------------------------------- */

static const struct verify_rule *const tables[] = {
    verify_record_rules, verify_container_rules, verify_tensor_rules,  verify_use_rules,
    verify_config_rules, verify_list_rules,      verify_setting_rules, verify_module_rules,
    verify_stack_rules,  verify_against_rules,
};
enum { TABLES = sizeof tables / sizeof tables[0] };

static const struct verify_rule *rule_at(size_t index) {
    for (size_t t = 0; t < TABLES; t++)
        for (const struct verify_rule *r = tables[t]; r->id; r++)
            if (index-- == 0)
                return r;
    return NULL;
}

const struct verify_rule *verify_rule_find(const char *id) {
    const struct verify_rule *r;
    for (size_t i = 0; (r = rule_at(i)); i++)
        if (strcmp(r->id, id) == 0)
            return r;
    return NULL;
}

bool llmq_verify_rule_at(size_t index, llmq_rule_info *out) {
    const struct verify_rule *r = rule_at(index);
    if (r)
        *out = (llmq_rule_info){r->id, r->severity == VERIFY_VIOLATION, r->what};
    return r != NULL;
}

/* --- findings --------------------------------------------------------------------------------- */

static void finding_free(llmq_finding *f) {
    free(f->file);
    free(f->tensor);
    free(f->message);
    free(f->hint);
}

static void record(struct verify *v, const struct verify_rule *rule, const char *const texts[4]) {
    llmq_findings *list =
        rule->severity == VERIFY_VIOLATION ? &v->report->violations : &v->report->warnings;
    llmq_finding *items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items) {
        v->out_of_memory = true;
        return;
    }
    list->items = items;
    llmq_finding f = {rule->id, strdup(texts[0] ? texts[0] : ""), strdup(texts[1] ? texts[1] : ""),
                      strdup(texts[2]), strdup(texts[3] ? texts[3] : "")};
    if (f.file && f.tensor && f.message && f.hint) {
        items[list->count++] = f;
    } else {
        finding_free(&f);
        v->out_of_memory = true;
    }
}

void verify_found(struct verify *v, const char *file, const char *tensor, const char *hint,
                  const char *fmt, ...) {
    char message[768];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    record(v, v->rule, (const char *const[4]){file, tensor, message, hint});
}

void verify_found_error(struct verify *v, const char *rule, const char *file, const char *tensor,
                        const llmq_error *found) {
    record(v, verify_rule_find(rule),
           (const char *const[4]){file, tensor, found->message, found->hint});
}

const char *verify_file_of(const struct verify *v, const struct st_tensor *t) {
    return path_base(st_shard_path(v->tensors, t->shard));
}

/* --- opening ---------------------------------------------------------------------------------- */

static enum llmq_status open_single(const char *dir, struct st_set **out) {
    char *path = path_join(dir, "model.safetensors", NULL);
    enum llmq_status status = path ? st_open_file(path, out, NULL) : LLMQ_E_MEMORY;
    free(path);
    return status;
}

/* A failed read that leaves something to look at: an index that disagrees with its files, or with
 * a single file beside it. */
static enum llmq_status open_tensors(struct verify *v, llmq_error *err) {
    enum llmq_status status = st_open_dir(v->dir, &v->tensors, err);
    if (status != LLMQ_E_INPUT && status != LLMQ_E_NOT_FOUND)
        return status;
    llmq_error found = *err;
    if (st_open_files(v->dir, &v->tensors, NULL) != LLMQ_OK &&
        open_single(v->dir, &v->tensors) != LLMQ_OK)
        return status;
    verify_found_error(v, "index", NULL, NULL, &found);
    return LLMQ_OK;
}

static enum llmq_status open_quantization(struct verify *v, llmq_error *err) {
    enum llmq_status status = quant_config_find(v->dir, v->config, &v->quant, err);
    if (status != LLMQ_OK || !v->quant.object)
        return status;
    status = layout_check_tensors(v->tensors, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "%s", v->dir);
    status = encoding_of_config(v->quant.object, &v->encoded, err);
    v->layout = layout_of_floats(v->quant.object);
    if (v->layout) /* its modules are looked at as they are stored */
        v->encoded = (struct encoding_settings){0};
    else if (status == LLMQ_OK && !v->encoded.encoding)
        status = layout_of_config(v->quant.object, &v->layout, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "%s/%s", v->dir, v->quant.file);
    if (v->encoded.encoding)
        return encoding_settle(&v->encoded, v->tensors, err);
    llmq_error found = {0};
    status = v->layout->config_read(v->quant.object, &v->layout_config, &found);
    v->decodable = status == LLMQ_OK;
    if (status == LLMQ_E_MEMORY)
        return error_memory(err, "the config");
    if (status == LLMQ_E_INPUT) {
        verify_found_error(v, "config-readable", v->quant.file, NULL, &found);
    } else if (status != LLMQ_OK) {
        v->unread = status;
        v->unread_error = found;
    }
    return LLMQ_OK;
}

/* Settings that llmq cannot honour are no fault of the checkpoint, unless it breaks rules too. */
static enum llmq_status judge_unread(struct verify *v, llmq_error *err) {
    if (v->unread == LLMQ_OK)
        return LLMQ_OK;
    if (v->report->violations.count > 0) {
        verify_found_error(v, "config-readable", v->quant.file, NULL, &v->unread_error);
        return LLMQ_OK;
    }
    error_set(err, v->unread, "%s/%s: %s", v->dir, v->quant.file, v->unread_error.message);
    error_hint(err, "%s", v->unread_error.hint);
    return v->unread;
}

static enum llmq_status open_family(struct verify *v, llmq_error *err) {
    llmq_error found = {0};
    enum llmq_status status = config_parse_as(v->config, v->family, &v->model, &found);
    if (status == LLMQ_OK)
        status = blocks_create(&v->model, &v->blocks, &found);
    v->known = status == LLMQ_OK;
    if (status == LLMQ_E_MEMORY)
        return error_memory(err, "the config");
    if (status == LLMQ_E_USAGE) { /* no such family */
        error_set(err, status, "%s", found.message);
        error_hint(err, "%s", found.hint);
        return status;
    }
    if (status == LLMQ_E_INPUT)
        verify_found_error(v, "config-model", "config.json", NULL, &found);
    else if (status != LLMQ_OK)
        verify_found_error(v, "family-unknown", "config.json", NULL, &found);
    return LLMQ_OK;
}

/* Let the rules see the family's names, as models are read; two models in one are a finding. */
static enum llmq_status open_names(struct verify *v, llmq_error *err) {
    llmq_error found = {0};
    if (!v->known)
        return LLMQ_OK;
    enum llmq_status status = naming_settle(&v->model, v->blocks, v->tensors, &v->naming, &found);
    if (status == LLMQ_E_INPUT) {
        verify_found_error(v, "tensor-prefix", NULL, NULL, &found);
        v->known = false;
        return LLMQ_OK;
    }
    if (status == LLMQ_OK)
        status = draft_layers_settle(&v->model, &v->blocks, v->tensors, v->layout, false, &found);
    if (status == LLMQ_OK)
        status = tying_adopt(v->model.family, v->model.tied, v->tensors, &v->head_adopted, &found);
    return status == LLMQ_OK ? status : error_set(err, status, "%s: %s", v->dir, found.message);
}

enum llmq_status verify_open(struct verify *v, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(v->dir, "config.json", err);
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(dir_list_read(v->dir, &v->files, err));
    LLMQ_TRY(json_read(path, &v->config, err));
    LLMQ_TRY(open_tensors(v, err));
    LLMQ_TRY(open_quantization(v, err));
    LLMQ_TRY(open_family(v, err));
    LLMQ_TRY(open_names(v, err));
cleanup:
    free(path);
    return status;
}

void verify_close(struct verify *v) {
    free(v->settings);
    module_rules_free(&v->rules);
    dir_list_free(&v->files);
    quant_config_free(&v->quant);
    json_free(&v->config);
    blocks_free(&v->blocks);
    config_free(&v->model);
    st_close(&v->tensors);
}

/* --- modules ---------------------------------------------------------------------------------- */

enum llmq_status verify_list_modules(struct verify *v, llmq_error *err) {
    llmq_verify_report *r = v->report;
    const size_t count = st_count(v->tensors);
    r->modules = calloc(count ? count : 1, sizeof *r->modules);
    if (!r->modules)
        return error_memory(err, "the modules");
    for (size_t i = 0; i < count; i++) {
        const char *name = st_at(v->tensors, i)->name;
        size_t len = 0;
        if (layout_suffix(v->layout, name, &len) != 0)
            continue;
        r->modules[r->module_count] =
            (llmq_verify_module){.name = strndup(name, len), .error = (double)NAN};
        if (!r->modules[r->module_count].name)
            return error_memory(err, "the modules");
        r->module_count++;
    }
    return LLMQ_OK;
}

static void describe(llmq_verify_module *m, const struct qlinear *q, const struct verify *v) {
    const bool whole = q->group == q->k && v->layout_config.group == -1;
    m->n = q->n;
    m->k = q->k;
    m->bits = q->bits;
    m->group = whole ? -1 : q->group;
    m->sym = q->sym;
    m->sequential = !q->group_of;
}

/* Decode a module and let every rule for modules look at it. */
static enum llmq_status check_module(struct verify *v, llmq_verify_module *m, llmq_error *err) {
    struct qlinear q = {0};
    llmq_error found = {0};
    enum llmq_status status =
        layout_load(v->tensors, v->layout, &v->layout_config, m->name, &q, &found);
    if (status == LLMQ_OK)
        status = qlinear_check(&q, &found);
    if (status == LLMQ_OK) {
        const struct verify_rule *r;
        describe(m, &q, v);
        for (size_t i = 0; (r = rule_at(i)); i++)
            if (r->scope == VERIFY_MODULE && r->module) {
                v->rule = r;
                r->module(v, m, &q);
            }
    } else if (status == LLMQ_E_INPUT || status == LLMQ_E_UNSUPPORTED) {
        verify_found_error(v, "decode",
                           verify_file_of(v, layout_tensor_of(v->tensors, v->layout, m->name, 0)),
                           m->name, &found);
        status = LLMQ_OK;
    } else {
        error_set(err, status, "%s: %s", m->name, found.message);
    }
    qlinear_free(&q);
    return status;
}

static enum llmq_status check_modules(struct verify *v, llmq_error *err) {
    llmq_verify_report *r = v->report;
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; v->decodable && i < r->module_count; i++) {
        log_progress(v->ctx, (int64_t)i, (int64_t)r->module_count, "decoding");
        LLMQ_TRY(interrupt_check(v->ctx, err));
        LLMQ_TRY(check_module(v, &r->modules[i], err));
    }
cleanup:
    return status;
}

enum llmq_status verify_run(struct verify *v, enum verify_scope scope, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct verify_rule *r;
    if (scope == VERIFY_MODULE)
        return check_modules(v, err);
    for (size_t i = 0; (r = rule_at(i)); i++) {
        if (r->scope != scope || !r->check)
            continue;
        v->rule = r;
        LLMQ_TRY(interrupt_check(v->ctx, err));
        LLMQ_TRY(r->check(v, err));
    }
    if (v->out_of_memory)
        status = error_memory(err, "the findings");
cleanup:
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void count_contents(struct verify *v) {
    llmq_verify_report *r = v->report;
    r->format = v->layout             ? v->layout->name
                : v->encoded.encoding ? v->encoded.encoding->name
                                      : "none";
    r->shards = st_shard_count(v->tensors);
    r->tensors = (int64_t)st_count(v->tensors);
    for (size_t i = 0; i < st_count(v->tensors); i++)
        r->bytes += st_stored_bytes(st_at(v->tensors, i));
    while (rule_at((size_t)r->rules))
        r->rules++;
}

/* All rules that look into the checkpoint. */
static enum llmq_status check_contents(struct verify *v, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(verify_open(v, err));
    count_contents(v);
    LLMQ_TRY(verify_list_modules(v, err));
    LLMQ_TRY(verify_settle(v, err));
    LLMQ_TRY(verify_run(v, VERIFY_HEADERS, err));
    LLMQ_TRY(judge_unread(v, err));
    LLMQ_TRY(verify_run(v, VERIFY_MODULE, err));
    LLMQ_TRY(verify_run(v, VERIFY_CONTENTS, err));
    LLMQ_TRY(verify_stacks(v, err));
    if (v->report->against)
        LLMQ_TRY(verify_compare(v, v->report->against, err));
cleanup:
    return status;
}

/* Can a file that was damaged be why a checkpoint is not read? */
static bool stops_on_damage(enum llmq_status status) {
    return status != LLMQ_E_MEMORY && status != LLMQ_E_INTERRUPTED && status != LLMQ_E_USAGE &&
           status != LLMQ_E_IO;
}

void llmq_verify_options_init_sized(llmq_verify_options *options, size_t size) {
    const llmq_verify_options usual = {.model = NULL};
    sized_write(&usual, sizeof usual, options, size);
}

static enum llmq_status verify(const llmq_verify_options *options, const llmq_context *ctx,
                               llmq_verify_report *report, llmq_error *err) {
    struct verify v = {.ctx = ctx, .report = report};
    const double start = tally_now();
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(setup_threads(ctx, err));
    LLMQ_TRY(llmq_model_resolve(options->model, &report->path, err));
    if (options->against)
        LLMQ_TRY(llmq_model_resolve(options->against, &report->against, err));
    v.dir = report->path;
    v.family = options->family;
    LLMQ_TRY(verify_record(&v, err));
    status = check_contents(&v, err);
    if (status != LLMQ_OK && verify_record_broken(&v) && stops_on_damage(status)) {
        verify_found_error(&v, "file-changed", NULL, NULL, err); /* what else it led to */
        status = LLMQ_OK;
    }
    if (status == LLMQ_OK && v.out_of_memory)
        status = error_memory(err, "the findings");
    report->ok = report->violations.count == 0;
    report->seconds = tally_now() - start;
cleanup:
    verify_close(&v);
    return status;
}

enum llmq_status llmq_verify(const llmq_verify_options *given, const llmq_context *lent,
                             llmq_verify_report *report, llmq_error *err) {
    llmq_verify_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *report = (llmq_verify_report){.format = "none", .error = (double)NAN};
    llmq_verify_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_verify_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = verify(&options, &ctx, report, err);
cleanup:
    return status;
}

enum llmq_status verify_written(const char *dir, const char *family, llmq_error *err) {
    llmq_verify_report report = {0};
    struct verify v = {.dir = dir, .family = family, .report = &report};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(verify_open(&v, err));
    LLMQ_TRY(verify_list_modules(&v, err));
    LLMQ_TRY(verify_settle(&v, err));
    LLMQ_TRY(verify_run(&v, VERIFY_HEADERS, err));
    LLMQ_TRY(judge_unread(&v, err));
    if (report.violations.count > 0) {
        const llmq_finding *f = &report.violations.items[0];
        status = error_set(err, LLMQ_E_CHECK, "%s: %s%s%s (rule %s)", dir, f->tensor,
                           *f->tensor ? ": " : "", f->message, f->rule);
    }
cleanup:
    verify_close(&v);
    llmq_verify_report_free(&report);
    return status;
}

static void findings_free(llmq_findings *list) {
    for (size_t i = 0; i < list->count; i++)
        finding_free(&list->items[i]);
    free(list->items);
}

void llmq_verify_report_free(llmq_verify_report *report) {
    findings_free(&report->violations);
    findings_free(&report->warnings);
    for (size_t i = 0; i < report->module_count; i++)
        free(report->modules[i].name);
    free(report->modules);
    free(report->stacks);
    free(report->path);
    free(report->against);
    *report = (llmq_verify_report){0};
}
