/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass: a batch of whole sequences through nodes of a block. float32, but for the
 * products with plain weights, which may be bfloat16 (llmq/compute.h).
 *
 * Every operation is a function of the batch alone and spreads its work over OpenMP threads by
 * rows, tiles or heads, so that results depend neither on the number of threads nor on the other
 * batches. */
#ifndef LLMQ_GRAPH_PASS_H
#define LLMQ_GRAPH_PASS_H

#include "graph/block.h"
#include "graph/forward.h"
#include "graph/schedule.h"

struct pass {
    struct forward *forward;
    const struct schedule *schedule;
    const struct block *block;
    const struct batch *batch;
    float *home[HOMES + 1]; /* [rows, width] of those that the schedule uses; 0 is not one */
};

/* Run the schedule's nodes. Values that are given lie in their homes. */
LLMQ_NODISCARD enum llmq_status pass_run(const struct pass *p, llmq_error *err);

/* Where the rows of a value of the pass lie: [rows, width]. In the scratch they stay until the next
 * pass. */
float *pass_value(const struct pass *p, enum value v);

/* --- the operations, for pass.c --------------------------------------------------------------- */

/* One node of a pass. */
struct step {
    const struct pass *pass;
    const struct graph_node *node;
    const struct params *params;
    int64_t rows;
    float *in[NODE_INPUTS];
    float *out[NODE_OUTPUTS]; /* NULL: the pass does not need that one of several */
};

/* Node `index` of the pass. */
struct step pass_step(const struct pass *p, int index);

/* Run it alone. */
LLMQ_NODISCARD enum llmq_status pass_run_node(const struct pass *p, int index, llmq_error *err);

struct step_back; /* graph/step_back.h */

/* Which values an operation's way back reads. */
enum reads { READS_NOTHING, READS_INPUTS, READS_ALL };

/* What computes an operation, NULL: nothing does yet, or, of experts, not in one pass (experts.h,
 * way_back.h). `kind` is what its time is put down to.
 * `back` is the way back, NULL: what it makes has no slope; `back_scratch` what that needs, in
 * entries, NULL: nothing. */
struct op_code {
    enum llmq_status (*run)(const struct step *s, llmq_error *err);
    double (*flops)(const struct step *s);
    enum tally_kind kind;
    enum llmq_status (*back)(const struct step_back *b, llmq_error *err);
    enum reads reads;
    int64_t (*back_scratch)(const struct graph *g, const struct graph_node *n, int64_t max_rows,
                            int64_t max_length);
};
extern const struct op_code op_codes[OP_COUNT];

#endif
