/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through RG-LRU: see selective.h. With e = log a and m = sqrt(1 - a^2), the gradient
 * D towards h, which every token hands to the one before as a D, is that
 *
 *     towards e: D (a h[before] - a^2 / m i u)      i: D m u      u: D m i, and those of the gates
 */
#include <math.h>
#include <omp.h>

#include "base/int64.h"
#include "graph/selective_parts.h"
#include "linalg/linalg.h"

enum { ROWS = LRU_ROWS };

int64_t lru_back_scratch(const struct lru *l) {
    return omp_get_max_threads() * (2 * ROWS + 3) * l->width;
}

/* One head: its rate -8 softplus(parameter), ones, D, and the gates of some rows, in whose place
 * the gradients towards their arguments come. */
struct unit {
    const struct lru *l;
    const struct lru_back *back;
    int64_t head;
    float *rate, *ones, *dstate, *input, *recurrent;
};

static void begin_unit(struct unit *u) {
    lru_rates(u->l, u->head, u->rate);
    for (int64_t i = 0; i < u->l->width; i++) {
        u->ones[i] = 1;
        u->dstate[i] = 0;
    }
}

/* Token t of the sequence: row `row` of the gates. */
static void token_back(const struct unit *unit, int64_t t, int64_t row) {
    const int64_t width = unit->l->width, stride = unit->l->heads * width;
    const int64_t at = t * stride + unit->head * width;
    const struct lru_back *b = unit->back;
    float *input = unit->input + row * width, *recurrent = unit->recurrent + row * width;
    for (int64_t i = 0; i < width; i++) {
        const float e = unit->rate[i] * recurrent[i], a = expf(e), u = b->u[at + i];
        const float before = t > 0 ? b->out[at - stride + i] : 0;
        const float m = t > 0 ? sqrtf(-expm1f(2 * e)) : 1;
        const float d = unit->dstate[i] + b->dy[at + i];
        const float dm = t > 0 && m > 0 ? -a * a / m : 0;
        const float de = d * (a * before + dm * input[i] * u);
        b->du[at + i] += d * m * input[i];
        unit->dstate[i] = a * d;
        input[i] = d * m * u * input[i] * (1 - input[i]);
        recurrent[i] = de * unit->rate[i] * recurrent[i] * (1 - recurrent[i]);
    }
}

static void run_unit(struct unit *unit, int64_t length) {
    const struct lru *l = unit->l;
    const int64_t width = l->width, stride = l->heads * width;
    begin_unit(unit);
    for (int64_t begin = (length - 1) / ROWS * ROWS; begin >= 0; begin -= ROWS) {
        const int64_t rows = min_i64(ROWS, length - begin);
        const float *u = unit->back->u + begin * stride + unit->head * width;
        float *du = unit->back->du + begin * stride + unit->head * width;
        lru_open_gates(l, unit->head, rows, u, unit->ones, unit->input, unit->recurrent);
        for (int64_t r = rows - 1; r >= 0; r--)
            token_back(unit, begin + r, r);
        linalg_gemm_nt(rows, width, width, 1, unit->input, width,
                       l->input + unit->head * width * width, width, 1, du, stride);
        linalg_gemm_nt(rows, width, width, 1, unit->recurrent, width,
                       l->recurrent + unit->head * width * width, width, 1, du, stride);
    }
}

void lru_back(const struct lru *l, int64_t length, const struct lru_back *b, float *scratch) {
    const int64_t width = l->width, size = (2 * ROWS + 3) * width;
#pragma omp parallel for schedule(static) default(none) shared(l, length, b, scratch, width, size)
    for (int64_t h = 0; h < l->heads; h++) {
        float *mine = scratch + omp_get_thread_num() * size;
        struct unit unit = {l,
                            b,
                            h,
                            mine,
                            mine + width,
                            mine + 2 * width,
                            mine + 3 * width,
                            mine + (3 + ROWS) * width};
        run_unit(&unit, length);
    }
}
