/* Under which names a checkpoint has its model. Models that were saved without their head, inside
 * of another model, or by a trainer's wrapper have the family's names behind another prefix. */
#ifndef LLMQ_GRAPH_NAMING_H
#define LLMQ_GRAPH_NAMING_H

#include <stdbool.h>

#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"
#include "models/family.h"

#define NAMING_MAX 128

struct naming {
    bool usual;              /* the names are the family's; nothing was renamed */
    char prefix[NAMING_MAX]; /* what stands in the files for the family's "model." */
};

/* Give the tensors of an open checkpoint the family's names: one prefix is found by the first
 * block's first norm, and the output head beside it or above it. LLMQ_E_INPUT when two prefixes, or
 * two heads, answer: the checkpoint holds two models. A checkpoint in which nothing answers is left
 * as it is. */
LLMQ_NODISCARD enum llmq_status naming_settle(const struct family *f, struct st_set *set,
                                              struct naming *out, llmq_error *err);

#endif
