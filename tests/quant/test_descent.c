/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinate descent against its measure in double precision, against the plain loop it speeds up,
 * and against the solution of the normal equations. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/descent.h"
#include "quant/grid.h"
#include "quant/quant.h"
#include "support.h"

#define SEED  4071777U
#define MAX_K 512

/* Float32 sums of errors, relative. */
#define ROUNDING 1e-5

/* --- the measure ------------------------------------------------------------------------------ */

static double metric_at(const struct problem *p, double damping, int64_t i, int64_t j) {
    return p->Hd[i * p->k + j] + (i == j ? damping : 0);
}

/* gradient[k] = d M and the error d M d^T of a row; inputs never active have no part in it. */
static double row_gradient(const struct problem *p, double damping, const struct qlinear *q,
                           int64_t row, double *gradient) {
    double d[MAX_K], error = 0;
    for (int64_t c = 0; c < p->k; c++) {
        int64_t at = row * q->groups + c / q->group;
        double level = (double)q->codes[row * p->k + c] - q->zeros[at];
        bool dead = p->Hd[c * p->k + c] == 0;
        d[c] = dead ? 0 : (double)p->W[row * p->k + c] - level * (double)q->scales[at];
    }
    for (int64_t c = 0; c < p->k; c++) {
        gradient[c] = 0;
        for (int64_t j = 0; j < p->k; j++)
            gradient[c] += d[j] * metric_at(p, damping, j, c);
        error += gradient[c] * d[c];
    }
    return error;
}

static double row_error(const struct problem *p, double damping, const struct qlinear *q,
                        int64_t row) {
    double gradient[MAX_K];
    return row_gradient(p, damping, q, row, gradient);
}

/* --- problems --------------------------------------------------------------------------------- */

/* H of fewer inputs than it has columns, two of which are never active. */
static void make_deficient(struct problem *p) {
    double x[MAX_K];
    memset(p->Hd, 0, (size_t)(p->k * p->k) * sizeof *p->Hd);
    for (int64_t t = 0; t < p->k / 3; t++) {
        for (int64_t c = 0; c < p->k; c++)
            x[c] = c == 3 || c == p->k - 1 ? 0 : (double)normal();
        for (int64_t i = 0; i < p->k * p->k; i++)
            p->Hd[i] += x[i / p->k] * x[i % p->k];
    }
    for (int64_t i = 0; i < p->k * p->k; i++) {
        p->H[i] = (float)p->Hd[i];
        p->Hd[i] = (double)p->H[i];
    }
}

static struct qlinear copy_of(const struct qlinear *q) {
    struct qlinear c = {0};
    ck_assert_int_eq(qlinear_alloc(q->n, q->k, q->bits, q->group, &c, NULL), LLMQ_OK);
    c.sym = q->sym;
    memcpy(c.codes, q->codes, (size_t)(q->n * q->k));
    memcpy(c.scales, q->scales, (size_t)(q->n * q->groups) * sizeof *q->scales);
    memcpy(c.zeros, q->zeros, (size_t)(q->n * q->groups));
    return c;
}

static struct qlinear rounded(const struct problem *p, const struct quant_grid *grid) {
    struct qlinear q = {0};
    ck_assert_int_eq(rtn_quantize(grid, p->W, NULL, p->n, p->k, &q, NULL), LLMQ_OK);
    return q;
}

static void descend(const struct problem *p, const struct quant_grid *grid, double damping,
                    struct descent how, const struct qlinear *q) {
    const struct metric metric = {p->H, damping};
    ck_assert_int_eq(descent_run(grid, &metric, &how, p->W, q, NULL), LLMQ_OK);
    ck_assert_int_eq(qlinear_check(q, NULL), LLMQ_OK);
}

/* --- promises --------------------------------------------------------------------------------- */

static void check_unchanged(const struct problem *p, const struct quant_grid *grid,
                            struct descent how, const struct qlinear *before,
                            const struct qlinear *after) {
    ck_assert(memcmp(before->zeros, after->zeros, (size_t)(p->n * after->groups)) == 0);
    for (int64_t i = 0; i < p->n * after->groups; i++) {
        ck_assert(how.scales || after->scales[i] == before->scales[i]);
        ck_assert(after->scales[i] == grid_stored_scale(grid, after->scales[i]));
    }
    for (int64_t i = 0; i < p->n * p->k; i++)
        if (!how.codes || p->Hd[i % p->k * (p->k + 1)] == 0)
            ck_assert_int_eq(after->codes[i], before->codes[i]);
}

