/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of tensor parallelism before a model is quantized. The tiny model's output
 * projection has 64 inputs, its down projection 96. */
#include <string.h>

#include "llmq/quantize.h"
#include "support.h"
#include "tiny_run.h"

static llmq_error err;

/* Warnings of the plan, a line each. */
static char told[1024];

static void keep_warning(void *user, enum llmq_log_level level, const char *message) {
    (void)user;
    if (level == LLMQ_LOG_WARNING)
        strcat(strcat(told, message), "\n");
}

static void plan(const char *format, int group) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_quantize_report r;
    const llmq_context ctx = {.size = sizeof ctx, .sink = {.message = keep_warning}};
    told[0] = '\0';
    o.format = format;
    o.group = group;
    o.group_auto_fit = group > 0;
    o.dry_run = true;
    ck_assert_ok(llmq_quantize(&o, &ctx, &r, &err), &err);
    llmq_quantize_report_free(&r);
}

START_TEST(groups_that_end_tensor_parallelism_are_told) {
    plan("gptq", 32);
    ck_assert_str_eq(told, "tensor parallelism of self_attn.o_proj ends at 2: 64 inputs in groups "
                           "of 32\n"
                           "tensor parallelism of mlp.down_proj ends at 1: 96 inputs in groups of "
                           "32\n");
    plan("compressed-tensors", 16);
    ck_assert_str_eq(told, "tensor parallelism of self_attn.o_proj ends at 4: 64 inputs in groups "
                           "of 16\n"
                           "tensor parallelism of mlp.down_proj ends at 2: 96 inputs in groups of "
                           "16\n");
}
END_TEST

START_TEST(smaller_groups_that_go_further_are_named) {
    plan("gptq", 64);
    ck_assert_str_eq(told, "tensor parallelism of self_attn.o_proj ends at 1: 64 inputs in groups "
                           "of 64; groups of 32 would allow 2\n"
                           "tensor parallelism of mlp.down_proj ends at 2: 96 inputs in groups of "
                           "48\n");
}
END_TEST

START_TEST(whole_rows_and_files_for_one_machine_have_nothing_to_say) {
    plan("gptq", -1);
    ck_assert_str_eq(told, "");
    plan("gguf", 32);
    ck_assert_ptr_null(strstr(told, "parallel"));
}
END_TEST

int main(void) {
    Suite *s = suite_create("plan splits");
    TCase *t = tcase_create("splits");
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, groups_that_end_tensor_parallelism_are_told);
    tcase_add_test(t, smaller_groups_that_go_further_are_named);
    tcase_add_test(t, whole_rows_and_files_for_one_machine_have_nothing_to_say);
    suite_add_tcase(s, t);
    return run_suite(s);
}
