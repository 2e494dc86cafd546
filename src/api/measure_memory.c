/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of measurements: see measure.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/measure.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/log.h"

/* Share of the memory available that is taken when the user does not say. */
#define DEFAULT_SHARE 0.8

/* What the process grows by beside what is counted: code that was not run yet, BLAS' panels and the
 * stacks of each thread. Measured. */
#define GROWTH_BYTES        ((uint64_t)6 << 20)
#define THREAD_GROWTH_BYTES ((uint64_t)3 << 20)

static enum llmq_status too_little(uint64_t max_mem, uint64_t least, llmq_error *err) {
    error_set(err, LLMQ_E_MEMORY,
              "--max-mem %" PRIu64 " bytes: this takes %" PRIu64
              " bytes, activations in a file not counted",
              max_mem, least);
    /* what is resident differs by some pages from one start to the next */
    error_hint(err, "give at least --max-mem %" PRIu64 "M", (least >> 20) + 2);
    return LLMQ_E_MEMORY;
}

enum llmq_status measure_memory(const struct measure_need *need, uint64_t max_mem,
                                const llmq_context *ctx, char **dir, llmq_error *err) {
    const uint64_t resident = memory_resident(), available = memory_available();
    const uint64_t threads = (uint64_t)(ctx && ctx->threads > 0 ? ctx->threads : cpu_count());
    const uint64_t own = resident + GROWTH_BYTES + threads * THREAD_GROWTH_BYTES + need->tables;
    const uint64_t all = own + eval_room_peak(need->rooms, need->count, false) + need->spillable;
    const uint64_t least = own + eval_room_peak(need->rooms, need->count, true);
    uint64_t limit = max_mem;
    *dir = NULL;
    if (limit == 0)
        limit = available ? resident + (uint64_t)(DEFAULT_SHARE * (double)available) : UINT64_MAX;
    if (max_mem > 0 && least > max_mem)
        return too_little(max_mem, least, err);
    if (all <= limit)
        return LLMQ_OK;
    log_message(ctx, LLMQ_LOG_INFO,
                "%.2f GiB of memory would be needed, activations in files: %.2f GiB",
                (double)all / 0x1p30, (double)least / 0x1p30);
    *dir = dir_temporary("activations", err);
    return *dir ? LLMQ_OK : err ? err->code : LLMQ_E_IO;
}

enum llmq_status measure_settle(struct eval_job *job, uint64_t tables, uint64_t spillable,
                                uint64_t max_mem, char **spill_dir, llmq_error *err) {
    struct eval_room room;
    const struct measure_need need = {&room, 1, tables, spillable};
    enum llmq_status status = eval_room(job, &room, err);
    if (status == LLMQ_OK)
        status = measure_memory(&need, max_mem, job->ctx, spill_dir, err);
    job->spill_dir = *spill_dir;
    return status;
}

void measure_end(char **dir) {
    if (*dir)
        (void)rmdir(*dir); /* its files have no names any more */
    free(*dir);
    *dir = NULL;
}
