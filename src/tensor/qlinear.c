/* SPDX-License-Identifier: Apache-2.0 */
/* The neutral quantized matrix: see qlinear.h. */
#include "tensor/qlinear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/hugemem.h"
#include "base/int64.h"

enum llmq_status qlinear_alloc(int64_t n, int64_t k, int bits, int64_t group, struct qlinear *q,
                               llmq_error *err) {
    *q = (struct qlinear){.n = n, .k = k, .bits = bits, .group = group == -1 ? k : group};
    if (n <= 0 || k <= 0 || q->group <= 0 || q->group > k)
        return error_set(err, LLMQ_E_USAGE, "cannot quantize [%lld, %lld] in groups of %lld",
                         (long long)n, (long long)k, (long long)group);
    q->groups = ceil_div(k, q->group);
    size_t codes = 0, params = 0, scale_bytes = 0;
    if (!checked_mul_size((size_t)n, (size_t)k, &codes) ||
        !checked_mul_size((size_t)n, (size_t)q->groups, &params) ||
        !checked_mul_size(params, sizeof *q->scales, &scale_bytes))
        return error_set(err, LLMQ_E_MEMORY, "[%lld, %lld] does not fit the address space",
                         (long long)n, (long long)k);
    q->codes = huge_malloc(codes);
    q->scales = malloc(scale_bytes);
    q->zeros = malloc(params);
    if (!q->codes || !q->scales || !q->zeros) {
        qlinear_free(q);
        return error_memory(err, "a quantized matrix");
    }
    return LLMQ_OK;
}

void qlinear_free(struct qlinear *q) {
    free(q->codes);
    free(q->scales);
    free(q->zeros);
    free(q->group_of);
    *q = (struct qlinear){0};
}

struct qlinear_levels qlinear_levels(const struct qlinear *q) {
    struct qlinear_levels l = {.floats = q->number != NUMBER_INT};
    if (l.floats)
        number_values(q->number, l.values);
    return l;
}

static void dequantize_floats(const struct qlinear *q, const float *values, int64_t n, float *row) {
    const uint8_t *codes = q->codes + n * q->k;
    for (int64_t k = 0; k < q->k; k++)
        row[k] = values[codes[k]] * q->scales[n * q->groups + k / q->group];
}

/* A row whose groups follow the columns: no lookup for each of them. */
static void dequantize_in_order(const struct qlinear *q, int64_t n, float *row) {
    const uint8_t *codes = q->codes + n * q->k;
    for (int64_t g = 0, begin = 0; g < q->groups; g++, begin += q->group) {
        const int64_t end = begin + q->group < q->k ? begin + q->group : q->k;
        const float scale = q->scales[n * q->groups + g];
        const int zero = q->zeros[n * q->groups + g];
        for (int64_t k = begin; k < end; k++)
            row[k] = (float)((int)codes[k] - zero) * scale;
    }
}

static void dequantize_mapped(const struct qlinear *q, int64_t n, float *row) {
    const uint8_t *codes = q->codes + n * q->k;
    for (int64_t k = 0; k < q->k; k++) {
        const int64_t at = n * q->groups + q->group_of[k];
        row[k] = (float)((int)codes[k] - (int)q->zeros[at]) * q->scales[at];
    }
}

void qlinear_dequantize(const struct qlinear *q, int64_t row_begin, int64_t row_end, float *w) {
    const struct qlinear_levels levels = qlinear_levels(q);
    for (int64_t n = row_begin; n < row_end; n++) {
        float *row = w + (n - row_begin) * q->k;
        if (levels.floats)
            dequantize_floats(q, levels.values, n, row);
        else if (q->group_of)
            dequantize_mapped(q, n, row);
        else
            dequantize_in_order(q, n, row);
    }
}

static enum llmq_status check_params(const struct qlinear *q, llmq_error *err) {
    for (int64_t i = 0; i < q->n * q->groups; i++) {
        long long row = (long long)(i / q->groups), g = (long long)(i % q->groups);
        if (!isfinite(q->scales[i]) || q->scales[i] < 0)
            return error_set(err, LLMQ_E_INPUT,
                             "row %lld, group %lld: scale %g is not a finite positive number", row,
                             g, (double)q->scales[i]);
        if (q->zeros[i] >> q->bits)
            return error_set(err, LLMQ_E_INPUT, "row %lld, group %lld: zero %d exceeds %d bits",
                             row, g, q->zeros[i], q->bits);
    }
    return LLMQ_OK;
}

