/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a loss towards everything in a model that somebody wants to see, streaming block
 * by block: the windows go forth through all blocks, what lies between two blocks is kept (in
 * memory or in a file), then they come back through them, each block loaded once more and its inner
 * values made again. float32; the same bits for any number of threads, and sums over batches in
 * their order.
 *
 * In passes forth: one through the blocks, one more to make values again (less what nothing reads,
 * such as the last linears of a branch), two back; two products with the output head. */
#ifndef LLMQ_GRAPH_BACKWARD_H
#define LLMQ_GRAPH_BACKWARD_H

#include <stdint.h>

#include "base/tally.h"
#include "graph/loss.h"
#include "graph/model.h"
#include "graph/step_back.h"
#include "llmq/context.h"
#include "llmq/error.h"

/* Rows of a batch, filled with whole windows: each takes as much as all values of a block. */
#define BACKWARD_ROWS 1024

/* Windows [offsets[i], offsets[i + 1]) of `ids`, i < count. */
struct backward_job {
    const struct model *m; /* its weights are expanded where they are packed */
    const int32_t *ids;
    const int64_t *offsets;
    int64_t count;
    const struct loss *loss;
    struct slope_taps taps;
    const char *spill_dir; /* of what lies between blocks; NULL: in memory */
    const llmq_context *ctx;
    struct tally *tally; /* or NULL */
};

/* What it came to, beside what the taps have seen. */
struct backward_result {
    double *loss;       /* [tokens]; of a window's last token 0 */
    double *final_norm; /* [hidden], the gradient towards the weight of the last norm; or NULL */
    double *final_bias; /* [hidden], towards its bias; or NULL */
    float *embedding;   /* [tokens, stream], towards what model_embed gives; or NULL */
};

/* The gradient of the sum of all tokens' losses: taps see the blocks from the last to the first, of
 * each its batches in order and of a batch its linears from the last to the first; a block's
 * parameters come after its batches. The arrays of `out` are the caller's, set. LLMQ_E_NUMERIC when
 * the loss is not finite. */
LLMQ_NODISCARD enum llmq_status backward_run(const struct backward_job *job,
                                             struct backward_result *out, llmq_error *err);

/* Most bytes of memory that it takes for windows of these lengths, with the largest block, and of
 * the file in `spill_dir`. */
struct backward_bytes {
    uint64_t memory, file;
};
struct backward_bytes backward_bytes(const struct model *m, const int64_t *offsets, int64_t count,
                                     bool spilled);

#endif
