/* SPDX-License-Identifier: Apache-2.0 */
/* How much each part of a model suffers from being quantized, and the settings for each that fit a
 * size with the least harm. */
#ifndef LLMQ_SENSITIVITY_H
#define LLMQ_SENSITIVITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a setting is said to cost. docs/SENSITIVITY.md derives and compares them.
 * CURVATURE  the divergence that the module's error causes by the curvature of the model's
 *            predictions: one pass back through the model for all modules and settings, nats
 * HESSIAN    the error of the module's own output, relative to that output
 * BLOCK      the error of its block's output, relative to what the block adds
 * KL         the divergence itself, measured: the blocks from there on run once for each setting,
 *            nats */
enum llmq_estimate {
    LLMQ_ESTIMATE_CURVATURE,
    LLMQ_ESTIMATE_HESSIAN,
    LLMQ_ESTIMATE_BLOCK,
    LLMQ_ESTIMATE_KL
};

typedef struct llmq_precision {
    int bits;      /* 2, 3, 4, 8 */
    int64_t group; /* columns per group, -1: one group per row; 0: as the run has it */
} llmq_precision;

#define LLMQ_CANDIDATES_MOST 16

typedef struct llmq_sensitivity_options {
    size_t size; /* of this struct, see llmq/llmq.h */
    const llmq_quantize_options
        *quantize;                    /* of the run that will take the recipe: how codes are chosen,
                                    on which calibration, for which format. RTN or GPTQ; bits are
                                    not read. Modules that its rules match stay as these say */
    const llmq_precision *candidates; /* NULL: 2, 3, 4 and 8 bits, as far as the format holds them
                                       */
    size_t candidate_count;           /* at most LLMQ_CANDIDATES_MOST */
    enum llmq_estimate estimate;
    int64_t windows; /* of the calibration, spread over it, that are measured on and not calibrated
                        on; 0: as many as have 16384 tokens, for BLOCK and KL 4096, and at most a
                        quarter */
} llmq_sensitivity_options;

void llmq_sensitivity_options_init_sized(llmq_sensitivity_options *options, size_t size);
static inline void llmq_sensitivity_options_init(llmq_sensitivity_options *options) {
    llmq_sensitivity_options_init_sized(options, sizeof *options);
}

/* One of the ways to quantize a part, and what it costs; a NaN in plans. */
typedef struct llmq_setting {
    int bits;
    int64_t group;
    uint64_t bytes; /* codes, scales, zero points and maps as the format stores them */
    double cost;
} llmq_setting;

/* Modules that have the same settings in any case, as whoever loads the format has them in one
 * layer: one module, or q, k and v, gate and up, the experts of a block. */
typedef struct llmq_part_settings {
    char **modules; /* names */
    size_t module_count;
    int64_t weights;
    llmq_setting *settings;
    size_t setting_count;
} llmq_part_settings;

typedef struct llmq_sensitivity {
    char *model; /* resolved folder */
    char *format;
    char *rules; /* of the run, as JSON; NULL: none */
    enum llmq_method method;
    enum llmq_estimate estimate;
    bool sym;
    llmq_part_settings *parts; /* the one that loses most by its smallest setting first */
    size_t part_count;
    int64_t weights;         /* of all parts */
    uint64_t fixed_bytes;    /* of the result's other tensors */
    int64_t windows;         /* that were measured on, ... */
    int64_t tokens;          /* ... and theirs */
    int64_t calib_windows;   /* that were calibrated on; 0: nothing had to be */
    double passes;           /* forward passes that the measuring takes, in tokens of `tokens` */
    uint64_t plan_ram_bytes; /* what the plan expects the peak to be */
    uint64_t spill_bytes;    /* of activations in files */
    double seconds;          /* 0 for a plan */
    uint64_t peak_rss_bytes;
} llmq_sensitivity;

/* Measure. With quantize.dry_run nothing is: costs are NaN. Errors as of llmq_quantize;
 * LLMQ_E_USAGE: a part that no candidate fits, a format that holds one setting for all. Release
 * with llmq_sensitivity_free, also after an error. */
LLMQ_NODISCARD enum llmq_status llmq_sensitivity_measure(const llmq_sensitivity_options *options,
                                                         const llmq_context *ctx,
                                                         llmq_sensitivity *out, llmq_error *err);
void llmq_sensitivity_free(llmq_sensitivity *s);

/* What llmq_sensitivity_json wrote. LLMQ_E_INPUT names the key. */
LLMQ_NODISCARD enum llmq_status llmq_sensitivity_read(const char *path, llmq_sensitivity *out,
                                                      llmq_error *err);

/* How large the result may be: one of the two. */
typedef struct llmq_target {
    double bits;    /* per weight of all parts, with what lies beside the codes; 0: not given */
    uint64_t bytes; /* of all tensors of the result; 0: not given */
} llmq_target;

/* A setting for each part, so that the sum of costs is the least there is within the target. */
typedef struct llmq_allocation {
    int *chosen; /* of each part the index of its setting */
    double bits; /* per weight, as llmq_target has it */
    uint64_t bytes;
    double cost;  /* their sum */
    char *recipe; /* the run's own rules and one for each setting, as JSON (llmq/recipe.h) */
} llmq_allocation;

/* LLMQ_E_USAGE: a target that the smallest settings exceed, or costs that were not measured.
 * Release with llmq_allocation_free. */
LLMQ_NODISCARD enum llmq_status llmq_sensitivity_allocate(const llmq_sensitivity *s,
                                                          const llmq_target *target,
                                                          llmq_allocation *out, llmq_error *err);
void llmq_allocation_free(llmq_allocation *a);

/* All of it as one JSON object; `a` may be NULL, to be released with llmq_free; NULL when memory is
 * short. */
char *llmq_sensitivity_json(const llmq_sensitivity *s, const llmq_allocation *a);

/* Write the recipe to a file, which appears whole or not at all; a file that is there is replaced,
 * a pipe is written to. LLMQ_E_IO where it cannot be. */
LLMQ_NODISCARD enum llmq_status llmq_allocation_write(const llmq_allocation *a, const char *path,
                                                      llmq_error *err);

/* Could it be written there? To be asked before measuring. `model` as llmq_model_resolve takes it;
 * NULL: there is none. LLMQ_E_IO: it could not; LLMQ_E_USAGE: the place is in the model's folder,
 * or what the process prints goes there. */
LLMQ_NODISCARD enum llmq_status llmq_allocation_check_place(const char *path, const char *model,
                                                            llmq_error *err);

/* "curvature", "hessian", "block", "kl"; static storage. */
const char *llmq_estimate_name(enum llmq_estimate estimate);

#ifdef __cplusplus
}
#endif
#endif
