/* SPDX-License-Identifier: Apache-2.0 */
/* A conversion from options to the finished folder: see llmq/convert.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/tally.h"
#include "convert/convert.h"
#include "llmq/model.h"
#include "pipeline/identity.h"
#include "pipeline/marker.h"
#include "pipeline/notes.h"
#include "pipeline/serving.h"
#include "pipeline/store.h"
#include "pipeline/value_check.h"
#include "setup/setup.h"

void llmq_convert_options_init_sized(llmq_convert_options *options, size_t size) {
    const llmq_convert_options usual = {.shard_limit = PLAN_SHARD_LIMIT};
    sized_write(&usual, sizeof usual, options, size);
}

/* What is the same for every conversion that makes the same result. */
static void add_outcome(struct json *o, const llmq_convert_report *r) {
    struct json *dropped = json_new_array();
    for (size_t i = 0; i < r->dropped_count; i++)
        json_add_string(dropped, NULL, r->dropped[i]);
    json_add_string(o, "from", r->from);
    json_add_string(o, "to", r->to);
    json_add_int64(o, "modules", r->modules);
    json_add_int64(o, "plain", r->plain);
    json_add_int64(o, "kept", r->kept);
    json_add(o, "dropped", dropped);
    json_add_int64(o, "bytes", (int64_t)r->bytes);
    json_add_double(o, "max_error", r->max_error);
    json_add_double(o, "max_relative_error", r->max_relative_error);
}

/* --- before anything is written --------------------------------------------------------------- */

static enum llmq_status open_source(struct convert *c, llmq_error *err) {
    llmq_convert_report *r = c->report;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(convert_target_find(c->options->format, &c->target, err));
    LLMQ_TRY(llmq_model_resolve(c->options->model, &r->model, err));
    LLMQ_TRY(output_choose_at(c->options->out, r->model, c->options->force, c->options->resume,
                              &c->output, err));
    c->output.as.family = c->options->family;
    LLMQ_TRY(model_open_as(r->model, c->options->family, &c->model, err));
    notes_of_model(&c->model, c->ctx);
    LLMQ_TRY(source_find(&c->model, c->ctx, &c->source, err));
    if (c->model.encoded.encoding) {
        r->from = c->model.encoded.encoding->name;
        r->to = c->target.name;
        if (!c->target.layout)
            return LLMQ_OK;
        error_set(err, LLMQ_E_UNSUPPORTED, "%s: %s does not fit into %s without loss", r->model,
                  r->from, r->to);
        error_hint(err, "llmq gptq, awq and rtn quantize it; --format bf16 or f32 decodes it");
        return LLMQ_E_UNSUPPORTED;
    }
    if (!c->model.layout) {
        error_set(err, LLMQ_E_UNSUPPORTED, "%s is not quantized: there is nothing to convert",
                  r->model);
        error_hint(err, "llmq gptq and llmq rtn quantize");
        return LLMQ_E_UNSUPPORTED;
    }
    r->from = c->model.layout->name;
    r->to = c->target.name;
cleanup:
    return status;
}

static struct json *make_record(const struct convert *c) {
    struct json *options = json_new_object();
    json_add_string(options, "format", c->target.name);
    json_add_string(options, "family", c->options->family);
    json_add_int64(options, "shard-size", (int64_t)c->options->shard_limit);
    struct json *made_from = identity_source(&c->source, &c->model);
    json_add(made_from, "model", origin_json(&c->origin));
    return marker_record("convert", options, made_from);
}

static enum llmq_status not_a_conversion(const struct convert *c, llmq_error *err) {
    error_set(err, LLMQ_E_INPUT, "%s holds an interrupted run of another command",
              c->output.partial_dir);
    error_hint(err, "repeat that one with --resume, or start over with --force");
    return LLMQ_E_INPUT;
}

