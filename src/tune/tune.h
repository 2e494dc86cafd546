/* SPDX-License-Identifier: Apache-2.0 */
/* Scales tuned on the predictions of the whole model: codes and zero points stay, every group's
 * scale moves down the gradient of the Kullback-Leibler divergence from the original's predictions
 * to the quantized model's; weights of norms with them, where they are asked for.
 *
 * The weights are w = s l, l = code - zero, with s the scale as the file holds it; what moves is
 * the logarithm of the scale in float32, and the rounding of the scale is passed straight through
 * on the way back (the straight-through estimator; learned step size, LSQ, arXiv:1902.08153, with
 * its codes frozen):
 *
 *     d loss / d log s = sum over the group's columns of d loss / dw * w,   d loss / dW = g^T x
 *
 * A norm's weight moves in float32, too, in units of its tensor's mean magnitude, and is rounded to
 * the type of the file.
 *
 * Adam (arXiv:1412.6980) takes a step for some windows at a time, once through all of them, with a
 * rate that rises over the first steps and falls to 0. The divergence on windows held back is
 * measured before and on the way: the scales of its minimum are the result, those from before when
 * none was lower; where it has risen, steps are undone and the next ones shorter.
 *
 * The same bits for any number of threads. */
#ifndef LLMQ_TUNE_TUNE_H
#define LLMQ_TUNE_TUNE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/tally.h"
#include "graph/model.h"
#include "graph/model_norms.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "quant/quant.h"
#include "text/corpus.h"

/* A linear of the quantized model whose scales move. */
struct tune_module {
    struct linear_place at;
    struct quant_grid grid; /* how the file holds scales */
    int64_t n, k, group, groups;
    float *scales; /* [n, groups] as stored; set to what was found */
};

/* A norm of the quantized model whose weight moves. */
struct tune_norm {
    struct model_norm at;
    float *values; /* [count] as stored; set to what was found */
};

struct tune_job {
    const struct model *original, *quantized;
    struct tune_module *modules;
    int64_t count;
    struct tune_norm *norms; /* [norm_count], which may be 0 */
    int64_t norm_count;
    const struct corpus *windows; /* the first `held` are held back, the others, at least one, are
                                     learnt from in this order */
    int64_t held;
    double rate;           /* most that a logarithm of a scale moves in a step, or about that */
    const char *spill_dir; /* of activations; NULL: in memory */
    const llmq_context *ctx;
    struct tally *tally; /* or NULL */
};

struct tune_result {
    double before, after; /* mean divergence on the windows held back, nats a token */
    int64_t steps;        /* after which it was lowest; 0: nothing is changed */
};

/* Errors: those of both models' passes; LLMQ_E_NUMERIC: the divergence is not finite. */
LLMQ_NODISCARD enum llmq_status tune_scales(const struct tune_job *job, struct tune_result *out,
                                            llmq_error *err);

/* What that takes. */
struct tune_size {
    const struct corpus *windows; /* offsets alone */
    int64_t held;
    uint64_t moving, largest; /* scales and norms' weights, weights of the largest module */
    bool spilled;             /* activations are in files */
};
struct tune_cost {
    uint64_t memory, file; /* bytes */
    double passes; /* forth through the model over the windows that are learnt from: the original's,
                      the way back's, and what those held back take */
};
LLMQ_NODISCARD enum llmq_status tune_cost(const struct model *m, const struct tune_size *size,
                                          struct tune_cost *out, llmq_error *err);

#endif
