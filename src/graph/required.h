/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors that a model must have: floating ones, of the shapes that its config implies. */
#ifndef LLMQ_GRAPH_REQUIRED_H
#define LLMQ_GRAPH_REQUIRED_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"
#include "models/blocks.h"

struct required {
    char name[FAMILY_NAME_MAX];
    int rank;
    uint64_t shape[GRAPH_PARAM_RANK];
};

/* Of a parameter of a block or, with `expert`, of its body (else -1). */
struct required required_param(const struct blocks *b, int64_t block, int64_t expert,
                               const struct graph_param *p);

enum misfit { FITS, MISFIT_MISSING, MISFIT_DTYPE, MISFIT_SHAPE };

/* What is there in its place, NULL when nothing is, and how it differs: what was expected and what
 * was found, shapes as "[64, 32]", as text. */
enum { MISFIT_TEXT = 22 * ST_MAX_RANK + 3 };
struct tensor_fit {
    enum misfit misfit;
    const struct st_tensor *tensor;
    char expected[MISFIT_TEXT], found[MISFIT_TEXT];
};
struct tensor_fit tensor_fits(const struct st_set *tensors, const struct required *r);

/* A checkpoint whose config was read; `layout` NULL: nothing is packed. */
struct required_of {
    const struct blocks *blocks;
    const struct st_set *tensors;
    const struct layout *layout;
};

/* Call `visit` for every tensor that the checkpoint must have, once, until it fails. Weights that
 * are there in another form, packed or of one expert by itself, need not be. */
LLMQ_NODISCARD enum llmq_status
required_each(const struct required_of *of,
              enum llmq_status (*visit)(void *context, const struct required *r, llmq_error *err),
              void *context, llmq_error *err);

/* The same for those only of its layers that predict further tokens and are blocks. */
LLMQ_NODISCARD enum llmq_status
required_drafts(const struct required_of *of,
                enum llmq_status (*visit)(void *context, const struct required *r, llmq_error *err),
                void *context, llmq_error *err);

#endif
