/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a run before it begins: see run.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "linalg/linalg.h"
#include "llmq/printable.h"
#include "pipeline/notes.h"
#include "pipeline/plan_ranks.h"
#include "pipeline/report.h"
#include "pipeline/run.h"
#include "pipeline/run_ranks.h"
#include "pipeline/serving.h"

/* Operations a second of products, over a third of a second, as a processor is faster in its first
 * moments than it stays; or over a part of the `flops` that are to come, where those are few. */
static double sgemm_rate(double flops) {
    enum { SIZE = 1024, DEPTH = 512, PART = 200 };
    const double enough = 0.3, one = 2.0 * SIZE * SIZE * DEPTH;
    float *data = calloc((size_t)SIZE * (SIZE + 2 * DEPTH), sizeof *data);
    double seconds = 0;
    int repeats = -1; /* the first one warms up */
    if (!data)
        return 0;
    const float *A = data, *B = A + (size_t)SIZE * DEPTH;
    float *C = data + (size_t)2 * SIZE * DEPTH;
    for (; repeats < 1 || (seconds < enough && repeats * one < flops / PART); repeats++) {
        const double start = tally_now();
        linalg_gemm_nt(SIZE, SIZE, DEPTH, 1.0f, A, DEPTH, B, DEPTH, 0.0f, C, SIZE);
        seconds += repeats < 0 ? 0 : tally_now() - start;
    }
    free(data);
    return one * repeats / seconds;
}

static enum llmq_status copy_names(char **names, size_t count, char ***out, size_t *out_count,
                                   llmq_error *err) {
    *out = calloc(count ? count : 1, sizeof **out);
    for (size_t i = 0; *out && i < count; i++) {
        (*out)[i] = strdup(names[i]);
        if (!(*out)[i])
            return error_memory(err, "the report");
        *out_count = i + 1;
    }
    return *out ? LLMQ_OK : error_memory(err, "the report");
}

/* Names of what is copied, and of what is rounded on the way. */
static enum llmq_status copy_kept(const struct plan *p, const struct st_set *tensors,
                                  llmq_quantize_report *r, llmq_error *err) {
    r->kept = calloc(p->kept_count + 1, sizeof *r->kept);
    r->rounded = calloc(p->kept_count + 1, sizeof *r->rounded);
    for (size_t i = 0; r->kept && r->rounded && i < p->kept_count; i++) {
        const struct st_tensor *t = st_find(tensors, p->kept[i]);
        char *name = strdup(p->kept[i]);
        if (!name)
            return error_memory(err, "the report");
        if (t && plan_rounded_bits(p, name))
            r->rounded[r->rounded_count++] =
                (llmq_rounded){name, dtype_name(plan_kept_dtype(p, t))};
        else
            r->kept[r->kept_count++] = name;
    }
    return r->kept && r->rounded ? LLMQ_OK : error_memory(err, "the report");
}

static enum llmq_status copy_parts(const struct plan *p, llmq_quantize_report *r, llmq_error *err) {
    r->carried = calloc(p->part_count ? p->part_count : 1, sizeof *r->carried);
    for (size_t i = 0; r->carried && i < p->part_count; i++) {
        const struct plan_part *part = &p->parts[i];
        r->carried[i] = (llmq_part){strdup(part->name), part->tensors, part->bytes};
        if (!r->carried[i].name)
            return error_memory(err, "the report");
        r->carried_count = i + 1;
    }
    return r->carried ? LLMQ_OK : error_memory(err, "the report");
}

