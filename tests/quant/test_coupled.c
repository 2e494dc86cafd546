/* SPDX-License-Identifier: Apache-2.0 */
/* Codes chosen in an output metric, against sums in double precision; and the search of a group,
 * against the same search written plainly in double precision. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/coupled.h"
#include "quant/descent.h"
#include "quant/grid.h"
#include "quant/group_search.h"
#include "support.h"

#define SEED 90417U

/* --- a metric --------------------------------------------------------------------------------- */

/* Moments of a few directions, as gradients have them, prepared. */
static float *metric_create(int64_t n) {
    enum { DIRECTIONS = 5 };
    float *B = calloc((size_t)(n * n), sizeof *B), *g = malloc((size_t)n * sizeof *g);
    ck_assert(B && g);
    for (int d = 0; d < DIRECTIONS; d++) {
        for (int64_t i = 0; i < n; i++)
            g[i] = normal() * (1 + (float)(i % 3));
        for (int64_t i = 0; i < n * n; i++)
            B[i] += 7 * g[i / n] * g[i % n];
    }
    coupled_prepare(B, n, 0.1);
    free(g);
    return B;
}

START_TEST(test_a_metric_is_prepared) {
    float B[4] = {2, 1, 1, 4}, none[4] = {0}, bad[4] = {NAN, 0, 0, 1};
    coupled_prepare(B, 2, 0.5);
    const float expected[4] = {2.0F / 3 + 0.5F, 1.0F / 3, 1.0F / 3, 4.0F / 3 + 0.5F};
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol((double)B[i], (double)expected[i], 1e-6);
    ck_assert_double_eq_tol(coupled_damping(288, 32768), 0.4, 1e-12);
    ck_assert_double_eq_tol(coupled_damping(512, 1024), 8, 1e-12);
    coupled_prepare(none, 2, 0.5);
    coupled_prepare(bad, 2, 0.5);
    for (int i = 0; i < 4; i++)
        ck_assert(none[i] == (float)(i % 3 == 0) && bad[i] == none[i]);
}
END_TEST

/* --- the whole -------------------------------------------------------------------------------- */

struct scene {
    struct problem p;
    struct quant_grid grid;
    struct gptq_factor *factor;
    float *B;
    struct qlinear q; /* by gptq_quantize */
};

static struct scene scene_open(int64_t n, int64_t k, struct quant_grid grid) {
    const struct quant_options options = {
        .act_order = ACT_ORDER_STATIC, .damp = 0.01, .descent_passes = 2};
    struct scene s = {.p = problem_create(n, k), .grid = grid};
    struct quant_outcome outcome;
    llmq_error err = {0};
    for (int64_t i = 0; i < k; i++) { /* an input that was never active */
        s.p.H[3 * k + i] = s.p.H[i * k + 3] = 0;
        s.p.Hd[3 * k + i] = s.p.Hd[i * k + 3] = 0;
    }
    s.B = metric_create(n);
    ck_assert_ok(gptq_factor_create(s.p.H, k, grid.group, &options, &s.factor, &err), &err);
    ck_assert_ok(gptq_quantize(&s.grid, s.factor, s.p.W, s.p.H, n, &s.q, &outcome, &err), &err);
    return s;
}

static void scene_close(struct scene *s) {
    qlinear_free(&s->q);
    gptq_factor_free(&s->factor);
    free(s->B);
    problem_free(&s->p);
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

/* tr(B E M E^T) by loops in double. */
static double error_of(const struct scene *s, const struct qlinear *q, const float *B) {
    const int64_t n = s->p.n, k = s->p.k;
    double *E = malloc((size_t)(n * k) * sizeof *E), *EM = calloc((size_t)(n * k), sizeof *EM);
    double sum = 0;
    for (int64_t i = 0; i < n * k; i++) {
        const int64_t at = i / k * q->groups + i % k / q->group;
        const double level = (double)q->codes[i] - q->zeros[at];
        E[i] = s->factor->dead[i % k] ? 0 : (double)s->p.W[i] - level * (double)q->scales[at];
    }
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < k; j++)
                EM[r * k + j] +=
                    E[r * k + i] * (s->p.Hd[i * k + j] + (i == j ? s->factor->damping : 0));
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < n; b++)
            for (int64_t i = 0; (B || a == b) && i < k; i++)
                sum += (B ? (double)B[a * n + b] : 1) * E[a * k + i] * EM[b * k + i];
    free(E);
    free(EM);
    return sum;
}

