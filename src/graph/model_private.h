/* Shared by the files that open and load models. Not for use outside src/graph/model*.c. */
#ifndef LLMQ_GRAPH_MODEL_PRIVATE_H
#define LLMQ_GRAPH_MODEL_PRIVATE_H

#include "graph/model.h"

/* The tensor, if it is there, floating and of shape [rows, cols] ([cols] when rows is 0); *out is
 * owned by the model. LLMQ_E_INPUT, LLMQ_E_UNSUPPORTED. */
LLMQ_NODISCARD enum llmq_status model_require(const struct model *m, const char *name, int64_t rows,
                                              int64_t cols, const struct st_tensor **out,
                                              llmq_error *err);

#endif
