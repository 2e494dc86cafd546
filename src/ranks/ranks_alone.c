/* SPDX-License-Identifier: Apache-2.0 */
/* Without MPI: one rank. */
#include "base/error.h"
#include "ranks/ranks.h"

enum llmq_status llmq_ranks_begin(llmq_error *err) {
    if (!llmq_ranks_launched())
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "started as one of several processes, but built without MPI: each of them would do "
              "the whole run");
    error_hint(err, "build with meson setup -Dmpi=enabled, or run without mpirun");
    return LLMQ_E_UNSUPPORTED;
}

bool llmq_ranks_meet(enum llmq_status status, bool *speaks) {
    (void)status;
    *speaks = ranks_launched_first();
    return true;
}

void llmq_ranks_end(void) {}

int llmq_ranks_own(void) {
    return 0;
}

int llmq_ranks_count(void) {
    return 1;
}

void llmq_ranks_abort(int exit_code) {
    (void)exit_code;
}

enum llmq_status ranks_transfer(const struct ranks_piece *with, const llmq_context *ctx,
                                llmq_error *err) {
    (void)with;
    (void)ctx;
    (void)err;
    return LLMQ_OK;
}