/* One pass after the other: no row gets worse, what was not to change did not, and the whole gets
 * better. */
static void check_descends(const struct problem *p, const struct quant_grid *grid, double damping,
                           struct descent how) {
    struct qlinear before = rounded(p, grid), after = copy_of(&before);
    double first = 0, last = 0;
    for (int pass = 0; pass < 3; pass++) {
        struct qlinear old = copy_of(&after);
        descend(p, grid, damping, how, &after);
        last = 0;
        for (int64_t row = 0; row < p->n; row++) {
            double was = row_error(p, damping, &old, row), is = row_error(p, damping, &after, row);
            ck_assert_msg(is <= was * (1 + ROUNDING), "bits %d group %lld sym %d: %g, was %g",
                          grid->bits, (long long)grid->group, grid->sym, is, was);
            first += pass == 0 ? was : 0;
            last += is;
        }
        qlinear_free(&old);
    }
    check_unchanged(p, grid, how, &before, &after);
    ck_assert_msg(last < first, "bits %d group %lld sym %d codes %d scales %d: %g, was %g",
                  grid->bits, (long long)grid->group, grid->sym, how.codes, how.scales, last,
                  first);
    qlinear_free(&before);
    qlinear_free(&after);
}

/* k and groups: smaller, equal and larger than what the code cuts into. */
static const int64_t shapes[][2] = {{96, 16}, {96, 96}, {200, 8}, {200, 100}, {288, 144}, {65, -1}};
#define SHAPES ((int)(sizeof shapes / sizeof *shapes))

START_TEST(test_no_row_gets_worse) {
    static const int bits[] = {2, 3, 4, 8};
    for (int i = 0; i < SHAPES * 2; i++) {
        struct problem p = problem_create(18, shapes[i / 2][0]);
        if (i % 2)
            make_deficient(&p);
        for (int j = 0; j < 4 * 2 * 3; j++) {
            struct quant_grid grid = grid_of(bits[j % 4], shapes[i / 2][1], j / 4 % 2, SCALE_DUAL);
            int mode = 1 + j / 8;
            check_descends(&p, &grid, j % 5 == 0 ? 0 : 0.01,
                           (struct descent){1, mode & 1, mode & 2, NULL});
        }
        problem_free(&p);
    }
}
END_TEST

START_TEST(test_a_group_without_active_inputs_stays) {
    struct problem p = problem_create(5, 96);
    for (int64_t i = 0; i < p.k * p.k; i++)
        if (i % p.k < 32 || i / p.k < 32)
            p.H[i] = 0, p.Hd[i] = 0;
    struct quant_grid grid = grid_of(4, 32, true, SCALE_DUAL);
    struct qlinear before = rounded(&p, &grid), after = copy_of(&before);
    descend(&p, &grid, 0, (struct descent){3, true, true, NULL}, &after);
    for (int64_t row = 0; row < p.n; row++) {
        ck_assert(after.scales[row * 3] == before.scales[row * 3]);
        ck_assert(memcmp(after.codes + row * p.k, before.codes + row * p.k, 32) == 0);
    }
    qlinear_free(&before);
    qlinear_free(&after);
    problem_free(&p);
}
END_TEST

START_TEST(test_nothing_changes_after_the_last_change) {
    struct problem p = problem_create(20, 96);
    struct quant_grid grid = grid_of(3, 32, false, SCALE_DUAL);
    struct qlinear q = rounded(&p, &grid);
    descend(&p, &grid, 0.01, (struct descent){200, true, true, NULL}, &q);
    struct qlinear again = copy_of(&q);
    descend(&p, &grid, 0.01, (struct descent){1, true, true, NULL}, &again);
    for (int64_t row = 0; row < p.n; row++)
        ck_assert(same_row(&q, &again, row));
    qlinear_free(&q);
    qlinear_free(&again);
    problem_free(&p);
}
END_TEST

