/* SPDX-License-Identifier: Apache-2.0 */
/* The ways back of the operations that need no position, against differences of their formulas in
 * double precision: norms, activations, gated units, halves of heads, columns, convolutions. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "graph/activate.h"
#include "graph/columns.h"
#include "graph/convolve.h"
#include "graph/differ.h"
#include "graph/norm.h"
#include "ops_check.h"
#include "ops_formulas.h"
#include "support.h"

enum { ROWS = 5 };

/* --- norms ------------------------------------------------------------------------------------ */

static const enum norm norms[] = {NORM_RMS,   NORM_RMS1,   NORM_RMS_BARE, NORM_LENGTH,
                                  NORM_LAYER, NORM_LAYER1, NORM_LAYER_W,  NORM_LAYER_BARE};
enum { NORMS = sizeof norms / sizeof norms[0] };

struct norm_case {
    enum norm kind;
    int64_t groups, width;
    bool each;
    float *x, *w, *b, *dy; /* b NULL: no bias */
};

static double norm_loss(const void *of) {
    const struct norm_case *c = of;
    double sum = 0, *y = malloc((size_t)c->width * sizeof *y);
    for (int64_t p = 0; p < ROWS * c->groups; p++) {
        const int64_t own = c->each ? p % c->groups * c->width : 0;
        want_norm(c->kind, c->x + p * c->width, c->w + own, c->b ? c->b + own : NULL, c->width, y);
        sum += products(c->dy + p * c->width, y, c->width);
    }
    free(y);
    return sum;
}

static void check_norm(struct norm_case c) {
    const int64_t row = c.groups * c.width, own = c.each ? row : c.width;
    const bool biased = norm_has_bias(c.kind);
    c.x = grid_row(1, ROWS * row, 2);
    c.w = grid_row(2, own, 1);
    c.dy = random_row(3, ROWS * row, 1);
    c.b = biased ? grid_row(4, own, 1) : NULL;
    float *dx = calloc((size_t)(ROWS * row), sizeof *dx), *room = random_row(5, own, 1);
    float *stats = random_row(6, 2 * ROWS * c.groups, 1);
    double *dw = calloc((size_t)own, sizeof *dw), *db = calloc((size_t)own, sizeof *db);
    const struct norm_rule rule = {
        c.kind, 1e-5, c.groups, c.width, c.each, norm_weight(c.kind, c.w, own, room), c.b};
    const struct norm_back back = {c.x, c.dy, dx, stats, dw, db};
    const struct slope slope = {norm_loss, &c};
    norm_back(&rule, ROWS, &back);
    assert_gradient(&slope, c.x, dx, ROWS * row);
    if (norm_has_weight(c.kind))
        assert_gradient_sums(&slope, c.w, dw, own);
    if (biased)
        assert_gradient_sums(&slope, c.b, db, own);
    free(c.x), free(c.w), free(c.dy), free(c.b), free(dx), free(room), free(stats), free(dw),
        free(db);
}

START_TEST(norms_of_every_kind_by_groups) {
    check_norm((struct norm_case){.kind = norms[_i], .groups = 1, .width = 7});
    check_norm((struct norm_case){.kind = norms[_i], .groups = 1, .width = 100});
    check_norm((struct norm_case){.kind = norms[_i], .groups = 3, .width = 13});
    check_norm((struct norm_case){.kind = norms[_i], .groups = 3, .width = 70, .each = true});
}
END_TEST

/* --- activations ------------------------------------------------------------------------------ */

static const enum act acts[] = {ACT_NONE,  ACT_SILU,    ACT_GELU,     ACT_GELU_TANH, ACT_RELU,
                                ACT_RELU2, ACT_SIGMOID, ACT_SOFTPLUS, ACT_EXP};
enum { ACTS = sizeof acts / sizeof acts[0], MANY = 600 };

static const struct xielu curve = {0.625F, -0.5F, 0.75F, -0.125F};

struct act_case {
    enum act act;
    float *x, *dy;
};

static double act_loss(const void *of) {
    const struct act_case *c = of;
    double sum = 0, size = 0;
    for (int i = 0; i < MANY; i++) {
        const double x = (double)c->x[i];
        sum += (double)c->dy[i] *
               (c->act == ACT_XIELU ? want_xielu(&curve, x, &size) : want_act(c->act, x));
    }
    return sum;
}

