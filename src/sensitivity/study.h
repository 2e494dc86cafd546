/* SPDX-License-Identifier: Apache-2.0 */
/* A study of a model's sensitivity, shared by the files that carry it out.
 *
 * The run that is studied is planned as llmq_quantize would; its plan says which modules there are,
 * how their codes are chosen and in which layers loaders keep them. Then
 *     slopes.c      one pass back, for the estimate by curvature
 *     rounding.c    the calibration's pass forth: every module with every setting, its errors
 *     downstream.c  beside it, block by block: what an error makes of the block's output and of the
 *                   model's predictions
 * The model itself stays as it is: every error is alone. */
#ifndef LLMQ_SENSITIVITY_STUDY_H
#define LLMQ_SENSITIVITY_STUDY_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/sensitivity.h"
#include "pipeline/run.h"
#include "tensor/qlinear.h"

struct study {
    const llmq_sensitivity_options *options;
    llmq_quantize_options asked;    /* of the run, as they were given */
    llmq_quantize_options quantize; /* of the run that is studied; nothing is corrected, since there
                                       is no error upstream */
    llmq_precision candidates[LLMQ_CANDIDATES_MOST];
    int candidate_count;
    struct run run;
    struct corpus measured; /* the windows that are kept out of run.tokens, and ... */
    struct corpus rest;     /* ... the others */
    llmq_sensitivity *out;
    int64_t *part_of;      /* [linears] of out->parts; -1: it is not studied */
    double *errors;        /* [parts, LLMQ_CANDIDATES_MOST] sums over modules: |dW X^T|^2, ... */
    double *norms;         /* [parts] ... and |W X^T|^2 */
    double *slopes;        /* [linears, LLMQ_CANDIDATES_MOST]: see slopes.c */
    struct qlinear *codes; /* [linears of a block, LLMQ_CANDIDATES_MOST] of the one at hand */
    char *spill_dir;       /* NULL: activations are in memory, all of them */
    bool spills_back;      /* those of study_slopes are in files, ... */
    bool spills_forth;     /* ... those of the calibration and beside it */
    int64_t done, steps;   /* of the progress */
};

/* The studied part of a linear by its number, NULL: it is of none. The number of one at a place,
 * -1: what is there is never quantized. */
llmq_part_settings *study_part(const struct study *s, int64_t linear);
int64_t study_linear(const struct study *s, struct linear_place at);

/* List parts and their settings, with the bytes that they take. */
LLMQ_NODISCARD enum llmq_status study_list(struct study *s, llmq_error *err);

/* Part the calibration's windows. */
LLMQ_NODISCARD enum llmq_status study_part_windows(struct study *s, llmq_error *err);

/* s->slopes: for every linear and setting the divergence, nats per token, that rounding to nearest
 * causes by the curvature of the predictions. */
LLMQ_NODISCARD enum llmq_status study_slopes(struct study *s, llmq_error *err);
uint64_t study_slopes_bytes(const struct study *s, bool spilled);

/* Does the run calibrate, or are weights rounded for the estimate as they were in study_slopes? */
bool study_calibrates(const struct study *s);

/* Try every setting on the linears of a task: errors and norms, or costs by curvature; codes where
 * `s` has a place for them. */
LLMQ_NODISCARD enum llmq_status study_round(struct study *s, int64_t block,
                                            const struct calib_task *task, llmq_error *err);
void study_forget_codes(struct study *s, int64_t block);

/* The grid that slopes.c rounds on; what rounding.c divides by. */
struct quant_grid study_plain_grid(const struct study *s, int64_t linear, int setting);

/* Its module with one of its settings. */
struct plan_module *study_module(struct study *s, int64_t linear, int setting);

/* The original model on the measured windows, block by block. */
struct downstream;
LLMQ_NODISCARD enum llmq_status downstream_create(struct study *s, struct downstream **out,
                                                  llmq_error *err);
void downstream_free(struct downstream **d); /* accepts a pointer to NULL */

/* Costs of the parts of the next block, whose codes are there. */
LLMQ_NODISCARD enum llmq_status downstream_block(struct downstream *d, int64_t block,
                                                 llmq_error *err);

/* Bytes that it takes beside the calibration's, codes included. */
LLMQ_NODISCARD enum llmq_status downstream_bytes(const struct study *s, uint64_t *bytes,
                                                 llmq_error *err);

/* The rules that give each part the setting `chosen`, behind those of the run: as JSON, which the
 * caller frees; NULL when memory is short. */
char *study_rules(const llmq_sensitivity *s, const int *chosen);

#endif
