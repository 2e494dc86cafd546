/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the library over several processes, its ranks, on one machine or on many.
 *
 * All ranks make the same call with the same options at the same time, and every rank returns when
 * it is done; files are written and messages delivered by rank 0 alone. What is written does not
 * depend on how many ranks there are. The files that a call reads and writes must be the same for
 * all of them: a file system that they share.
 *
 * Ranks are a property of the process: MPI is started once, by the thread that makes the calls.
 * A library that was built without MPI knows one rank. */
#ifndef LLMQ_RANKS_H
#define LLMQ_RANKS_H

#include <stdbool.h>

#include "llmq/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Did a launcher (mpirun, srun) start this process as one of several? By the environment, before
 * anything of MPI is started. */
bool llmq_ranks_launched(void);

/* Become one of the ranks. LLMQ_E_UNSUPPORTED: the library was built without MPI. LLMQ_E_IO: MPI
 * does not start. */
LLMQ_NODISCARD enum llmq_status llmq_ranks_begin(llmq_error *err);

/* When this rank is done, with that status: wait for the others, after a failure for some seconds
 * only, since they may be at work still. True: all are done, and *speaks says of one of those whose
 * own failure it is that it is to tell it, of LLMQ_E_CHECK and LLMQ_OK the first. False: they did
 * not come, see llmq_ranks_abort. */
bool llmq_ranks_meet(enum llmq_status status, bool *speaks);

/* After that: end what llmq_ranks_begin started. Nothing happens without it. */
void llmq_ranks_end(void);

/* This process' number, from 0, and how many there are: 0 of 1 without llmq_ranks_begin. */
int llmq_ranks_own(void);
int llmq_ranks_count(void);

/* End the processes of all ranks with that exit code: what a rank does that cannot go on. Does not
 * return where there are several ranks. */
void llmq_ranks_abort(int exit_code);

#ifdef __cplusplus
}
#endif
#endif
