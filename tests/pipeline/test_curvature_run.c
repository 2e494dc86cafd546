/* SPDX-License-Identifier: Apache-2.0 */
/* Runs that choose codes by the model's predictions: the same bytes whatever they are given to run
 * on and however often they are stopped; what they do not go with is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/hash.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

static llmq_quantize_options most_careful(void) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_options_quality(&o, LLMQ_QUALITY_MAX);
    o.restarts = 2;
    o.tune_windows = 32; /* so few that the blocks take the most memory */
    o.sym = false;
    return o;
}

START_TEST(threads_and_spilling_change_nothing) {
    llmq_quantize_options o = most_careful();
    run_with_any_threads_and_memory(&o);
}
END_TEST

static uint64_t hash_of(const char *dir) {
    char path[512], *data = NULL;
    llmq_error err = {0};
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_assert_ok(file_read(path, 1 << 24, &data, &bytes, &err), &err);
    const uint64_t hash = hash_array(HASH_INIT, data, bytes);
    free(data);
    return hash;
}

/* Windows of 24 tokens, as many as hold 48. */
START_TEST(gradients_of_part_of_the_tokens) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.curvature = LLMQ_CURVATURE_ON;
    o.curvature_tokens = 48;
    run_with_any_threads_and_memory(&o);
    run_quantize(&o);
    const uint64_t some = hash_of(o.out);
    o.curvature_tokens = 25;
    run_quantize(&o);
    ck_assert(hash_of(o.out) == some);
    o.curvature_tokens = 24;
    run_quantize(&o);
    ck_assert(hash_of(o.out) != some);
    o.curvature_tokens = 0;
    run_quantize(&o);
    ck_assert(hash_of(o.out) != some);
}
END_TEST

START_TEST(an_interrupted_run_finds_its_gradients) {
    llmq_quantize_options o = most_careful();
    char folder[512], whole[512];
    snprintf(folder, sizeof folder, "%s.partial/curvature", o.out);
    snprintf(whole, sizeof whole, "%s/curvature", o.out);
    run_interrupt(&o);
    ck_assert(path_is_dir(folder));
    o.token_weights = 0.25;
    run_resume_fails(&o, LLMQ_E_INPUT, "--token-weights was 0.5, is 0.25");
    o.token_weights = 0.5;
    llmq_quantize_report r = run_resume(&o);
    llmq_quantize_report_free(&r);
    ck_assert(!path_is_dir(whole) && path_is_dir(o.out));
}
END_TEST

START_TEST(each_part_changes_the_result) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    uint64_t hashes[6];
    for (int i = 0; i < 6; i++) {
        o.curvature = i == 1 || i == 5 ? LLMQ_CURVATURE_ON : LLMQ_CURVATURE_OFF;
        o.curvature_tokens = i == 4 ? 48 : 0;
        o.restarts = i == 2 || i == 5;
        o.token_weights = i >= 3 ? 0.5 : 0;
        run_quantize(&o);
        hashes[i] = hash_of(o.out);
        for (int j = 0; j < i; j++)
            ck_assert(hashes[j] != hashes[i]);
    }
}
END_TEST

static uint64_t weighed(enum llmq_curvature curvature, double token_weights) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.curvature = curvature;
    o.curvature_tokens = 48;
    o.token_weights = token_weights;
    run_quantize(&o);
    return hash_of(o.out);
}

/* By themselves tokens count by gradients where a run has these anyway. */
START_TEST(weights_are_by_gradients_that_are_there) {
    const uint64_t by_itself = weighed(LLMQ_CURVATURE_ON, LLMQ_BY_GRADIENTS);
    ck_assert(by_itself == weighed(LLMQ_CURVATURE_ON, 0.5));
    ck_assert(by_itself != weighed(LLMQ_CURVATURE_ON, 0));
    ck_assert(weighed(LLMQ_CURVATURE_OFF, LLMQ_BY_GRADIENTS) == weighed(LLMQ_CURVATURE_OFF, 0));
}
END_TEST

/* Floats have no zero points to search, and scales that rows share stay. */
START_TEST(every_number_is_refined) {
    static const struct {
        const char *format;
        int bits;
        int64_t group;
    } numbers[] = {{"float-quantized", 8, -1},
                   {"fp8", 8, 128},
                   {"mxfp4-pack-quantized", 4, 32},
                   {"nvfp4-pack-quantized", 4, 16}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
        o.format = numbers[i].format;
        o.bits = numbers[i].bits;
        o.group = numbers[i].group;
        run_quantize(&o);
        const uint64_t hash = hash_of(o.out);
        o.curvature = LLMQ_CURVATURE_ON;
        run_quantize(&o);
        ck_assert(hash_of(o.out) != hash);
    }
}
END_TEST

START_TEST(gradients_of_other_weights_are_refused) {
    llmq_quantize_options o = most_careful();
    o.awq = true;
    llmq_error e = run_refused(&o, LLMQ_E_USAGE, "--awq moves scales");
    ck_assert_ptr_nonnull(strstr(e.hint, "--curvature off"));
    o.awq = false;
    o.token_weights = 1.5;
    (void)run_refused(&o, LLMQ_E_USAGE, "--token-weights 1.5");
    o.token_weights = -0.5;
    (void)run_refused(&o, LLMQ_E_USAGE, "--token-weights -0.5");
    o.token_weights = 0.5;
    o.curvature_tokens = -1;
    (void)run_refused(&o, LLMQ_E_USAGE, "--curvature-tokens -1");
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline_curvature");
    TCase *t = tcase_create("curvature");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, threads_and_spilling_change_nothing);
    tcase_add_test(t, gradients_of_part_of_the_tokens);
    tcase_add_test(t, an_interrupted_run_finds_its_gradients);
    tcase_add_test(t, each_part_changes_the_result);
    tcase_add_test(t, weights_are_by_gradients_that_are_there);
    tcase_add_test(t, every_number_is_refined);
    tcase_add_test(t, gradients_of_other_weights_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
