/* SPDX-License-Identifier: Apache-2.0 */
/* Formats of floats through the whole run on a tiny model: the result is read as what was written,
 * codes are those next to the weights, and runs are as repeatable as others. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "edit_checkpoint.h"
#include "graph/model.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

static llmq_error err;

static const struct format {
    const char *name;
    int bits;
    int64_t group, rows; /* that share a scale; group -1: all columns */
    enum number_type number;
    float slack; /* how much longer steps may be because scales are rounded */
} formats[] = {
    {"float-quantized", 8, -1, 1, NUMBER_E4M3, 1.02F},
    {"fp8", 8, 128, 128, NUMBER_E4M3, 1.02F},
    {"mxfp4-pack-quantized", 4, 32, 1, NUMBER_E2M1, 2},
    {"nvfp4-pack-quantized", 4, 16, 1, NUMBER_E2M1, 1.08F},
};
enum { FORMATS = sizeof formats / sizeof *formats };

static llmq_quantize_options options_of(const struct format *f, enum llmq_method method) {
    llmq_quantize_options o = run_options(method);
    o.format = f->name;
    o.bits = f->bits;
    o.group = f->group;
    return o;
}

/* The weight of a linear of the model in a folder, as evaluation reads it. The caller frees. */
static float *weight_of(const char *dir, int64_t linear, int64_t *n, int64_t *k) {
    struct model m = {0};
    ck_assert_ok(model_open(dir, &m, &err), &err);
    const struct linear_place at = blocks_linear_at(m.blocks, linear);
    blocks_linear_shape(m.blocks, at, n, k);
    float *w = malloc((size_t)(*n * *k) * sizeof *w);
    ck_assert_ok(model_load_weight(&m, at, w, &err), &err);
    model_close(&m);
    return w;
}

/* The largest weight of the block that starts there. */
static float block_peak(const struct format *f, const float *w, int64_t n, int64_t k, int64_t top,
                        int64_t left) {
    const int64_t wide = f->group == -1 ? k : f->group;
    float amax = 0;
    for (int64_t r = top; r < n && r < top + f->rows; r++)
        for (int64_t c = left; c < k && c < left + wide; c++)
            amax = fmaxf(amax, fabsf(w[r * k + c]));
    return amax;
}

/* Each weight of a block is the number next to the original's: half of the distance to either
 * neighbour away at most, where the largest is at the end of the grid. */
static void check_block(const struct format *f, const float *w, const float *v, int64_t count,
                        float amax) {
    const struct number_form *form = number_form(f->number);
    const float scale = amax / form->largest; /* before it is rounded */
    for (int64_t i = 0; i < count; i++) {
        const float size = fmaxf(fabsf(w[i]) / scale, ldexpf(1, form->least));
        const float half = scale * ldexpf(1, ilogbf(size) - form->fraction - 1);
        ck_assert_msg(fabsf(w[i] - v[i]) <= half * f->slack, "%s: %g became %g, half a step is %g",
                      f->name, (double)w[i], (double)v[i], (double)half);
    }
}

static void check_nearest(const struct format *f, const float *w, const float *v, int64_t n,
                          int64_t k) {
    const int64_t wide = f->group == -1 ? k : f->group;
    for (int64_t top = 0; top < n; top += f->rows)
        for (int64_t left = 0; left < k; left += wide) {
            const float amax = block_peak(f, w, n, k, top, left);
            for (int64_t r = top; r < n && r < top + f->rows; r++)
                check_block(f, w + r * k + left, v + r * k + left,
                            left + wide < k ? wide : k - left, amax);
        }
}

START_TEST(rounding_takes_the_next_number) {
    for (int f = 0; f < FORMATS; f++) {
        const llmq_quantize_options o = options_of(&formats[f], LLMQ_METHOD_RTN);
        run_quantize(&o);
        for (int64_t linear = 0; linear < 14; linear++) {
            int64_t n = 0, k = 0;
            float *w = weight_of(source, linear, &n, &k), *v = weight_of(out, linear, &n, &k);
            check_nearest(&formats[f], w, v, n, k);
            free(w);
            free(v);
        }
    }
}
END_TEST