START_TEST(activations_of_every_kind) {
    const enum act act = _i < ACTS ? acts[_i] : ACT_XIELU;
    struct act_case c = {act, grid_row(7, MANY, 6), random_row(8, MANY, 1)};
    const struct slope slope = {act_loss, &c};
    float *dx = calloc(MANY, sizeof *dx);
    if (act == ACT_XIELU)
        activate_xielu_back(&curve, MANY, c.x, c.dy, dx);
    else
        activate_back(act, MANY, c.x, c.dy, dx);
    assert_gradient(&slope, c.x, dx, MANY);
    free(c.x), free(c.dy), free(dx);
}
END_TEST

/* Slopes far from 0 are those of the formula too: neither is what is left of a difference. */
START_TEST(slopes_far_out_keep_their_digits) {
    const float x[] = {-30, -12, 12, 30}, dy[] = {1, 1, 1, 1};
    float sigmoid[4] = {0}, silu[4] = {0};
    activate_back(ACT_SIGMOID, 4, x, dy, sigmoid);
    activate_back(ACT_SILU, 4, x, dy, silu);
    for (int i = 0; i < 4; i++) {
        const double e = exp(-fabs((double)x[i])), bend = e / ((1 + e) * (1 + e));
        ck_assert_near(sigmoid[i], bend, 2e-6 * bend);
        const double s = 1 / (1 + exp(-(double)x[i])), want = s + (double)x[i] * bend;
        ck_assert_near(silu[i], want, 2e-6 * fabs(want));
    }
}
END_TEST

/* --- gated units ------------------------------------------------------------------------------ */

struct glu_case {
    struct glu glu;
    float *gate, *up, *dy;
};

static double glu_loss(const void *of) {
    const struct glu_case *c = of;
    const int64_t width = c->glu.width, gates = c->glu.gate_width;
    double sum = 0;
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < width; i++) {
            const double g = (double)c->glu.gain * (double)c->gate[r * gates + i / (width / gates)];
            sum += (double)c->dy[r * width + i] *
                   want_glu(c->glu.act, (double)c->glu.limit, g, (double)c->up[r * width + i]);
        }
    return sum;
}

static void check_glu(enum act act, float gain, int64_t width, int64_t gates) {
    struct glu_case c = {{act, gain, 4, 1.5F, width, gates},
                         grid_row(9, ROWS * gates, 6),
                         grid_row(10, ROWS * width, 6),
                         random_row(11, ROWS * width, 1)};
    float *dgate = calloc((size_t)(ROWS * gates), sizeof *dgate);
    float *dup = calloc((size_t)(ROWS * width), sizeof *dup);
    const struct glu_back back = {c.gate, c.up, c.dy, dgate, dup};
    const struct slope slope = {glu_loss, &c};
    glu_back(&c.glu, ROWS, &back);
    assert_gradient(&slope, c.gate, dgate, ROWS * gates);
    assert_gradient(&slope, c.up, dup, ROWS * width);
    free(c.gate), free(c.up), free(c.dy), free(dgate), free(dup);
}

START_TEST(gated_units_with_gates_of_any_width) {
    const enum act act = _i < ACTS ? acts[_i] : ACT_CLAMPED;
    check_glu(act, 1, 31, 31);
    check_glu(act, 1, 600, 600);
    check_glu(act, 0.5F, 48, 3);
    check_glu(act, 0.5F, 70, 1);
}
END_TEST

/* --- what one half of the heads sees beyond the other ----------------------------------------- */

struct differ_case {
    struct differ differ;
    float *a, *b, *dy, *vector[DIFFER_VECTORS];
};

/* With an eps that is large enough for the steps of differences where a piece is near 0. */
static struct differ_case differ_case_of(int64_t groups, int64_t width, int64_t block) {
    struct differ_case c = {{groups, width, block, 0.5, 7, {NULL}},
                            grid_row(20, ROWS * groups * width, 2),
                            grid_row(21, ROWS * groups * width, 2),
                            random_row(22, ROWS * groups * width, 1),
                            {NULL}};
    for (uint64_t v = 0; v < DIFFER_VECTORS; v++)
        c.differ.vector[v] = c.vector[v] = grid_row(23 + v, c.differ.size, 0.5);
    return c;
}