/* What is left to do; known before anything is decoded. */
static enum llmq_status settle(struct convert *c, llmq_error *err) {
    const struct output_run of = {c->record, &c->model, &c->source};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(output_settle(&c->output, &of, &c->task, err));
    if (c->task == OUTPUT_CONTINUE)
        LLMQ_TRY(not_a_conversion(c, err));
    c->report->found_finished = c->task == OUTPUT_DONE;
    c->report->out = strdup(c->output.final_dir);
    if (!c->report->out)
        LLMQ_TRY(error_memory(err, "the report"));
cleanup:
    return status;
}

static enum llmq_status report_plan(struct convert *c, llmq_error *err) {
    llmq_convert_report *r = c->report;
    const struct plan *p = &c->plan;
    r->dropped = calloc(p->dropped_count ? p->dropped_count : 1, sizeof *r->dropped);
    if (!r->dropped)
        return error_memory(err, "the report");
    for (size_t i = 0; i < p->dropped_count; i++) {
        r->dropped[i] = strdup(p->dropped[i]);
        if (!r->dropped[i])
            return error_memory(err, "the report");
        r->dropped_count = i + 1;
    }
    enum llmq_status status = serving_report(p, c->model.config.family, r->out, &r->servings, err);
    if (status != LLMQ_OK)
        return status;
    r->modules = p->module_count;
    r->plain = (int64_t)p->plain_count;
    r->kept = (int64_t)p->kept_count;
    r->bytes = p->disk_bytes;
    notes_of_result(&c->model, p, c->options->shard_limit, c->ctx);
    const char *caveat = p->layout ? p->layout->caveat(&p->layout_config) : NULL;
    if (caveat)
        log_message(c->ctx, LLMQ_LOG_WARNING, "%s", caveat);
    return LLMQ_OK;
}

/* --- writing ---------------------------------------------------------------------------------- */

static enum llmq_status repack_module(struct convert *c, int64_t i, llmq_error *err) {
    const struct plan_module *module = &c->plan.modules[i];
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(
        model_load_qlinear(&c->model, module->name, module->shape.n, module->shape.k, &q, err));
    q.sym = module->shape.sym;
    c->hashes[i] = output_hash(&q);
    LLMQ_TRY(store_module(c->plan.layout, module, &q, c->writer, err));
cleanup:
    qlinear_free(&q);
    return status;
}

static enum llmq_status write_modules(struct convert *c, llmq_error *err) {
    const int64_t count = c->plan.module_count;
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < count; i++) {
        const struct plan_module *module = &c->plan.modules[i];
        log_progress(c->ctx, count + i, 3 * count, "writing block %" PRId64 "/%" PRId64,
                     module->at.block + 1, c->model.blocks->count);
        LLMQ_TRY(interrupt_check(c->ctx, err));
        status = c->plan.layout ? repack_module(c, i, err) : dequantize_module(c, i, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "%s", module->name);
    }
    log_progress(c->ctx, 2 * count, 3 * count, "verifying");
cleanup:
    return status;
}

static enum llmq_status write_marker(struct convert *c, llmq_error *err) {
    const char *dir = c->output.partial_dir;
    struct json *files = NULL;
    enum llmq_status status = marker_files(dir, &c->source.companions, c->ctx, &files, err);
    if (status != LLMQ_OK)
        return status;
    struct marker_end end = {
        .report = json_new_object(), .files = files, .run = marker_run(c->start, c->ctx)};
    add_outcome(end.report, c->report);
    return marker_write(dir, c->record, &end, err);
}

