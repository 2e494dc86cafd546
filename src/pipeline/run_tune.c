/* SPDX-License-Identifier: Apache-2.0 */
/* See run_tune.h. */
#include "pipeline/run_tune.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/hash.h"
#include "base/int64.h"
#include "base/log.h"
#include "pipeline/run.h"
#include "pipeline/store.h"
#include "pipeline/tune_windows.h"
#include "quant/grid.h"
#include "tune/tune.h"

/* The modules whose scales move, and where they are; and the norms. */
struct stage {
    struct run *run;
    struct model stored; /* what blocks and head have made */
    struct tune_module *modules;
    const struct plan_module **planned; /* [count] */
    int64_t count;
    struct model_norm *norm_list;
    struct tune_norm *norms; /* [norm_count] */
    int64_t norm_count;
    float *moving; /* scales of all modules, in order, then weights of the norms */
    size_t moving_count;
};

static bool moves(const struct plan_module *module) {
    return module->fate == MODULE_QUANTIZED && module->at.node >= 0;
}

/* --- what is stored --------------------------------------------------------------------------- */

static enum llmq_status list_modules(struct stage *s, llmq_error *err) {
    const struct plan *p = &s->run->plan;
    s->modules = calloc((size_t)p->module_count + 1, sizeof *s->modules);
    s->planned = calloc((size_t)p->module_count + 1, sizeof *s->planned);
    if (!s->modules || !s->planned)
        return error_memory(err, "tuning scales");
    for (int64_t i = 0; i < p->module_count; i++) {
        const struct plan_module *module = &p->modules[i];
        if (!moves(module))
            continue;
        struct tune_module *m = &s->modules[s->count];
        *m = (struct tune_module){.at = module->at, .n = module->shape.n, .k = module->shape.k};
        m->grid = run_grid(s->run, module);
        m->group = grid_group(&m->grid, m->k);
        m->groups = ceil_div(m->k, m->group);
        s->planned[s->count++] = module;
        s->moving_count += (size_t)(m->n * m->groups);
    }
    return LLMQ_OK;
}

static enum llmq_status list_norms(struct stage *s, llmq_error *err) {
    if (plan_tunes(&s->run->plan, s->run->options) != LLMQ_TUNE_NORMS)
        return LLMQ_OK;
    enum llmq_status status = model_list_norms(&s->stored, &s->norm_list, &s->norm_count, err);
    if (status != LLMQ_OK)
        return status;
    s->norms = calloc((size_t)s->norm_count + 1, sizeof *s->norms);
    if (!s->norms)
        return error_memory(err, "tuning norms");
    for (int64_t i = 0; i < s->norm_count; i++) {
        s->norms[i].at = s->norm_list[i];
        s->moving_count += (size_t)s->norms[i].at.count;
    }
    return LLMQ_OK;
}

static enum llmq_status create_moving(struct stage *s, llmq_error *err) {
    s->moving = malloc((s->moving_count + 1) * sizeof *s->moving);
    if (!s->moving)
        return error_memory(err, "tuning scales");
    float *at = s->moving;
    for (int64_t i = 0; i < s->count; at += s->modules[i].n * s->modules[i].groups, i++)
        s->modules[i].scales = at;
    for (int64_t i = 0; i < s->norm_count; at += s->norms[i].at.count, i++)
        s->norms[i].values = at;
    return LLMQ_OK;
}

static enum llmq_status load(const struct stage *s, int64_t i, struct qlinear *q, llmq_error *err) {
    const struct tune_module *m = &s->modules[i];
    return model_load_qlinear(&s->stored, s->planned[i]->name, m->n, m->k, q, err);
}

static enum llmq_status read_norms(const struct stage *s, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; status == LLMQ_OK && i < s->norm_count; i++)
        status = st_read_f32(s->stored.tensors, s->norms[i].at.tensor, s->norms[i].values, err);
    return status;
}

