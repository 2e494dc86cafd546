/* SPDX-License-Identifier: Apache-2.0 */
/* See parts.h. */
#include "formats/layouts/parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "formats/layouts/pack.h"

/* Rows of scales turned at a time: 64 rows of 64 bytes stay in the first-level cache. */
#define TURN_ROWS 64

/* --- before writing --------------------------------------------------------------------------- */

/* Group sizes that divide k, for a message: multiples of 16 up to 1024, and -1. */
static void list_groups(int64_t k, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (int64_t g = 16; g <= 1024 && g <= k; g += 16) {
        if (k % g != 0)
            continue;
        int n = snprintf(out + used, size - used, "%" PRId64 ", ", g);
        if (n < 0 || (size_t)n >= size - used - 3)
            break;
        used += (size_t)n;
    }
    (void)snprintf(out + used, size - used, "-1");
}

enum llmq_status parts_accept_group(const struct quant_shape *shape, llmq_error *err) {
    char groups[160];
    if (shape->group == -1 || (shape->group > 0 && shape->k % shape->group == 0))
        return LLMQ_OK;
    list_groups(shape->k, groups, sizeof groups);
    enum llmq_status status = error_set(
        err, LLMQ_E_UNSUPPORTED,
        "group size %" PRId64 " does not divide in_features %" PRId64 "; these would do: %s",
        shape->group, shape->k, groups);
    error_hint(err, "choose a group size that divides every module");
    return status;
}

enum llmq_status parts_accept_size(const char *what, int64_t size, int64_t unit, llmq_error *err) {
    if (size > 0 && size <= INT32_MAX && size % unit == 0)
        return LLMQ_OK;
    enum llmq_status status = error_set(
        err, LLMQ_E_UNSUPPORTED, "%s %" PRId64 " is not a multiple of %" PRId64, what, size, unit);
    error_hint(err, "files of this format pack %" PRId64 " values at a time", unit);
    return status;
}

enum llmq_status parts_check_order(const struct qlinear *q, llmq_error *err) {
    for (int64_t k = 0; q->group_of && k < q->k; k++)
        if (q->group_of[k] != k / q->group)
            return error_set(err, LLMQ_E_INPUT,
                             "column %" PRId64 ": expected group %" PRId64
                             ", found %d: current loaders ignore maps of groups, so only groups in "
                             "column order can be written",
                             k, k / q->group, q->group_of[k]);
    return LLMQ_OK;
}

enum llmq_status parts_check_zeros(const struct qlinear *q, int zmin, llmq_error *err) {
    const int middle = 1 << (q->bits - 1);
    const int low = q->sym ? middle : zmin, high = q->sym ? middle : (1 << q->bits) - 1;
    for (int64_t i = 0; i < q->n * q->groups; i++)
        if (q->zeros[i] < low || q->zeros[i] > high)
            return error_set(err, LLMQ_E_INPUT,
                             "row %" PRId64 ", group %" PRId64
                             ": expected a zero point from %d to %d, found %d",
                             i / q->groups, i % q->groups, low, high, q->zeros[i]);
    return LLMQ_OK;
}

enum llmq_status parts_check_number(const struct qlinear *q, enum number_type number,
                                    llmq_error *err) {
    if (q->number == number)
        return parts_check_order(q, err);
    return error_set(err, LLMQ_E_INPUT, "expected codes of %s as planned, found others",
                     number == NUMBER_INT ? "integers" : number_form(number)->name);
}

void parts_set_floats(struct qlinear *q, enum number_type number) {
    q->number = number;
    q->sym = true;
    memset(q->zeros, 0, (size_t)(q->n * q->groups));
}

/* --- scales ----------------------------------------------------------------------------------- */

/* A scale that F16 cannot hold would change every weight of its group after the codes were chosen:
 * the quantizer has to round first. */
