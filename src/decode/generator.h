/* SPDX-License-Identifier: Apache-2.0 */
/* A model that reads tokens one after the other and says what comes next: all of its weights lie in
 * memory, and what its blocks carry from token to token (graph/carry.h) as well, so that nothing is
 * computed twice. Only where rotary frequencies change with the length of the sequence are the
 * tokens before read once more. */
#ifndef LLMQ_DECODE_GENERATOR_H
#define LLMQ_DECODE_GENERATOR_H

#include <stdint.h>

#include "graph/block.h"
#include "llmq/compute.h"
#include "llmq/context.h"
#include "llmq/error.h"

struct generator;

struct generator_options {
    const struct model *m; /* outlives the generator */
    enum load_mode mode;
    int64_t capacity; /* tokens of the sequence at most */
    const llmq_context *ctx;
};

/* Bytes that it takes: weights packed as they are, plain ones in float32. */
LLMQ_NODISCARD enum llmq_status generator_bytes(const struct generator_options *o, uint64_t *out,
                                                llmq_error *err);

/* Load the model. Release with generator_free, also after a failure. */
LLMQ_NODISCARD enum llmq_status generator_create(const struct generator_options *o,
                                                 struct generator **out, llmq_error *err);
void generator_free(struct generator **d);

/* Read further tokens; *logits [vocab] say what follows the last of them, until the next call. Ids
 * are of the vocabulary, and with those before no more than the capacity. LLMQ_E_INTERRUPTED. */
LLMQ_NODISCARD enum llmq_status generator_read(struct generator *d, const int32_t *ids,
                                               int64_t count, const float **logits,
                                               llmq_error *err);

/* How many tokens may follow those read: of the last one nothing need be read. */
int64_t generator_left(const struct generator *d);

/* Tokens that were computed more than once. */
int64_t generator_repeated(const struct generator *d);

#endif