static enum llmq_status read_moving(const struct stage *s, llmq_error *err) {
    for (int64_t i = 0; i < s->count; i++) {
        const struct tune_module *m = &s->modules[i];
        struct qlinear q = {0};
        const enum llmq_status status = load(s, i, &q, err);
        if (status == LLMQ_OK)
            memcpy(m->scales, q.scales, (size_t)(m->n * m->groups) * sizeof *m->scales);
        qlinear_free(&q);
        if (status != LLMQ_OK)
            return status;
    }
    return read_norms(s, err);
}

/* Put a module back with the scales that the stage has of it. */
static enum llmq_status write_module(const struct stage *s, int64_t i, llmq_error *err) {
    const struct tune_module *m = &s->modules[i];
    const struct plan_module *module = s->planned[i];
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(load(s, i, &q, err));
    memcpy(q.scales, m->scales, (size_t)(m->n * m->groups) * sizeof *m->scales);
    LLMQ_TRY(store_module(s->run->plan.layout, module, &q, s->run->writer, err));
    s->run->blocks.hashes[module - s->run->plan.modules] = output_hash(&q);
cleanup:
    qlinear_free(&q);
    return status;
}

static enum llmq_status write_norm(const struct stage *s, const struct tune_norm *n,
                                   llmq_error *err) {
    const size_t bytes = (size_t)n->at.count * (dtype_bits(n->at.dtype) / 8);
    void *data = malloc(bytes);
    if (!data)
        return error_memory(err, n->at.name);
    dtype_from_f32(n->at.dtype, n->values, (size_t)n->at.count, data);
    const enum llmq_status status = st_writer_put(s->run->writer, n->at.name, data, bytes, err);
    free(data);
    return status;
}

/* Norms are among what folds have changed of a block. */
static enum llmq_status hash_folds(const struct stage *s, llmq_error *err) {
    const struct journal_blocks *blocks = &s->run->blocks;
    enum llmq_status status = LLMQ_OK;
    for (int64_t b = 0; status == LLMQ_OK && b < blocks->count; b++)
        status = block_fold_hash(&s->stored, b, &blocks->folded[b], err);
    return status;
}

static enum llmq_status write_moving(const struct stage *s, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < s->count; i++)
        LLMQ_TRY(write_module(s, i, err));
    for (int64_t i = 0; i < s->norm_count; i++)
        LLMQ_TRY(write_norm(s, &s->norms[i], err));
    LLMQ_TRY(st_writer_sync(s->run->writer, err));
    if (s->run->plan.folded_count > 0 && s->norm_count > 0)
        LLMQ_TRY(hash_folds(s, err));
cleanup:
    return status;
}

static enum llmq_status stage_open(struct run *run, struct stage *s, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *s = (struct stage){.run = run};
    LLMQ_TRY(st_writer_sync(run->writer, err));
    LLMQ_TRY(model_open_by(run->output.partial_dir, &run->output.as, &s->stored, err));
    LLMQ_TRY(list_modules(s, err));
    LLMQ_TRY(list_norms(s, err));
    LLMQ_TRY(create_moving(s, err));
cleanup:
    return status;
}

static void stage_close(struct stage *s) {
    model_close(&s->stored);
    free(s->modules);
    free(s->planned);
    free(s->norm_list);
    free(s->norms);
    free(s->moving);
}

/* --- the file that undoes it ------------------------------------------------------------------ */

/* All that moves, and behind them their hash. */
static enum llmq_status keep_moving(const struct stage *s, llmq_error *err) {
    const size_t bytes = s->moving_count * sizeof *s->moving;
    const uint64_t hash = hash_array(HASH_INIT, s->moving, bytes);
    char *copy = malloc(bytes + sizeof hash);
    char *path = path_join(s->run->output.partial_dir, JOURNAL_UNDO_NAME, err);
    enum llmq_status status =
        copy ? path ? LLMQ_OK : LLMQ_E_MEMORY : error_memory(err, "tuning scales");
    if (status == LLMQ_OK) {
        memcpy(copy, s->moving, bytes);
        memcpy(copy + bytes, &hash, sizeof hash);
        status = file_write_atomic(path, copy, bytes + sizeof hash, err);
    }
    free(path);
    free(copy);
    return status;
}

