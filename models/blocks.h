/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of a model, sorted by kind: blocks of one kind have the same traits, so one graph
 * describes them all. */
#ifndef LLMQ_MODELS_BLOCKS_H
#define LLMQ_MODELS_BLOCKS_H

#include "models/config.h"
#include "models/graph.h"

enum { BLOCKS_MAX_KINDS = 8 };

struct blocks {
    const struct model_config *config; /* must outlive the blocks */
    int64_t count;                     /* of the config's blocks, and of its drafts behind them */
    int kind_count;
    struct graph kinds[BLOCKS_MAX_KINDS];   /* in the order in which a model first has them */
    struct graph *bodies[BLOCKS_MAX_KINDS]; /* of a kind's experts, or NULL */
    uint8_t *kind_of;                       /* [count] block -> kind */
    int64_t *first; /* [count + 1] number of a block's first quantized linear, and of all */
    /* [count]: of blocks that take turns with others, the one whose tensors a block shares, which
     * may be itself, and its number among them; -1, 0: it shares none. */
    int64_t *home, *turn;
};

/* A module of a model: which node of which block, or of the body of which of its experts. */
struct linear_place {
    int64_t block;
    int node;
    int64_t expert; /* -1: of none, the node is the block's */
};

/* Derive the graphs of a model's blocks. LLMQ_E_UNSUPPORTED: the sizes do not fit the family's
 * rows. Release with blocks_free. */
LLMQ_NODISCARD enum llmq_status blocks_create(const struct model_config *c, struct blocks **out,
                                              llmq_error *err);
void blocks_free(struct blocks **b); /* accepts a pointer to NULL */

/* The graph of a block. */
const struct graph *blocks_graph(const struct blocks *b, int64_t block);

/* The linears that are quantized, over all blocks in order: how many, the one of a number, and the
 * number of one. */
int64_t blocks_linear_count(const struct blocks *b);
struct linear_place blocks_linear_at(const struct blocks *b, int64_t index);
int64_t blocks_linear_number(const struct blocks *b, struct linear_place at);

/* The graph that a module is of: the block's, or the body of its experts; and its node. */
const struct graph *blocks_graph_of(const struct blocks *b, struct linear_place at);
const struct graph_node *blocks_node(const struct blocks *b, struct linear_place at);

/* Rows (out_features) and columns (in_features) of a linear. */
void blocks_linear_shape(const struct blocks *b, struct linear_place at, int64_t *n, int64_t *k);

/* Is the linear's plain weight, where it has a tensor of its own, stored as [k, n]? */
bool blocks_linear_turned(const struct blocks *b, struct linear_place at);

/* The linear by that name of the whole model, such as "model.layers.3.mlp.up_proj"; false: none of
 * the blocks' is called so. */
bool blocks_find_linear(const struct blocks *b, const char *name, struct linear_place *out);

/* The linear number `index` of those whose weights lie in the tensor by that name: one has a tensor
 * of its own, a stack has those of all experts. False: it holds no so many. */
bool blocks_linear_in(const struct blocks *b, const char *tensor, int64_t index,
                      struct linear_place *out);

/* The tensor of a parameter of a block's graph or, with `expert`, of its body (else -1). */
const char *blocks_param_name(const struct blocks *b, int64_t block, int64_t expert,
                              const struct graph_param *p, char buf[FAMILY_NAME_MAX]);

/* Is it a tensor that only this block of all names so, or the first that does? */
bool blocks_param_owned(const struct blocks *b, int64_t block, const struct graph_param *p);

/* The name of a node's module in the whole model, and `suffix` behind it. */
const char *blocks_node_name(const struct blocks *b, struct linear_place at, const char *suffix,
                             char buf[FAMILY_NAME_MAX]);

#endif