/* What is evaluated is what verify decodes, and what convert writes. */
START_TEST(results_are_read_verified_and_converted_alike) {
    for (int f = 0; f < FORMATS; f++) {
        const llmq_quantize_options o = options_of(&formats[f], LLMQ_METHOD_GPTQ);
        const llmq_verify_options v = {.size = sizeof v, .model = out, .against = source};
        llmq_verify_report r;
        llmq_quantize_report q = run_report(&o, NULL);
        double error = 0, rtn = 0;
        for (size_t i = 0; i < q.module_count; i++) {
            error += q.modules[i].error;
            rtn += q.modules[i].rtn_error;
        }
        ck_assert_double_lt(error, rtn);
        ck_assert_ok(llmq_verify(&v, NULL, &r, &err), &err);
        ck_assert_msg(r.ok, "%s", r.violations.count ? r.violations.items[0].message : "");
        ck_assert_str_eq(r.format, formats[f].name);
        ck_assert_uint_eq(r.module_count, 14);
        ck_assert_int_eq(r.modules[0].bits, formats[f].bits);
        ck_assert(r.error > 0 && r.error < (formats[f].bits == 8 ? 2e-3 : 3e-2));
        llmq_verify_report_free(&r);
        llmq_quantize_report_free(&q);

        char *plain = strdup(scratch_path("plain"));
        const llmq_convert_options c = {.size = sizeof c,
                                        .model = out,
                                        .out = plain,
                                        .format = "f32",
                                        .shard_limit = 1 << 30,
                                        .force = true};
        llmq_convert_report made;
        ck_assert_ok(llmq_convert(&c, NULL, &made, &err), &err);
        llmq_convert_report_free(&made);
        const double ours = run_loss(out, false), theirs = run_loss(plain, false);
        ck_assert(isfinite(ours) && ours >= theirs && ours <= theirs);
        free(plain);
    }
}
END_TEST

START_TEST(results_are_the_same_for_any_threads_and_memory) {
    const llmq_quantize_options o = options_of(&formats[FORMATS - 1], LLMQ_METHOD_GPTQ);
    run_with_any_threads_and_memory(&o);
}
END_TEST

START_TEST(interrupted_runs_are_resumed) {
    const llmq_quantize_options o = options_of(&formats[0], LLMQ_METHOD_GPTQ);
    run_interrupt(&o);
    llmq_quantize_report r = run_resume(&o);
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(damaged_blocks_are_noticed) {
    const llmq_quantize_options o = options_of(&formats[0], LLMQ_METHOD_RTN);
    run_interrupt(&o);
    run_damage("model.layers.0.mlp.up_proj.weight");
    run_resume_fails(&o, LLMQ_E_CHECK, "differs from what was stored");
}
END_TEST

START_TEST(what_cannot_be_is_refused) {
    for (int f = 0; f < FORMATS; f++) {
        llmq_quantize_options o = options_of(&formats[f], LLMQ_METHOD_RTN);
        o.bits = 3;
        run_refused(&o, LLMQ_E_UNSUPPORTED, "expected");
        o = options_of(&formats[f], LLMQ_METHOD_RTN);
        o.sym = false;
        run_refused(&o, LLMQ_E_UNSUPPORTED, "symmetric");
        o = options_of(&formats[f], LLMQ_METHOD_AWQ);
        o.sym = true;
        run_refused(&o, LLMQ_E_UNSUPPORTED, "it scales for grids of integers");
        o = options_of(&formats[f], LLMQ_METHOD_RTN);
        char *turned = strdup(scratch_path("turned"));
        tiny_gpt2_write(turned, 5);
        o.model = turned;
        run_refused(&o, LLMQ_E_UNSUPPORTED, "stored as [in, out]");
        free(turned);
    }
}
END_TEST

/* Such a result is the source of another, as checkpoints of others are. */
START_TEST(results_are_quantized_anew) {
    char *eight = strdup(scratch_path("eight"));
    llmq_quantize_options o = options_of(&formats[0], LLMQ_METHOD_RTN);
    o.out = eight;
    run_quantize(&o);
    o = run_options(LLMQ_METHOD_RTN);
    o.model = eight;
    run_quantize(&o);
    ck_assert(isfinite(run_loss(out, false)));
    free(eight);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("number formats");
    TCase *tests = tcase_create("runs");
    tcase_add_checked_fixture(tests, run_setup, run_teardown);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, rounding_takes_the_next_number);
    tcase_add_test(tests, results_are_read_verified_and_converted_alike);
    tcase_add_test(tests, results_are_the_same_for_any_threads_and_memory);
    tcase_add_test(tests, interrupted_runs_are_resumed);
    tcase_add_test(tests, damaged_blocks_are_noticed);
    tcase_add_test(tests, what_cannot_be_is_refused);
    tcase_add_test(tests, results_are_quantized_anew);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
