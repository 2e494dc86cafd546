/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a block that need no position, against plain double precision: norms,
 * activations, gated units, columns. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/activate.h"
#include "graph/columns.h"
#include "graph/convolve.h"
#include "graph/norm.h"
#include "graph/token.h"
#include "kernels/kernels.h"
#include "ops_check.h"
#include "ops_formulas.h"
#include "support.h"

/* --- norms ------------------------------------------------------------------------------------ */

static const enum norm norms[] = {NORM_RMS,   NORM_RMS1,   NORM_RMS_BARE, NORM_LENGTH,
                                  NORM_LAYER, NORM_LAYER1, NORM_LAYER_W,  NORM_LAYER_BARE};
enum { NORMS = sizeof norms / sizeof norms[0], ROWS = 5 };

struct norm_case {
    int64_t groups, width;
    bool each;
};
static const struct norm_case norm_cases[] = {{1, 1, false},  {1, 7, false},   {1, 64, false},
                                              {1, 73, false}, {3, 13, false},  {3, 13, true},
                                              {4, 16, true},  {1, 1000, false}};
enum { NORM_CASES = sizeof norm_cases / sizeof norm_cases[0] };

static void check_norm(enum norm kind, const struct norm_case *c, float offset) {
    const int64_t row = c->groups * c->width, own = c->each ? row : c->width;
    const bool biased = kind == NORM_LAYER || kind == NORM_LAYER1;
    float *x = random_row(1, ROWS * row, 2), *w = random_row(2, own, 1), *b = random_row(3, own, 1);
    float *out = random_row(4, ROWS * row, 1), *room = random_row(5, own, 1);
    double *want = malloc((size_t)c->width * sizeof *want);
    for (int64_t i = 0; i < ROWS * row; i++)
        x[i] += offset;
    const float *weight = norm_weight(kind, w, own, room);
    const struct norm_rule rule = {kind,    1e-5,   c->groups,        c->width,
                                   c->each, weight, biased ? b : NULL};
    norm_rows(&rule, ROWS, x, out);
    for (int64_t p = 0; p < ROWS * c->groups; p++) {
        const int64_t at = c->each ? p % c->groups * c->width : 0;
        want_norm(kind, x + p * c->width, w + at, biased ? b + at : NULL, c->width, want);
        for (int64_t i = 0; i < c->width; i++)
            ck_assert_near(out[p * c->width + i], want[i], 1e-6 * (1 + fabs(want[i])));
    }
    norm_rows(&rule, ROWS, x, x);
    ck_assert_same(x, out, ROWS * row);
    free(x), free(w), free(b), free(out), free(room), free(want);
}

START_TEST(norms_of_every_kind_by_groups_and_in_place) {
    for (int c = 0; c < NORM_CASES; c++)
        check_norm(norms[_i], &norm_cases[c], 0);
}
END_TEST

/* A mean a thousand times as large as what is around it takes no accuracy away. */
START_TEST(layer_norm_of_rows_with_a_large_mean) {
    static const struct norm_case c = {1, 500, false};
    check_norm(NORM_LAYER, &c, 2048);
}
END_TEST

START_TEST(norms_leave_the_stored_weight_alone) {
    const float stored[3] = {0.25F, -1, 2};
    float room[3] = {0};
    ck_assert_ptr_eq(norm_weight(NORM_RMS, stored, 3, room), stored);
    ck_assert_ptr_eq(norm_weight(NORM_LAYER_W, stored, 3, room), stored);
    ck_assert_ptr_eq(norm_weight(NORM_RMS1, stored, 3, room), room);
    ck_assert_near(room[1], 0, 0);
    ck_assert_near(room[2], 3, 0);
    ck_assert_ptr_eq(norm_weight(NORM_LAYER_BARE, NULL, 3, room), room);
    ck_assert_near(room[0], 1, 0);
}
END_TEST

/* --- activations ------------------------------------------------------------------------------ */

static const enum act acts[] = {ACT_NONE,  ACT_SILU,    ACT_GELU,     ACT_GELU_TANH, ACT_RELU,
                                ACT_RELU2, ACT_SIGMOID, ACT_SOFTPLUS, ACT_EXP};
enum { ACTS = sizeof acts / sizeof acts[0] };

static double act_bound(enum act act, double x, double want) {
    const double u = act == ACT_GELU_TANH ? fabs(x) + 0.05 * fabs(x * x * x) : 0;
    return fabs(want) * (1e-6 + 5e-7 * u) + 1e-36;
}

