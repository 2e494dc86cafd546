/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensor of a GGUF file is which of a model's: by the value that its module makes, whatever
 * the family calls it, and what else is done to it on the way. */
#ifndef LLMQ_MODELS_GGUF_NAMES_H
#define LLMQ_MODELS_GGUF_NAMES_H

#include "models/blocks.h"

enum { GGUF_TENSOR_NAME = 64 };

struct gguf_tensor {
    char name[GGUF_TENSOR_NAME]; /* "blk.3.attn_q.weight" */
    int64_t heads;       /* rows of so many heads lie interleaved, because the architecture turns
                          * neighbours where the family turns halves; 0: they lie in order */
    bool plus_one;       /* a norm's weight that the family adds one to, with that added */
    int64_t part, parts; /* the expert's of all experts; parts 0: it is a tensor of its own */
};

/* Of the model's tensor "model.layers.3.self_attn.q_proj.weight"; another suffix than weight, such
 * as of a packed linear, is kept. False: GGUF files have no place for it. */
bool gguf_tensor_of(const struct blocks *b, const char *name, struct gguf_tensor *out);

/* The inverse: the name of the model's tensor whose place is "blk.3.attn_q.weight", of the expert
 * number `part` where it is all experts'. False: none of the model's is there. */
bool gguf_tensor_name(const struct blocks *b, const char *stored, int64_t part,
                      char name[FAMILY_NAME_MAX]);

/* Do the architecture's rotary embeddings turn neighbours in a head, instead of halves? */
bool gguf_turns_neighbours(const char *arch);

#endif