static double refine(const struct scene *s, const float *B, int restarts, const struct qlinear *q) {
    const struct coupled_problem c = {&s->grid, s->factor, s->p.W, s->p.H, B, restarts};
    llmq_error err = {0};
    double error = 0;
    ck_assert_ok(coupled_refine(&c, q, &err), &err);
    ck_assert_ok(coupled_error(&c, q, &error, &err), &err);
    ck_assert_int_eq(qlinear_check(q, NULL), LLMQ_OK);
    return error;
}

static void check_grid(const struct scene *s, const struct qlinear *q) {
    for (int64_t i = 0; i < q->n * q->groups; i++) {
        ck_assert(q->scales[i] == grid_stored_scale(&s->grid, q->scales[i]));
        ck_assert(q->zeros[i] >= s->grid.zmin && q->zeros[i] <= s->grid.zmax);
        ck_assert(!s->grid.sym || q->zeros[i] == s->q.zeros[i]);
    }
    for (int64_t r = 0; r < q->n; r++)
        ck_assert_int_eq(q->codes[r * q->k + 3], q->zeros[r * q->groups + 3 / q->group]);
}

START_TEST(test_the_whole_never_gets_worse) {
    static const struct {
        int64_t n, k, group;
        int bits;
        bool sym;
    } cases[] = {{40, 64, 16, 4, false}, {150, 96, 32, 3, true}, {17, 128, 128, 2, false},
                 {1, 64, 32, 4, false},  {33, 96, -1, 4, true},  {64, 64, 8, 8, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct quant_grid grid =
            grid_of(cases[i].bits, cases[i].group, cases[i].sym, SCALE_DUAL);
        struct scene s = scene_open(cases[i].n, cases[i].k, grid);
        for (int metric = 0; metric < 2; metric++) {
            const float *B = metric ? s.B : NULL;
            double before = error_of(&s, &s.q, B);
            for (int restarts = 0; restarts <= 4; restarts += 2) {
                struct qlinear q = copy_of(&s.q);
                const double told = refine(&s, B, restarts, &q), after = error_of(&s, &q, B);
                ck_assert_double_le(fabs(told - after), 1e-5 * after);
                ck_assert_msg(after <= before * (1 + 1e-6), "case %zu, metric %d: %g, was %g", i,
                              metric, after, before);
                check_grid(&s, &q);
                before = after; /* more sweeps go on from the same ones */
                qlinear_free(&q);
            }
        }
        scene_close(&s);
    }
}
END_TEST

START_TEST(test_knowing_the_metric_is_worth_something) {
    struct scene s = scene_open(96, 64, grid_of(4, 32, false, SCALE_DUAL));
    struct qlinear rows = copy_of(&s.q), whole = copy_of(&s.q);
    const double before = error_of(&s, &s.q, s.B);
    (void)refine(&s, NULL, 3, &rows);
    (void)refine(&s, s.B, 3, &whole);
    const double by_rows = error_of(&s, &rows, s.B), by_all = error_of(&s, &whole, s.B);
    ck_assert_msg(by_all < 0.7 * before && by_all < 0.8 * by_rows, "%g, by rows %g, before %g",
                  by_all, by_rows, before);
    ck_assert(error_of(&s, &rows, NULL) < error_of(&s, &whole, NULL));
    qlinear_free(&rows);
    qlinear_free(&whole);
    scene_close(&s);
}
END_TEST

static bool same(const struct qlinear *a, const struct qlinear *b) {
    const size_t count = (size_t)(a->n * a->groups);
    return memcmp(a->codes, b->codes, (size_t)(a->n * a->k)) == 0 &&
           memcmp(a->scales, b->scales, count * sizeof *a->scales) == 0 &&
           memcmp(a->zeros, b->zeros, count) == 0;
}

/* The identity is what no metric is. */
START_TEST(test_rows_without_coupling_are_alone) {
    struct scene s = scene_open(70, 64, grid_of(4, 16, false, SCALE_DUAL));
    struct qlinear none = copy_of(&s.q), identity = copy_of(&s.q);
    for (int64_t i = 0; i < s.p.n * s.p.n; i++)
        s.B[i] = i % (s.p.n + 1) == 0;
    (void)refine(&s, NULL, 2, &none);
    (void)refine(&s, s.B, 2, &identity);
    ck_assert(same(&none, &identity));
    qlinear_free(&none);
    qlinear_free(&identity);
    scene_close(&s);
}
END_TEST

START_TEST(test_any_number_of_threads_gives_the_same) {
    struct scene s = scene_open(200, 96, grid_of(4, 32, false, SCALE_DUAL));
    struct qlinear one = copy_of(&s.q);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    (void)refine(&s, s.B, 2, &one);
    for (int t = 2; t <= 3; t++) {
        struct qlinear more = copy_of(&s.q);
        omp_set_num_threads(t);
        (void)refine(&s, s.B, 2, &more);
        ck_assert(same(&one, &more));
        qlinear_free(&more);
    }
    omp_set_num_threads(threads);
    qlinear_free(&one);
    scene_close(&s);
}
END_TEST

/* --- the search of a group -------------------------------------------------------------------- */

enum { GROUP = 20 };

/* A row of a group, in double. */
struct plain {
    double scale, zero, level[GROUP], error;
};

/* (u - t) M (u - t)^T */
static double form(const double *M, const double *t, const double *level, double scale) {
    double sum = 0;
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < GROUP; j++)
            sum += (level[i] * scale - t[i]) * M[i * GROUP + j] * (level[j] * scale - t[j]);
    return sum;
}

