/* SPDX-License-Identifier: Apache-2.0 */
/* What quantizing refuses, by the messages that users see: options that go wrong together, places
 * where no result can be, and runs whose journal was damaged. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "support.h"
#include "tiny_run.h"

static llmq_error err;

/* --- options ---------------------------------------------------------------------------------- */

START_TEST(numbers_out_of_range_are_refused) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.group = 0;
    run_refused(&o, LLMQ_E_USAGE, "--group 0: a positive number or -1");
    o.group = -1;
    o.group_auto_fit = true;
    run_refused(&o, LLMQ_E_USAGE, "--group auto-fit needs a positive size");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.expert_tokens = 0;
    run_refused(&o, LLMQ_E_USAGE, "--expert-tokens 0: a positive number");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.seqlen = 1;
    run_refused(&o, LLMQ_E_USAGE, "at least 2 tokens to a window");
    o.seqlen = 0;
    o.samples = -1;
    run_refused(&o, LLMQ_E_USAGE, "--samples and --seqlen must be positive");
    o = run_options(LLMQ_METHOD_GPTQ);
    o.correct = (llmq_correct){.mode = LLMQ_CORRECT_FIXED, .alpha = 0.5, .beta = 1.5};
    run_refused(&o, LLMQ_E_USAGE, "--correct 0.5,1.5: strengths lie between 0 and 1");
}
END_TEST

START_TEST(options_that_do_not_go_together_are_refused) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.descent = 0;
    o.rounds = 2;
    err = run_refused(&o, LLMQ_E_USAGE, "rounds only with descent");
    ck_assert_str_eq(err.hint, "give --descent 1, or --rounds 0");
    o = run_options(LLMQ_METHOD_RTN);
    o.awq = true;
    err = run_refused(&o, LLMQ_E_USAGE, "--awq goes with gptq");
    ck_assert_ptr_nonnull(strstr(err.hint, "llmq awq"));
    o = run_options(LLMQ_METHOD_RTN);
    o.calib = NULL;
    o.search = LLMQ_RANGE_WEIGHTED;
    err = run_refused(&o, LLMQ_E_USAGE, "rtn with --search weighted needs calibration");
    ck_assert_str_eq(err.hint, "give --calib FILE");
    o.search = LLMQ_RANGE_MINMAX;
    o.correct.mode = LLMQ_CORRECT_AUTO;
    run_refused(&o, LLMQ_E_USAGE, "rtn with --correct needs calibration");
}
END_TEST

/* --- places ----------------------------------------------------------------------------------- */

START_TEST(a_result_is_not_put_where_something_else_is) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    put_file("out", "mine", 4);
    err = run_fails(&o, LLMQ_E_IO, "exists and is not a folder");
    ck_assert_ptr_nonnull(strstr(err.hint, "choose another --out"));
    ck_assert_int_eq(unlink(out), 0);
    ck_assert_int_eq(mkdir(scratch_path("other"), 0777), 0);
    ck_assert_int_eq(symlink("other", out), 0);
    err = run_fails(&o, LLMQ_E_IO, "is a link, which the result cannot take the place of");
    ck_assert_ptr_nonnull(strstr(err.hint, scratch_path("other")));
    ck_assert_int_eq(unlink(out), 0);
    ck_assert_int_eq(mkdir(out, 0777), 0);
    put_file("out/mine", "x", 1);
    run_fails(&o, LLMQ_E_USAGE, "no llmq.json marks it as a result of llmq");
    ck_assert_int_eq(unlink(scratch_path("out/mine")), 0);
    o.out = ".";
    run_fails(&o, LLMQ_E_USAGE, ". is the current folder");
}
END_TEST

START_TEST(what_grows_is_not_put_over_something_else) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    put_file("out.partial", "mine", 4);
    err = run_fails(&o, LLMQ_E_IO, "where the result grows, is not a folder");
    ck_assert_str_eq(err.hint, "move it away, or choose another --out");
}
END_TEST

/* --- journals --------------------------------------------------------------------------------- */

/* The journal of an interrupted run with `old` replaced, once, by another of the same length. */
static void damage_journal(const char *old, const char *by) {
    char *data = NULL;
    size_t len = 0;
    ck_assert_ok(
        file_read(scratch_path("out.partial/llmq-journal.jsonl"), 1 << 24, &data, &len, &err),
        &err);
    char *at = strstr(data, old);
    ck_assert_msg(at != NULL, "no %s in the journal", old);
    ck_assert_uint_eq(strlen(old), strlen(by));
    memcpy(at, by, strlen(by));
    put_file("out.partial/llmq-journal.jsonl", data, len);
    free(data);
}

static const struct {
    const char *old, *by, *part;
} damages[] = {
    {"{\"block\":0", "{\"block\":7", "the record of block 0 is malformed"},
    {"\"rtn_error\"", "\"rtn_errol\"", "a module's record is incomplete"},
    {"model.embed_tokens.weight", "model.embed_tokenz.weight", "is recorded, and not in the model"},
};

START_TEST(a_damaged_journal_is_told) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    run_interrupt(&o);
    damage_journal(damages[_i].old, damages[_i].by);
    run_resume_fails(&o, LLMQ_E_INPUT, damages[_i].part);
}
END_TEST

START_TEST(a_journal_of_absurd_size_is_none) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    run_interrupt(&o);
    ck_assert_int_eq(truncate(scratch_path("out.partial/llmq-journal.jsonl"), (off_t)1 << 40), 0);
    run_resume_fails(&o, LLMQ_E_INPUT, "bytes are no journal");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pipeline_refusals");
    TCase *tcase = tcase_create("refusals");
    tcase_add_checked_fixture(tcase, run_setup, run_teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, numbers_out_of_range_are_refused);
    tcase_add_test(tcase, options_that_do_not_go_together_are_refused);
    tcase_add_test(tcase, a_result_is_not_put_where_something_else_is);
    tcase_add_test(tcase, what_grows_is_not_put_over_something_else);
    tcase_add_loop_test(tcase, a_damaged_journal_is_told, 0,
                        (int)(sizeof damages / sizeof damages[0]));
    tcase_add_test(tcase, a_journal_of_absurd_size_is_none);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
