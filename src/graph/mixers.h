/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a block that carry a state from token to token, sequence by sequence. */
#ifndef LLMQ_GRAPH_MIXERS_H
#define LLMQ_GRAPH_MIXERS_H

#include <stdint.h>

#include "graph/pass.h"
#include "graph/step_back.h"
#include "llmq/error.h"

/* Entries of scratch that those of a block need for sequences up to `max_length`. */
int64_t mixers_scratch(const struct graph *g, int64_t max_length);

/* Entries of what the operation of a node carries from one part of a sequence to the next; 0 for
 * those that are not of these. */
int64_t mixers_carried(const struct graph *g, const struct graph_node *n);

LLMQ_NODISCARD enum llmq_status run_delta(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_lightning(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_scan(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_selective(const struct step *s, llmq_error *err);
LLMQ_NODISCARD enum llmq_status run_lru(const struct step *s, llmq_error *err);

/* The way back, and what it needs. */
LLMQ_NODISCARD enum llmq_status back_delta(const struct step_back *back, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_lightning(const struct step_back *back, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_scan(const struct step_back *back, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_selective(const struct step_back *back, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_lru(const struct step_back *back, llmq_error *err);
int64_t delta_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length);
int64_t lightning_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                       int64_t length);
int64_t scan_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length);
int64_t selective_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                       int64_t length);
int64_t lru_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length);

#endif
