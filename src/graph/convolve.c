/* SPDX-License-Identifier: Apache-2.0 */
/* Causal convolution: see convolve.h. Tiles of some rows and channels stay in the first cache while
 * every tap is added to them. */
#include "graph/convolve.h"

#include <string.h>

#include "base/int64.h"
#include "graph/columns.h"

enum { CHANNELS = 64, ROWS = 64 };

/* Rows [begin, end) of channels [first, last). */
struct tile {
    int64_t begin, end, first, last;
};

static void begin_tile(const struct filter *f, const struct tile *t, float *out) {
    for (int64_t r = t->begin; r < t->end; r++)
        for (int64_t c = t->first; c < t->last; c++)
            out[r * f->width + c] = f->bias ? f->bias[c] : 0;
}

/* What the rows `back` before each add to it. */
static void add_tap(const struct filter *f, const struct tile *t, int64_t back, const float *x,
                    float *out) {
    const int64_t count = t->last - t->first, tap = f->tokens - 1 - back;
    float weight[CHANNELS];
    for (int64_t c = 0; c < count; c++)
        weight[c] = f->weight[(t->first + c) * f->tokens + tap];
    for (int64_t r = max_i64(t->begin, back); r < t->end; r++) {
        const float *from = x + (r - back) * f->width + t->first;
        float *to = out + r * f->width + t->first;
        for (int64_t c = 0; c < count; c++)
            to[c] += weight[c] * from[c];
    }
}

void convolve_sequence(const struct filter *f, int64_t length, const float *x, float *out) {
    const int64_t columns = ceil_div(f->width, CHANNELS), work = columns * ceil_div(length, ROWS);
#pragma omp parallel for schedule(static) default(none) shared(f, length, x, out, columns, work)
    for (int64_t i = 0; i < work; i++) {
        const int64_t begin = i / columns * ROWS, first = i % columns * CHANNELS;
        const struct tile t = {begin, min_i64(begin + ROWS, length), first,
                               min_i64(first + CHANNELS, f->width)};
        begin_tile(f, &t, out);
        for (int64_t back = f->tokens - 1; back >= 0; back--)
            add_tap(f, &t, back, x, out);
    }
}

/* What the rows carried add to the first rows. */
static void add_carried(const struct filter *f, int64_t length, const float *carried, float *out) {
    const int64_t kept = f->tokens - 1;
    for (int64_t r = 0; r < min_i64(length, kept); r++)
        for (int64_t tap = 0; tap < kept - r; tap++)
            for (int64_t c = 0; c < f->width; c++)
                out[r * f->width + c] +=
                    f->weight[c * f->tokens + tap] * carried[(r + tap) * f->width + c];
}

void convolve_onward(const struct filter *f, int64_t length, const float *x, float *carried,
                     float *out) {
    const int64_t kept = f->tokens - 1, fresh = min_i64(length, kept), old = kept - fresh;
    const size_t row = (size_t)f->width * sizeof *x;
    convolve_sequence(f, length, x, out);
    add_carried(f, length, carried, out);
    memmove(carried, carried + fresh * f->width, (size_t)old * row);
    memcpy(carried + old * f->width, x + (length - fresh) * f->width, (size_t)fresh * row);
}

/* --- the way back ----------------------------------------------------------------------------- */

/* One tap of channels [first, first + count): what the rows `back` before each were multiplied by.
 */
static void add_tap_back(const struct filter *f, int64_t length, int64_t back, int64_t first,
                         int64_t count, const struct filter_back *b) {
    const int64_t tap = f->tokens - 1 - back;
    float weight[CHANNELS];
    double sum[CHANNELS] = {0};
    for (int64_t c = 0; c < count; c++)
        weight[c] = f->weight[(first + c) * f->tokens + tap];
    for (int64_t r = back; r < length; r++) {
        const int64_t from = (r - back) * f->width + first;
        const float *dy = b->dy + r * f->width + first;
        for (int64_t c = 0; c < count; c++) {
            b->dx[from + c] += weight[c] * dy[c];
            sum[c] += (double)(dy[c] * b->x[from + c]);
        }
    }
    for (int64_t c = 0; b->weight && c < count; c++)
        b->weight[(first + c) * f->tokens + tap] += sum[c];
}

void convolve_back(const struct filter *f, int64_t length, const struct filter_back *b) {
#pragma omp parallel for schedule(static) default(none) shared(f, length, b)
    for (int64_t first = 0; first < f->width; first += CHANNELS) {
        const int64_t count = min_i64(CHANNELS, f->width - first);
        for (int64_t back = f->tokens - 1; back >= 0; back--)
            add_tap_back(f, length, back, first, count, b);
    }
    if (b->bias)
        columns_sum(length, f->width, b->dy, b->bias);
}
