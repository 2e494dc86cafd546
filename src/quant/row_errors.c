/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of a quantized module on its inputs: dw H dw^T, row by row.
 *
 * Rows are taken in panels, one per thread at a time, and columns in blocks. H is symmetric, so
 * its blocks below the diagonal count twice and those above it not at all:
 *     d H d^T = sum over blocks j of (2 sum over i < j of d_i H_ij + d_j H_jj) . d_j
 * which is half of the multiplications of d H. Products are float32, their sums double. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/hugemem.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "quant/panels.h"
#include "quant/quant.h"

/* Long products: BLAS copies both of its operands. */
#define PANEL_ROWS_MAX 512

/* d = w - dequantized row, whose codes are floats. */
static void residual_floats(const struct qlinear *q, int64_t row, const float *w, float *d) {
    qlinear_dequantize(q, row, row + 1, d);
    for (int64_t c = 0; c < q->k; c++)
        d[c] = w[c] - d[c];
}

/* d = w - dequantized row. */
static void residual_row(const struct qlinear *q, int64_t row, const float *w, float *d) {
    const uint8_t *codes = q->codes + row * q->k, *zeros = q->zeros + row * q->groups;
    const float *scales = q->scales + row * q->groups;
    if (q->number != NUMBER_INT) {
        residual_floats(q, row, w, d);
        return;
    }
    if (q->group_of) {
        for (int64_t c = 0; c < q->k; c++) {
            int32_t g = q->group_of[c];
            d[c] = w[c] - (float)((int)codes[c] - (int)zeros[g]) * scales[g];
        }
        return;
    }
    for (int64_t g = 0; g < q->groups; g++) {
        int zero = zeros[g];
        float scale = scales[g];
        int64_t end = min_i64(q->k, (g + 1) * q->group);
        for (int64_t c = g * q->group; c < end; c++)
            d[c] = w[c] - (float)((int)codes[c] - zero) * scale;
    }
}

double quant_dot(const float *a, const float *b, int64_t count) {
    double sum[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int l = 0; l < 4; l++)
            sum[l] += (double)a[i + l] * (double)b[i + l];
    for (; i < count; i++)
        sum[0] += (double)a[i] * (double)b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* H is known. */
static void forms_by_moment(const float *D, int64_t rows, int64_t k, const float *H, float *P,
                            double *forms) {
    for (int64_t j = 0; j < k; j += QUANT_FORM_COLUMNS) {
        int64_t wide = min_i64(QUANT_FORM_COLUMNS, k - j);
        const float *Hj = H + j * k; /* rows of H are its columns */
        linalg_gemm_nt(rows, wide, wide, 1, D + j, k, Hj + j, k, 0, P, wide);
        if (j > 0)
            linalg_gemm_nt(rows, wide, j, 2, D, k, Hj, k, 1, P, wide);
        for (int64_t r = 0; r < rows; r++)
            forms[r] += quant_dot(D + r * k + j, P + r * wide, wide);
    }
}

/* The inputs themselves are: d X^T X d^T = |X d^T|^2. */
static void forms_by_rows(const float *D, int64_t rows, int64_t k, const struct quant_inputs *in,
                          float *P, double *forms) {
    for (int64_t t = 0; t < in->count; t += QUANT_FORM_COLUMNS) {
        const int64_t wide = min_i64(QUANT_FORM_COLUMNS, in->count - t);
        linalg_gemm_nt(rows, wide, k, 1, D, k, in->X + t * k, k, 0, P, wide);
        for (int64_t r = 0; r < rows; r++)
            forms[r] += quant_dot(P + r * wide, P + r * wide, wide);
    }
}

void quant_forms(const float *D, int64_t rows, int64_t k, const struct quant_inputs *inputs,
                 float *P, double *forms) {
    memset(forms, 0, (size_t)rows * sizeof *forms);
    if (inputs->H)
        forms_by_moment(D, rows, k, inputs->H, P, forms);
    else if (inputs->X)
        forms_by_rows(D, rows, k, inputs, P, forms);
    else
        for (int64_t r = 0; r < rows; r++)
            forms[r] = quant_dot(D + r * k, D + r * k, k);
}

/* Every input counts alike: nothing but the rows themselves is needed. */
static void rows_apart(const float *W, const struct qlinear *q, double *errors, double *norms) {
    const struct llmq_kernels *kernels = kernels_get();
#pragma omp parallel for default(none) shared(W, q, errors, norms, kernels) schedule(static)
    for (int64_t r = 0; r < q->n; r++) {
        const struct code_row row = {.count = q->k,
                                     .group = q->group,
                                     .codes = q->codes + r * q->k,
                                     .scales = q->scales + r * q->groups,
                                     .zeros = q->zeros + r * q->groups};
        double norm = 0;
        kernels->residual(W + r * q->k, &row, errors + r, norms ? norms + r : &norm);
    }
}

enum llmq_status quant_row_errors(const float *W, const struct qlinear *q,
                                  const struct quant_inputs *inputs, double *errors, double *norms,
                                  llmq_error *err) {
    int64_t rows = panels_rows_of(q, PANEL_ROWS_MAX);
    size_t count = 0;
    if (!inputs->H && !inputs->X && !q->group_of && q->number == NUMBER_INT) {
        rows_apart(W, q, errors, norms);
        return LLMQ_OK;
    }
    if (!checked_mul_size((size_t)rows * sizeof(float), (size_t)(q->k + QUANT_FORM_COLUMNS),
                          &count))
        return error_memory(err, "the errors of a module");
    int failed = 0; /* threads that found no memory for a panel */
#pragma omp parallel default(none) shared(W, q, inputs, errors, norms, rows, count)                \
    reduction(+ : failed)
    {
        int64_t k = q->k;
        float *D = huge_malloc(count), *P = D ? D + rows * k : NULL;
        failed = !D;
#pragma omp for schedule(dynamic)
        for (int64_t at = 0; at < q->n; at += rows) {
            int64_t part = min_i64(rows, q->n - at);
            if (failed)
                continue;
            if (norms)
                quant_forms(W + at * k, part, k, inputs, P, norms + at);
            for (int64_t r = 0; r < part; r++)
                residual_row(q, at + r, W + (at + r) * k, D + r * k);
            quant_forms(D, part, k, inputs, P, errors + at);
        }
        free(D);
    }
    return failed ? error_memory(err, "the errors of a module") : LLMQ_OK;
}

double quant_sum(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

enum llmq_status quant_error_sums(const float *W, const struct qlinear *q,
                                  const struct quant_inputs *inputs, double *error, double *norm,
                                  llmq_error *err) {
    double *errors = malloc((size_t)q->n * 2 * sizeof *errors);
    double *norms = errors && norm ? errors + q->n : NULL;
    if (!errors)
        return error_memory(err, "the errors of a module");
    const enum llmq_status status = quant_row_errors(W, q, inputs, errors, norms, err);
    if (status == LLMQ_OK) {
        *error = quant_sum(errors, q->n);
        if (norm)
            *norm = quant_sum(norms, q->n);
    }
    free(errors);
    return status;
}

enum llmq_status quant_error(const float *W, const struct qlinear *q,
                             const struct quant_inputs *inputs, double *error, llmq_error *err) {
    double norm = 0;
    const enum llmq_status status = quant_error_sums(W, q, inputs, error, &norm, err);
    if (status == LLMQ_OK)
        *error = norm > 0 ? *error / norm : 0;
    return status;
}
