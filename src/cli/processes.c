/* SPDX-License-Identifier: Apache-2.0 */
/* See processes.h. */
#include "cli/processes.h"

#include <stdio.h>

#include "cli/console.h"
#include "llmq/ranks.h"

static bool left_behind; /* others are at work still */

enum llmq_status processes_begin(const struct command *command, struct common_args *args,
                                 llmq_error *err) {
    if (!llmq_ranks_launched())
        return LLMQ_OK;
    if (!command->ranks) {
        cli_fail(err, LLMQ_E_USAGE, "llmq %s is not divided among processes", command->name);
        cli_hint(err, "run it without mpirun");
        return LLMQ_E_USAGE;
    }
    const enum llmq_status status = llmq_ranks_begin(err);
    if (status != LLMQ_OK || llmq_ranks_own() == 0)
        return status;
    args->quiet = args->no_progress = true;
    if (!freopen("/dev/null", "w", stdout))
        return cli_fail_errno(err, "/dev/null");
    return LLMQ_OK;
}

bool processes_meet(enum llmq_status status, llmq_error *err) {
    bool speaks = true;
    left_behind = !llmq_ranks_meet(status, &speaks);
    if (status != LLMQ_OK && speaks && llmq_ranks_own() > 0) {
        const llmq_error named = *err;
        (void)cli_fail(err, named.code, "rank %d: %s", llmq_ranks_own(), named.message);
        cli_hint(err, "%s", named.hint);
    }
    return speaks;
}

void processes_end(int exit_code) {
    if (left_behind)
        llmq_ranks_abort(exit_code);
    else
        llmq_ranks_end();
}