static void differ_case_free(struct differ_case *c) {
    free(c->a), free(c->b), free(c->dy);
    for (int v = 0; v < DIFFER_VECTORS; v++)
        free(c->vector[v]);
}

static double pair_of(const struct differ *d, int first) {
    double sum = 0;
    for (int64_t i = 0; i < d->size; i++)
        sum += (double)d->vector[first][i] * (double)d->vector[first + 1][i];
    return exp(sum);
}

/* The formula of differ.h of one row. */
static void want_differ(const struct differ_case *c, int64_t row, double *out) {
    const struct differ *d = &c->differ;
    const double start = 0.8 - 0.6 * exp(-0.3 * (double)d->block);
    const double weight = pair_of(d, 0) - pair_of(d, 2) + start;
    for (int64_t g = 0; g < d->groups; g++) {
        const int64_t at = (row * d->groups + g) * d->width;
        double *y = out + g * d->width, squares = 0;
        for (int64_t i = 0; i < d->width; i++) {
            y[i] = (double)c->a[at + i] - weight * (double)c->b[at + i];
            squares += y[i] * y[i];
        }
        for (int64_t i = 0; i < d->width; i++)
            y[i] *= (1 - start) / sqrt(squares / (double)d->width + d->eps);
    }
}

static double differ_loss(const void *of) {
    const struct differ_case *c = of;
    const int64_t width = c->differ.groups * c->differ.width;
    double sum = 0, *y = malloc((size_t)width * sizeof *y);
    for (int64_t r = 0; r < ROWS; r++) {
        want_differ(c, r, y);
        for (int64_t i = 0; i < width; i++)
            sum += (double)c->dy[r * width + i] * y[i];
    }
    free(y);
    return sum;
}

static void assert_differs(const struct differ_case *c) {
    const int64_t width = c->differ.groups * c->differ.width;
    float *out = malloc((size_t)(ROWS * width) * sizeof *out);
    double *y = malloc((size_t)width * sizeof *y);
    differ_rows(&c->differ, ROWS, c->a, c->b, out);
    for (int64_t r = 0; r < ROWS; r++) {
        want_differ(c, r, y);
        for (int64_t i = 0; i < width; i++)
            ck_assert_near(out[r * width + i], y[i], 2e-6 * (1 + fabs(y[i])));
    }
    free(out), free(y);
}

static void check_differ(int64_t groups, int64_t width, int64_t block) {
    struct differ_case c = differ_case_of(groups, width, block);
    const int64_t count = ROWS * groups * width;
    float *da = calloc((size_t)count, sizeof *da), *db = calloc((size_t)count, sizeof *db);
    float *slopes = random_row(30, ROWS * groups, 1);
    double *sums = calloc((size_t)(DIFFER_VECTORS * c.differ.size), sizeof *sums);
    struct differ_back back = {c.a, c.b, c.dy, da, db, {NULL}, slopes};
    const struct slope slope = {differ_loss, &c};
    for (int v = 0; v < DIFFER_VECTORS; v++)
        back.vector[v] = sums + v * c.differ.size;
    assert_differs(&c);
    differ_back(&c.differ, ROWS, &back);
    assert_gradient(&slope, c.a, da, count);
    assert_gradient(&slope, c.b, db, count);
    for (int v = 0; v < DIFFER_VECTORS; v++)
        assert_gradient_sums(&slope, c.vector[v], back.vector[v], c.differ.size);
    free(da), free(db), free(slopes), free(sums);
    differ_case_free(&c);
}

START_TEST(halves_of_heads_that_differ) {
    check_differ(1, 1, 0);
    check_differ(2, 32, 0);
    check_differ(3, 70, 11);
}
END_TEST

/* --- columns ---------------------------------------------------------------------------------- */

