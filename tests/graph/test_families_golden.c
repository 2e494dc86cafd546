/* SPDX-License-Identifier: Apache-2.0 */
/* Every family against the reference implementation, case by case, with config.json in both
 * spellings. The cases are in the shared data. Prints how far each case is off. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_case.h"
#include "golden_list.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

/* Gemma's tanh approximation of GELU and the exact one are only 6e-4 apart. */
static double logits_gate(const char *name) {
    return strcmp(name, "gemma") == 0 ? 1e-4 : GOLDEN_LOGITS;
}

static void check_numbers(int index, const char *config, const struct golden *g) {
    const char *name = golden_cases[index].name;
    const struct json *model_type = json_get(g->model.config_json, "model_type");
    ck_assert_str_eq(json_string(model_type), golden_cases[index].model_type);
    const struct golden_figures off = golden_measure(g);
    printf("%-25s %-15s logits %.1e  hidden %.1e  loss %.1e\n", name, config, off.logits,
           off.hidden, off.loss);
    ck_assert_msg(off.logits <= logits_gate(name), "%s, %s: logits are off by %g", name, config,
                  off.logits);
    ck_assert_msg(off.hidden <= GOLDEN_HIDDEN, "%s, %s: hidden states are off by %g", name, config,
                  off.hidden);
    ck_assert_msg(off.loss <= GOLDEN_LOSS, "%s, %s: the mean loss is off by %g", name, config,
                  off.loss);
}

static void check_case(int index, const char *dir, const char *config) {
    llmq_error err = {0};
    struct golden g = {0};
    const char *name = golden_cases[index].name;
    const enum llmq_status status = golden_open(dir, config, &g, &err);
    ck_assert_msg(status == LLMQ_OK, "%s, %s: %s: %s", name, config, llmq_status_name(status),
                  err.message);
    check_numbers(index, config, &g);
    golden_close(&g);
}

START_TEST(the_case_agrees_with_the_reference) {
    char *dir = golden_dir(_i);
    for (int i = 0; dir && i < 2; i++)
        check_case(_i, dir, golden_configs[i]);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("families_golden");
    TCase *t = tcase_create("families_golden");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, the_case_agrees_with_the_reference, 0, GOLDEN_CASES);
    suite_add_tcase(s, t);
    return run_suite(s);
}
