/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing the kernel table happens once a process, so each case runs in a child of its own. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "llmq/matmul.h"

START_TEST(an_unknown_level_is_an_error_and_leaves_plain_c) {
    llmq_error err = {0}, again = {0};
    setenv("LLMQ_CPU", "abacus", 1);
    ck_assert_int_eq(kernels_init(&err), LLMQ_E_USAGE);
    ck_assert_ptr_nonnull(strstr(err.message, "abacus"));
    ck_assert_int_eq(kernels_init(&again), LLMQ_E_USAGE);
    ck_assert_str_eq(again.message, err.message);
    ck_assert_int_eq(kernels_init(NULL), LLMQ_E_USAGE);
    ck_assert_str_eq(kernels_get()->name, "ref");
}
END_TEST

#ifdef __aarch64__
#define FOREIGN_LEVEL        "avx2"
#define FOREIGN_ARCHITECTURE "x86-64"
#else
#define FOREIGN_LEVEL        "neon"
#define FOREIGN_ARCHITECTURE "aarch64"
#endif

START_TEST(a_level_of_another_architecture_is_refused_and_named_as_such) {
    llmq_error err = {0};
    setenv("LLMQ_CPU", FOREIGN_LEVEL, 1);
    ck_assert_int_eq(kernels_init(&err), LLMQ_E_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, FOREIGN_LEVEL));
    ck_assert_ptr_nonnull(strstr(err.message, FOREIGN_ARCHITECTURE));
    ck_assert_ptr_nonnull(strstr(err.hint, "ref"));
    ck_assert_ptr_null(strstr(err.hint, FOREIGN_LEVEL));
    ck_assert_str_eq(kernels_get()->name, "ref");
}
END_TEST

START_TEST(the_environment_caps_the_level) {
    setenv("LLMQ_CPU", "ref", 1);
    ck_assert_int_eq(kernels_init(NULL), LLMQ_OK);
    ck_assert_ptr_eq(kernels_get(), kernels_for_level(CPU_REF));
    ck_assert_str_eq(llmq_cpu_name(), "ref");
}
END_TEST

START_TEST(the_choice_is_made_once) {
    setenv("LLMQ_CPU", "ref", 1);
    const struct llmq_kernels *first = kernels_get();
    setenv("LLMQ_CPU", "abacus", 1);
    ck_assert_int_eq(kernels_init(NULL), LLMQ_OK);
    ck_assert_ptr_eq(kernels_get(), first);
}
END_TEST

START_TEST(without_a_cap_the_best_table_of_this_machine_is_used) {
    enum cpu_level best = CPU_REF;
    unsetenv("LLMQ_CPU");
    ck_assert_int_eq(cpu_level_get(&best, NULL), LLMQ_OK);
    ck_assert_ptr_eq(kernels_get(), kernels_for_level(best));
    ck_assert_str_eq(llmq_cpu_name(), kernels_get()->name);
}
END_TEST

START_TEST(every_level_has_a_complete_table) {
    for (int level = CPU_REF; level < CPU_LEVELS; level++) {
        const struct llmq_kernels *t = kernels_for_level((enum cpu_level)level);
        ck_assert(t && t->name && t->softmax_row);
        ck_assert(t->logsumexp_row && t->silu_mul && t->rmsnorm_row && t->qmat_dot);
        ck_assert(t->logistic_mul && t->gelu && t->decay && t->soft_cap);
        ck_assert(t->qmat_decode && t->qmat_tile && t->tile_rows > 0 && t->tile_panels > 0);
        ck_assert(t->qmat_quantize && t->qmat_int8_tile && t->int8_rows > 0);
        ck_assert(t->peak_fma && t->peak_int8 && t->peak_read);
        bool bf16 = t->bf16_tile != NULL;
        ck_assert(bf16 == (t->bf16_pack && t->bf16_rows > 0 && t->peak_bf16));
    }
    ck_assert_str_eq(kernels_for_level(CPU_REF)->name, "ref");
    ck_assert(kernels_for_level(CPU_REF)->bf16_tile != NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kernels_select");
    TCase *tc = tcase_create("select");
    tcase_add_test(tc, an_unknown_level_is_an_error_and_leaves_plain_c);
    tcase_add_test(tc, a_level_of_another_architecture_is_refused_and_named_as_such);
    tcase_add_test(tc, the_environment_caps_the_level);
    tcase_add_test(tc, the_choice_is_made_once);
    tcase_add_test(tc, without_a_cap_the_best_table_of_this_machine_is_used);
    tcase_add_test(tc, every_level_has_a_complete_table);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