/* What joins is the way back of what splits: <split(x), parts> = <x, join(parts)>. */
START_TEST(parts_go_back_where_they_come_from) {
    float *x = random_row(12, 3 * 14, 1), *a = random_row(13, 3 * 8, 1),
          *b = random_row(14, 3 * 6, 1);
    float got_a[24] = {0}, got_b[18] = {0}, got_x[42] = {0};
    const struct part from[] = {{a, 8, false}, {b, 6, false}};
    const struct part to[] = {{got_a, 8, false}, {got_b, 6, false}};
    double forth = 0, back = 0;
    columns_add_split(to, 2, 2, 3, x);
    columns_add_join(from, 2, 2, 3, got_x);
    for (int i = 0; i < 42; i++)
        back += (double)x[i] * (double)got_x[i];
    for (int i = 0; i < 24; i++)
        forth += (double)a[i] * (double)got_a[i];
    for (int i = 0; i < 18; i++)
        forth += (double)b[i] * (double)got_b[i];
    ck_assert_near(forth, back, 1e-6);
    columns_split(to, 2, 2, 3, got_x);
    ck_assert_same(got_a, a, 24);
    ck_assert_same(got_b, b, 18);
    free(x), free(a), free(b);
}
END_TEST

START_TEST(a_part_that_is_repeated_gets_the_sum) {
    const float x[] = {1, 2, 10, 3, 4, 20, 5, 6, 100, 7, 8, 200};
    float nope[8] = {0}, pe[2] = {0.5F, 0};
    const struct part parts[] = {{nope, 4, false}, {pe, 1, true}};
    columns_add_split(parts, 2, 2, 2, x);
    ck_assert_near(pe[0], 30.5, 0);
    ck_assert_near(pe[1], 300, 0);
    ck_assert_near(nope[7], 8, 0);
}
END_TEST

START_TEST(all_of_a_piece_have_the_slope_of_its_sum) {
    const float dy[] = {1, 10, 100, 1000};
    float dx[12] = {0};
    columns_total_back(2, 2, 6, dy, dx);
    for (int i = 0; i < 12; i++)
        ck_assert_near(dx[i], dy[i / 3], 0);
    columns_total_back(2, 2, 6, dy, dx);
    ck_assert_near(dx[11], 2000, 0);
}
END_TEST

START_TEST(a_factor_for_every_column) {
    const float factors[] = {2, -0.5F, 0}, x[] = {1, 2, 3, 4, 5, 6}, dy[] = {1, 10, 100, 3, 5, 7};
    const float want[] = {2, -1, 0, 8, -2.5F, 0}, want_dx[] = {2, -5, 0, 6, -2.5F, 0};
    float out[6], dx[6] = {0};
    double slopes[] = {0.5, 0, 0};
    const struct columns_weigh_back back = {factors, x, dy, dx, slopes};
    columns_weigh(2, 3, factors, x, out);
    ck_assert_same(out, want, 6);
    columns_weigh_back(2, 3, &back);
    ck_assert_same(dx, want_dx, 6);
    ck_assert_near(slopes[0], 1 + 12 + 0.5, 0);
    ck_assert_near(slopes[1], 20 + 25, 0);
    ck_assert_near(slopes[2], 300 + 42, 0);
}
END_TEST

START_TEST(what_is_clipped_has_no_slope) {
    const float x[] = {-9, -2, 0, 2.5F}, dy[] = {1, 2, 3, 4};
    float dx[] = {1, 1, 1, 1};
    double sum[2] = {1, 0};
    columns_clip_back(2, 4, x, dy, dx);
    ck_assert_near(dx[0], 1, 0);
    ck_assert_near(dx[1], 3, 0);
    ck_assert_near(dx[2], 4, 0);
    ck_assert_near(dx[3], 1, 0);
    columns_add_to(0.5F, 4, dy, dx);
    ck_assert_near(dx[3], 3, 0);
    columns_sum(2, 2, dy, sum);
    ck_assert_near(sum[0], 5, 0);
    ck_assert_near(sum[1], 6, 0);
}
END_TEST

/* --- convolution ------------------------------------------------------------------------------ */

struct conv_case {
    struct filter f;
    int64_t length;
    float *x, *dy, *weight, *bias;
};

static double conv_loss(const void *of) {
    const struct conv_case *c = of;
    double sum = 0, size = 0;
    for (int64_t t = 0; t < c->length; t++)
        for (int64_t i = 0; i < c->f.width; i++)
            sum += (double)c->dy[t * c->f.width + i] * want_convolved(&c->f, c->x, t, i, &size);
    return sum;
}

