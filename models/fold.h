/* Folds of a family's table, read with a model's shapes: which channel feeds which column, and
 * whether the table is complete. */
#ifndef LLMQ_MODELS_FOLD_H
#define LLMQ_MODELS_FOLD_H

#include <stdint.h>

#include "models/config.h"

/* May the fold of `stage` be made? Every linear that reads the producer must be among the
 * consumers and every consumer must read it, the producer must feed that stage and nothing but
 * sums and products may lie between, and the channels must match the columns. LLMQ_E_UNSUPPORTED
 * says what is wrong with the table. A stage without a fold passes. */
LLMQ_NODISCARD enum llmq_status fold_check(const struct model_config *c, enum block_stage stage,
                                           llmq_error *err);

/* Channels of the producer: entries of the fold's scale. */
int64_t fold_channels(const struct model_config *c, enum block_stage stage);

/* The channel that input column `column` of the stage's linears reads. */
int64_t fold_channel(const struct model_config *c, enum block_stage stage, int64_t column);

#endif