START_TEST(activations_are_within_their_bounds_also_in_place) {
    static const int64_t counts[] = {0, 1, 17, 511, 512, 513, 3000};
    static const double limits[] = {1e-3, 2, 12, 100};
    for (int c = 0; c < 7; c++)
        for (int l = 0; l < (acts[_i] == ACT_EXP ? 3 : 4); l++) { /* e^100 is no float */
            const int64_t n = counts[c];
            float *x = random_row(7, n, limits[l]), *out = random_row(8, n, 1);
            activate(acts[_i], n, x, out);
            for (int64_t i = 0; i < n; i++) {
                const double want = want_act(acts[_i], (double)x[i]);
                ck_assert_near(out[i], want, act_bound(acts[_i], (double)x[i], want));
            }
            activate(acts[_i], n, x, x);
            ck_assert_same(x, out, n);
            free(x), free(out);
        }
}
END_TEST

START_TEST(a_curve_of_four_numbers) {
    const struct xielu f = {0.625F, -0.5F, 0.75F, -0.125F};
    float *x = random_row(21, 3000, 6), *out = random_row(22, 3000, 1);
    x[0] = 0;
    activate_xielu(&f, 3000, x, out);
    for (int i = 0; i < 3000; i++) {
        double size = 0;
        const double want = want_xielu(&f, (double)x[i], &size);
        ck_assert_near(out[i], want, 1e-6 * size);
    }
    activate_xielu(&f, 3000, x, x);
    ck_assert_same(x, out, 3000);
    free(x), free(out);
}
END_TEST

START_TEST(nan_passes_activations) {
    float x[3] = {1, NAN, -1}, out[3];
    activate(acts[_i], 3, x, out);
    ck_assert(!isnan(out[0]) && isnan(out[1]) && !isnan(out[2]));
}
END_TEST

static void check_glu(enum act act, float gain, int64_t width, int64_t gates) {
    const struct glu glu = {act, gain, 7, 1.5F, width, gates};
    float *gate = random_row(9, ROWS * gates, 12), *up = random_row(10, ROWS * width, 12);
    float *out = random_row(11, ROWS * width, 1);
    glu_rows(&glu, ROWS, gate, up, out);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < width; i++) {
            const double g = (double)(gain * gate[r * gates + i / (width / gates)]);
            const double want = want_glu(act, 7, g, (double)up[r * width + i]);
            ck_assert_near(out[r * width + i], want, 2 * act_bound(act, g, want));
        }
    float *again = random_row(10, ROWS * width, 12);
    glu_rows(&glu, ROWS, gate, again, again);
    ck_assert_same(again, out, ROWS * width);
    if (gates == width) {
        glu_rows(&glu, ROWS, gate, up, gate);
        ck_assert_same(gate, out, ROWS * width);
    }
    free(gate), free(up), free(out), free(again);
}

START_TEST(gated_units_with_gates_of_any_width_also_in_place) {
    static const int64_t widths[] = {1, 2, 31, 512, 513, 1100};
    for (int w = 0; w < 6; w++) {
        check_glu(_i < ACTS ? acts[_i] : ACT_CLAMPED, 1, widths[w], widths[w]);
        check_glu(_i < ACTS ? acts[_i] : ACT_CLAMPED, 0.375F, widths[w], widths[w]);
        check_glu(_i < ACTS ? acts[_i] : ACT_CLAMPED, 1, widths[w], 1);
    }
    check_glu(_i < ACTS ? acts[_i] : ACT_CLAMPED, 1, 1200, 2);
    check_glu(_i < ACTS ? acts[_i] : ACT_CLAMPED, 0.375F, 48, 3);
}
END_TEST

/* The bytes of models quantized before depend on it. */
START_TEST(a_silu_unit_is_the_kernel) {
    const struct glu glu = {ACT_SILU, 1, 0, 0, 700, 700};
    float *gate = random_row(12, 700, 5), *up = random_row(13, 700, 5);
    float *out = random_row(14, 700, 5), *want = random_row(15, 700, 5);
    kernels_get()->silu_mul(gate, up, want, 700);
    glu_rows(&glu, 1, gate, up, out);
    ck_assert_same(out, want, 700);
    free(gate), free(up), free(out), free(want);
}
END_TEST

/* --- columns ---------------------------------------------------------------------------------- */