/* All codes OR-ed together. */
static unsigned any_code(const struct qlinear *q) {
    uint8_t seen = 0;
    for (int64_t i = 0; i < q->n * q->k; i++)
        seen |= q->codes[i];
    return seen;
}

/* Names the first code that is too large; there is one. */
static enum llmq_status refuse_code(const struct qlinear *q, llmq_error *err) {
    int64_t i = 0;
    while (!(q->codes[i] >> q->bits))
        i++;
    return error_set(err, LLMQ_E_INPUT, "row %lld, column %lld: code %d exceeds %d bits",
                     (long long)(i / q->k), (long long)(i % q->k), q->codes[i], q->bits);
}

/* Codes of floats that stand for no number. */
static enum llmq_status check_numbers(const struct qlinear *q, llmq_error *err) {
    const struct qlinear_levels levels = qlinear_levels(q);
    for (int64_t i = 0; levels.floats && i < q->n * q->k; i++)
        if (isnan(levels.values[q->codes[i]]))
            return error_set(err, LLMQ_E_INPUT, "row %lld, column %lld: code 0x%02x stands for NaN",
                             (long long)(i / q->k), (long long)(i % q->k), q->codes[i]);
    return LLMQ_OK;
}

enum llmq_status qlinear_check(const struct qlinear *q, llmq_error *err) {
    enum llmq_status status = check_params(q, err);
    if (status == LLMQ_OK)
        status = check_numbers(q, err);
    if (status != LLMQ_OK)
        return status;
    if (any_code(q) >> q->bits)
        return refuse_code(q, err);
    for (int64_t k = 0; q->group_of && k < q->k; k++)
        if (q->group_of[k] < 0 || q->group_of[k] >= q->groups)
            return error_set(err, LLMQ_E_INPUT, "column %lld: group %d is not in [0, %lld)",
                             (long long)k, q->group_of[k], (long long)q->groups);
    return LLMQ_OK;
}

/* Largest level of a row's group; group g of a row are the columns that group_of says, or the g-th
 * run. */
static float widest_level(const struct qlinear *q, const struct qlinear_levels *levels, int64_t row,
                          int64_t g) {
    const uint8_t zero = q->zeros[row * q->groups + g];
    float widest = 0;
    for (int64_t c = q->group_of ? 0 : g * q->group;
         c < q->k && (q->group_of || c < (g + 1) * q->group); c++) {
        const float level = fabsf(qlinear_level(levels, q->codes[row * q->k + c], zero));
        if ((!q->group_of || q->group_of[c] == g) && level > widest)
            widest = level;
    }
    return widest;
}

void qlinear_copy_rows(const struct qlinear *from, int64_t at, int64_t count,
                       const struct qlinear *to, int64_t to_at) {
    const int64_t k = from->k, groups = from->groups;
    if (count == 0)
        return;
    memcpy(to->codes + to_at * k, from->codes + at * k, (size_t)(count * k));
    memcpy(to->scales + to_at * groups, from->scales + at * groups,
           (size_t)(count * groups) * sizeof *to->scales);
    memcpy(to->zeros + to_at * groups, from->zeros + at * groups, (size_t)(count * groups));
}

float qlinear_peak(const struct qlinear *q, float floor) {
    const struct qlinear_levels levels = qlinear_levels(q);
    const float top = levels.floats ? number_form(q->number)->largest : (float)((1 << q->bits) - 1);
    float peak = floor;
    for (int64_t i = 0; i < q->n * q->groups; i++) {
        if (!(q->scales[i] * top > peak)) /* true of nearly all: no code is looked at */
            continue;
        const float w = q->scales[i] * widest_level(q, &levels, i / q->groups, i % q->groups);
        peak = w > peak ? w : peak;
    }
    return peak;
}