static enum llmq_status read_kept(struct stage *s, const struct file *file, llmq_error *err) {
    const size_t bytes = s->moving_count * sizeof *s->moving;
    uint64_t hash = 0;
    enum llmq_status status = LLMQ_OK;
    if (file->size == bytes + sizeof hash) {
        LLMQ_TRY(file_pread(file, s->moving, bytes, 0, err));
        LLMQ_TRY(file_pread(file, &hash, sizeof hash, bytes, err));
        if (hash == hash_array(HASH_INIT, s->moving, bytes))
            return LLMQ_OK;
    }
    status = error_set(err, LLMQ_E_INPUT, "%s: not the scales of this run", file->path);
cleanup:
    return status;
}

enum llmq_status run_tune_undo(struct run *run, llmq_error *err) {
    struct stage s = {.run = run};
    struct file file = {.fd = -1};
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(run->output.partial_dir, JOURNAL_UNDO_NAME, err);
    if (!path)
        return LLMQ_E_MEMORY;
    if (!path_is_file(path))
        goto cleanup;
    LLMQ_TRY(file_open_read(path, &file, err));
    LLMQ_TRY(stage_open(run, &s, err));
    LLMQ_TRY(read_kept(&s, &file, err));
    LLMQ_TRY(write_moving(&s, err));
    if (unlink(path) != 0)
        status = error_output(err, "%s: cannot remove", path);
cleanup:
    file_close(&file, NULL);
    stage_close(&s);
    free(path);
    return status;
}

/* --- the stage -------------------------------------------------------------------------------- */

static void report(struct run *run, const struct tune_windows *w, const struct tune_result *r) {
    run->report->tuning = (llmq_tuning){.windows = w->corpus.count - w->held,
                                        .held = w->held,
                                        .fresh = w->fresh,
                                        .before = r->before,
                                        .after = r->after,
                                        .steps = r->steps};
    if (r->steps == 0)
        log_message(run->ctx, LLMQ_LOG_WARNING,
                    "tuning the scales did not lower the divergence on the windows held back "
                    "(%.5f): they stay as they were; a lower --tune-rate may",
                    r->before);
}

static enum llmq_status tune(struct stage *s, struct tune_result *out, llmq_error *err) {
    struct run *run = s->run;
    struct tune_windows windows = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(tune_windows_load(run, &windows, err));
    LLMQ_TRY(read_moving(s, err));
    LLMQ_TRY(keep_moving(s, err));
    const struct tune_job job = {.original = &run->model,
                                 .quantized = &s->stored,
                                 .modules = s->modules,
                                 .count = s->count,
                                 .norms = s->norms,
                                 .norm_count = s->norm_count,
                                 .windows = &windows.corpus,
                                 .held = windows.held,
                                 .rate = run->options->tune_rate,
                                 .spill_dir = run->plan.tune_spill ? run->output.partial_dir : NULL,
                                 .ctx = run->ctx,
                                 .tally = &run->tally};
    LLMQ_TRY(tune_scales(&job, out, err));
    report(run, &windows, out);
cleanup:
    corpus_free(&windows.corpus);
    return status;
}

enum llmq_status run_tune(struct run *run, llmq_error *err) {
    struct stage s = {.run = run};
    struct tune_result found = {0};
    enum llmq_status status = LLMQ_OK;
    if (plan_tunes(&run->plan, run->options) == LLMQ_TUNE_OFF)
        return LLMQ_OK;
    LLMQ_TRY(stage_open(run, &s, err));
    LLMQ_TRY(tune(&s, &found, err));
    tally_read(&run->tally, TALLY_TUNE, 0);
    if (found.steps > 0)
        LLMQ_TRY(write_moving(&s, err));
    tally_read(&run->tally, TALLY_WRITE, 0);
cleanup:
    stage_close(&s);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "tuning scales");
}