/* Two runs of q (3 entries), k and v (1 each): as of two key-value heads. */
START_TEST(parts_of_grouped_rows) {
    float fused[20], q[12], k[4], v[4], back[20];
    for (int i = 0; i < 20; i++)
        fused[i] = (float)i;
    const struct part parts[] = {{q, 6, false}, {k, 2, false}, {v, 2, false}};
    columns_split(parts, 3, 2, 2, fused);
    const float want_q[] = {0, 1, 2, 5, 6, 7, 10, 11, 12, 15, 16, 17};
    const float want_k[] = {3, 8, 13, 18}, want_v[] = {4, 9, 14, 19};
    ck_assert_same(q, want_q, 12);
    ck_assert_same(k, want_k, 4);
    ck_assert_same(v, want_v, 4);
    columns_join(parts, 3, 2, 2, back);
    ck_assert_same(back, fused, 20);
}
END_TEST

START_TEST(parts_that_nobody_wants_are_skipped) {
    const float fused[] = {0, 1, 2, 3, 4, 5};
    float k[2] = {-1, -1};
    const struct part parts[] = {{NULL, 2, false}, {k, 1, false}};
    columns_split(parts, 2, 1, 2, fused);
    ck_assert_near(k[0], 2, 0);
    ck_assert_near(k[1], 5, 0);
}
END_TEST

/* Latent attention: the rotated part of the keys is one for all heads. */
START_TEST(a_part_joined_to_every_run) {
    float nope[] = {1, 2, 3, 4, 5, 6, 7, 8}, pe[] = {91, 92};
    float out[12];
    const struct part parts[] = {{nope, 4, false}, {pe, 1, true}};
    columns_join(parts, 2, 2, 2, out);
    const float want[] = {1, 2, 91, 3, 4, 91, 5, 6, 92, 7, 8, 92};
    ck_assert_same(out, want, 12);
}
END_TEST

/* Large entries of either sign leave what is small. */
START_TEST(sums_of_pieces) {
    const float x[] = {1, 2, 3, 1e8F, 0.25F, -1e8F, -1, -2, -3, 5, 0, 0};
    const float want[] = {6, 0.25F, -6, 5};
    float out[4], all[2];
    columns_total(2, 2, 6, x, out);
    ck_assert_same(out, want, 4);
    columns_total(1, 2, 6, x, all);
    ck_assert_near(all[0], 6.25, 0);
    ck_assert_near(all[1], -1, 0);
}
END_TEST

START_TEST(clipped_and_added) {
    float x[] = {-9, -2, 0, 2.5F, NAN}, a[] = {1, 2, 3}, b[] = {10, 20, 0.1F}, out[5];
    columns_clip(2, 5, x, out);
    ck_assert_near(out[0], -2, 0);
    ck_assert_near(out[1], -2, 0);
    ck_assert_near(out[2], 0, 0);
    ck_assert_near(out[3], 2, 0);
    ck_assert(isnan(out[4]));
    columns_add(1, 1, 3, a, b, out);
    for (int i = 0; i < 3; i++)
        ck_assert_near(out[i], a[i] + b[i], 0);
    columns_add(2, 0.25F, 3, a, b, b);
    ck_assert_near(b[0], 4.5F, 0);
    ck_assert_near(b[1], 9, 0);
    columns_clip(2, 5, x, x);
    ck_assert_near(x[0], -2, 0);
}
END_TEST

/* --- convolution ------------------------------------------------------------------------------ */

static void check_convolution(int64_t length, int64_t width, int64_t tokens, bool biased) {
    float *x = random_row(20, length * width, 3), *out = random_row(21, length * width, 1);
    float *weight = random_row(22, width * tokens, 2), *bias = random_row(23, width, 1);
    const struct filter f = {width, tokens, weight, biased ? bias : NULL};
    convolve_sequence(&f, length, x, out);
    for (int64_t t = 0; t < length; t++)
        for (int64_t c = 0; c < width; c++) {
            double size = 0;
            const double want = want_convolved(&f, x, t, c, &size);
            ck_assert_near(out[t * width + c], want, 1e-6 * size);
        }
    free(x), free(out), free(weight), free(bias);
}

START_TEST(convolutions_of_any_length_width_and_reach) {
    static const int64_t lengths[] = {1, 2, 3, 63, 64, 65, 200}, widths[] = {1, 63, 64, 150};
    for (int l = 0; l < 7; l++)
        for (int w = 0; w < 4; w++)
            for (int64_t tokens = 1; tokens <= 5; tokens++)
                check_convolution(lengths[l], widths[w], tokens, tokens % 2);
}
END_TEST

