/* SPDX-License-Identifier: Apache-2.0 */
/* The model card of a quantization run: what is told of it. See card.h. */
#ifndef LLMQ_PIPELINE_CARD_RUN_H
#define LLMQ_PIPELINE_CARD_RUN_H

#include "pipeline/run.h"

/* Write it into the result of a run that has ended. */
LLMQ_NODISCARD enum llmq_status card_run_write(const struct run *run, llmq_error *err);

#endif