/* Codes of the nearest plane: column after column in `order`, each best given those before when
 * those after make up for it, which is by Gauss's elimination of these. */
static void nearest_plane(const double *M, const int *order, const double *t, double top,
                          struct plain *p) {
    double A[GROUP * GROUP], x[GROUP] = {0};
    bool done[GROUP] = {false};
    for (int at = 0; at < GROUP; at++) {
        const int c = order[at];
        memcpy(A, M, sizeof A);
        for (int e = GROUP - 1; e > at; e--) { /* columns after it are free */
            const int f = order[e];
            for (int i = 0; i < GROUP; i++)
                for (int j = 0; i != f && j < GROUP; j++)
                    if (j != f)
                        A[i * GROUP + j] -= A[i * GROUP + f] * A[f * GROUP + j] / A[f * GROUP + f];
            for (int i = 0; i < GROUP; i++)
                A[i * GROUP + f] = A[f * GROUP + i] = i == f;
        }
        double pull = 0;
        for (int j = 0; j < GROUP; j++)
            pull += done[j] ? A[c * GROUP + j] * x[j] : 0;
        const double wanted = t[c] - pull / A[c * GROUP + c];
        p->level[c] = fmin(fmax(rint(wanted / p->scale), -p->zero), top - p->zero);
        x[c] = p->level[c] * p->scale - t[c];
        done[c] = true;
    }
    p->error = form(M, t, p->level, p->scale);
}

static void best_scale(const struct quant_grid *grid, const double *M, const double *t,
                       struct plain *p) {
    double along = 0, curve = 0;
    for (int i = 0; i < GROUP; i++)
        for (int j = 0; j < GROUP; j++) {
            along += p->level[i] * M[i * GROUP + j] * t[j];
            curve += p->level[i] * M[i * GROUP + j] * p->level[j];
        }
    const double scale =
        curve > 0 && along > 0 ? (double)grid_stored_scale(grid, (float)(along / curve)) : p->scale;
    if (form(M, t, p->level, scale) < p->error)
        p->scale = scale;
    p->error = form(M, t, p->level, p->scale);
}

/* The best of all candidates around `now` for the weights t. */
static struct plain search(const struct quant_grid *grid, const double *M, const int *order,
                           const double *t, struct plain now) {
    static const float multiples[] = {0.88F, 0.92F, 0.96F, 1, 1.04F, 1.08F};
    const double top = (double)grid_max_code(grid);
    struct plain best = now;
    best.error = form(M, t, now.level, now.scale) * (1 - 1e-4);
    for (int m = 0; m < 6; m++)
        for (int step = -1; step <= 1; step++) {
            struct plain p = {.scale =
                                  (double)grid_stored_scale(grid, (float)now.scale * multiples[m]),
                              .zero = now.zero + (grid->sym ? 0 : step)};
            if (p.zero < 0 || p.zero > top)
                continue;
            nearest_plane(M, order, t, top, &p);
            best_scale(grid, M, t, &p);
            if (p.error < best.error)
                best = p;
        }
    return best;
}

/* Rows rounded to nearest, the gradient that W leaves, and the same in `now`. */
static void begin_search(const struct quant_grid *grid, const struct problem *p, const double *M,
                         const struct group_rows *rows, float *gradient, struct plain *now) {
    const int64_t n = rows->rows;
    for (int64_t r = 0; r < n; r++) {
        const float *w = p->W + r * GROUP;
        float lo = 0, hi = 0;
        grid_range(w, GROUP, &lo, &hi);
        grid_params(grid, lo, hi, rows->scales + r, rows->zeros + r);
        now[r].scale = (double)rows->scales[r];
        now[r].zero = (double)rows->zeros[r];
        for (int i = 0; i < GROUP; i++) {
            const float level =
                grid_level(w[i], rows->scales[r], rows->zeros[r], grid_max_code(grid));
            rows->levels[i * n + r] = level;
            now[r].level[i] = (double)level;
        }
        for (int i = 0; i < GROUP; i++) {
            double g = 0;
            for (int j = 0; j < GROUP; j++)
                g += M[i * GROUP + j] * ((double)w[j] - now[r].level[j] * now[r].scale);
            gradient[i * n + r] = (float)g;
        }
    }
}

