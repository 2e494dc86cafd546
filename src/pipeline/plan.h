/* The plan of a run: every module and what becomes of it, every tensor of the result, memory,
 * disk and arithmetic. Made and checked before any work starts. */
#ifndef LLMQ_PIPELINE_PLAN_H
#define LLMQ_PIPELINE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "calib/calib.h"
#include "formats/layout.h"
#include "formats/safetensors.h"
#include "graph/model.h"
#include "llmq/quantize.h"

struct plan_module {
    int64_t block;
    enum linear_role role;
    char *name; /* "model.layers.0.self_attn.q_proj" */
    struct quant_shape shape;
};

struct plan {
    const struct layout *layout;
    struct layout_config layout_config;
    struct plan_module *modules; /* in the order of the data flow */
    int64_t module_count;
    struct st_spec *specs; /* tensors of the result, in file order */
    size_t spec_count, spec_cap;
    char **kept; /* tensors copied in their own precision */
    size_t kept_count, kept_cap;
    char **folded; /* norms and biases that folds change, stored with their block in their own
                      precision */
    size_t folded_count, folded_cap;
    char **dropped; /* stray non-floating buffers that loaders would misread */
    size_t dropped_count, dropped_cap;
    uint64_t disk_bytes, ram_bytes, spill_bytes;
    bool spill;
    double flops;
};

/* Plan for an open, plain model. `tokens` is NULL for a run without calibration.
 * LLMQ_E_USAGE: a group that does not divide a module's in_features (the message names the
 * modules, the hint the sizes that would do); LLMQ_E_UNSUPPORTED: the layout cannot hold a module,
 * or the model is quantized already; LLMQ_E_MEMORY: more than --max-mem even when spilling. */
LLMQ_NODISCARD enum llmq_status plan_create(const struct model *m,
                                            const llmq_quantize_options *options,
                                            const struct calib_tokens *tokens, struct plan *out,
                                            llmq_error *err);
void plan_free(struct plan *p); /* accepts a zeroed struct */

/* Does a run with these options scale activations by AWQ? */
bool plan_folds(const llmq_quantize_options *options);

/* The module of a linear. */
const struct plan_module *plan_module_of(const struct plan *p, int64_t block,
                                         enum linear_role role);

#endif
