/* SPDX-License-Identifier: Apache-2.0 */
/* A block's experts over all tokens, one expert after the other: they need not fit in memory
 * together, and each is loaded once.
 *
 *     a pass over all batches to the values kept before the experts' round, and V_ROUTE;
 *     routing_note of every batch, then routing_sort              who goes where
 *     experts_begin(x)                                            their sum is 0
 *     for every expert, in order, for its rows, piece by piece:
 *         experts_run(x, expert, schedule, rows, &pass)           from V_E to what is wanted
 *         experts_add(x, rows, pass_value(&pass, V_E_OUT))
 *
 * The sum stays in its home for the passes that follow. What an expert reads is made again of the
 * values kept, of its rows alone: only operations that take each row by itself lie between. Sums
 * are formed in the order of the experts, so that they do not depend on the number of threads. */
#ifndef LLMQ_GRAPH_EXPERTS_H
#define LLMQ_GRAPH_EXPERTS_H

#include "base/arena.h"
#include "graph/pass.h"
#include "graph/routing.h"
#include "graph/stream.h"
#include "llmq/context.h"

/* Rows that experts are run on at a time. */
int64_t experts_rows(const struct forward *f);

/* What running the experts of a model's blocks needs: widths of rows. */
struct experts_needs {
    int64_t home[HOMES + 1]; /* values that what they read is made of, and that itself */
    int64_t out;             /* what is wanted of an expert */
    int64_t sum;             /* what they add up to */
    int64_t scratch;         /* of the widest schedule, for forward_size */
};

/* `wanted` as in experts_schedule: what is going to be asked of the experts' bodies. All 0
 * when no block has experts. LLMQ_E_UNSUPPORTED as homes_of_rounds. */
LLMQ_NODISCARD enum llmq_status experts_measure(const struct blocks *blocks,
                                                struct value_set wanted, struct experts_needs *out,
                                                llmq_error *err);

/* Bytes of the buffers for so many rows, experts_rows. */
uint64_t experts_bytes(const struct experts_needs *needs, int64_t rows);

/* Bytes of what an expert makes that has twice the mean of the tokens, as several ranks send it and
 * as it comes. */
uint64_t experts_exchange_bytes(const struct experts_needs *needs, int64_t tokens, int64_t experts,
                                int64_t top_k);

struct experts {
    struct forward *forward;
    struct stream *stream; /* whose block has the experts, and of which they read ... */
    struct stream *sums;   /* ... and whose rows they add to: the same, or with some of the rows */
    struct schedule input; /* to what they read, which has a home of its own for a piece */
    struct acts *store;    /* of their sum */
    float *home[HOMES + 1];
    float *out, *sum;
    int64_t offsets[2]; /* the rows of a piece as one sequence */
    struct batch batch;
};

/* Buffers come from `arena`; nothing to release. */
LLMQ_NODISCARD enum llmq_status experts_create(const struct experts_needs *needs,
                                               struct stream *stream, struct forward *forward,
                                               struct arena *arena, struct experts *out,
                                               llmq_error *err);

/* The passes over a block with experts that prepare theirs and follow on it: from the block's input
 * to what is kept before their round and V_ROUTE, and from what is kept with their sum to the
 * block's output. */
LLMQ_NODISCARD enum llmq_status experts_passes(const struct graph *g, struct schedule *before,
                                               struct schedule *after, llmq_error *err);

/* The pass over an expert's body from V_E to a value, which is V_E itself for what it reads. */
void experts_schedule(const struct graph *body, enum value wanted, struct schedule *out);

/* Begin the experts of the stream's block: their sum is 0 in all rows. Then, is the home one of the
 * stream that is read? */
LLMQ_NODISCARD enum llmq_status experts_begin(struct experts *x, llmq_error *err);
bool experts_read_home(const struct experts *x, int home);

/* The homes that are read in blocks of a kind: how many, and how wide together. */
struct experts_reading {
    int homes;
    int64_t width;
};
LLMQ_NODISCARD enum llmq_status
experts_measure_reading(const struct graph *g, struct experts_reading *out, llmq_error *err);

/* Run one expert on some rows (at most experts_rows), as `schedule` of its graph says. What is
 * wanted, and nothing else, is there (pass_value) until the next run of these experts. The rows may
 * be those of another stream's routing: the expert then reads what they are in this one. */
LLMQ_NODISCARD enum llmq_status experts_run(struct experts *x, const struct block *expert,
                                            const struct schedule *schedule,
                                            const struct row_list *rows, struct pass *out,
                                            llmq_error *err);

/* Add what an expert made of the rows, any number of them, y [rows, width], to the sum. */
LLMQ_NODISCARD enum llmq_status experts_add(struct experts *x, const struct row_list *rows,
                                            const float *y, llmq_error *err);

/* All experts of the stream's block that some token chose, loaded one by one from the model. */
struct experts_source {
    const struct model *m;
    enum load_mode mode;
    struct arena *arena;      /* for one expert's weights; reset after each */
    const float *scales;      /* of the columns that read what all of them read (expert_scale) */
    const struct block *held; /* [experts]: they are loaded; or NULL */
    const llmq_context *ctx;
};
LLMQ_NODISCARD enum llmq_status experts_run_all(struct experts *x,
                                                const struct experts_source *source,
                                                const struct routing *routing, llmq_error *err);

#endif