START_TEST(positions_as_sines_and_cosines) {
    enum { LENGTH = 9, WIDTH = 11 };
    float x[LENGTH * WIDTH];
    for (int i = 0; i < LENGTH * WIDTH; i++)
        x[i] = 1;
    columns_add_sinusoids(2, LENGTH, WIDTH, x);
    for (int p = 0; p < LENGTH; p++) {
        for (int i = 0; i < 5; i++) {
            const double angle = (p + 2) * pow(10000, -i / 4.0);
            ck_assert_near(x[p * WIDTH + i], 1 + sin(angle), 1e-5);
            ck_assert_near(x[p * WIDTH + 5 + i], 1 + cos(angle), 1e-5);
        }
        ck_assert_near(x[p * WIDTH + 10], 1, 0);
    }
}
END_TEST

/* --- threads ---------------------------------------------------------------------------------- */

static void run_all(float *x, float *w, float *out) {
    const struct norm_rule rule = {NORM_LAYER, 1e-5, 3, 50, false, w, w};
    const struct glu glu = {ACT_GELU_TANH, 1, 0, 0, 150, 150};
    const struct filter filter = {150, 1, w, w};
    const struct part parts[] = {{x, 90, false}, {x + 8 * 90, 60, false}};
    convolve_sequence(&filter, 8, x, out);
    norm_rows(&rule, 8, out, out);
    activate(ACT_GELU, 1200, out, out);
    glu_rows(&glu, 8, out, x, out);
    columns_split(parts, 2, 3, 8, out);
    columns_join(parts, 2, 3, 8, out);
}

START_TEST(results_do_not_depend_on_threads) {
    float *x = random_row(16, 1200, 3), *w = random_row(17, 150, 1), *one = random_row(18, 1200, 1);
    float *again = random_row(16, 1200, 3), *three = random_row(19, 1200, 1);
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    run_all(x, w, one);
    omp_set_num_threads(3);
    run_all(again, w, three);
    omp_set_num_threads(before);
    ck_assert_same(one, three, 1200);
    free(x), free(w), free(one), free(again), free(three);
}
END_TEST

/* --- what tokens say -------------------------------------------------------------------------- */

START_TEST(tokens_say_a_normed_projection_and_a_row) {
    enum { WIDTH = 37 };
    float *x = random_row(1, ROWS * WIDTH, 2), *out = random_row(1, ROWS * WIDTH, 2);
    float *table = random_row(2, ROWS * WIDTH, 1), *w = random_row(3, WIDTH, 1);
    const struct token_sum sum = {WIDTH, 1e-3, w, 6.0F, 0.75F};
    token_add(&sum, ROWS, table, out);
    for (int r = 0; r < ROWS; r++) {
        double squares = 0;
        for (int i = 0; i < WIDTH; i++)
            squares += (double)x[r * WIDTH + i] * (double)x[r * WIDTH + i];
        for (int i = 0; i < WIDTH; i++) {
            const double n = (double)x[r * WIDTH + i] / sqrt(squares / WIDTH + 1e-3);
            const double want = 0.75 * (n * (double)w[i] + 6 * (double)table[r * WIDTH + i]);
            ck_assert_near(out[r * WIDTH + i], want, 1e-6 * (1 + fabs(want)));
        }
    }
    free(x), free(out), free(table), free(w);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ops");
    TCase *t = tcase_create("ops");
    tcase_add_loop_test(t, norms_of_every_kind_by_groups_and_in_place, 0, NORMS);
    tcase_add_test(t, layer_norm_of_rows_with_a_large_mean);
    tcase_add_test(t, norms_leave_the_stored_weight_alone);
    tcase_add_loop_test(t, activations_are_within_their_bounds_also_in_place, 0, ACTS);
    tcase_add_test(t, a_curve_of_four_numbers);
    tcase_add_test(t, positions_as_sines_and_cosines);
    tcase_add_loop_test(t, nan_passes_activations, 0, ACTS);
    tcase_add_loop_test(t, gated_units_with_gates_of_any_width_also_in_place, 0, ACTS + 1);
    tcase_add_test(t, a_silu_unit_is_the_kernel);
    tcase_add_test(t, parts_of_grouped_rows);
    tcase_add_test(t, parts_that_nobody_wants_are_skipped);
    tcase_add_test(t, a_part_joined_to_every_run);
    tcase_add_test(t, sums_of_pieces);
    tcase_add_test(t, clipped_and_added);
    tcase_add_test(t, convolutions_of_any_length_width_and_reach);
    tcase_add_test(t, tokens_say_a_normed_projection_and_a_row);
    tcase_add_test(t, results_do_not_depend_on_threads);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
