/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks by MPI: the only file that includes its header.
 *
 * MPI's own waiting spins, and cannot be interrupted. Here messages are sent and received without
 * waiting, and asked for: at first at once, then after pauses, so that ranks which share a
 * processor leave it to the one that works, and a request to stop is heard. */
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <mpi.h>

#include "base/error.h"
#include "base/log.h"
#include "base/tally.h"
#include "ranks/ranks.h"

/* Times that messages are asked for before the first pause, and its length. */
enum { ASKED_AT_ONCE = 2000, PAUSE_NANOSECONDS = 50000 };

/* Messages of exchanges, and those of the end: who failed does not take part in exchanges. */
enum { TAG = 1, TAG_END = 2 };

/* Seconds that a rank which failed waits for others to fail likewise. */
#define FAILED_WAITS 2.0

static int own_rank, rank_count = 1;
static bool begun;

/* Messages of an exchange that was given up may still come: where to may not be there any more, so
 * that MPI, which writes them there whenever it is called, must not be called again. */
static bool given_up;

static enum llmq_status failed(int code, const char *what, llmq_error *err) {
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    (void)MPI_Error_string(code, text, &length);
    error_set(err, LLMQ_E_IO, "MPI: %s: %s", what, text);
    error_hint(err, "the same command with --resume goes on, with any number of ranks");
    return LLMQ_E_IO;
}

enum llmq_status llmq_ranks_begin(llmq_error *err) {
    int support = 0;
    if (begun || !llmq_ranks_launched())
        return LLMQ_OK;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &support);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    if (code != MPI_SUCCESS)
        return failed(code, "starting", err);
    begun = true;
    return LLMQ_OK;
}

int llmq_ranks_own(void) {
    return own_rank;
}

int llmq_ranks_count(void) {
    return rank_count;
}

void llmq_ranks_abort(int exit_code) {
    if (!begun)
        return;
    if (given_up) { /* the launcher ends the others */
        (void)fflush(NULL);
        _exit(exit_code);
    }
    (void)MPI_Abort(MPI_COMM_WORLD, exit_code);
}

/* --- messages --------------------------------------------------------------------------------- */

struct messages {
    MPI_Request *request;
    int count;
};

static int parts(size_t bytes) {
    return (int)((bytes + RANKS_MESSAGE - 1) / RANKS_MESSAGE);
}

static int part_bytes(size_t bytes, int part) {
    const size_t left = bytes - (size_t)part * RANKS_MESSAGE;
    return (int)(left < RANKS_MESSAGE ? left : RANKS_MESSAGE);
}

static int post(const struct ranks_piece *piece, int rank, struct messages *m) {
    int code = MPI_SUCCESS;
    for (int i = 0; i < parts(piece->in_bytes) && code == MPI_SUCCESS; i++)
        code =
            MPI_Irecv((char *)piece->in + (size_t)i * RANKS_MESSAGE, part_bytes(piece->in_bytes, i),
                      MPI_BYTE, rank, TAG, MPI_COMM_WORLD, &m->request[m->count++]);
    for (int i = 0; i < parts(piece->out_bytes) && code == MPI_SUCCESS; i++)
        code = MPI_Isend((const char *)piece->out + (size_t)i * RANKS_MESSAGE,
                         part_bytes(piece->out_bytes, i), MPI_BYTE, rank, TAG, MPI_COMM_WORLD,
                         &m->request[m->count++]);
    return code;
}

static void pause_a_little(int asked) {
    const struct timespec pause = {.tv_nsec = PAUSE_NANOSECONDS};
    if (asked < ASKED_AT_ONCE)
        (void)sched_yield();
    else
        (void)nanosleep(&pause, NULL);
}

static enum llmq_status stopped(llmq_error *err) {
    error_set(err, LLMQ_E_INTERRUPTED,
              "interrupted while waiting for another rank (which may have ended)");
    error_hint(err, "the same command with --resume goes on, with any number of ranks");
    return LLMQ_E_INTERRUPTED;
}

