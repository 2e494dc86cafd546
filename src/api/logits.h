/* SPDX-License-Identifier: Apache-2.0 */
/* The file that llmq_score writes logits to. */
#ifndef LLMQ_API_LOGITS_H
#define LLMQ_API_LOGITS_H

#include "api/output_file.h"
#include "graph/acts.h"
#include "llmq/error.h"

/* Write F32 `logits` [tokens, vocab] as the safetensors tensor "logits". */
LLMQ_NODISCARD enum llmq_status logits_write(struct output_file *place, const struct acts *logits,
                                             llmq_error *err);

#endif
