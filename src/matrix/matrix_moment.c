/* SPDX-License-Identifier: Apache-2.0 */
/* See matrix_moment.h. */
#include "matrix/matrix_moment.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/error.h"
#include "calib/moments.h"
#include "linalg/linalg.h"

static enum llmq_status check_finite(const char *what, const float *M, int64_t rows,
                                     int64_t columns, llmq_error *err) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            if (!isfinite(M[r * columns + c]))
                return error_set(err, LLMQ_E_NUMERIC,
                                 "%s at row %" PRId64 ", column %" PRId64 " is %g", what, r, c,
                                 (double)M[r * columns + c]);
    return LLMQ_OK;
}

/* A moment is one of something: its diagonal is not negative, and it is symmetric as far as
 * rounding goes. */
static enum llmq_status check_moment(const float *H, int64_t k, llmq_error *err) {
    const enum llmq_status status = check_finite("the moment", H, k, k, err);
    if (status != LLMQ_OK)
        return status;
    for (int64_t i = 0; i < k; i++) {
        if (H[i * k + i] < 0)
            return error_set(err, LLMQ_E_USAGE, "the moment at row and column %" PRId64 " is %g", i,
                             (double)H[i * k + i]);
        for (int64_t j = 0; j < i; j++) {
            const double a = (double)H[i * k + j], b = (double)H[j * k + i];
            const double size = sqrt((double)H[i * k + i] * (double)H[j * k + j]);
            if (fabs(a - b) > 1e-3 * (size + fabs(a) + fabs(b)))
                return error_set(err, LLMQ_E_USAGE,
                                 "the moment is not symmetric: %g at row %" PRId64
                                 ", column %" PRId64 ", and %g the other way round",
                                 a, i, j, b);
        }
    }
    return LLMQ_OK;
}

static enum llmq_status make(const llmq_matrix *m, struct matrix_moment *out, llmq_error *err) {
    const int64_t k = m->columns;
    size_t count = 0, bytes = 0;
    struct moment moment = {0};
    enum llmq_status status = check_finite("the input", m->inputs, m->input_count, k, err);
    if (status != LLMQ_OK)
        return status;
    if (checked_mul_size((size_t)k, (size_t)(k + 1) / 2 + 1, &count) &&
        checked_mul_size(count, sizeof *moment.sum, &bytes))
        moment.sum = calloc(1, bytes);
    moment.scratch = malloc(linalg_accumulate_floats() * sizeof *moment.scratch);
    if (moment.sum && moment.scratch) {
        linalg_syrk_accumulate(m->input_count, k, m->inputs, k, moment.sum, moment.scratch);
        out->made = moment_finish_square(&moment, k, 2.0 / (double)m->input_count);
        out->H = out->made;
    } else {
        status = error_memory(err, "a second moment");
        free(moment.sum);
    }
    free(moment.scratch);
    return status;
}

enum llmq_status matrix_moment_make(const llmq_matrix *m, struct matrix_moment *out,
                                    llmq_error *err) {
    *out = (struct matrix_moment){.H = m->moment};
    if (m->moment && m->inputs)
        return error_set(err, LLMQ_E_USAGE, "a moment and inputs: expected one of the two");
    if (m->inputs && m->input_count < 1)
        return error_set(err, LLMQ_E_USAGE, "%" PRId64 " inputs: expected one at least",
                         m->input_count);
    if (m->moment)
        return check_moment(m->moment, m->columns, err);
    return m->inputs ? make(m, out, err) : LLMQ_OK;
}

void matrix_moment_free(struct matrix_moment *m) {
    free(m->made);
    *m = (struct matrix_moment){0};
}

enum llmq_status matrix_moment_divide(struct matrix_moment *m, int64_t k, const float *scales,
                                      llmq_error *err) {
    size_t bytes = 0;
    float *H = checked_mul_size((size_t)k * sizeof *H, (size_t)k, &bytes) ? malloc(bytes) : NULL;
    if (!H)
        return error_memory(err, "a second moment");
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++)
            H[i * k + j] = m->H[i * k + j] / scales[i] / scales[j];
    free(m->made);
    m->H = m->made = H;
    return LLMQ_OK;
}
