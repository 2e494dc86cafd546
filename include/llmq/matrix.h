/* SPDX-License-Identifier: Apache-2.0 */
/* Quantizing one matrix that a program has in memory, apart from any checkpoint. */
#ifndef LLMQ_MATRIX_H
#define LLMQ_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/codes.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How: members mean what they do in llmq_quantize_options, where they are described. */
typedef struct llmq_matrix_options {
    size_t size; /* of this struct, see llmq/llmq.h */
    enum llmq_method method;
    int bits;      /* 2, 3, 4, 8 */
    int64_t group; /* columns per group, a divisor of the columns; -1: one group per row */
    bool sym;
    bool awq; /* scale columns by AWQ first; implied by LLMQ_METHOD_AWQ, for GPTQ a choice */
    enum llmq_scales scales;
    enum llmq_act_order act_order; /* GPTQ; GROUP_AWARE keeps columns of a group together */
    enum llmq_range_search search;
    double percentile;
    int descent, rounds; /* GPTQ */
    double damp;         /* GPTQ: added to diag H, as a part of its mean: above 0 and below 1 */
} llmq_matrix_options;

/* 4 bits, groups of 128, symmetric (AWQ: asymmetric); GPTQ of balanced quality for few tokens with
 * damp .01, AWQ with weighted search. */
void llmq_matrix_options_init_sized(llmq_matrix_options *options, size_t size,
                                    enum llmq_method method);
static inline void llmq_matrix_options_init(llmq_matrix_options *options, enum llmq_method method) {
    llmq_matrix_options_init_sized(options, sizeof *options, method);
}

/* What: a matrix, and what it is multiplied with. Give the second moment of its inputs, or inputs
 * themselves, or neither: then it can only be rounded, and every input counts alike. */
typedef struct llmq_matrix {
    size_t size;          /* of this struct, see llmq/llmq.h */
    int64_t rows;         /* output features */
    int64_t columns;      /* input features */
    const float *weights; /* W [rows, columns] */
    const float
        *moment; /* H [columns, columns], symmetric: a positive multiple of X^T X; or NULL */
    const float *inputs; /* X [input_count, columns]; or NULL */
    int64_t input_count;
} llmq_matrix;

void llmq_matrix_init_sized(llmq_matrix *matrix, size_t size); /* all zero but for the size */
static inline void llmq_matrix_init(llmq_matrix *matrix) {
    llmq_matrix_init_sized(matrix, sizeof *matrix);
}

typedef struct llmq_matrix_result {
    llmq_codes codes;
    /* AWQ: the scale s of each column [columns]. The codes are those of W diag(s), so that
     * x W^T = (x / s) (W diag(s))^T: whoever makes x divides it. NULL: 1 throughout */
    float *column_scales;
    const char *method; /* static: "gptq", "rtn"; "awq", "awq+gptq" where columns were scaled */
    double error;       /* |dW X^T|^2 / |W X^T|^2 on the inputs given; without any, X = identity */
    double rtn_error;   /* the same for round-to-nearest on the same grid, without scales */
    double damp;        /* GPTQ: that was used; more than asked for where that led to no factor */
    bool fell_back;     /* GPTQ was asked for, and rounding to nearest was better or all there is */
} llmq_matrix_result;

/* Quantize a matrix. It is what a run does with each linear (llmq/quantize.h), without what takes a
 * model: corrected targets, output curvature, inputs held back to judge by. GPTQ and AWQ take a
 * moment or inputs. Deterministic for any number of threads; holds 4 columns^2 bytes for H, the
 * same for its factor, and 8 columns^2 while it is made of inputs.
 * LLMQ_E_USAGE: options that do not fit each other or the matrix; LLMQ_E_NUMERIC: a weight or an
 * input that is not finite, named by its place; LLMQ_E_MEMORY; LLMQ_E_INTERRUPTED, between steps.
 * Release the result with llmq_matrix_result_free, also after an error.
 * Sources: GPTQ, Frantar et al., arXiv:2210.17323, Algorithm 1; AWQ, Lin et al., arXiv:2306.00978,
 * section 3.2. */
LLMQ_NODISCARD enum llmq_status llmq_matrix_quantize(const llmq_matrix_options *options,
                                                     const llmq_matrix *matrix,
                                                     const llmq_context *ctx,
                                                     llmq_matrix_result *result, llmq_error *err);
void llmq_matrix_result_free(llmq_matrix_result *result);

#ifdef __cplusplus
}
#endif
#endif
