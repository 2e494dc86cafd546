/* SPDX-License-Identifier: Apache-2.0 */
/* What a model has outside of its blocks: the embedding and what belongs to it, the last norm, the
 * output head. */
#ifndef LLMQ_MODELS_ENDS_H
#define LLMQ_MODELS_ENDS_H

#include <stdbool.h>
#include <stdint.h>

#include "models/config.h"

/* A tensor of the ends. */
struct end_param {
    char name[FAMILY_NAME_MAX];
    int64_t rows, columns; /* [rows, columns], or [columns] where rows is 0 */
    bool head;             /* the output head's weight, which may be stored packed instead */
};

/* The tensors of the ends in order; returns how many they are. A head that is the embedding is not
 * one of them. */
enum { ENDS_PARAMS = 12 };
int ends_params(const struct model_config *c, struct end_param out[ENDS_PARAMS]);

/* The kinds of the norms of the embedding and before the head. */
enum norm ends_first_norm(const struct model_config *c);
enum norm ends_last_norm(const struct model_config *c);

/* The module of the output head: "lm_head". */
const char *ends_head_module(const struct family *f, char buf[FAMILY_NAME_MAX]);

#endif