START_TEST(test_descent_is_the_same_for_any_thread_count) {
    struct problem p = problem_create(300, 192);
    struct quant_grid grid = grid_of(4, 64, false, SCALE_DUAL);
    struct qlinear start = rounded(&p, &grid), one = copy_of(&start);
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    descend(&p, &grid, 0.01, (struct descent){2, true, true, NULL}, &one);
    for (int t = 2; t <= 3; t++) {
        struct qlinear more = copy_of(&start);
        omp_set_num_threads(t);
        descend(&p, &grid, 0.01, (struct descent){2, true, true, NULL}, &more);
        for (int64_t row = 0; row < p.n; row++)
            ck_assert(same_row(&one, &more, row));
        qlinear_free(&more);
    }
    omp_set_num_threads(threads);
    qlinear_free(&one);
    qlinear_free(&start);
    problem_free(&p);
}
END_TEST

/* --- codes against the plain loop ------------------------------------------------------------- */

/* One pass over a row in double precision. */
static void plain_pass(const struct problem *p, double damping, const struct quant_grid *grid,
                       const struct qlinear *q, int64_t row) {
    double gradient[MAX_K], top = (1 << grid->bits) - 1;
    row_gradient(p, damping, q, row, gradient);
    for (int64_t c = 0; c < p->k; c++) {
        int64_t at = row * q->groups + c / q->group;
        uint8_t *code = q->codes + row * p->k + c;
        double s = (double)q->scales[at], step = gradient[c] / (metric_at(p, damping, c, c) * s);
        double wanted = fmin(fmax(rint(*code + step), 0), top);
        double move = fabs(step) > 0.501 ? (*code - wanted) * s : 0;
        *code = (uint8_t)(move == 0 ? *code : wanted);
        for (int64_t j = 0; move != 0 && j < p->k; j++)
            gradient[j] += move * metric_at(p, damping, c, j);
    }
}

START_TEST(test_codes_are_those_of_the_plain_loop) {
    int64_t differ = 0, changed = 0, count = 0;
    for (int i = 0; i < SHAPES; i++) {
        struct problem p = problem_create(16, shapes[i][0]);
        for (int sym = 0; sym < 2; sym++) {
            struct quant_grid grid = grid_of(3 + i % 2, shapes[i][1], sym, SCALE_DUAL);
            struct qlinear before = rounded(&p, &grid), plain = copy_of(&before);
            struct qlinear q = copy_of(&before);
            descend(&p, &grid, 0.01, (struct descent){2, true, false, NULL}, &q);
            for (int64_t row = 0; row < p.n; row++) {
                plain_pass(&p, 0.01, &grid, &plain, row);
                plain_pass(&p, 0.01, &grid, &plain, row);
            }
            for (int64_t j = 0; j < p.n * p.k; j++) {
                differ += q.codes[j] != plain.codes[j];
                changed += q.codes[j] != before.codes[j];
                count++;
            }
            qlinear_free(&before);
            qlinear_free(&plain);
            qlinear_free(&q);
        }
        problem_free(&p);
    }
    printf("descent: %.1f %% of codes change, %lld not as in the plain loop\n",
           100 * (double)changed / (double)count, (long long)differ);
    ck_assert_int_gt(changed, count / 20);
    ck_assert_int_lt(differ, count / 1000); /* a tie broken otherwise leads elsewhere */
}
END_TEST

START_TEST(test_no_code_could_be_better_at_the_end) {
    struct problem p = problem_create(16, 200);
    struct quant_grid grid = grid_of(4, 40, false, SCALE_DUAL);
    struct qlinear q = rounded(&p, &grid);
    descend(&p, &grid, 0.01, (struct descent){500, true, false, NULL}, &q);
    for (int64_t row = 0; row < p.n; row++) {
        double gradient[MAX_K];
        row_gradient(&p, 0.01, &q, row, gradient);
        for (int64_t c = 0; c < p.k; c++) {
            double s = (double)q.scales[row * q.groups + c / q.group];
            double step = gradient[c] / (metric_at(&p, 0.01, c, c) * s);
            int code = q.codes[row * p.k + c];
            ck_assert((step < 0.503 || code == 15) && (step > -0.503 || code == 0));
        }
    }
    qlinear_free(&q);
    problem_free(&p);
}
END_TEST

