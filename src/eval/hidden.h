/* SPDX-License-Identifier: Apache-2.0 */
/* Final hidden states of every token of a corpus, layer-major: all windows go through block 0, then
 * block 1, ...; each weight is read once and one block is in memory at a time. */
#ifndef LLMQ_EVAL_HIDDEN_H
#define LLMQ_EVAL_HIDDEN_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/acts.h"
#include "graph/block.h"
#include "graph/forward.h"
#include "llmq/compute.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "text/corpus.h"

struct outputs;

/* With which numbers a model computes. */
struct eval_numbers {
    enum load_mode mode;
    enum llmq_compute compute;
};

/* A model to run over a corpus. */
struct eval_job {
    const struct model *m;
    const struct corpus *corpus;
    struct eval_numbers numbers;
    const llmq_context *ctx;
    const char *name;        /* before "block 3/32" in the progress; "" for a model on its own */
    const char *spill_dir;   /* folder for files of activations; NULL: in memory */
    struct outputs *outputs; /* figures of what each block puts out go there; NULL: nowhere */
    int64_t done, total; /* steps of the whole run before this model's blocks, and all of them */
    bool divided;        /* ranks share eval_hidden (parts.h); not for models with experts */
};

/* Residual stream behind the last block and the final norm: out [tokens_used, hidden], in memory or
 * in a file, on every rank. Release with acts_free, also after a failure. */
LLMQ_NODISCARD enum llmq_status eval_hidden(const struct eval_job *job, struct acts *out,
                                            llmq_error *err);

/* --- step by step ----------------------------------------------------------------------------- */

/* The way there: the embedding, then one block after the other. */
struct walk;

/* The size of its passes, of blocks that need scratch of that width. */
struct forward_size walk_size(const struct eval_job *job, int64_t width);

/* `job` must outlive the result. Release with walk_free. */
LLMQ_NODISCARD enum llmq_status walk_create(const struct eval_job *job, struct walk **out,
                                            llmq_error *err);
void walk_free(struct walk **w); /* accepts a pointer to NULL */

/* Run the next block, `index`. */
LLMQ_NODISCARD enum llmq_status walk_block(struct walk *w, int64_t index, llmq_error *err);

/* What goes from block to block, [tokens_used, stream], so far; of a job whose activations are in
 * memory. */
const float *walk_residual(const struct walk *w);

/* The same copied to a store of the caller's, and back, to go on from there. */
LLMQ_NODISCARD enum llmq_status walk_save(const struct walk *w, const struct acts *to,
                                          llmq_error *err);
LLMQ_NODISCARD enum llmq_status walk_restore(struct walk *w, const struct acts *from,
                                             llmq_error *err);

/* Behind the last block: the final norm. *out [tokens_used, hidden] is there until the walk goes on
 * from elsewhere. */
LLMQ_NODISCARD enum llmq_status walk_finish(struct walk *w, const struct acts **out,
                                            llmq_error *err);

#endif
