/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through one node of a pass: from the gradients of a loss towards what the node made
 * to those towards what it read. */
#ifndef LLMQ_GRAPH_STEP_BACK_H
#define LLMQ_GRAPH_STEP_BACK_H

#include <stdint.h>

#include "graph/pass.h"
#include "llmq/error.h"

/* One linear of a block, or of one of its experts, on some rows. What it computes is y = x W^T
 * times a number, and a bias; g is the gradient towards x W^T, so that the gradient towards W is
 * g^T x. */
struct linear_slope {
    int64_t block, expert; /* -1: the block's own */
    int node;              /* of the block's graph, or of the expert's body */
    int64_t rows, n, k;
    const int32_t *row; /* [rows] in the batch, ascending; NULL: all of them, in order */
    int64_t begin;      /* the batch's first row in the corpus */
    const float *x;     /* [rows, k] */
    const float *g;     /* [rows, n] */
};

/* A parameter of a block that is no linear's: a norm's weight and bias, a convolution's, the
 * vectors of a mixer, sinks, a factor. `sum` is the gradient of the loss over all rows, of
 * `param`'s shape. */
struct param_slope {
    int64_t block;
    const struct graph_param *param;
    const double *sum;
};

/* What somebody wants to see on the way; a function may be NULL. What they are given is only there
 * during the call. */
struct slope_taps {
    void *c;
    enum llmq_status (*linear)(void *c, const struct linear_slope *s, llmq_error *err);
    enum llmq_status (*param)(void *c, const struct param_slope *s, llmq_error *err);
};

/* Sums of gradients towards a node's parameters; NULL: it has none, or nobody asks. */
struct param_sums {
    double *weight, *bias, *sinks;
    double *vector[NODE_VECTORS];
};

struct step_back {
    struct step step;         /* values: only those that the operation reads (struct op_code) */
    float *in[NODE_INPUTS];   /* gradients towards what it read, added to */
    float *out[NODE_OUTPUTS]; /* gradients towards what it made, which may be overwritten; NULL:
                               * there is none */
    struct param_sums sums;
    const struct slope_taps *taps;
    int node;
    const int32_t *row; /* as of struct linear_slope */
    int64_t begin;
    float *scratch;
};

/* Those of ops.c, and what they need. */
LLMQ_NODISCARD enum llmq_status back_norm(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_linear(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_split(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_join(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_rope(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_clip(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_attention(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_differ(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_act(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_glu(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_add(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_scale(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_sum(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_conv(const struct step_back *b, llmq_error *err);
LLMQ_NODISCARD enum llmq_status back_router(const struct step_back *b, llmq_error *err);
int64_t norm_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length);
int64_t attention_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                       int64_t length);
int64_t differ_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                    int64_t length);
int64_t conv_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length);
int64_t router_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                    int64_t length);

#endif
