/* SPDX-License-Identifier: Apache-2.0 */
/* Which layers that predict further tokens a checkpoint has, and whether they are blocks. */
#ifndef LLMQ_GRAPH_DRAFT_LAYERS_H
#define LLMQ_GRAPH_DRAFT_LAYERS_H

#include <stdbool.h>

#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"
#include "models/blocks.h"

/* Make them blocks of the config, and the blocks anew, if that is `asked` for: LLMQ_E_UNSUPPORTED
 * where it is not known how the family's are wired, or where the checkpoint has none. Otherwise
 * they are where linears of theirs are packed and nothing of them is missing, so that whoever reads
 * the checkpoint finds these. The tensors have the family's names. */
LLMQ_NODISCARD enum llmq_status draft_layers_settle(struct model_config *c, struct blocks **blocks,
                                                    const struct st_set *set,
                                                    const struct layout *layout, bool asked,
                                                    llmq_error *err);

#endif
