/* SPDX-License-Identifier: Apache-2.0 */
/* A block's rows read with a model's sizes, for the blocks of one set of traits: which rows are
 * there, how wide every value is, and in which order the linears are quantized.
 *
 * Rounds. A linear is quantized on what the quantized model so far makes of its input, and towards
 * what the residual stream that it adds to lacks of the original's. So it waits until its input and
 * its stream are there, and those linears whose turn comes together make a round: Llama's are q, k,
 * v; o; gate, up; down. Between two rounds the rows that have become computable are run. */
#ifndef LLMQ_MODELS_GRAPH_H
#define LLMQ_MODELS_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "models/schema.h"

enum { GRAPH_NODES = 64, GRAPH_ROUNDS = 12, GRAPH_STORES = 6, GRAPH_TASKS = 16 };
enum { GRAPH_EXPERTS = 1024 }; /* of a block at most */

struct graph_node {
    const struct node *row;
    /* Names of rows that were left out are replaced by those of what they stand for. */
    enum value in[NODE_INPUTS], out[NODE_OUTPUTS];
    int64_t width[NODE_OUTPUTS];
    int64_t groups, skip;
    /* What the row leaves to the model. */
    enum norm norm;
    enum act act;
    double eps, factor, stream_factor;
    double part_factor[NODE_OUTPUTS]; /* of a split */
    int round;         /* it can run once this many rounds are done; a linear is quantized in it */
    enum value stream; /* a linear's output is added to this and goes nowhere else; else V_NONE */
    double gain;       /* and times this */
};

/* A tensor that a block takes from the checkpoint. */
struct graph_param {
    int node;
    const char *suffix;    /* ".weight", ".bias" or "", behind `name`, ... */
    const char *name;      /* ... which is the node's, or a tensor's that the row names by itself */
    int64_t rows, columns; /* [rows, columns], [columns] where rows is 0; [] where both are */
    int64_t experts;       /* a stack: [experts, rows, columns], named within the block; 0: none; */
    bool flat;             /* [experts x rows, columns] */
    int64_t middle;        /* [rows, middle, columns]; 0: there is no such side */
    int vector;            /* of those that an operation has, counted from 1; 0: it is another */
    bool quantized;        /* a weight that may be stored packed instead */
    bool shared;           /* its row is */
};

/* Linears of a round that read the same value and add to the same stream: they share the moments
 * that they are quantized against. */
struct graph_task {
    int round;
    enum value source, stream;
    double gain;    /* what they make is added to the stream times this */
    uint64_t nodes; /* as bits */
};

struct graph {
    trait_set traits;
    struct facts facts; /* of the model */
    int count;
    struct graph_node node[GRAPH_NODES];
    enum value input, output;
    /* What each expert computes, from E to E_OUT, and the node that has them; NULL, -1: none. The
     * body is the caller's to set (models/blocks.h). */
    const struct graph *body;
    int experts;
    int experts_at;              /* so many of the block's own linears come before the experts' */
    int linear_count;            /* linears that are quantized, without the experts', ... */
    int8_t linear[GRAPH_NODES];  /* ... their nodes in the order of the tasks, and ... */
    int8_t ordinal[GRAPH_NODES]; /* ... the place of a node among them, -1: it is none */
    int rounds, task_count;
    struct graph_task task[GRAPH_TASKS]; /* by rounds */
    /* Of each value: its width, the node that makes it (-1: none does), how many nodes read it, and
     * how many rounds must be done before it is there. */
    int64_t width[V_COUNT];
    int producer[V_COUNT], readers[V_COUNT], ready[V_COUNT];
    /* What must be kept of every token before a round, V_NONE after the last: all that is there,
     * is read later, and does not follow from another of them at the cost of a norm or less. */
    enum value stored[GRAPH_ROUNDS][GRAPH_STORES + 1];
};

/* Read `rows` with the model's `facts` for blocks of these `traits`; `input` is the value that
 * comes in. LLMQ_E_UNSUPPORTED: the rows do not make a block, or not with these sizes; the message
 * names the row. */
LLMQ_NODISCARD enum llmq_status graph_make(const struct node *rows, trait_set traits,
                                           const struct facts *facts, enum value input,
                                           struct graph *out, llmq_error *err);

/* Is the node rounded to a few bits (LINEAR that is not plain, EXPERTS)? */
bool graph_node_quantized(const struct graph_node *n);

/* Has the linear, router or convolution a bias? */
bool graph_node_biased(const struct graph *g, const struct graph_node *n);

/* The tensors of a block in order; returns how many they are. */
enum { GRAPH_PARAMS = 2 * GRAPH_NODES };
int graph_params(const struct graph *g, struct graph_param out[GRAPH_PARAMS]);

/* The shape that the tensor must have; returns its rank. */
enum { GRAPH_PARAM_RANK = 3 };
int graph_param_shape(const struct graph_param *p, uint64_t out[GRAPH_PARAM_RANK]);

/* Its entries; of a stack, those of one expert. */
int64_t graph_param_entries(const struct graph_param *p);

/* The node that takes the module `name`, of `len` bytes; -1: none does. */
int graph_find_module(const struct graph *g, const char *name, size_t len);

/* How many linears are quantized, with those of the experts: of each, one after the other. */
int64_t graph_module_count(const struct graph *g);

/* "mlp.experts.17." in `buf`: what stands before the names of an expert's modules. */
enum { GRAPH_NAME_MAX = 128 };
const char *graph_expert_name(const struct graph *g, int64_t expert, char buf[GRAPH_NAME_MAX]);

/* The expert whose modules' names begin like this one, and the rest of the name; false: none. */
bool graph_expert_of(const struct graph *g, const char *name, int64_t *expert, const char **rest);

/* --- folds ------------------------------------------------------------------------------------ */

/* A scale per channel of what some linears read can be divided out of what makes it, a norm's
 * weight or the rows and bias of a linear, and multiplied into the linears' columns: the block then
 * computes the same (Lin et al., arXiv:2306.00978, section 3.2). */
struct graph_fold {
    int producer;       /* node with the weight to divide, or -1: there is none, and ... */
    const char *why;    /* ... this is why; static storage */
    uint64_t consumers; /* nodes whose columns are multiplied: all that read the value, as bits */
    bool exact;         /* one of them is not rounded: the scale is a power of two, so that what it
                         * makes stays the same to the last bit */
    int64_t channels;   /* entries of the scale */
    enum value path[GRAPH_ROUNDS]; /* from the linears' input back to what the producer makes */
    int path_count;
};

/* The fold of the value `source`, the input of a linear. */
struct graph_fold graph_fold_find(const struct graph *g, enum value source);

/* The fold of what a linear of the block or, with `expert`, of each of its experts reads: within
 * the expert or, of what all of them are given, the block's. */
struct graph_fold graph_fold_of(const struct graph *g, bool expert, enum value source);

/* Does the fold multiply columns of the block's experts? */
bool graph_fold_enters_experts(const struct graph *g, const struct graph_fold *f);

/* The nodes that read the value, as bits; 0 where one of them takes no scale. */
uint64_t graph_fold_consumers(const struct graph *g, enum value source);

/* The channel that column `column` of the fold's consumers reads. */
int64_t graph_fold_channel(const struct graph *g, const struct graph_fold *f, int64_t column);

/* columns[i] = the scale of column i of path[step], of what the fold's consumers read with step 0.
 */
void graph_fold_spread(const struct graph *g, const struct graph_fold *f, int step,
                       const float *scales, float *columns);

#endif