/* --- scales against the normal equations ------------------------------------------------------ */

#define GROUPS 6

/* Scales of least error for a row's codes: A s = b with A_gh = l_g M l_h^T, b_g = l_g M w^T. */
static void solve_scales(const struct problem *p, double damping, const struct qlinear *q,
                         int64_t row, double *s) {
    double A[GROUPS][GROUPS] = {{0}}, l[MAX_K];
    memset(s, 0, GROUPS * sizeof *s);
    for (int64_t c = 0; c < p->k; c++)
        l[c] = (double)q->codes[row * p->k + c] - q->zeros[row * q->groups + c / q->group];
    for (int64_t i = 0; i < p->k; i++)
        for (int64_t j = 0; j < p->k; j++) {
            double m = l[i] * metric_at(p, damping, i, j);
            A[i / q->group][j / q->group] += m * l[j];
            s[i / q->group] += m * (double)p->W[row * p->k + j];
        }
    for (int g = 0; g < GROUPS; g++) /* Gauss-Jordan elimination, A positive definite */
        for (int h = 0; h < GROUPS; h++) {
            double f = A[h][g] / A[g][g];
            for (int j = 0; h != g && j < GROUPS; j++)
                A[h][j] -= f * A[g][j];
            s[h] -= h != g ? f * s[g] : 0;
        }
    for (int g = 0; g < GROUPS; g++)
        s[g] /= A[g][g];
}

START_TEST(test_scales_solve_the_normal_equations) {
    struct problem p = problem_create(16, GROUPS * 16);
    for (int bits = 3; bits <= 4; bits++) {
        struct quant_grid grid = grid_of(bits, 16, true, SCALE_F32);
        struct qlinear q = rounded(&p, &grid), exact = copy_of(&q);
        descend(&p, &grid, 0.01, (struct descent){100, false, true, NULL}, &q);
        for (int64_t row = 0; row < p.n; row++) {
            double s[GROUPS];
            solve_scales(&p, 0.01, &exact, row, s);
            for (int g = 0; g < GROUPS; g++)
                exact.scales[row * GROUPS + g] = (float)s[g];
            double least = row_error(&p, 0.01, &exact, row), ours = row_error(&p, 0.01, &q, row);
            ck_assert_msg(ours <= least * 1.001, "row %lld: %g, least %g", (long long)row, ours,
                          least);
        }
        qlinear_free(&q);
        qlinear_free(&exact);
    }
    problem_free(&p);
}
END_TEST

START_TEST(test_no_stored_scale_could_be_better_at_the_end) {
    struct problem p = problem_create(16, 96);
    struct quant_grid grid = grid_of(4, 16, false, SCALE_DUAL);
    struct qlinear q = rounded(&p, &grid);
    descend(&p, &grid, 0.01, (struct descent){500, false, true, NULL}, &q);
    for (int64_t i = 0; i < p.n * q.groups; i++) {
        float scale = q.scales[i];
        double least = row_error(&p, 0.01, &q, i / q.groups);
        for (int step = -1; step <= 1; step += 2) {
            q.scales[i] = grid_stored_scale(&grid, scale * (1 + (float)step / 200));
            ck_assert(q.scales[i] != scale);
            ck_assert(row_error(&p, 0.01, &q, i / q.groups) >= least * (1 - ROUNDING));
        }
        q.scales[i] = scale;
    }
    qlinear_free(&q);
    problem_free(&p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("descent");
    TCase *tc = tcase_create("descent");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, test_no_row_gets_worse);
    tcase_add_test(tc, test_a_group_without_active_inputs_stays);
    tcase_add_test(tc, test_nothing_changes_after_the_last_change);
    tcase_add_test(tc, test_descent_is_the_same_for_any_thread_count);
    tcase_add_test(tc, test_codes_are_those_of_the_plain_loop);
    tcase_add_test(tc, test_no_code_could_be_better_at_the_end);
    tcase_add_test(tc, test_scales_solve_the_normal_equations);
    tcase_add_test(tc, test_no_stored_scale_could_be_better_at_the_end);
    suite_add_tcase(s, tc);

    linalg_init();
    problem_seed(SEED);
    printf("descent: seed %u\n", SEED);
    return run_suite(s);
}
