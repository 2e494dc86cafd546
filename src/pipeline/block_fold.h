/* SPDX-License-Identifier: Apache-2.0 */
/* AWQ's scales in a loaded block: found task by task with the calibration inputs of the block as it
 * is, folded into its weights in place, and proven to leave its output alone.
 *
 * A fold divides what produces a value (a norm's weight; the output rows and bias of a linear) by a
 * scale per channel and multiplies the input columns of all linears that read it by the same (see
 * graph_fold_find). Norms, biases and linears that are not quantized stay in the checkpoint's own
 * type, so they are stored with their block. */
#ifndef LLMQ_PIPELINE_BLOCK_FOLD_H
#define LLMQ_PIPELINE_BLOCK_FOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "calib/calib.h"
#include "formats/safetensors/safetensors.h"
#include "graph/block.h"
#include "llmq/error.h"
#include "models/blocks.h"
#include "quant/judge.h"

struct run;
struct plan_module;

/* Scales by what linears read; NULL: 1 throughout. */
struct fold_scales {
    const float *channels[V_COUNT]; /* [channels] that what makes it is divided by */
    const float *columns[V_COUNT];  /* [k] that the linears' columns are multiplied by */
};

/* What was folded into the block at hand. */
struct block_fold {
    struct fold_scales of_block, of_expert;
    int64_t expert;    /* that was looked at last, -1: none was */
    double difference; /* of the block's output, see block_fold_compare */
};

/* Largest relative difference that float32 rounding explains: measured 1e-7 to 1e-6. */
#define BLOCK_FOLD_LIMIT 1e-4

/* Experts that are asked about what all of them read. */
enum { BLOCK_FOLD_ASKED = 4 };

/* Find scales for every source and fold them into `block`, which is loaded PLAIN and at which
 * run->calib begins; run->calib is at the start of the block again afterwards. Scales live in
 * run->weights. LLMQ_E_NUMERIC: the block's output changed. */
LLMQ_NODISCARD enum llmq_status block_fold_make(struct run *run, struct block *block,
                                                struct block_fold *out, llmq_error *err);

/* The same for what an expert itself makes, at a task that is there to be looked at; folded into
 * the expert at hand. */
LLMQ_NODISCARD enum llmq_status block_fold_expert(struct run *run, int64_t block,
                                                  const struct calib_task *task, llmq_error *err);

/* Is there no scale for what the module `at` reads as `source` because a linear that would have to
 * follow it, by its columns or rows, stays as it is? */
bool block_fold_barred(const struct run *run, struct linear_place at, enum value source);

/* Fold the scales of the linears that read `source` into the block, in place; those of columns that
 * experts read are the calibration's (calib_scale_experts). */
LLMQ_NODISCARD enum llmq_status block_fold_apply(const struct model *m, enum value source,
                                                 const struct fold_scales *scales,
                                                 struct block *block, llmq_error *err);

/* difference = ||after - before|| / ||before - in||, Frobenius norms over `count` elements: what a
 * block's output changed by, relative to what the block adds to its input. LLMQ_E_NUMERIC beyond
 * BLOCK_FOLD_LIMIT. */
LLMQ_NODISCARD enum llmq_status block_fold_compare(const float *in, const float *before,
                                                   const float *after, int64_t count,
                                                   double *difference, llmq_error *err);

/* Set the outcome's errors relative to the function the module had before the fold: `error` of q
 * for the problem's folded weights and inputs, `rtn_error` of rounding the unfolded weights on the
 * same grid; and its method. A module that no fold touched keeps them; where none could, `unscaled`
 * says why. */
LLMQ_NODISCARD enum llmq_status block_fold_outcome(const struct run *run,
                                                   const struct plan_module *module,
                                                   const struct quant_problem *problem,
                                                   const struct qlinear *q,
                                                   struct quant_outcome *outcome, llmq_error *err);

/* Does a fold change this tensor, which stays in its own type? */
bool block_fold_changes(const struct model *m, const char *tensor);

/* Store the block's norms, biases and plain linears that folds may change, and their fingerprint in
 * *hash. */
LLMQ_NODISCARD enum llmq_status block_fold_store(const struct run *run, const struct block *block,
                                                 uint64_t *hash, llmq_error *err);

/* That of what is stored for a block now. */
LLMQ_NODISCARD enum llmq_status block_fold_hash(const struct model *stored, int64_t block,
                                                uint64_t *hash, llmq_error *err);

/* Compare what was stored for a block with its fingerprint. LLMQ_E_CHECK when it differs. */
LLMQ_NODISCARD enum llmq_status block_fold_verify(const struct model *stored, int64_t block,
                                                  uint64_t expected, llmq_error *err);

/* Bytes block_fold_make needs beside the block and the calibration. */
uint64_t block_fold_bytes(const struct model *m, const struct calib_tokens *tokens);

#endif