enum llmq_status parts_encode_scales(const struct qlinear *q, enum parts_order order, void *out,
                                     llmq_error *err) {
    unsigned char *bytes = out;
    for (int64_t begin = 0; begin < q->n; begin += TURN_ROWS) {
        const int64_t end = begin + TURN_ROWS < q->n ? begin + TURN_ROWS : q->n;
        for (int64_t g = 0; g < q->groups; g++)
            for (int64_t n = begin; n < end; n++) {
                const float s = q->scales[n * q->groups + g];
                const uint16_t half = f32_to_f16(s);
                const int64_t at = order == PARTS_ROWS_FIRST ? n * q->groups + g : g * q->n + n;
                if (!(s > 0.0f) || isinf(s) || f16_to_f32(half) < s || f16_to_f32(half) > s)
                    return error_set(err, LLMQ_E_INPUT,
                                     "row %" PRId64 ", group %" PRId64
                                     ": expected a positive scale that F16 holds exactly, found %g",
                                     n, g, (double)s);
                memcpy(bytes + (size_t)at * sizeof half, &half, sizeof half);
            }
    }
    return LLMQ_OK;
}

/* One row of the file at a time: a group of all outputs, or all groups of an output. */
enum llmq_status parts_decode_scales(const struct layout_data *d, enum parts_order order,
                                     struct qlinear *q, llmq_error *err) {
    const bool turned = order == PARTS_GROUPS_FIRST;
    const int64_t rows = turned ? q->groups : q->n, columns = turned ? q->n : q->groups;
    const size_t row_bytes = (size_t)columns * dtype_bits(d->info.dtype) / 8;
    enum llmq_status status = LLMQ_OK;
    float *row = malloc((size_t)columns * sizeof *row);
    if (!row)
        return error_memory(err, "scales");
    for (int64_t r = 0; r < rows; r++) {
        const unsigned char *from = d->data;
        dtype_to_f32(d->info.dtype, from + (size_t)r * row_bytes, (size_t)columns, row);
        for (int64_t c = 0; c < columns; c++) {
            const int64_t n = turned ? c : r, g = turned ? r : c;
            if (!isfinite(row[c]) || row[c] < 0.0f)
                LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                                   "%s: output %" PRId64 ", group %" PRId64
                                   ": expected a finite scale that is not negative, found %g",
                                   d->info.suffix, n, g, (double)row[c]));
            q->scales[n * q->groups + g] = row[c];
        }
    }

cleanup:
    free(row);
    return status;
}

/* --- reading other tensors -------------------------------------------------------------------- */

#define DTYPE_BIT(t) (UINT64_C(1) << (t))

static const struct {
    const char *names;
    uint64_t dtypes;
} kinds[] = {
    [PARTS_WORDS] = {"I32", DTYPE_BIT(DTYPE_I32)},
    [PARTS_BYTES] = {"U8", DTYPE_BIT(DTYPE_U8)},
    [PARTS_SCALES] = {"F16, BF16 or F32",
                      DTYPE_BIT(DTYPE_F16) | DTYPE_BIT(DTYPE_BF16) | DTYPE_BIT(DTYPE_F32)},
    [PARTS_INDEX] = {"I32 or I64", DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64)},
    [PARTS_ZEROS] = {"I32 or I8", DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I8)},
    [PARTS_E4M3] = {"F8_E4M3", DTYPE_BIT(DTYPE_F8_E4M3)},
    [PARTS_ANY_SCALES] = {"F32, BF16, F16 or F8_E8M0",
                          DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_BF16) | DTYPE_BIT(DTYPE_F16) |
                              DTYPE_BIT(DTYPE_F8_E8M0)},
};

enum llmq_status parts_check_there(const struct layout_data *d, const char *const *suffixes,
                                   int count, llmq_error *err) {
    for (int i = 0; i < count; i++)
        if (!d[i].data)
            return error_set(err, LLMQ_E_INPUT, "%s: expected it, found no such tensor",
                             suffixes[i]);
    return LLMQ_OK;
}

