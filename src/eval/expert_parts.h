/* SPDX-License-Identifier: Apache-2.0 */
/* The experts of a block where several ranks share an evaluation (parts.h).
 *
 * An expert is done by one rank, whole: its rows are of all ranks' tokens, in the same pieces as
 * with one rank, and so what it makes of them has the same bits. */
#ifndef LLMQ_EVAL_EXPERT_PARTS_H
#define LLMQ_EVAL_EXPERT_PARTS_H

#include <stdint.h>

#include "eval/parts.h"
#include "graph/experts.h"

/* Run the experts of the block of x->stream, whose rows are those of all tokens, this rank's filled
 * in and noted in `routing`; sort that. Then the sums of this rank's tokens are there.
 * LLMQ_E_MEMORY, and the errors of exchanges. */
LLMQ_NODISCARD enum llmq_status expert_parts_run(const struct parts *p, struct experts *x,
                                                 const struct experts_source *source,
                                                 struct routing *routing, llmq_error *err);

#endif
