/* One stream of activations: the calibration tokens on their way through a model's blocks. The
 * residual stream and one intermediate are kept for all tokens, in memory or in files; a block
 * advances them batch by batch, stage by stage. */
#ifndef LLMQ_CALIB_STREAM_H
#define LLMQ_CALIB_STREAM_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/acts.h"
#include "graph/forward.h"
#include "graph/model.h"
#include "llmq/error.h"

struct stream {
    struct acts x;             /* residual stream [T, hidden] */
    struct acts mid;           /* input of o, then of down */
    float *x_buf, *mid_buf;    /* one batch, when the stores are files */
    float *normed;             /* [max_rows, hidden] */
    const struct block *block; /* the one being run; the caller's */
};

/* What a stage's linears see of a batch. */
struct stage_rows {
    float *X;       /* [rows, k] their input; NULL from STAGE_COUNT */
    const float *S; /* [rows, hidden] the residual stream; what they return is added to it where
                       the stage is an output */
};

/* For `total` tokens in batches of at most max_rows; scratch comes from `arena`. `spill_dir` NULL:
 * in memory. Release with stream_free. */
LLMQ_NODISCARD enum llmq_status stream_create(const struct model_config *config, int64_t total,
                                              int64_t max_rows, const char *spill_dir,
                                              struct arena *arena, struct stream *out,
                                              llmq_error *err);
void stream_free(struct stream *s); /* accepts a zeroed struct */

/* Where to produce the residual stream of a batch, and giving it back. */
float *stream_target(const struct stream *s, int64_t begin);
LLMQ_NODISCARD enum llmq_status stream_put(const struct stream *s, int64_t begin, int64_t rows,
                                           const float *x, llmq_error *err);

/* Advance a batch to `stage` of the block; STAGE_COUNT finishes it. Stages in order; the linears of
 * the stages before are applied as they are now. */
LLMQ_NODISCARD enum llmq_status stream_step(struct stream *s, struct forward *forward,
                                            enum block_stage stage, const struct batch *batch,
                                            struct stage_rows *out, llmq_error *err);

/* Before the first batch of a stage. */
void stream_begin_stage(struct stream *s, enum block_stage stage, int64_t width);

/* Does a stage's linear add to the residual stream? */
bool stage_is_output(enum block_stage stage);

#endif
