/* SPDX-License-Identifier: Apache-2.0 */
/* The weights of a model's norms as tensors of its files. */
#ifndef LLMQ_GRAPH_MODEL_NORMS_H
#define LLMQ_GRAPH_MODEL_NORMS_H

#include <stdint.h>

#include "graph/model.h"
#include "llmq/error.h"
#include "tensor/dtype.h"

struct model_norm {
    const struct st_tensor *tensor; /* the model's */
    const char *name;               /* the tensor's, as the model has it */
    enum dtype dtype;
    int64_t count;
    float added; /* by norms of this kind to what is stored */
};

/* Weights of the norms of all blocks, each tensor once, and of the last norm; not those of experts,
 * nor any in a type that is not F32, F16 or BF16. The caller frees *out. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status model_list_norms(const struct model *m, struct model_norm **out,
                                                 int64_t *count, llmq_error *err);

/* The tensor of such a parameter of a block; NULL: it is no norm's weight. */
const struct st_tensor *model_norm_tensor(const struct model *m, int64_t block,
                                          const struct graph_param *p);

/* That of the last norm; NULL: it has none. */
const struct st_tensor *model_last_norm_tensor(const struct model *m);

#endif
