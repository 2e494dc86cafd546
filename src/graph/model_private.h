/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that open and load models. Not for use outside src/graph. */
#ifndef LLMQ_GRAPH_MODEL_PRIVATE_H
#define LLMQ_GRAPH_MODEL_PRIVATE_H

#include "graph/model.h"

/* The tensor, if it is there, floating and of shape [rows, cols] ([cols] when rows is 0); *out is
 * owned by the model. LLMQ_E_INPUT, LLMQ_E_UNSUPPORTED. */
LLMQ_NODISCARD enum llmq_status model_require(const struct model *m, const char *name, int64_t rows,
                                              int64_t cols, const struct st_tensor **out,
                                              llmq_error *err);

/* The tensor of a parameter of a block or, with `expert`, of its body (else -1), held the same way.
 */
LLMQ_NODISCARD enum llmq_status model_require_param(const struct model *m, int64_t block,
                                                    int64_t expert, const struct graph_param *p,
                                                    const struct st_tensor **out, llmq_error *err);

/* A vector as it is stored, and as the caller of the model changes it. */
LLMQ_NODISCARD enum llmq_status model_read_vector(const struct model *m, const struct st_tensor *t,
                                                  float *out, llmq_error *err);

/* A norm outside of the blocks, of whole rows: x [rows, hidden] in place. */
LLMQ_NODISCARD enum llmq_status model_apply_norm(const struct model *m, const char *module,
                                                 enum norm kind, int64_t rows, float *x,
                                                 llmq_error *err);

/* The bias [n] of an expert's linear whose experts are stacked. */
LLMQ_NODISCARD enum llmq_status model_load_stack_bias(const struct model *m, struct linear_place at,
                                                      float *out, llmq_error *err);

#endif