static void check_convolution(int64_t length, int64_t width, int64_t tokens) {
    struct conv_case c = {{width, tokens, NULL, NULL},     length,
                          grid_row(15, length * width, 2), random_row(16, length * width, 1),
                          grid_row(17, width * tokens, 2), grid_row(18, width, 1)};
    float *dx = calloc((size_t)(length * width), sizeof *dx);
    double *dw = calloc((size_t)(width * tokens), sizeof *dw);
    double *db = calloc((size_t)width, sizeof *db);
    const struct filter_back back = {c.x, c.dy, dx, dw, db};
    const struct slope slope = {conv_loss, &c};
    c.f.weight = c.weight;
    c.f.bias = c.bias;
    convolve_back(&c.f, length, &back);
    assert_gradient(&slope, c.x, dx, length * width);
    assert_gradient_sums(&slope, c.weight, dw, width * tokens);
    assert_gradient_sums(&slope, c.bias, db, width);
    free(c.x), free(c.dy), free(c.weight), free(c.bias), free(dx), free(dw), free(db);
}

START_TEST(convolutions_of_any_length_and_reach) {
    check_convolution(1, 3, 4);
    check_convolution(3, 65, 4);
    check_convolution(65, 3, 1);
    check_convolution(70, 5, 3);
}
END_TEST

/* --- threads ---------------------------------------------------------------------------------- */

enum { WIDE = 150, ALL = 8 * WIDE };

static void run_all(const float *x, const float *dy, float *dx, double *sums) {
    float stats[8 * 3 * 2], *w = random_row(19, WIDE, 1);
    const struct norm_rule rule = {NORM_LAYER, 1e-5, 3, 50, false, w, w};
    const struct norm_back norm = {x, dy, dx, stats, sums, sums + WIDE};
    const struct glu glu = {ACT_GELU_TANH, 1, 0, 0, WIDE, WIDE};
    const struct glu_back gated = {x, dy, dx, dx, dx + ALL};
    const struct filter filter = {WIDE, 1, w, w};
    const struct filter_back conv = {x, dy, dx, sums, NULL};
    memset(dx, 0, 2 * ALL * sizeof *dx);
    memset(sums, 0, 2 * WIDE * sizeof *sums);
    norm_back(&rule, 8, &norm);
    activate_back(ACT_GELU, ALL, x, dy, dx);
    glu_back(&glu, 8, &gated);
    convolve_back(&filter, 8, &conv);
    columns_sum(8, WIDE, dx, sums);
    free(w);
}

START_TEST(threads_change_no_bit) {
    float *x = random_row(20, ALL, 2), *dy = random_row(21, ALL, 1);
    float *one = random_row(22, 2 * ALL, 1), *three = random_row(23, 2 * ALL, 1);
    double sums[2][2 * WIDE];
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    run_all(x, dy, one, sums[0]);
    omp_set_num_threads(3);
    run_all(x, dy, three, sums[1]);
    omp_set_num_threads(before);
    ck_assert_same(one, three, 2 * ALL);
    ck_assert(memcmp(sums[0], sums[1], sizeof sums[0]) == 0);
    free(x), free(dy), free(one), free(three);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ops, the way back");
    TCase *t = tcase_create("ops");
    tcase_add_loop_test(t, norms_of_every_kind_by_groups, 0, NORMS);
    tcase_add_loop_test(t, activations_of_every_kind, 0, ACTS + 1);
    tcase_add_test(t, slopes_far_out_keep_their_digits);
    tcase_add_loop_test(t, gated_units_with_gates_of_any_width, 0, ACTS + 1);
    tcase_add_test(t, halves_of_heads_that_differ);
    tcase_add_test(t, parts_go_back_where_they_come_from);
    tcase_add_test(t, a_part_that_is_repeated_gets_the_sum);
    tcase_add_test(t, all_of_a_piece_have_the_slope_of_its_sum);
    tcase_add_test(t, a_factor_for_every_column);
    tcase_add_test(t, what_is_clipped_has_no_slope);
    tcase_add_test(t, convolutions_of_any_length_and_reach);
    tcase_add_test(t, threads_change_no_bit);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