/* In a plan no module has a method or an error yet. */
enum llmq_status run_report_modules(struct run *run, llmq_error *err) {
    for (int64_t i = 0; i < run->plan.module_count; i++) {
        llmq_module_report planned =
            report_planned(&run->plan.modules[i], run->options, run_plain_bits(run, i));
        if (!planned.name || !planned.events) {
            report_module_free(&planned);
            return error_memory(err, "the report");
        }
        enum llmq_status status = report_add_module(run->report, &planned, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

static enum llmq_status fill_report(struct run *run, llmq_error *err) {
    llmq_quantize_report *r = run->report;
    const struct plan *p = &run->plan;
    enum llmq_status status = LLMQ_OK;
    r->model = strdup(run->model.dir);
    r->out = strdup(run->output.final_dir);
    r->format = strdup(p->layout->name);
    if (!r->model || !r->out || !r->format)
        return error_memory(err, "the report");
    LLMQ_TRY(copy_kept(p, run->model.tensors, r, err));
    LLMQ_TRY(copy_parts(p, r, err));
    LLMQ_TRY(copy_names(p->folded, p->folded_count, &r->folded, &r->folded_count, err));
    LLMQ_TRY(copy_names(p->dropped, p->dropped_count, &r->dropped, &r->dropped_count, err));
    LLMQ_TRY(serving_report(p, run->model.config.family, r->out, &r->servings, err));
    r->compute = run->options->compute;
    r->blocks = run->model.blocks->count;
    r->windows = run->corpus.count - run->corpus.held;
    r->tokens_used = run->calibrated ? calib_fitted_tokens(&run->tokens) : 0;
    r->held_windows = run->corpus.held;
    r->held_tokens = run->corpus.tokens_used - r->tokens_used;
    r->tokens_dropped = run->corpus.tokens_dropped;
    r->texts = run->corpus.texts;
    r->chats = run->corpus.chats;
    r->texts_empty = run->corpus.texts_empty;
    r->texts_begun = run->corpus.texts_begun;
    r->plan_ram_bytes = p->ram_bytes;
    r->plan_disk_bytes = p->disk_bytes;
    r->plan_flops = p->flops;
    r->plan_tune_passes = p->tune_passes;
    r->sgemm_gflops = p->flops > 0 ? sgemm_rate(p->flops) * 1e-9 : 0;
    r->plan_passes = p->pass_flops > 0 ? p->flops / p->pass_flops : 0;
    r->plan_seconds = r->sgemm_gflops > 0 ? p->flops / r->sgemm_gflops * 1e-9 : 0;
    r->spill_bytes = p->spill_bytes;
    r->gradient_bytes = p->gradients.bytes.file;
cleanup:
    return status;
}

/* What is asked about several ranks. */
static enum llmq_status answer_ranks(struct run *run, llmq_error *err) {
    const llmq_ranks_question *q = run->options->ranks;
    const struct planned_run planned = {&run->model, run->options,
                                        run->calibrated ? &run->tokens : NULL, &run->plan};
    const double gflops = run->report->sgemm_gflops;
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; q && i < q->count; i++) {
        LLMQ_TRY(run_ranks_check(run, q->counts[i], err));
        LLMQ_TRY(plan_ranks(&planned, q->counts[i], gflops, &q->plans[i], err));
    }
cleanup:
    return status;
}

static void log_plan(const struct run *run) {
    const llmq_quantize_report *r = run->report;
    char time[32];
    log_message(run->ctx, LLMQ_LOG_INFO,
                "%" PRId64 " modules in %" PRId64 " blocks, %zu tensors kept; %" PRId64
                " calibration tokens in %" PRId64 " windows, %" PRId64 " dropped, %" PRId64
                " others to judge by",
                run->plan.module_count, r->blocks, r->kept_count, r->tokens_used, r->windows,
                r->tokens_dropped, r->held_tokens);
    log_message(
        run->ctx, LLMQ_LOG_INFO,
        "plan: %.2f GiB of memory, %.2f GiB of activations in a file, %.2f GiB of result%s%s",
        (double)r->plan_ram_bytes / 0x1p30, (double)r->spill_bytes / 0x1p30,
        (double)r->plan_disk_bytes / 0x1p30, r->plan_seconds > 0 ? ", about " : "",
        r->plan_seconds > 0 ? llmq_duration(r->plan_seconds, time, sizeof time) : "");
    notes_of_result(&run->model, &run->plan, run->options->shard_limit, run->ctx);
    const char *caveat = run->plan.layout->caveat(&run->plan.layout_config);
    if (caveat)
        log_message(run->ctx, LLMQ_LOG_WARNING, "%s", caveat);
    plan_warn_of_splits(&run->plan, &run->model, run->ctx);
    plan_warn_of_head(&run->plan, run->ctx);
    if (run->plan.gguf && gguf_export_caveat(run->plan.gguf))
        log_message(run->ctx, LLMQ_LOG_WARNING, "%s", gguf_export_caveat(run->plan.gguf));
}

enum llmq_status run_report_plan(struct run *run, llmq_error *err) {
    enum llmq_status status = fill_report(run, err);
    if (status == LLMQ_OK)
        status = answer_ranks(run, err);
    if (status == LLMQ_OK)
        log_plan(run);
    return status;
}
