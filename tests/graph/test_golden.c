/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass against the reference implementation: the two cases that are in the tree, and
 * that what the gates are to catch shows. The other cases are in families_golden. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_case.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

static void open_case(const char *dir, const char *config, struct golden *g) {
    llmq_error err = {0};
    ck_assert_ok(golden_open(dir, config, g, &err), &err);
}

static void check_case(const char *dir) {
    for (int i = 0; i < 2; i++) {
        struct golden g = {0};
        open_case(dir, golden_configs[i], &g);
        const struct golden_figures off = golden_measure(&g);
        ck_assert_double_le(off.logits, GOLDEN_LOGITS);
        ck_assert_double_le(off.hidden, GOLDEN_HIDDEN);
        ck_assert_double_le(off.loss, GOLDEN_LOSS);
        golden_close(&g);
    }
}

START_TEST(cases_in_the_tree_agree_with_the_reference) {
    static const char *const cases[] = {"tests/golden/llama-base", "tests/golden/qwen3"};
    for (int i = 0; i < 2; i++) {
        char *dir = source_path(cases[i]);
        check_case(dir);
        free(dir);
    }
}
END_TEST

/* A wrong window shows by orders of magnitude more than the gate: the switch is really used. */
START_TEST(sliding_window_matters) {
    char *dir = shared_path("golden/mistral-swa");
    if (!dir)
        return;
    struct golden g = {0};
    open_case(dir, "config.json", &g);
    for (int kind = 0; kind < g.model.blocks->kind_count; kind++)
        g.model.blocks->kinds[kind].facts.dims[DIM_WINDOW]++;
    struct golden_scores wrong = golden_score(&g);
    ck_assert_double_ge(golden_deviation(&g, "logits", wrong.logits), 1.0);
    free(wrong.logits);
    free(wrong.logprobs);
    golden_close(&g);
    free(dir);
}
END_TEST

/* Same bytes for any number of threads. */
START_TEST(logits_do_not_depend_on_threads) {
    struct golden g = {0};
    char *dir = source_path("tests/golden/qwen3");
    open_case(dir, "config.json", &g);
    const size_t count = (size_t)(g.corpus.tokens_used * g.model.config.vocab);
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    struct golden_scores one = golden_score(&g);
    omp_set_num_threads(3);
    struct golden_scores many = golden_score(&g);
    omp_set_num_threads(before);
    ck_assert_int_eq(memcmp(one.logits, many.logits, count * sizeof *one.logits), 0);
    free(one.logits);
    free(one.logprobs);
    free(many.logits);
    free(many.logprobs);
    golden_close(&g);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("golden");
    TCase *t = tcase_create("golden");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, cases_in_the_tree_agree_with_the_reference);
    tcase_add_test(t, sliding_window_matters);
    tcase_add_test(t, logits_do_not_depend_on_threads);
    suite_add_tcase(s, t);
    return run_suite(s);
}
