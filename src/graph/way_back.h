/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through a block, a batch at a time. What its operations read is made again from the
 * block's input; then the nodes run in reverse, each adding to the gradients of what it read.
 *
 * Experts come one after the other within the batch, loaded for each batch anew: batches of a block
 * follow on each other, so that the system still has the files' pages. */
#ifndef LLMQ_GRAPH_WAY_BACK_H
#define LLMQ_GRAPH_WAY_BACK_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/forward.h"
#include "graph/model.h"
#include "graph/routing.h"
#include "graph/step_back.h"
#include "llmq/error.h"

/* Rows that an expert is run on at a time. */
enum { WAY_EXPERT_ROWS = 1024 };

/* --- what is run ------------------------------------------------------------------------------ */

/* Planned for a graph: the pass that makes values again, the nodes to go back through, and where
 * gradients lie, which are there from the last node that reads the value to the one that makes it.
 */
struct way_plan {
    struct schedule forth;
    uint64_t nodes;
    struct value_set smooth; /* what the output depends on by a slope, with itself */
    int64_t column[V_COUNT]; /* of the gradients, in entries of a row, and ... */
    int64_t width;           /* ... entries of a row of them */
};
void way_plan_make(const struct graph *g, struct way_plan *out);

/* --- room ------------------------------------------------------------------------------------- */

struct way_size {
    int64_t max_rows, max_length; /* of a batch, of a sequence */
};

/* Scratch for the blocks of a model. */
struct way_room {
    const struct model *m;
    struct forward forward, body; /* the blocks' and their experts' */
    float *gradients, *body_gradients;
    float *scratch;  /* of single operations */
    float *expert_x; /* what an expert reads */
    struct routing routing;
    struct arena *arena, *expert; /* of all this; of one expert's weights */
};

/* Release with way_room_free. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status way_room_create(const struct model *m, const struct way_size *size,
                                                struct way_room *out, llmq_error *err);
void way_room_free(struct way_room *r); /* accepts a zeroed struct */

/* Bytes that way_room_create allocates, and those of the largest expert that is loaded into it. */
uint64_t way_room_bytes(const struct model *m, const struct way_size *size);

/* --- batches ---------------------------------------------------------------------------------- */

/* A block, loaded LOAD_PLAIN, and a batch. */
struct way {
    struct way_room *room;
    const struct block *block;
    const struct batch *batch;
    const struct slope_taps *taps;   /* or NULL */
    const struct param_sums *params; /* [GRAPH_NODES] that are added to */
};

/* The way forth: x [rows, hidden] is the block's input, then its output. */
LLMQ_NODISCARD enum llmq_status way_forth(const struct way *w, float *x, llmq_error *err);

/* The way back: d [rows, hidden] is the gradient towards the block's output, then towards its input
 * x. */
LLMQ_NODISCARD enum llmq_status way_back(const struct way *w, float *x, float *d, llmq_error *err);

/* Zeroed sums for the block's parameters, in `arena`: out [GRAPH_NODES]. */
LLMQ_NODISCARD enum llmq_status way_params_create(const struct graph *g, struct arena *arena,
                                                  struct param_sums *out, llmq_error *err);

/* Show them, one after the other. */
LLMQ_NODISCARD enum llmq_status way_params_show(const struct block *b,
                                                const struct param_sums *params,
                                                const struct slope_taps *taps, llmq_error *err);

/* --- experts, for way_back.c ------------------------------------------------------------------ */

/* sum [rows, width] = what the experts make of a batch: x is what they read, routes [rows, experts]
 * their weights. */
LLMQ_NODISCARD enum llmq_status way_experts(const struct way *w, const float *x,
                                            const float *routes, float *sum, llmq_error *err);

/* dx and droutes += the gradients towards x and routes, d that towards the sum. */
struct way_experts_back {
    const float *x, *routes, *d;
    float *dx, *droutes;
};
LLMQ_NODISCARD enum llmq_status way_experts_back(const struct way *w,
                                                 const struct way_experts_back *b, llmq_error *err);

/* Run the nodes of a plan back: values are there, and the gradient towards the output. */
struct way_nodes {
    const struct pass *pass;
    const struct way_plan *plan;
    float *gradients;   /* plan->width columns of so many rows as the pass has room for */
    const int32_t *row; /* as of struct linear_slope */
    int64_t begin;
};
float *way_gradient(const struct way_nodes *n, enum value v);
LLMQ_NODISCARD enum llmq_status way_run_back(const struct way *w, const struct way_nodes *n,
                                             llmq_error *err);

#endif
