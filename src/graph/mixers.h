/* The operations of a block that carry a state from token to token, sequence by sequence. */
#ifndef LLMQ_GRAPH_MIXERS_H
#define LLMQ_GRAPH_MIXERS_H

#include <stdint.h>

#include "graph/pass.h"
#include "llmq/error.h"

/* Entries of scratch that those of a block need for sequences up to `max_length`. */
int64_t mixers_scratch(const struct graph *g, int64_t max_length);

LLMQ_NODISCARD enum llmq_status run_delta(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_lightning(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_scan(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_selective(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_lru(const struct step *s, llmq_error *err);

#endif
