/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that predict further tokens (struct draft_wiring), as blocks behind the model's own. */
#ifndef LLMQ_MODELS_DRAFTS_H
#define LLMQ_MODELS_DRAFTS_H

#include "models/config.h"
#include "models/ends.h"

/* So many at most; models have 1 to 3. */
enum { DRAFTS_MAX = 16 };

/* The layer, from 0 on, that a tensor's name lies in, of a family that says how they are wired;
 * -1: in none. */
int64_t drafts_layer_of(const struct model_config *c, const char *name);

/* Let the first `count` of them be blocks; 0: none. Blocks that were made before (blocks.h) do not
 * have them. */
LLMQ_NODISCARD enum llmq_status drafts_take(struct model_config *c, int64_t count, llmq_error *err);

/* "mtp.fc", "model.layers.61.eh_proj" in `buf`: what layer `draft` calls a module of its wiring. */
const char *drafts_module(const struct model_config *c, int64_t draft, const char *module,
                          char buf[FAMILY_NAME_MAX]);

/* The tensors of a layer's wiring; returns how many they are. */
int drafts_params(const struct model_config *c, int64_t draft, struct end_param out[ENDS_PARAMS]);

#endif