enum llmq_status parts_check_tensor(const struct layout_data *d, const char *suffix,
                                    enum parts_kind kind, int rank, llmq_error *err) {
    uint64_t count = 1, bytes = 0;
    if (!(kinds[kind].dtypes & DTYPE_BIT(d->info.dtype)))
        return error_set(err, LLMQ_E_INPUT, "%s: expected %s, found %s", suffix, kinds[kind].names,
                         dtype_name(d->info.dtype));
    if (d->info.rank != rank)
        return error_set(err, LLMQ_E_INPUT, "%s: expected %d dimensions, found %d", suffix, rank,
                         d->info.rank);
    for (int i = 0; i < rank; i++) {
        if (d->info.shape[i] == 0 || d->info.shape[i] > INT32_MAX)
            return error_set(err, LLMQ_E_INPUT,
                             "%s: expected dimensions from 1 to 2^31 - 1, found %" PRIu64, suffix,
                             d->info.shape[i]);
        count *= d->info.shape[i];
    }
    if (!dtype_bytes(d->info.dtype, count, &bytes) || bytes != d->nbytes)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRIu64 " bytes by its shape, found %" PRIu64, suffix,
                         bytes, d->nbytes);
    return LLMQ_OK;
}

int64_t parts_index_at(const struct layout_data *d, int64_t i) {
    const unsigned char *bytes = d->data;
    if (d->info.dtype == DTYPE_I64) {
        int64_t wide;
        memcpy(&wide, bytes + (size_t)i * sizeof wide, sizeof wide);
        return wide;
    }
    int32_t narrow;
    memcpy(&narrow, bytes + (size_t)i * sizeof narrow, sizeof narrow);
    return narrow;
}

int parts_bits_for(uint64_t words, uint64_t count, int wish) {
    const int widths[] = {2, 3, 4, 8};
    int found = 0;
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
        if (pack_words(widths[i], count) == words && (!found || widths[i] == wish))
            found = widths[i];
    return found;
}

enum llmq_status parts_infer_group(const struct layout_config *config, int64_t k, int64_t groups,
                                   const char *suffix, int64_t *group, llmq_error *err) {
    const int64_t wish = config->group == -1 || config->group > k ? k : config->group;
    const bool fits = wish > 0 && ceil_div(k, wish) == groups;
    if (fits && (k % wish == 0 || k % groups != 0))
        *group = wish;
    else if (groups > 0 && k % groups == 0)
        *group = k / groups;
    else
        return error_set(err, LLMQ_E_INPUT,
                         "%s: expected %" PRId64 " groups for %" PRId64
                         " inputs in groups of %" PRId64 ", found %" PRId64,
                         suffix, wish > 0 ? ceil_div(k, wish) : 0, k, config->group, groups);
    return LLMQ_OK;
}

void parts_set_sym(struct qlinear *q) {
    const int middle = 1 << (q->bits - 1);
    q->sym = true;
    for (int64_t i = 0; i < q->n * q->groups; i++)
        q->sym = q->sym && q->zeros[i] == middle;
}

enum llmq_status parts_decode_groups(const struct layout_data *d, const char *suffix,
                                     struct qlinear *q, llmq_error *err) {
    if (!d->data)
        return LLMQ_OK;
    bool sequential = true;
    q->group_of = malloc((size_t)q->k * sizeof *q->group_of);
    if (!q->group_of)
        return error_memory(err, "the group map");
    for (int64_t k = 0; k < q->k; k++) {
        const int64_t g = parts_index_at(d, k);
        if (g < 0 || g >= q->groups)
            return error_set(err, LLMQ_E_INPUT,
                             "%s: input %" PRId64 ": expected a group from 0 to %" PRId64
                             ", found %" PRId64,
                             suffix, k, q->groups - 1, g);
        q->group_of[k] = (int32_t)g;
        sequential = sequential && g == k / q->group;
    }
    if (sequential) {
        free(q->group_of);
        q->group_of = NULL;
    }
    return LLMQ_OK;
}
