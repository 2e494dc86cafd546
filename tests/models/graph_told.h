/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs as text, to be compared with what they should be. */
#ifndef LLMQ_TESTS_GRAPH_TOLD_H
#define LLMQ_TESTS_GRAPH_TOLD_H

#include "models/graph.h"

/* The node whose row takes the module, which has to be there. */
const struct graph_node *find_node(const struct graph *g, const char *name);

/* "0 [X]: a<ATTN_IN/ln_1 b<...": for each round what is kept, and each linear with what it reads,
 * the stream that it adds to and what its columns' scale is divided out of. */
void assert_graph(const struct graph *g, const char *expected);

/* The same of rows with the sizes of models/shapes.h. */
void assert_rounds(const struct node *rows, trait_set traits, const char *expected);

/* What tasks read: the module that a scale of it is divided out of, or why there is none. */
void assert_folds(const struct node *rows, const struct facts *facts, enum value input,
                  const char *want);

#endif
