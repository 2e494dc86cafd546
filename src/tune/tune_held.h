/* SPDX-License-Identifier: Apache-2.0 */
/* The divergence on windows held back: see tune.h. */
#ifndef LLMQ_TUNE_TUNE_HELD_H
#define LLMQ_TUNE_TUNE_HELD_H

#include "eval/hidden.h"
#include "graph/loss.h"
#include "llmq/error.h"

/* Mean loss of the model of `job` over the predicted tokens of its corpus. LLMQ_E_NUMERIC: it is
 * not finite. */
LLMQ_NODISCARD enum llmq_status tune_held_loss(const struct eval_job *job, const struct loss *loss,
                                               double *out, llmq_error *err);

/* Bytes of memory that it takes behind the model's blocks, beside what they have made. */
uint64_t tune_held_bytes(const struct model *m);

#endif
