/* SPDX-License-Identifier: Apache-2.0 */
/* What a node and its block say of an operation, for the way forth and back. Not for use outside
 * src/graph/ops*.c. */
#ifndef LLMQ_GRAPH_OPS_H
#define LLMQ_GRAPH_OPS_H

#include <stdbool.h>

#include "graph/activate.h"
#include "graph/attention.h"
#include "graph/convolve.h"
#include "graph/differ.h"
#include "graph/norm.h"
#include "graph/pass.h"
#include "graph/router.h"

/* Uses the forward pass's room for a weight. */
struct norm_rule ops_norm(const struct step *s);
struct attention ops_attention(const struct step *s); /* without a choice, and lifts */

/* The same with those that the sequence has which begins with row `begin`. */
struct attention ops_attention_of(const struct step *s, int64_t begin);
struct differ ops_differ(const struct step *s);
struct filter ops_filter(const struct step *s);
struct glu ops_glu(const struct step *s);
struct xielu ops_xielu(const struct step *s);
struct router ops_router(const struct step *s);
float ops_bound(const struct step *s);

/* y [rows, n] = x [rows, k] W^T + bias, plain or packed, of what the node reads. */
LLMQ_NODISCARD enum llmq_status ops_multiply(const struct step *s, enum llmq_compute compute,
                                             float *y, llmq_error *err);

/* out = x turned to the rows' positions, or back; it may be x. */
LLMQ_NODISCARD enum llmq_status ops_rotate(const struct step *s, bool back, const float *x,
                                           float *out, llmq_error *err);

/* out = the convolution of what the node reads, before its activation. */
void ops_convolve(const struct step *s, float *out);

#endif