static enum llmq_status write_result(struct convert *c, llmq_error *err) {
    const struct plan *p = &c->plan;
    struct store_rounding kept = {0};
    enum llmq_status status = LLMQ_OK;
    c->hashes = calloc((size_t)p->module_count + 1, sizeof *c->hashes);
    if (!c->hashes)
        return error_memory(err, "the conversion");
    LLMQ_TRY(output_prepare(&c->output, c->task, err));
    LLMQ_TRY(value_check(p, c->model.tensors, false, value_half_result(p, c->model.config_json),
                         c->ctx, err));
    LLMQ_TRY(output_open_writer(&c->output, p, c->options->shard_limit, false, &c->writer, err));
    LLMQ_TRY(output_write_config(&c->output, c->model.dir, &c->source.companions, p, err));
    LLMQ_TRY(store_kept(p, c->model.tensors, c->writer, &kept, c->ctx, err));
    c->report->max_error = kept.max_error;
    c->report->max_relative_error = kept.max_relative_error;
    LLMQ_TRY(write_modules(c, err));
    LLMQ_TRY(st_writer_finish(&c->writer, err));
    if (p->layout)
        LLMQ_TRY(output_write_beside(&c->output, p, err));
    LLMQ_TRY(output_write_config(&c->output, c->model.dir, &c->source.companions, p, err));
    if (p->layout) {
        const struct journal_blocks stored = {.hashes = c->hashes};
        LLMQ_TRY(output_verify(&c->output, p, &stored, c->ctx, err));
    } else {
        LLMQ_TRY(dequantize_verify(c, err));
    }
    log_progress(c->ctx, 3 * p->module_count, 3 * p->module_count, "verifying");
    LLMQ_TRY(source_check(&c->source, &c->model, err));
    LLMQ_TRY(convert_card_write(c, err));
    LLMQ_TRY(write_marker(c, err));
    LLMQ_TRY(output_commit(&c->output, err));
cleanup:
    if (status == LLMQ_OK)
        return LLMQ_OK;
    st_writer_abort(&c->writer);
    /* A conversion is repeated, not resumed. What failed first is what the caller hears of. */
    enum llmq_status removed = output_discard(&c->output, NULL);
    (void)removed;
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void convert_free(struct convert *c) {
    st_writer_abort(&c->writer);
    free(c->hashes);
    json_free(&c->record);
    origin_free(&c->origin);
    plan_free(&c->plan);
    output_free(&c->output);
    source_free(&c->source);
    model_close(&c->model);
}

static enum llmq_status convert(const llmq_convert_options *options, const llmq_context *ctx,
                                llmq_convert_report *report, llmq_error *err) {
    struct convert c = {.options = options, .ctx = ctx, .report = report, .start = tally_now()};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(setup_threads(ctx, err));
    LLMQ_TRY(open_source(&c, err));
    LLMQ_TRY(origin_find(options->model, c.model.dir, &c.origin, err));
    c.record = make_record(&c);
    if (!json_complete(c.record))
        LLMQ_TRY(error_memory(err, "the record of the run"));
    LLMQ_TRY(settle(&c, err));
    if (c.task == OUTPUT_DONE)
        goto cleanup;
    LLMQ_TRY(convert_plan(&c, err));
    LLMQ_TRY(report_plan(&c, err));
    LLMQ_TRY(write_result(&c, err));
    report->seconds = tally_now() - c.start;
cleanup:
    report->peak_rss_bytes = memory_peak();
    convert_free(&c);
    return status;
}

enum llmq_status llmq_convert(const llmq_convert_options *given, const llmq_context *lent,
                              llmq_convert_report *report, llmq_error *err) {
    llmq_convert_options options;
    llmq_context ctx;
    enum llmq_status status = LLMQ_OK;
    *report = (llmq_convert_report){0};
    llmq_convert_options_init(&options);
    LLMQ_TRY(SIZED_READ(llmq_convert_options, given, &options, err));
    LLMQ_TRY(context_read(lent, &ctx, err));
    status = convert(&options, &ctx, report, err);
cleanup:
    return status;
}

void llmq_convert_report_free(llmq_convert_report *report) {
    for (size_t i = 0; i < report->dropped_count; i++)
        free(report->dropped[i]);
    free(report->dropped);
    serving_free(&report->servings);
    free(report->model);
    free(report->out);
    *report = (llmq_convert_report){0};
}

char *llmq_convert_json(const llmq_convert_report *r) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add_string(o, "model", r->model);
    json_add_string(o, "out", r->out);
    add_outcome(o, r);
    json_add(o, "servings", serving_json(&r->servings));
    json_add_bool(o, "found_finished", r->found_finished);
    json_add_double(o, "seconds", r->seconds);
    json_add_int64(o, "peak_rss_bytes", (int64_t)r->peak_rss_bytes);
    return json_print_and_free(o);
}
