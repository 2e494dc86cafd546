/* SPDX-License-Identifier: Apache-2.0 */
/* Files to calibrate on: their weights, their shares, their windows together. */
#include "pipeline/calibration.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pipeline/tiny_run.h"
#include "support.h"

static llmq_error err;

START_TEST(test_windows_are_shared_by_weight) {
    static const struct {
        int64_t total;
        double weights[3];
        int64_t shares[3];
    } cases[] = {
        {8, {1, 1, 2}, {2, 2, 4}},
        {5, {1, 1, 1}, {2, 2, 1}},
        {128, {0.5, 0.25, 0.25}, {64, 32, 32}},
        {10, {1, 1e6, 1e6}, {1, 4, 5}},
        {3, {1, 1e9, 1}, {1, 1, 1}},
        {7, {0.1, 0.1, 0.1}, {3, 2, 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t shares[3];
        calibration_share(cases[i].total, cases[i].weights, 3, shares);
        ck_assert_int_eq(shares[0] + shares[1] + shares[2], cases[i].total);
        for (int k = 0; k < 3; k++)
            ck_assert_int_eq(shares[k], cases[i].shares[k]);
    }
}
END_TEST

static void assert_part(const char *given, const char *path, double weight) {
    char *found = NULL;
    double found_weight = 0;
    ck_assert_ok(calibration_part(given, &found, &found_weight, &err), &err);
    ck_assert_str_eq(found, path);
    ck_assert_double_eq(found_weight, weight);
    free(found);
}

START_TEST(test_a_weight_stands_behind_a_colon) {
    char *path = NULL;
    double weight = 0;
    assert_part("a.txt", "a.txt", 1);
    assert_part("a.txt:2", "a.txt", 2);
    assert_part("x:y/a.txt:0.25", "x:y/a.txt", 0.25);
    assert_part("a:b.txt", "a:b.txt", 1);
    assert_part("a.txt:", "a.txt:", 1);
    put_file("b:7", "x", 1);
    assert_part(scratch_path("b:7"), scratch_path("b:7"), 1);
    ck_assert_fails(calibration_part("a.txt:0", &path, &weight, &err), LLMQ_E_USAGE,
                    "a number above 0", &err);
    ck_assert_fails(calibration_part("a.txt:-1", &path, &weight, &err), LLMQ_E_USAGE,
                    "a number above 0", &err);
}
END_TEST

/* Three windows of 24 tokens to one of 20. */
START_TEST(test_files_are_mixed) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    char first[512];
    const char *more[] = {text, NULL};
    (void)snprintf(first, sizeof first, "%s:3", calib);
    o.calib = first;
    o.calib_more = more;
    o.samples = 8;
    o.dry_run = true;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_int_eq(r.windows, 8);
    ck_assert_int_eq(r.tokens_used, 6 * 24 + 2 * 20);
    ck_assert_int_eq(r.held_windows, 0); /* ids are no text to take others from */
    llmq_quantize_report_free(&r);
    o.samples = 1;
    run_refused(&o, LLMQ_E_USAGE, "fewer than the 2 files");
}
END_TEST

START_TEST(test_no_result_takes_the_place_of_a_file_that_is_read) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    const char *more[] = {"in/b.json:2", NULL};
    char folder[512], file[512];
    (void)snprintf(folder, sizeof folder, "%s", scratch_path("in"));
    (void)snprintf(file, sizeof file, "%s", scratch_path(more[0]));
    ck_assert_int_eq(mkdir(folder, 0777), 0);
    put_file("in/b.json", "[[1,2]]", 7);
    more[0] = file;
    o.calib_more = more;
    o.out = folder;
    run_refused(&o, LLMQ_E_USAGE, "the text that is read");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("calibration");
    TCase *tcase = tcase_create("calibration");
    tcase_add_checked_fixture(tcase, run_setup, run_teardown);
    tcase_add_test(tcase, test_windows_are_shared_by_weight);
    tcase_add_test(tcase, test_a_weight_stands_behind_a_colon);
    tcase_add_test(tcase, test_files_are_mixed);
    tcase_add_test(tcase, test_no_result_takes_the_place_of_a_file_that_is_read);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
