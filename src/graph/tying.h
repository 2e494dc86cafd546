/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensor is the output head. */
#ifndef LLMQ_GRAPH_TYING_H
#define LLMQ_GRAPH_TYING_H

#include <stdbool.h>

#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"
#include "models/family.h"

/* Where `tie_word_embeddings` and the stored tensors meet. */
enum tying {
    TYING_PLAIN,    /* the config says so, and so it is: tied or not */
    TYING_DIFFERS,  /* tied by the config, but a head with values of its own is stored: it counts */
    TYING_HEAD_ONLY /* tied, and stored as the head alone: it is the embedding too */
};

/* Where the config says `tied` and only the head is stored, call it the embedding: *adopted. */
LLMQ_NODISCARD enum llmq_status tying_adopt(const struct family *f, bool tied, struct st_set *set,
                                            bool *adopted, llmq_error *err);

/* The one rule, for a config that says `tied`. A stored head that differs from the embedding wins,
 * whatever the config says: so do transformers since 5.0 (PreTrainedModel.tie_weights) and vLLM
 * since pull request 51665; older loaders drop it. One that is stored alone is read as the
 * embedding, as transformers does, and the set has it under the embedding's name afterwards. A head
 * that is packed in `layout` (may be NULL) differs. */
LLMQ_NODISCARD enum llmq_status tying_settle(const struct family *f, bool tied,
                                             const struct layout *layout, struct st_set *set,
                                             enum tying *out, llmq_error *err);

/* Have two floating tensors the same shape and, as float32, the same values? */
LLMQ_NODISCARD enum llmq_status tying_equal(const struct st_set *set, const struct st_tensor *a,
                                            const struct st_tensor *b, bool *equal,
                                            llmq_error *err);

#endif
