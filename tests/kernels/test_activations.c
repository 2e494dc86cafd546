/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of activations and of the soft cap, of every table this machine can run, against
 * double precision: odd sizes, unaligned arrays between guards, in place. Error bounds are those
 * kernels.h states. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_check.h"
#include "support.h"

static const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 129, 257, 1000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static const struct llmq_kernels *tables[CPU_LEVELS];
static int table_count;

static bool near(float got, double want, double relative, double absolute) {
    return fabs((double)got - want) <= relative * fabs(want) + absolute;
}

/* What a row kernel does to x, with a second operand or without. */
struct row_kernel {
    void (*run)(const struct llmq_kernels *k, float *x, float *second, float *out, int64_t n);
    double (*want)(double x, double second);
    double absolute;
};

static void run_logistic(const struct llmq_kernels *k, float *x, float *second, float *out,
                         int64_t n) {
    k->logistic_mul(x, second, out, n);
}
static double want_logistic(double x, double second) {
    return second / (1 + exp(-x));
}

static void run_gelu(const struct llmq_kernels *k, float *x, float *second, float *out, int64_t n) {
    (void)second;
    k->gelu(x, out, n);
}
static double want_gelu(double x, double second) {
    (void)second;
    return 0.5 * x * erfc(-x * sqrt(0.5));
}

static void run_decay(const struct llmq_kernels *k, float *x, float *second, float *out,
                      int64_t n) {
    (void)second;
    k->decay(x, out, n);
}
static double want_decay(double x, double second) {
    (void)second;
    return exp(x > 0 ? 0 : x);
}

static const float cap = 30;
static void run_cap(const struct llmq_kernels *k, float *x, float *second, float *out, int64_t n) {
    (void)second;
    if (out != x)
        memcpy(out, x, (size_t)n * sizeof *x);
    k->soft_cap(out, n, cap);
}
static double want_cap(double x, double second) {
    (void)second;
    return (double)cap * tanh(x / (double)cap);
}

static const struct row_kernel kernels[] = {
    {run_logistic, want_logistic, 1e-36},
    {run_gelu, want_gelu, 1e-36},
    {run_decay, want_decay, 1e-36},
    {run_cap, want_cap, 0},
};
enum { KERNELS = sizeof kernels / sizeof kernels[0] };

static void check_size(const struct row_kernel *kernel, const struct llmq_kernels *table, int64_t n,
                       float limit, uint64_t *state) {
    struct guarded x = guarded_create(n, 1), second = guarded_create(n, 2);
    struct guarded out = guarded_create(n, 3);
    fill_floats(FILL_RANDOM, limit, state, x.data, n);
    fill_floats(FILL_RANDOM, 3, state, second.data, n);
    kernel->run(table, x.data, second.data, out.data, n);
    for (int64_t i = 0; i < n; i++) {
        const double want = kernel->want((double)x.data[i], (double)second.data[i]);
        ck_assert_msg(near(out.data[i], want, 1e-6, kernel->absolute),
                      "%s, kernel %d, n %lld: %.9g of %.9g, expected %.9g", table->name,
                      (int)(kernel - kernels), (long long)n, (double)out.data[i], (double)x.data[i],
                      want);
    }
    kernel->run(table, x.data, second.data, x.data, n);
    ck_assert(memcmp(x.data, out.data, (size_t)n * sizeof(float)) == 0);
    ck_assert(guarded_intact(&x) && guarded_intact(&second) && guarded_intact(&out));
    guarded_free(&x);
    guarded_free(&second);
    guarded_free(&out);
}

START_TEST(rows_are_within_their_bounds_also_in_place) {
    static const float limits[] = {1e-6F, 0.5F, 3, 20, 200};
    uint64_t state = check_seed();
    for (int t = 0; t < table_count; t++)
        for (int s = 0; s < SIZES; s++)
            for (int l = 0; l < 5; l++)
                check_size(&kernels[_i], tables[t], sizes[s], limits[l], &state);
}
END_TEST

/* Dense over the whole range in which anything happens. */
START_TEST(no_argument_is_worse) {
    enum { N = 1 << 16 };
    float *x = malloc(3 * N * sizeof *x), *second = x + N, *out = x + 2 * N;
    ck_assert_ptr_nonnull(x);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) * (160.0F / N);
        second[i] = 1;
    }
    for (int t = 0; t < table_count; t++) {
        kernels[_i].run(tables[t], x, second, out, N);
        for (int i = 0; i < N; i++)
            ck_assert_msg(
                near(out[i], kernels[_i].want((double)x[i], 1), 1e-6, kernels[_i].absolute),
                "%s: %.9g of %.9g", tables[t]->name, (double)out[i], (double)x[i]);
    }
    free(x);
}
END_TEST

START_TEST(nan_comes_out_where_it_goes_in) {
    for (int t = 0; t < table_count; t++)
        for (int at = 0; at < 41; at++) {
            float x[41], second[41], out[41];
            for (int i = 0; i < 41; i++)
                x[i] = second[i] = 1;
            x[at] = NAN;
            kernels[_i].run(tables[t], x, second, out, 41);
            for (int i = 0; i < 41; i++)
                ck_assert(!isnan(out[i]) == (i != at));
        }
}
END_TEST

START_TEST(large_scores_reach_the_cap) {
    for (int t = 0; t < table_count; t++) {
        float row[] = {1e30F, -1e30F, INFINITY, -INFINITY, 0};
        tables[t]->soft_cap(row, 5, 50);
        for (int i = 0; i < 4; i++)
            ck_assert_msg(near(row[i], i % 2 ? -50 : 50, 1e-6, 0), "%s", tables[t]->name);
        ck_assert(near(row[4], 0, 0, 0));
    }
}
END_TEST

int main(void) {
    table_count = check_tables(tables);
    Suite *suite = suite_create("activations");
    TCase *rows = tcase_create("rows");
    tcase_set_timeout(rows, 120);
    tcase_add_loop_test(rows, rows_are_within_their_bounds_also_in_place, 0, KERNELS);
    tcase_add_loop_test(rows, no_argument_is_worse, 0, KERNELS);
    tcase_add_loop_test(rows, nan_comes_out_where_it_goes_in, 0, KERNELS);
    tcase_add_test(rows, large_scores_reach_the_cap);
    suite_add_tcase(suite, rows);
    return run_suite(suite);
}
