/* SPDX-License-Identifier: Apache-2.0 */
/* See problem.h. */
#include "problem.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static uint32_t rng_state;

void problem_seed(uint32_t seed) {
    rng_state = seed;
}

float uniform(void) {
    rng_state = rng_state * 1664525U + 1013904223U;
    return (float)(rng_state >> 8) / (float)(1 << 23) - 1.0F;
}

float normal(void) {
    float v = uniform() + uniform() + uniform();
    return v + 0.5F * v * v * v;
}

struct problem problem_create(int64_t n, int64_t k) {
    int64_t tokens = 2 * k;
    struct problem p = {n, k, malloc((size_t)(n * k) * sizeof *p.W),
                        malloc((size_t)(k * k) * sizeof *p.H),
                        malloc((size_t)(k * k) * sizeof *p.Hd)};
    float *X = malloc((size_t)(tokens * k) * sizeof *X);
    ck_assert(p.W && p.H && p.Hd && X);
    for (int64_t i = 0; i < n * k; i++)
        p.W[i] = 0.05F * normal();
    for (int64_t t = 0; t < tokens; t++) {
        float shared = normal();
        for (int64_t c = 0; c < k; c++)
            X[t * k + c] = (normal() + shared) * (0.2F + (float)((c * 7919) % 31) / 10);
    }
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t t = 0; t < tokens; t++)
                sum += (double)X[t * k + i] * (double)X[t * k + j];
            p.H[i * k + j] = p.H[j * k + i] = (float)(2 * sum / (double)tokens);
        }
    for (int64_t i = 0; i < k * k; i++)
        p.Hd[i] = (double)p.H[i];
    free(X);
    return p;
}

void problem_free(struct problem *p) {
    free(p->W);
    free(p->H);
    free(p->Hd);
}

struct quant_grid grid_of(int bits, int64_t group, bool sym, enum scale_storage storage) {
    return (struct quant_grid){
        .bits = bits, .group = group, .sym = sym, .zmax = (1 << bits) - 1, .storage = storage};
}

struct qlinear quantize(const struct problem *p, const struct quant_grid *grid,
                        enum act_order order, struct quant_outcome *outcome) {
    struct quant_options options = {.act_order = order, .damp = 0.01};
    struct gptq_factor *factor = NULL;
    struct qlinear q = {0};
    llmq_error err = {0};
    ck_assert_int_eq(gptq_factor_create(p->H, p->k, grid->group, &options, &factor, &err), LLMQ_OK);
    ck_assert_msg(gptq_quantize(grid, factor, p->W, p->H, p->n, &q, outcome, &err) == LLMQ_OK, "%s",
                  err.message);
    gptq_factor_free(&factor);
    ck_assert_ptr_null(factor);
    ck_assert_int_eq(qlinear_check(&q, NULL), LLMQ_OK);
    ck_assert_int_eq(q.sym, grid->sym);
    ck_assert_ptr_null(q.group_of);
    ck_assert(outcome->loss <= outcome->rtn_loss);
    return q;
}

static double live(const struct problem *p, const struct qlinear *q, int64_t row, int64_t i) {
    const int64_t g = row * q->groups + i / q->group;
    const float d = p->W[row * q->k + i] -
                    (float)((int)q->codes[row * q->k + i] - (int)q->zeros[g]) * q->scales[g];
    return p->H[i * p->k + i] == 0 ? 0 : (double)d;
}

void problem_losses(const struct problem *p, const struct qlinear *q, double lambda,
                    double *losses) {
    double mean = 0;
    for (int64_t i = 0; i < p->k; i++)
        mean += (p->H[i * p->k + i] == 0 ? 1 : (double)p->H[i * p->k + i]) / (double)p->k;
    for (int64_t row = 0; row < p->n; row++) {
        losses[row] = 0;
        for (int64_t i = 0; i < p->k; i++) {
            double sum = lambda * mean * live(p, q, row, i);
            for (int64_t j = 0; j < p->k; j++)
                sum += (double)p->H[i * p->k + j] * live(p, q, row, j);
            losses[row] += sum * live(p, q, row, i);
        }
    }
}

bool same_row(const struct qlinear *a, const struct qlinear *b, int64_t row) {
    size_t k = (size_t)a->k, groups = (size_t)a->groups, at = (size_t)row;
    return memcmp(a->codes + at * k, b->codes + at * k, k) == 0 &&
           memcmp(a->scales + at * groups, b->scales + at * groups, groups * sizeof *a->scales) ==
               0 &&
           memcmp(a->zeros + at * groups, b->zeros + at * groups, groups) == 0;
}
