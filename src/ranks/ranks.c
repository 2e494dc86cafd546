/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of an exchange: see ranks.h. */
#include "ranks/ranks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/tally.h"

static struct ranks_traffic traffic;

/* What launchers tell their processes: Open MPI; MPICH, Intel MPI and srun --mpi=pmi2; PMIx. */
static const char *const told[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"};

static const char *told_rank(void) {
    const char *rank = NULL;
    for (size_t i = 0; !rank && i < sizeof told / sizeof *told; i++)
        rank = getenv(told[i]);
    return rank;
}

bool llmq_ranks_launched(void) {
    return told_rank() != NULL;
}

bool ranks_launched_first(void) {
    const char *rank = told_rank();
    return !rank || strcmp(rank, "0") == 0;
}

struct ranks_traffic ranks_traffic(void) {
    return traffic;
}

int64_t ranks_share_of(int64_t units, int rank, int ranks) {
    return units * rank / ranks;
}

int64_t ranks_share(int64_t units, int rank) {
    return ranks_share_of(units, rank, llmq_ranks_count());
}

void ranks_count_pieces(struct ranks_traffic *t, size_t bytes, int others) {
    t->bytes += (uint64_t)bytes * (uint64_t)others;
    t->messages += (bytes + RANKS_MESSAGE - 1) / RANKS_MESSAGE * (uint64_t)others;
}

void ranks_count_piece(struct ranks_traffic *t, size_t bytes) {
    ranks_count_pieces(t, bytes, 1);
}

enum llmq_status ranks_exchange(const struct ranks_piece *with, const llmq_context *ctx,
                                llmq_error *err) {
    const int own = llmq_ranks_own(), count = llmq_ranks_count();
    const double start = tally_now();
    assert(with[own].in_bytes == 0 || with[own].in_bytes == with[own].out_bytes);
    if (with[own].in_bytes > 0)
        memcpy(with[own].in, with[own].out, with[own].in_bytes);
    for (int r = 0; r < count; r++)
        if (r != own)
            ranks_count_piece(&traffic, with[r].out_bytes);
    if (count == 1)
        return LLMQ_OK;
    const enum llmq_status status = ranks_transfer(with, ctx, err);
    traffic.seconds += tally_now() - start;
    return status;
}

static struct ranks_piece *pieces(llmq_error *err) {
    struct ranks_piece *all = calloc((size_t)llmq_ranks_count(), sizeof *all);
    if (!all)
        error_memory(err, "an exchange between ranks");
    return all;
}

enum llmq_status ranks_gather(void *all, const size_t *begin, const llmq_context *ctx,
                              llmq_error *err) {
    const int own = llmq_ranks_own(), count = llmq_ranks_count();
    char *bytes = all;
    if (count == 1)
        return LLMQ_OK;
    struct ranks_piece *with = pieces(err);
    if (!with)
        return LLMQ_E_MEMORY;
    for (int r = 0; r < count; r++)
        if (r != own)
            with[r] = (struct ranks_piece){bytes + begin[own], begin[own + 1] - begin[own],
                                           bytes + begin[r], begin[r + 1] - begin[r]};
    const enum llmq_status status = ranks_exchange(with, ctx, err);
    free(with);
    return status;
}

enum llmq_status ranks_broadcast(int root, void *data, size_t bytes, const llmq_context *ctx,
                                 llmq_error *err) {
    const int own = llmq_ranks_own(), count = llmq_ranks_count();
    if (count == 1)
        return LLMQ_OK;
    struct ranks_piece *with = pieces(err);
    if (!with)
        return LLMQ_E_MEMORY;
    for (int r = 0; r < count; r++)
        if (r != own && own == root)
            with[r] = (struct ranks_piece){.out = data, .out_bytes = bytes};
    if (own != root)
        with[root] = (struct ranks_piece){.in = data, .in_bytes = bytes};
    const enum llmq_status status = ranks_exchange(with, ctx, err);
    free(with);
    return status;
}

/* values [count]: what each rank gives. */
static enum llmq_status gather_words(uint64_t own, uint64_t *values, const llmq_context *ctx,
                                     llmq_error *err) {
    const int count = llmq_ranks_count();
    size_t *begin = calloc((size_t)count + 1, sizeof *begin);
    if (!begin)
        return error_memory(err, "an exchange between ranks");
    for (int r = 0; r <= count; r++)
        begin[r] = (size_t)r * sizeof *values;
    values[llmq_ranks_own()] = own;
    const enum llmq_status status = ranks_gather(values, begin, ctx, err);
    free(begin);
    return status;
}

static bool elsewhere;

bool ranks_failed_elsewhere(void) {
    return elsewhere;
}

enum llmq_status ranks_agree(enum llmq_status status, const llmq_context *ctx, llmq_error *err) {
    const int count = llmq_ranks_count();
    llmq_error unused = {0};
    if (count == 1)
        return status;
    uint64_t *all = calloc((size_t)count, sizeof *all);
    if (!all)
        return status == LLMQ_OK ? error_memory(err, "an exchange between ranks") : status;
    const enum llmq_status sent =
        gather_words((uint64_t)status, all, ctx, status == LLMQ_OK ? err : &unused);
    for (int r = 0; sent == LLMQ_OK && status == LLMQ_OK && r < count; r++)
        if (all[r] != LLMQ_OK) {
            status = (enum llmq_status)all[r];
            elsewhere = true;
            error_set(err, status, "rank %d failed", r);
        }
    free(all);
    return status == LLMQ_OK ? sent : status;
}

enum llmq_status ranks_compare(const char *text, int *odd, const llmq_context *ctx,
                               llmq_error *err) {
    const int count = llmq_ranks_count();
    uint64_t *hashes = calloc((size_t)count, sizeof *hashes);
    *odd = -1;
    if (!hashes)
        return error_memory(err, "comparing ranks");
    const enum llmq_status status =
        gather_words(hash_bytes(HASH_INIT, text, strlen(text)), hashes, ctx, err);
    for (int r = count - 1; status == LLMQ_OK && r > 0; r--)
        if (hashes[r] != hashes[0])
            *odd = r;
    free(hashes);
    return status;
}
