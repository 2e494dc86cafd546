/* SPDX-License-Identifier: Apache-2.0 */
/* The scales of one linear on their way, or a norm's weight: see tune.h. */
#ifndef LLMQ_TUNE_TUNE_PART_H
#define LLMQ_TUNE_TUNE_PART_H

#include "base/arena.h"
#include "llmq/error.h"
#include "tune/tune.h"

/* Times that the windows held back are measured on the way. */
enum { TUNE_MEASURED = 8 };

/* Windows of a step: about as many tokens as go through a block at a time. */
int64_t tune_step_windows(int64_t length);

/* Arrays [count]. */
struct tune_part {
    const struct tune_module *module; /* its scales [n, groups] are those from before; */
    const struct tune_norm *norm;     /* or its values. The other one is NULL */
    int64_t count;
    double unit;           /* of a norm: mean magnitude of what it multiplies by */
    float *now;            /* as the file would hold them */
    float *moved;          /* since then: of the logarithm; of a norm in units */
    float *slope;          /* the gradient towards that, summed up */
    float *first, *second; /* moments of Adam */
    float *best;           /* what had moved where it was best so far */
};
enum { TUNE_ARRAYS = 6 };

/* Nothing has moved yet. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status tune_part_create(const struct tune_module *m, struct arena *arena,
                                                 struct tune_part *out, llmq_error *err);
LLMQ_NODISCARD enum llmq_status tune_part_create_norm(const struct tune_norm *n,
                                                      struct arena *arena, struct tune_part *out,
                                                      llmq_error *err);

/* w [n, k] as stored, in its place the weights of the scales as they are now. */
void tune_part_apply(const struct tune_part *p, float *w);

/* Add to the slopes: w [n, k] as they are now, dw the gradient towards them. */
void tune_part_see(struct tune_part *p, const float *w, const float *dw);

/* The same of a norm: dw [count] is the gradient towards its weight. */
void tune_part_see_norm(struct tune_part *p, const double *dw);

/* Note where they are; go back to what was noted last, with no speed. */
void tune_part_keep(struct tune_part *p);
void tune_part_return(struct tune_part *p);

/* Adam's step number `step`, from 1 on; the slopes are 0 afterwards. */
void tune_part_step(struct tune_part *p, int64_t step, double rate);

#endif
