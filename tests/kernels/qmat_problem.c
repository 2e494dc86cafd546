/* SPDX-License-Identifier: Apache-2.0 */
/* See qmat_problem.h. */
#include "qmat_problem.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "support.h"

int64_t problem_group(const struct problem *p, int64_t column) {
    if (p->group_of)
        return p->group_of[column];
    return p->desc.group < 0 ? 0 : column / p->desc.group;
}

void *must(void *p) {
    ck_assert_ptr_nonnull(p);
    return p;
}

/* Codes and zeros of a kind of data: random, all smallest, all largest, zero weights. */
static void fill_weights(struct problem *p, enum fill fill, bool sym, uint64_t *state) {
    const unsigned top = (1U << p->desc.bits) - 1;
    for (int64_t i = 0; i < p->desc.n * p->groups; i++) {
        p->scales[i] = 0.01F * (1.5F + random_float(state));
        p->zeros[i] = (uint8_t)(sym ? top / 2 + 1 : random_next(state) >> 32 & top);
    }
    for (int64_t r = 0; r < p->desc.n; r++)
        for (int64_t c = 0; c < p->desc.k; c++) {
            int64_t g = problem_group(p, c);
            unsigned code = (unsigned)(random_next(state) >> 32) & top;
            if (fill == FILL_MIN || fill == FILL_MAX)
                code = fill == FILL_MIN ? 0 : top;
            if (fill == FILL_ZERO)
                code = p->zeros[r * p->groups + g];
            p->codes[r * p->desc.k + c] = (uint8_t)code;
        }
}

double problem_weight(const struct problem *p, int64_t row, int64_t column) {
    int64_t g = row * p->groups + problem_group(p, column);
    return (p->codes[row * p->desc.k + column] - p->zeros[g]) * (double)p->scales[g];
}

void problem_solve(struct problem *p) {
    const int64_t n = p->desc.n, k = p->desc.k;
    double *w = must(malloc((size_t)k * sizeof *w));
    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c < k; c++)
            w[c] = problem_weight(p, r, c);
        for (int64_t i = 0; i < p->m; i++) {
            double sum = 0, magnitude = 0;
            for (int64_t c = 0; c < k; c++) {
                double product = w[c] * (double)p->x[i * k + c];
                sum += product;
                magnitude += fabs(product);
            }
            p->want[i * n + r] = sum;
            p->magnitude[i * n + r] = magnitude;
        }
    }
    free(w);
}

struct problem problem_create(struct problem_size s, enum fill fill, uint64_t *state) {
    struct problem p = {.m = s.m};
    p.groups = s.group < 0 ? 1 : (s.k + s.group - 1) / s.group;
    p.codes = must(malloc((size_t)(s.n * s.k)));
    p.zeros = must(malloc((size_t)(s.n * p.groups)));
    p.scales = must(malloc((size_t)(s.n * p.groups) * sizeof *p.scales));
    p.x = must(malloc((size_t)(s.m * s.k) * sizeof *p.x));
    p.want = must(malloc((size_t)(s.m * s.n) * sizeof *p.want));
    p.magnitude = must(malloc((size_t)(s.m * s.n) * sizeof *p.magnitude));
    if (s.mapped) {
        p.group_of = must(malloc((size_t)s.k * sizeof *p.group_of));
        for (int64_t c = 0; c < s.k; c++)
            p.group_of[c] = (int32_t)(random_next(state) % (uint64_t)p.groups);
    }
    p.desc = (llmq_qmat_desc){
        sizeof(llmq_qmat_desc), s.n, s.k, s.bits, s.group, p.codes, p.scales, p.zeros, p.group_of};
    fill_weights(&p, fill, s.sym, state);
    fill_floats(fill, 1.1F, state, p.x, s.m * s.k);
    problem_solve(&p);
    return p;
}

void problem_free(struct problem *p) {
    free(p->codes);
    free(p->zeros);
    free(p->scales);
    free(p->group_of);
    free(p->x);
    free(p->want);
    free(p->magnitude);
}
