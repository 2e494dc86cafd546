/* SPDX-License-Identifier: Apache-2.0 */
/* Under which names a checkpoint has its model. Models that were saved without their head, inside
 * of another model, or by a trainer's wrapper have the family's names behind another prefix. */
#ifndef LLMQ_GRAPH_NAMING_H
#define LLMQ_GRAPH_NAMING_H

#include <stdbool.h>

#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"
#include "models/blocks.h"

#define NAMING_MAX 128

struct naming {
    bool usual;              /* nothing was renamed */
    char prefix[NAMING_MAX]; /* what stands in the files for the family's "model." */
};

/* Give the tensors of an open checkpoint the family's names. Those of a GGUF file have others of
 * their own, and rows and norms in another form (models/gguf_names.h), which are put back:
 * LLMQ_E_INPUT when the file is of another architecture than the family's. Of others one prefix is
 * found by the first block's first norm, and the output head beside it or above it. LLMQ_E_INPUT
 * when two prefixes, or two heads, answer: the checkpoint holds two models. A checkpoint in which
 * nothing answers is left as it is.
 *
 * Inside of a wrapper the names are the checkpoint's to keep, since the whole is loaded by them:
 * there the config's family takes them over in place (config_take_names). LLMQ_E_INPUT when loaders
 * know no such prefix. `b` are the blocks of `c`. */
LLMQ_NODISCARD enum llmq_status naming_settle(struct model_config *c, const struct blocks *b,
                                              struct st_set *set, struct naming *out,
                                              llmq_error *err);

/* The part of naming_settle for the set of a GGUF file. */
LLMQ_NODISCARD enum llmq_status naming_from_gguf(const struct blocks *b, struct st_set *set,
                                                 llmq_error *err);

#endif
