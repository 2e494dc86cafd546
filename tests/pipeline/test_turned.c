/* SPDX-License-Identifier: Apache-2.0 */
/* Models whose linears are stored as [in, out]: packed as every other, told apart by verify,
 * written back as they were. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "pipeline/tiny_model.h"
#include "pipeline/tiny_run.h"
#include "support.h"

#define ATTN0 "transformer.h.0.attn.c_attn"

static llmq_error err;

static void setup(void) {
    run_setup();
    ck_assert_ok(dir_remove(source, &err), &err);
    tiny_gpt2_write(source, 1);
}

static void assert_shape(const char *dir, const char *name, uint64_t rows, uint64_t columns) {
    struct st_set *set = NULL;
    ck_assert_ok(st_open_dir(dir, &set, &err), &err);
    const struct st_tensor *t = st_find(set, name);
    ck_assert_msg(t && t->rank == 2, "%s", name);
    ck_assert_uint_eq(t->shape[0], rows);
    ck_assert_uint_eq(t->shape[1], columns);
    ck_assert_ptr_null(st_find(set, "transformer.h.0.attn.bias"));
    ck_assert_ptr_null(st_find(set, "h.0.attn.bias"));
    st_close(&set);
}

static double assert_verified(const char *dir) {
    const llmq_verify_options o = {.size = sizeof o, .model = dir, .against = source};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    ck_assert_msg(r.ok, "%s", r.ok ? "" : r.violations.items[0].message);
    const double error = r.error;
    llmq_verify_report_free(&r);
    return error;
}

static void convert(const char *from, const char *format, const char *to) {
    llmq_convert_options o;
    llmq_convert_report r;
    llmq_convert_options_init(&o);
    o.model = from;
    o.out = to;
    o.format = format;
    ck_assert_ok(llmq_convert(&o, NULL, &r, &err), &err);
    llmq_convert_report_free(&r);
}

static const struct {
    const char *format, *packed;
    uint64_t rows, columns;
    bool sym;
} rows[] = {
    {"gptq", ATTN0 ".qweight", 8, 192, true},
    {"awq", ATTN0 ".qweight", 64, 24, false},
    {"compressed-tensors", ATTN0 ".weight_packed", 192, 8, true},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

START_TEST(they_are_packed_as_out_by_in) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    o.format = rows[_i].format;
    o.sym = rows[_i].sym;
    run_quantize(&o);
    assert_shape(out, rows[_i].packed, rows[_i].rows, rows[_i].columns);
    ck_assert_double_lt(assert_verified(out), 0.02);
    ck_assert_double_eq_tol(run_loss(out, false), run_loss(source, false), 0.1);
}
END_TEST

START_TEST(they_are_written_back_as_in_by_out) {
    char *plain = strdup(scratch_path("plain"));
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.format = "gptq";
    run_quantize(&o);
    convert(out, "f32", plain);
    assert_shape(plain, ATTN0 ".weight", 64, 192);
    ck_assert_double_eq_tol(run_loss(plain, false), run_loss(out, true), 1e-6);
    free(plain);
}
END_TEST

/* A square matrix is not told by its shape: [in, out] taken for [out, in] is another one. */
START_TEST(a_square_one_is_compared_the_right_way_round) {
    llmq_verify_report r;
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.format = "compressed-tensors";
    run_quantize(&o);
    const llmq_verify_options v = {.size = sizeof v, .model = out, .against = source};
    ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
    for (size_t i = 0; i < r.module_count; i++)
        ck_assert_msg(r.modules[i].error < 0.02, "%s: %g", r.modules[i].name, r.modules[i].error);
    ck_assert_uint_eq(r.module_count, 8);
    llmq_verify_report_free(&r);
}
END_TEST

/* Scales come out of the values' rows and biases, which verify has to find in the original's. */
START_TEST(scales_are_folded_out_of_the_right_rows) {
    const llmq_verify_options v = {.size = sizeof v, .model = out, .against = source};
    llmq_verify_report r;
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    o.format = "compressed-tensors";
    run_quantize(&o);
    ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
    ck_assert_msg(r.ok, "%s", r.ok ? "" : r.violations.items[0].message);
    ck_assert_int_gt(r.folded, 0);
    ck_assert_int_eq(r.changed, 0);
    ck_assert_double_lt(r.error, 0.02);
    llmq_verify_report_free(&r);
}
END_TEST

int main(void) {
    Suite *s = suite_create("turned");
    TCase *t = tcase_create("turned");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, run_teardown);
    tcase_add_loop_test(t, they_are_packed_as_out_by_in, 0, ROWS);
    tcase_add_test(t, they_are_written_back_as_in_by_out);
    tcase_add_test(t, a_square_one_is_compared_the_right_way_round);
    tcase_add_test(t, scales_are_folded_out_of_the_right_rows);
    suite_add_tcase(s, t);
    return run_suite(s);
}
