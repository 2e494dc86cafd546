/* SPDX-License-Identifier: Apache-2.0 */
/* The scales of one linear on their way: see tune.h. */
#ifndef LLMQ_TUNE_TUNE_PART_H
#define LLMQ_TUNE_TUNE_PART_H

#include "base/arena.h"
#include "llmq/error.h"
#include "tune/tune.h"

/* Times that the windows held back are measured on the way. */
enum { TUNE_MEASURED = 8 };

/* Windows of a step: about as many tokens as go through a block at a time. */
int64_t tune_step_windows(int64_t length);

/* Arrays [n, groups]. */
struct tune_part {
    const struct tune_module *module; /* its scales are those from before */
    float *now;                       /* as the file would hold them */
    float *moved;                     /* of the logarithm, since then */
    float *slope;                     /* the gradient towards that, summed up */
    float *first, *second;            /* moments of Adam */
    float *best;                      /* what had moved where it was best so far */
};
enum { TUNE_ARRAYS = 6 };

/* Nothing has moved yet. LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status tune_part_create(const struct tune_module *m, struct arena *arena,
                                                 struct tune_part *out, llmq_error *err);

/* w [n, k] as stored, in its place the weights of the scales as they are now. */
void tune_part_apply(const struct tune_part *p, float *w);

/* Add to the slopes: w [n, k] as they are now, dw the gradient towards them. */
void tune_part_see(struct tune_part *p, const float *w, const float *dw);

/* Note where they are; go back to what was noted last, with no speed. */
void tune_part_keep(struct tune_part *p);
void tune_part_return(struct tune_part *p);

/* Adam's step number `step`, from 1 on; the slopes are 0 afterwards. */
void tune_part_step(struct tune_part *p, int64_t step, double rate);

#endif
