/* The blocks of a model, sorted by kind: blocks of one kind have the same traits, so one graph
 * describes them all. */
#ifndef LLMQ_MODELS_BLOCKS_H
#define LLMQ_MODELS_BLOCKS_H

#include "models/config.h"
#include "models/graph.h"

enum { BLOCKS_MAX_KINDS = 8 };

struct blocks {
    int kind_count;
    struct graph kinds[BLOCKS_MAX_KINDS]; /* in the order in which a model first has them */
    uint8_t kind_of[CONFIG_MAX_BLOCKS];   /* block -> kind */
};

/* Derive the graphs of a model's blocks. *out is the caller's to free(). LLMQ_E_UNSUPPORTED: the
 * sizes do not fit the family's rows. */
LLMQ_NODISCARD enum llmq_status blocks_create(const struct model_config *c, struct blocks **out,
                                              llmq_error *err);

#endif
