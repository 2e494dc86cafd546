/* SPDX-License-Identifier: Apache-2.0 */
/* What each tensor of a checkpoint is to the model. */
#ifndef LLMQ_GRAPH_INVENTORY_H
#define LLMQ_GRAPH_INVENTORY_H

#include <stdbool.h>

#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"
#include "models/blocks.h"

enum tensor_use {
    USE_PART,        /* the forward pass reads it, packed or plain */
    USE_CACHE_SCALE, /* scale of an 8-bit key and value cache */
    USE_BUFFER,      /* what loaders compute themselves: rotary frequencies, masks, counters */
    USE_BIAS,        /* a bias where the model has none: idle when it is zero */
    USE_EXTRA_LAYER, /* of a layer beyond the config's last */
    USE_BESIDE,      /* of what the model is inside of, or what its family has beside it: carried */
    USE_OTHER,       /* of something that no loader knows: optimizers, other heads */
    USE_ADAPTER,     /* LoRA and its like, not merged */
    USE_FOREIGN,     /* a part in the place of the model's that its family does not have */
    USE_COUNT
};

/* Tensors are judged by their names, which are the family's (graph/naming.h); `layout` may be
 * NULL. */
enum tensor_use inventory_use(const struct blocks *blocks, const struct layout *layout,
                              const struct st_tensor *t);

/* The part that a carried tensor is of: "vision_tower", "mtp", "layers.46" (one that predicts
 * further tokens), "self_attn.indexer" of every block. */
#define INVENTORY_GROUP_MAX FAMILY_NAME_MAX
const char *inventory_group(const struct blocks *blocks, const struct st_tensor *t,
                            char buf[INVENTORY_GROUP_MAX]);

/* Is a carried tensor the weight of what loaders might take for a linear? Then its module's name is
 * so many bytes of the tensor's; else 0. */
size_t inventory_linear(const struct st_tensor *t);

/* What such tensors are, after "tensors": "of layers beyond num_hidden_layers". */
const char *inventory_words(enum tensor_use use);

/* Is every element zero? */
LLMQ_NODISCARD enum llmq_status
inventory_is_zero(const struct st_set *set, const struct st_tensor *t, bool *zero, llmq_error *err);

/* Say how an adapter is merged into its weights. */
void inventory_hint_merge(llmq_error *err);

/* LLMQ_E_UNSUPPORTED when tensors say that the model computes something else than the family does:
 * adapters that are not merged, parts that the family does not have, a bias that is not zero where
 * the config has none. The message names the first, the hint the way out. */
LLMQ_NODISCARD enum llmq_status inventory_check(const struct blocks *blocks,
                                                const struct layout *layout,
                                                const struct st_set *set, llmq_error *err);

#endif
