/* SPDX-License-Identifier: Apache-2.0 */
/* The measurements of `llmq bench` on a matrix small enough for a test: every product is there,
 * computes what it should, and ends up in the JSON under the names scripts rely on. Rates are
 * whatever this machine makes them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "bench/bench.h"
#include "support.h"

enum { N = 64, K = 256 };

static struct limits_memory memory; /* a small part of what the program would read */
static llmq_bench_report report;

static void setup_report(void) {
    llmq_error err = {0};
    memory = (struct limits_memory){calloc(1, 64 << 20), 64 << 20};
    report = (llmq_bench_report){.limits = {{1, 2, 3, 4, 5}}, .limit_count = 1};
    ck_assert_ptr_nonnull(memory.bytes);
    ck_assert_ok(bench_products(N, K, 2, &memory, &report, &err), &err);
    ck_assert_ok(bench_solve(N, K, &report, &err), &err);
    limits_memory_free(&memory);
}

START_TEST(every_product_is_measured_and_right) {
    static const int64_t rows[] = {1, 16, 128, 512};
    ck_assert_uint_eq(report.product_count, 16);
    for (int i = 0; i < 16; i++) {
        const llmq_bench_product *p = &report.products[i];
        const bool int8 = i / 4 % 2;
        ck_assert(p->n == N && p->k == K && p->m == rows[i % 4] && p->threads == 1 + i / 8);
        ck_assert(p->activations == (int8 ? LLMQ_ACTIVATIONS_INT8 : LLMQ_ACTIVATIONS_EXACT));
        ck_assert(p->gbps > 0 && p->gflops > 0 && p->fraction > 0);
        /* A step of a / 127, evenly spread errors, activations uniform up to a: (1 / 127) / 2. */
        ck_assert_double_gt(p->relerr, int8 ? 2e-3 : 0);
        ck_assert_double_lt(p->relerr, int8 ? 6e-3 : 1e-6);
    }
    ck_assert_uint_eq(report.solve_count, 1);
    const llmq_bench_solve *solve = &report.solves[0];
    ck_assert(solve->n == N && solve->k == K && solve->fraction > 0);
    ck_assert(solve->factor_seconds > 0 && solve->column_seconds > 0);
    ck_assert_double_gt(solve->seconds, solve->factor_seconds);
}
END_TEST

START_TEST(json_has_the_keys_scripts_rely_on) {
    static const char *const limits[] = {"threads", "dram_gbps", "fma_gflops", "vnni_gops",
                                         "sgemm_gflops"};
    static const char *const products[] = {"n", "k", "m", "threads", "gbps", "gflops", "relerr"};
    static const char *const solves[] = {"n",        "k",      "factor_seconds", "column_seconds",
                                         "fraction", "seconds"};
    llmq_error err = {0};
    struct json *o = NULL;
    char *text = llmq_bench_json(&report);
    ck_assert_ptr_nonnull(text);
    ck_assert_ok(json_parse(text, strlen(text), "the report", &o, &err), &err);
    const struct json *product = json_first(json_get(o, "int4"));
    double value = 0;
    for (int i = 0; i < 5; i++) {
        ck_assert(json_as_double(json_get(json_get(o, "limits"), limits[i]), &value));
        ck_assert_double_eq(value, 1 + i);
    }
    for (int i = 0; i < 7; i++)
        ck_assert_msg(json_as_double(json_get(product, products[i]), &value), "%s", products[i]);
    for (int i = 0; i < 6; i++)
        ck_assert(json_as_double(json_get(json_first(json_get(o, "solve")), solves[i]), &value));
    ck_assert_str_eq(json_string(json_get(product, "mode")), "exact");
    ck_assert_uint_eq(json_count(json_get(o, "int4")), 16);
    json_free(&o);
    free(text);
}
END_TEST

START_TEST(medians_by_hand) {
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2};
    ck_assert_double_eq(bench_median(odd, 3), 2);
    ck_assert_double_eq(bench_median(even, 4), 2.5);
    struct bench_samples full = {.count = BENCH_SAMPLES_MAX, .begin = 1e300};
    ck_assert(bench_enough(&full));
    full.count--;
    ck_assert(!bench_enough(&full)); /* no time has passed */
}
END_TEST

int main(void) {
    Suite *s = suite_create("bench");
    TCase *t = tcase_create("bench");
    tcase_set_timeout(t, 300);
    tcase_add_unchecked_fixture(t, setup_report, NULL);
    tcase_add_test(t, every_product_is_measured_and_right);
    tcase_add_test(t, json_has_the_keys_scripts_rely_on);
    tcase_add_test(t, medians_by_hand);
    suite_add_tcase(s, t);
    return run_suite(s);
}
