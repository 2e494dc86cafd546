/* SPDX-License-Identifier: Apache-2.0 */
/* What is done about calibrations of few tokens: the damping of each input is chosen on tokens held
 * back, experts take over what others chose, and the user is told. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "calib/tiny_mixture.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

enum { ASKED = 4 }; /* experts that choose for themselves */

/* Messages, one after another. */
static char heard[8192];

static void note(void *user, enum llmq_log_level level, const char *message) {
    (void)user;
    if (level == LLMQ_LOG_WARNING)
        strncat(heard, message, sizeof heard - strlen(heard) - 1);
}

static const llmq_context listening = {.size = sizeof listening, .sink = {.message = note}};

static void run(const llmq_quantize_options *o, llmq_quantize_report *r) {
    heard[0] = '\0';
    *r = run_report(o, &listening);
}

static llmq_quantize_options mixture_options(void) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    mixture_write(source, 3);
    o.format = "compressed-tensors";
    o.group = 8;
    o.expert_tokens = 64;
    return o;
}

static bool is_rung(double damp) {
    static const double rungs[] = {0.01, 0.05, 0.25, 1.25};
    for (int i = 0; i < 4; i++)
        if (fabs(damp - rungs[i]) <= 0)
            return true;
    return false;
}

/* Damping of a block's expert for the input of w1 and w3, or of w2; 0: it was rounded. */
static double damp_of(const llmq_quantize_report *r, int block, int expert, int linear) {
    char part[96];
    snprintf(part, sizeof part, "layers.%d.block_sparse_moe.experts.%d.w%d", block, expert, linear);
    for (size_t i = 0; i < r->module_count; i++)
        if (strstr(r->modules[i].name, part))
            return r->modules[i].damp;
    ck_abort_msg("no module %s", part);
    return 0;
}

/* One of a few steps; with one given, that one everywhere. */
START_TEST(dampings_are_chosen_unless_given) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_report r;
    for (int given = 0; given < 2; given++) {
        o.damp = given ? 0.02 : 0;
        run(&o, &r);
        for (size_t i = 0; i < r.module_count; i++) {
            const double damp = r.modules[i].damp;
            if (!r.modules[i].fell_back)
                ck_assert_msg(given ? damp == 0.02 : is_rung(damp), "%s: %g", r.modules[i].name,
                              damp);
        }
        llmq_quantize_report_free(&r);
    }
}
END_TEST

/* The fifth expert has the mean, of logarithms, of what the four before it chose; so in each block,
 * for each input. */
START_TEST(later_experts_take_the_mean_of_the_first) {
    llmq_quantize_options o = mixture_options();
    llmq_quantize_report r;
    int seen = 0;
    run(&o, &r);
    for (int block = 0; block < MIXTURE_BLOCKS; block++)
        for (int linear = 1; linear <= 2; linear++) {
            double logs = 0;
            bool known = true;
            for (int e = 0; e < ASKED; e++) {
                const double damp = damp_of(&r, block, e, linear);
                known = known && damp > 0;
                ck_assert(damp <= 0 || is_rung(damp));
                logs += known ? log(damp) : 0;
            }
            const double last = damp_of(&r, block, ASKED, linear);
            if (!known || last <= 0)
                continue;
            ck_assert_double_eq_tol(last, exp(logs / ASKED), 1e-12);
            seen++;
        }
    ck_assert_int_gt(seen, 0);
    llmq_quantize_report_free(&r);
}
END_TEST

/* 288 tokens; inputs are 64 and 96 wide. */
START_TEST(too_few_tokens_for_the_width_are_told) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_report r;
    o.dry_run = true;
    run(&o, &r);
    ck_assert_msg(strstr(heard, "288 calibration tokens are fewer than 8 for each input of 14 "
                                "modules, the widest model.layers.0.mlp.down_proj with 96 inputs"),
                  "%s", heard);
    ck_assert_ptr_nonnull(strstr(heard, "better --samples 32 of 24 tokens"));
    llmq_quantize_report_free(&r);
    o.method = LLMQ_METHOD_AWQ; /* its scales are not fitted to each input */
    o.correct.mode = LLMQ_CORRECT_OFF;
    run(&o, &r);
    ck_assert_ptr_null(strstr(heard, "fewer than"));
    llmq_quantize_report_free(&r);
}
END_TEST

/* 40 windows of 24 tokens are 10 for each of the widest input. */
START_TEST(enough_tokens_are_not_told) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    llmq_quantize_report r;
    tiny_windows_write(calib, 40, 24, 2);
    o.dry_run = true;
    run(&o, &r);
    ck_assert_int_eq(r.tokens_used, 960);
    ck_assert_ptr_null(strstr(heard, "fewer than"));
    llmq_quantize_report_free(&r);
}
END_TEST

int main(void) {
    Suite *s = suite_create("few tokens");
    TCase *t = tcase_create("few tokens");
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, dampings_are_chosen_unless_given);
    tcase_add_test(t, later_experts_take_the_mean_of_the_first);
    tcase_add_test(t, too_few_tokens_for_the_width_are_told);
    tcase_add_test(t, enough_tokens_are_not_told);
    suite_add_tcase(s, t);
    return run_suite(s);
}
