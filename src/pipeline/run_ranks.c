/* SPDX-License-Identifier: Apache-2.0 */
/* See run_ranks.h. */
#include "pipeline/run_ranks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/hash.h"
#include "base/log.h"
#include "pipeline/identity.h"
#include "pipeline/journal.h"
#include "ranks/ranks.h"

/* That a plan is made for. */
enum { RANKS_MOST = 65536 };

bool run_writes(void) {
    return llmq_ranks_own() == 0;
}

/* --- what can be ------------------------------------------------------------------------------ */

static enum llmq_status refuse(int ranks, const char *what, const char *hint, llmq_error *err) {
    error_set(err, LLMQ_E_UNSUPPORTED, "%s: not over several ranks yet (there are %d)", what,
              ranks);
    error_hint(err, "%s", hint);
    return LLMQ_E_UNSUPPORTED;
}

static bool has_experts(const struct run *run) {
    for (int64_t b = 0; b < run->model.blocks->count; b++)
        if (model_graph(&run->model, b)->body)
            return true;
    return false;
}

enum llmq_status run_ranks_check(const struct run *run, int ranks, llmq_error *err) {
    const llmq_quantize_options *o = run->options;
    if (ranks == 1 || !run->calibrated)
        return LLMQ_OK;
    if (o->tune != LLMQ_TUNE_OFF)
        return refuse(ranks, "tuned scales (--quality max, --tune)",
                      "give --tune off, or run without mpirun", err);
    if (plan_folds(o) && has_experts(run))
        return refuse(ranks, "AWQ's scaling of a mixture of experts",
                      "llmq rtn without calibration can be had, or run without mpirun", err);
    return LLMQ_OK;
}

enum llmq_status run_ranks_check_options(const llmq_quantize_options *o, llmq_error *err) {
    const llmq_ranks_question *q = o->ranks;
    if (!q)
        return LLMQ_OK;
    if (!o->dry_run) {
        error_set(err, LLMQ_E_USAGE, "--ranks only plans, with --dry-run");
        error_hint(err, "a run over several processes is started by mpirun -n R llmq ...");
        return LLMQ_E_USAGE;
    }
    if (q->count > 0 && (!q->counts || !q->plans))
        return error_set(err, LLMQ_E_USAGE, "--ranks: no numbers, or no room for plans");
    for (size_t i = 0; i < q->count; i++)
        if (q->counts[i] < 1 || q->counts[i] > RANKS_MOST)
            return error_set(err, LLMQ_E_USAGE, "--ranks %d: from 1 to %d", q->counts[i],
                             RANKS_MOST);
    if (!(q->bits > 0 && isfinite(q->bits) && q->latency >= 0 && isfinite(q->latency) &&
          q->gflops >= 0 && isfinite(q->gflops)))
        return error_set(err, LLMQ_E_USAGE,
                         "--link, --gflops: a rate above 0, and no time below it");
    return LLMQ_OK;
}

/* --- do all have the same before them? -------------------------------------------------------- */

enum llmq_status run_ranks_compare(const struct run *run, llmq_error *err) {
    if (llmq_ranks_count() == 1)
        return LLMQ_OK;
    struct json *identity = identity_make(run);
    char *text = json_print(identity, false);
    enum llmq_status status = LLMQ_OK;
    int odd = -1;
    if (!text)
        LLMQ_TRY(error_memory(err, "the identity of the run"));
    LLMQ_TRY(ranks_compare(text, &odd, run->ctx, err));
    if (odd < 0)
        goto cleanup;
    error_set(err, LLMQ_E_INPUT,
              "rank %d has another run before it than rank 0: it differs in llmq's build, in the "
              "kernels, in options, in the calibration or in the model's files",
              odd);
    error_hint(err, "all ranks need the same program, arguments and files (a file system that they "
                    "share, with one clock), and processors of one kind, or LLMQ_CPU and "
                    "OPENBLAS_CORETYPE set to what all of them have");
    status = LLMQ_E_INPUT;
cleanup:
    free(text);
    json_free(&identity);
    return status;
}

/* --- what rank 0 knows ------------------------------------------------------------------------ */

enum llmq_status run_ranks_tell_task(struct run *run, llmq_error *err) {
    int32_t task = (int32_t)run->task;
    const enum llmq_status status = ranks_broadcast(0, &task, sizeof task, run->ctx, err);
    run->task = (enum output_task)task;
    return status;
}

/* More than a journal ever has. */
#define JOURNAL_MOST ((size_t)1 << 32)

/* The journal lies where the result will: who sees another one, or none, sees other files. */
static enum llmq_status compare_journals(const struct run *run, llmq_error *err) {
    char *path = path_join(run->output.partial_dir, JOURNAL_NAME, err), *text = NULL;
    char seen[32] = "none";
    size_t length = 0;
    int odd = -1;
    if (!path)
        return LLMQ_E_MEMORY;
    if (file_read(path, JOURNAL_MOST, &text, &length, NULL) == LLMQ_OK)
        snprintf(seen, sizeof seen, "%016" PRIx64, hash_bytes(HASH_INIT, text, length));
    free(text);
    free(path);
    enum llmq_status status = ranks_compare(seen, &odd, run->ctx, err);
    if (status != LLMQ_OK || odd < 0)
        return status;
    error_set(err, LLMQ_E_IO, "rank %d does not see the files that rank 0 writes: %s", odd,
              run->output.partial_dir);
    error_hint(err, "choose an --out on a file system that all ranks share");
    return LLMQ_E_IO;
}

enum llmq_status run_ranks_tell_blocks(struct run *run, llmq_error *err) {
    struct journal_blocks *b = &run->blocks;
    const size_t modules = (size_t)run->plan.module_count;
    enum llmq_status status = LLMQ_OK;
    if (llmq_ranks_count() == 1)
        return LLMQ_OK;
    LLMQ_TRY(compare_journals(run, err));
    LLMQ_TRY(ranks_broadcast(0, &b->done, sizeof b->done, run->ctx, err));
    LLMQ_TRY(ranks_broadcast(0, b->hashes, modules * sizeof *b->hashes, run->ctx, err));
    LLMQ_TRY(ranks_broadcast(0, b->folded, (size_t)b->count * sizeof *b->folded, run->ctx, err));
cleanup:
    return status;
}

void run_ranks_note(const struct run *run) {
    const struct ranks_traffic t = ranks_traffic();
    if (llmq_ranks_count() > 1)
        log_message(run->ctx, LLMQ_LOG_DETAIL,
                    "%d ranks: %" PRIu64 " messages of %" PRIu64
                    " bytes sent by rank 0, %.3f s of %.3f s in exchanges",
                    llmq_ranks_count(), t.messages, t.bytes, t.seconds, tally_now() - run->start);
}
