/* SPDX-License-Identifier: Apache-2.0 */
/* What llama.cpp computes for each architecture that llmq writes, as far as config.json could ask
 * for anything else: what a file says is written, and what it cannot say has to be as llama.cpp
 * has it. */
#ifndef LLMQ_GGUF_GGUF_ARCHS_H
#define LLMQ_GGUF_GGUF_ARCHS_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/gguf/gguf_file.h"
#include "llmq/error.h"
#include "models/blocks.h"

/* A number of the model that the file says. */
struct gguf_number {
    enum number number;
    const char *key; /* NULL: after the last */
    double power;    /* it is written to this power */
};

struct gguf_arch {
    const char *name;
    enum norm norm; /* as stored in the file, where one is added already */
    enum act act;
    uint64_t modules;                  /* values that its modules make, as bits */
    uint64_t biases;                   /* ... and those whose module may have a bias */
    bool biased;                       /* ... or has to have one */
    bool tied_only, untied_only;       /* the output head */
    bool part_rotary;                  /* rotation may leave a part of a head as it is */
    bool equal_width;                  /* the heads together are as wide as the model */
    unsigned ropes;                    /* kinds of rotary scaling, as bits of enum rope_type */
    int window_period;                 /* of so many layers the last has no window; 0: windows are
                                        * not known */
    double local_theta;                /* of windowed layers; 0: that of all */
    int wide_layers;                   /* with so many, scores are scaled by HIDDEN / HEADS in place
                                        * of the width of a head */
    bool embed_sqrt;                   /* the embedding times sqrt(hidden) */
    const struct gguf_number *numbers; /* NULL: none but those of all architectures */
    bool experts, dense;               /* blocks with them; without */
    const char *expert_width; /* key of the width of an expert; NULL: it is that of the MLP */
};

/* The family's architecture; LLMQ_E_UNSUPPORTED: it has none, or the model is one that llama.cpp
 * would compute otherwise. */
LLMQ_NODISCARD enum llmq_status gguf_arch_of(const struct blocks *b, const struct gguf_arch **out,
                                             llmq_error *err);

/* The keys that follow from config.json, but for the rotary scaling; `context`: positions up to
 * which llama.cpp computes what the model does. */
void gguf_arch_put(const struct gguf_arch *arch, const struct blocks *b, int64_t context,
                   struct gguf_metadata *m);

/* An architecture of the table, NULL past the end. */
const struct gguf_arch *gguf_arch_at(int index);

#endif