/* Is what a row has become as good as the plain search's choice? It is no worse than what it was.
 */
static bool check_row(const struct quant_grid *grid, const double *M, const int *order,
                      const float *w, const struct group_rows *rows, int64_t r,
                      const struct plain *now) {
    double t[GROUP], level[GROUP];
    for (int i = 0; i < GROUP; i++) {
        const int64_t at = i * rows->rows + r;
        t[i] = (double)w[i];
        level[i] = (double)rows->levels[at];
        const double move = now->level[i] * now->scale - level[i] * (double)rows->scales[r];
        ck_assert_double_le(fabs(move - (double)rows->moves[at]), 1e-6);
    }
    const double before = form(M, t, now->level, now->scale);
    const double after = form(M, t, level, (double)rows->scales[r]);
    const struct plain best = search(grid, M, order, t, *now);
    ck_assert_double_le(after, before * (1 + 1e-5));
    return after <= form(M, t, best.level, best.scale) * (1 + 2e-4);
}

/* A code that lies between two may fall to either side: nearly all rows are the same. */
static void check_search(const struct quant_grid *grid, int64_t count) {
    struct problem p = problem_create(count, GROUP);
    const struct metric metric = {p.H, 0.3};
    struct group_factors factors;
    llmq_error err = {0};
    double M[GROUP * GROUP];
    int order[GROUP];
    const int64_t all = count * GROUP;
    float *a = malloc((size_t)(3 * all + 2 * count) * sizeof *a);
    float *room = malloc((size_t)group_search_floats(GROUP) * sizeof *room);
    struct plain *now = calloc((size_t)count, sizeof *now);
    const struct group_rows rows = {count,      a, a + all, a + 3 * all, a + 3 * all + count,
                                    a + 2 * all};
    int64_t same_rows = 0;
    ck_assert(a && room && now && group_searchable(grid, GROUP));
    ck_assert_ok(group_factors_create(&metric, GROUP, GROUP, &factors, &err), &err);
    for (int i = 0; i < GROUP * GROUP; i++)
        M[i] = p.Hd[i] + (i % (GROUP + 1) == 0 ? metric.damping : 0);
    for (int i = 0; i < GROUP; i++)
        order[i] = factors.order[i];
    for (int i = 1; i < GROUP; i++)
        ck_assert(p.H[order[i - 1] * (GROUP + 1)] >= p.H[order[i] * (GROUP + 1)]);
    begin_search(grid, &p, M, &rows, a, now);
    (void)group_search(grid, &factors, 0, &rows, room);
    for (int64_t r = 0; r < count; r++)
        same_rows += check_row(grid, M, order, p.W + r * GROUP, &rows, r, &now[r]);
    ck_assert_msg(same_rows * 10 >= count * 9, "%lld of %lld rows", (long long)same_rows,
                  (long long)count);
    group_factors_free(&factors);
    problem_free(&p);
    free(a);
    free(room);
    free(now);
}

START_TEST(test_a_group_is_searched_as_in_double) {
    const struct quant_grid asym = grid_of(4, GROUP, false, SCALE_DUAL);
    const struct quant_grid sym = grid_of(3, GROUP, true, SCALE_F16);
    const struct quant_grid two = grid_of(2, GROUP, false, SCALE_DUAL);
    check_search(&asym, 40);
    check_search(&sym, 270);
    check_search(&two, 33);
}
END_TEST

int main(void) {
    Suite *s = suite_create("quant_coupled");
    TCase *t = tcase_create("coupled");
    linalg_init();
    problem_seed(SEED);
    tcase_add_test(t, test_a_metric_is_prepared);
    tcase_add_test(t, test_the_whole_never_gets_worse);
    tcase_add_test(t, test_knowing_the_metric_is_worth_something);
    tcase_add_test(t, test_rows_without_coupling_are_alone);
    tcase_add_test(t, test_any_number_of_threads_gives_the_same);
    tcase_add_test(t, test_a_group_is_searched_as_in_double);
    suite_add_tcase(s, t);
    return run_suite(s);
}
