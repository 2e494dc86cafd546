/* SPDX-License-Identifier: Apache-2.0 */
/* verify --against where the original's experts are stacked: each is compared with its part of the
 * stack, and a stack of which one is missing is missing. The models are in the shared data. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_source.h"
#include "llmq/quantize.h"
#include "llmq/verify.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_run.h"
#include "support.h"

/* [experts, rows, columns], gate above up; [experts, columns, rows], gate and up by turns. */
static const struct scene {
    const char *model, *stack, *gate, *up;
} scenes[] = {
    {"granitemoe", "model.layers.0.block_sparse_moe.input_linear.weight", "experts.1.w1",
     ".experts.1.w3."},
    {"gpt-oss", "model.layers.0.mlp.experts.gate_up_proj", "experts.1.gate_proj",
     ".experts.1.up_proj."},
    {"llama4-text", "model.layers.1.feed_forward.experts.gate_up_proj", "experts.1.gate_proj",
     ".experts.1.up_proj."},
};
enum { SCENES = sizeof scenes / sizeof scenes[0] };

static llmq_error err;

static llmq_verify_report verify(void) {
    const llmq_verify_options o = {.size = sizeof o, .model = out, .against = source};
    llmq_verify_report report;
    ck_assert_ok(llmq_verify(&o, NULL, &report, &err), &err);
    return report;
}

static bool make(const struct scene *s) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    if (!golden_source(s->model))
        return false;
    o.group = 8;
    o.format = "compressed-tensors";
    run_quantize(&o);
    return true;
}

/* Modules with an error that four bits do not explain, and the name of the last. */
static int count_strange(const llmq_verify_report *r, char name[256]) {
    int count = 0;
    for (size_t m = 0; m < r->module_count; m++) {
        if (r->modules[m].error < 0.02)
            continue;
        snprintf(name, 256, "%s", r->modules[m].name);
        count++;
    }
    return count;
}

START_TEST(experts_are_compared_with_their_part_of_the_stack) {
    const struct scene *s = &scenes[_i];
    char name[256];
    struct edit e;
    size_t bytes = 0;
    if (!make(s))
        return;
    llmq_verify_report report = verify();
    ck_assert_msg(report.ok, "%s: %s", s->model, report.violations.items[0].message);
    ck_assert_int_eq(count_strange(&report, name), 0);
    llmq_verify_report_free(&report);
    edit_read(source, &e); /* an element of the second expert is changed */
    float *stack = edit_data(&e, s->stack, &bytes);
    for (size_t i = 0; i < e.count; i++)
        if (strcmp(e.specs[i].name, s->stack) == 0)
            stack[e.specs[i].shape[1] * e.specs[i].shape[2]] += 30;
    edit_write(source, &e, 1u << 30);
    report = verify();
    ck_assert_int_eq(count_strange(&report, name), 1);
    ck_assert_msg(strstr(name, s->gate) != NULL, "%s", name);
    llmq_verify_report_free(&report);
}
END_TEST

START_TEST(a_stack_that_lacks_an_expert_is_missing) {
    const struct scene *s = &scenes[_i];
    struct edit e;
    bool told = false;
    if (!make(s))
        return;
    edit_read(out, &e);
    for (size_t i = e.count; i-- > 0;)
        if (strstr(e.specs[i].name, s->up))
            edit_remove(&e, e.specs[i].name);
    edit_write(out, &e, 1u << 30);
    llmq_verify_report report = verify();
    for (size_t i = 0; i < report.violations.count; i++)
        told = told || (strcmp(report.violations.items[i].rule, "against-missing") == 0 &&
                        strcmp(report.violations.items[i].tensor, s->stack) == 0);
    ck_assert_msg(told, "%s", s->model);
    llmq_verify_report_free(&report);
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify stacked");
    TCase *tc = tcase_create("verify stacked");
    tcase_add_checked_fixture(tc, run_setup, run_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, experts_are_compared_with_their_part_of_the_stack, 0, SCENES);
    tcase_add_loop_test(tc, a_stack_that_lacks_an_expert_is_missing, 0, SCENES);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