static enum llmq_status wait_all(const struct messages *m, const llmq_context *ctx,
                                 llmq_error *err) {
    int done = 0;
    for (int asked = 0;; asked += asked < INT_MAX) {
        const int code = MPI_Testall(m->count, m->request, &done, MPI_STATUSES_IGNORE);
        if (code != MPI_SUCCESS)
            return failed(code, "an exchange", err);
        if (done)
            return LLMQ_OK;
        if (interrupt_check(ctx, NULL) != LLMQ_OK)
            return stopped(err);
        pause_a_little(asked);
    }
}

/* Have all messages come, in so many seconds? Below 0: however long it takes. */
static bool wait_for(const struct messages *m, double seconds) {
    const double start = tally_now();
    int done = 0;
    for (int asked = 0; !done; asked += asked < INT_MAX) {
        if (MPI_Testall(m->count, m->request, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            return false;
        if (!done && seconds >= 0 && tally_now() - start > seconds)
            return false;
        if (!done)
            pause_a_little(asked);
    }
    return true;
}

/* The exchange failed, and its buffers go. What nobody has begun to send is cancelled; what is on
 * its way, and what others did not yet take, is waited for, but not for long. */
static void give_up(const struct messages *m) {
    for (int i = 0; i < m->count; i++)
        if (m->request[i] != MPI_REQUEST_NULL)
            (void)MPI_Cancel(&m->request[i]);
    given_up = !wait_for(m, FAILED_WAITS);
}

enum llmq_status ranks_transfer(const struct ranks_piece *with, const llmq_context *ctx,
                                llmq_error *err) {
    struct messages m = {.count = 0};
    int most = 0, code = MPI_SUCCESS;
    for (int r = 0; r < rank_count; r++)
        most += r == own_rank ? 0 : parts(with[r].in_bytes) + parts(with[r].out_bytes);
    m.request = calloc((size_t)most + 1, sizeof(MPI_Request));
    if (!m.request)
        return error_memory(err, "messages between ranks");
    for (int i = 1; i < rank_count && code == MPI_SUCCESS; i++) {
        const int r = (own_rank + i) % rank_count;
        code = post(&with[r], r, &m);
    }
    const enum llmq_status status =
        code == MPI_SUCCESS ? wait_all(&m, ctx, err) : failed(code, "an exchange", err);
    if (status != LLMQ_OK)
        give_up(&m);
    free(m.request);
    return status;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* What a rank says when it is done. */
struct farewell {
    int32_t failed, own;
};

/* all [count] of them; the own one is there. Messages that did not come are left to MPI_Abort. */
static bool exchange_farewells(struct farewell *all, struct messages *m, double seconds) {
    int code = MPI_SUCCESS;
    for (int r = 0; r < rank_count && code == MPI_SUCCESS; r++) {
        if (r == own_rank)
            continue;
        code = MPI_Irecv(&all[r], (int)sizeof *all, MPI_BYTE, r, TAG_END, MPI_COMM_WORLD,
                         &m->request[m->count++]);
        if (code == MPI_SUCCESS)
            code = MPI_Isend(&all[own_rank], (int)sizeof *all, MPI_BYTE, r, TAG_END, MPI_COMM_WORLD,
                             &m->request[m->count++]);
    }
    return code == MPI_SUCCESS && wait_for(m, seconds);
}

bool llmq_ranks_meet(enum llmq_status status, bool *speaks) {
    const bool failed = status != LLMQ_OK && status != LLMQ_E_CHECK;
    *speaks = begun || ranks_launched_first();
    if (!begun || rank_count == 1)
        return true;
    if (given_up)
        return false;
    struct farewell *all = calloc((size_t)rank_count, sizeof *all);
    struct messages m = {.request = calloc(2 * (size_t)rank_count, sizeof(MPI_Request))};
    bool met = false;
    if (all && m.request) {
        all[own_rank] = (struct farewell){failed, failed && !ranks_failed_elsewhere()};
        met = exchange_farewells(all, &m, failed ? FAILED_WAITS : -1);
        for (int r = 0; met && r < own_rank; r++)
            *speaks = *speaks && !all[r].own;
        *speaks = failed ? *speaks && (!met || all[own_rank].own) : own_rank == 0;
    }
    if (met) { /* else they are written to until the process ends */
        free(all);
        free(m.request);
    }
    return met;
}

void llmq_ranks_end(void) {
    if (begun)
        (void)MPI_Finalize();
    begun = false;
}
