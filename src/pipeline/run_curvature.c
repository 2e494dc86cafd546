/* SPDX-License-Identifier: Apache-2.0 */
/* See run_curvature.h. */
#include "pipeline/run_curvature.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/hugemem.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "formats/loaders/model_folder.h"
#include "graph/curvature.h"
#include "pipeline/run_ranks.h"
#include "quant/coupled.h"
#include "ranks/ranks.h"

/* The folder when it is whole, and until then. */
static char *path_of(const struct run *run, const char *name) {
    struct strbuf path = {0};
    strbuf_printf(&path, "%s/%s", run->output.partial_dir, name);
    return strbuf_take(&path);
}

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

/* The tokens of the windows that gradients are asked of, for the caller to free. */
static int32_t *windows_of(const struct run *run, llmq_error *err) {
    const struct plan_gradients *g = &run->plan.gradients;
    int32_t *ids = malloc((size_t)g->offsets[g->count] * sizeof *ids);
    if (!ids)
        (void)error_memory(err, "windows for gradients");
    for (int64_t i = 0; ids && i < g->count; i++)
        memcpy(ids + g->offsets[i], run->tokens.ids + g->begin[i],
               (size_t)(g->offsets[i + 1] - g->offsets[i]) * sizeof *ids);
    return ids;
}

static enum llmq_status collect(struct run *run, const char *dir, llmq_error *err) {
    const struct plan_asked asked = {&run->model, &run->plan};
    struct curvature_job job = plan_curvature_job(&asked);
    enum llmq_status status = LLMQ_OK;
    int32_t *ids = windows_of(run, err);
    if (!ids)
        return LLMQ_E_MEMORY;
    job.ids = ids;
    job.seed = run->options->seed;
    job.dir = dir;
    job.spill_dir = run->plan.gradients.spills ? run->output.partial_dir : NULL;
    job.ctx = run->ctx;
    job.tally = &run->tally;
    log_message(run->ctx, LLMQ_LOG_INFO, "gradients of the original model");
    if (exists(dir))
        LLMQ_TRY(dir_remove(dir, err));
    LLMQ_TRY(dir_make(dir, false, err));
    LLMQ_TRY(curvature_collect(&job, err));
    LLMQ_TRY(dir_sync(dir, err));
cleanup:
    free(ids);
    return status;
}

/* Under its name once it is whole. */
static enum llmq_status provide(struct run *run, const char *whole, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *begun = path_of(run, "curvature.begun");
    if (exists(whole))
        goto cleanup;
    if (!begun)
        LLMQ_TRY(error_memory(err, "a path"));
    LLMQ_TRY(collect(run, begun, err));
    if (rename(begun, whole) != 0)
        LLMQ_TRY(error_output(err, "%s: cannot be renamed to %s", begun, whole));
    LLMQ_TRY(dir_sync(run->output.partial_dir, err));
cleanup:
    free(begun);
    return status;
}

enum llmq_status run_curvature_open(struct run *run, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!run->plan.curved || run->blocks.done == run->blocks.count)
        return LLMQ_OK;
    char *whole = path_of(run, "curvature");
    if (!whole)
        LLMQ_TRY(error_memory(err, "a path"));
    LLMQ_TRY(ranks_agree(run_writes() ? provide(run, whole, err) : LLMQ_OK, run->ctx, err));
    LLMQ_TRY(st_open_dir(whole, &run->curvature, err));
cleanup:
    free(whole);
    return status;
}

enum llmq_status run_curvature_remove(struct run *run, llmq_error *err) {
    static const char *const names[] = {"curvature", "curvature.begun"};
    enum llmq_status status = LLMQ_OK;
    st_close(&run->curvature);
    for (size_t i = 0; run->plan.curved && run_writes() && i < sizeof names / sizeof *names; i++) {
        char *path = path_of(run, names[i]);
        status = path ? LLMQ_OK : error_memory(err, "a path");
        if (path && exists(path))
            status = dir_remove(path, err);
        free(path);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

enum llmq_status run_output_metric(const struct run *run, const struct plan_module *module,
                                   float **out, llmq_error *err) {
    const int64_t n = module->shape.n;
    enum llmq_status status = LLMQ_OK;
    *out = NULL;
    if (!run->curvature || module->manner.curvature != LLMQ_CURVATURE_ON || module->at.node < 0 ||
        module->at.block >= run->model.config.blocks)
        return LLMQ_OK;
    float *B = huge_malloc((size_t)(n * n) * sizeof *B);
    if (!B)
        return error_memory(err, "an output metric");
    LLMQ_TRY(curvature_read(run->curvature, &run->model, module->at,
                            &(struct curvature_out){.B = B}, err));
    const struct plan_gradients *g = &run->plan.gradients;
    coupled_prepare(B, n, coupled_damping(n, g->offsets[g->count]));
    *out = B;
    B = NULL;
cleanup:
    free(B);
    return status;
}
