/* SPDX-License-Identifier: Apache-2.0 */
/* What compare says of every block: against the blocks' outputs themselves in plain C, in memory
 * and in files, and where values that are not finite began. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/divergence.h"
#include "llmq/evaluate.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_model.h"
#include "support.h"

enum { WINDOWS = 3, LENGTH = 16, TOKENS = WINDOWS * LENGTH, BLOCKS = 2, WIDTH = 64 };

static char model_dir[512], reference_dir[512];
static llmq_error err;

static void setup(void) {
    scratch_setup();
    snprintf(model_dir, sizeof model_dir, "%s", scratch_path("model"));
    snprintf(reference_dir, sizeof reference_dir, "%s", scratch_path("reference"));
    tiny_model_write(model_dir, 7, 0);
    tiny_model_write(reference_dir, 8, 0);
}

static struct corpus read_tokens(void) {
    static int32_t ids[TOKENS];
    static int64_t offsets[WINDOWS + 1];
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (i * i + 5 * i) % TINY_VOCAB;
    for (int w = 0; w <= WINDOWS; w++)
        offsets[w] = w * LENGTH;
    return (struct corpus){
        .ids = ids, .offsets = offsets, .count = WINDOWS, .max_len = LENGTH, .tokens_used = TOKENS};
}

/* out [BLOCKS, TOKENS, WIDTH] */
static void walk(const struct model *m, const struct corpus *corpus, float *out) {
    const struct eval_job job = {
        .m = m, .corpus = corpus, .numbers = {.mode = LOAD_PACKED}, .name = "", .total = BLOCKS};
    struct walk *w = NULL;
    ck_assert_ok(walk_create(&job, &w, &err), &err);
    for (int64_t b = 0; b < BLOCKS; b++) {
        ck_assert_ok(walk_block(w, b, &err), &err);
        memcpy(out + b * TOKENS * WIDTH, walk_residual(w), TOKENS * WIDTH * sizeof *out);
    }
    walk_free(&w);
}

static void check_output(const llmq_block_output *o, const float *x) {
    double least = (double)x[0], most = (double)x[0], mean = 0, spread = 0;
    for (int i = 0; i < TOKENS * WIDTH; i++) {
        least = fmin(least, (double)x[i]);
        most = fmax(most, (double)x[i]);
        mean += (double)x[i] / (TOKENS * WIDTH);
    }
    for (int i = 0; i < TOKENS * WIDTH; i++)
        spread += pow((double)x[i] - mean, 2) / (TOKENS * WIDTH);
    ck_assert_double_eq(o->least, least);
    ck_assert_double_eq(o->most, most);
    ck_assert_double_eq_tol(o->mean, mean, 1e-12);
    ck_assert_double_eq_tol(o->spread, sqrt(spread), 1e-12);
    ck_assert_int_eq(o->nan + o->infinite, 0);
}

/* All tokens are in the sample: there are few. */
static double mean_error(const float *x, const float *y) {
    double sum = 0;
    for (int t = 0; t < TOKENS; t++) {
        double error = 0, norm = 0;
        for (int i = t * WIDTH; i < (t + 1) * WIDTH; i++) {
            error += pow((double)x[i] - (double)y[i], 2);
            norm += pow((double)y[i], 2);
        }
        sum += error / norm;
    }
    return sum / TOKENS;
}

START_TEST(figures_are_those_of_the_outputs) {
    static float ours[BLOCKS * TOKENS * WIDTH], theirs[BLOCKS * TOKENS * WIDTH];
    const struct corpus corpus = read_tokens();
    struct model model = {0}, reference = {0};
    struct divergence d;
    ck_assert_ok(model_open(model_dir, &model, &err), &err);
    ck_assert_ok(model_open(reference_dir, &reference, &err), &err);
    walk(&model, &corpus, ours);
    walk(&reference, &corpus, theirs);
    const struct eval_pair pair = {.model = &model,
                                   .reference = &reference,
                                   .corpus = &corpus,
                                   .numbers = {.mode = LOAD_PACKED},
                                   .spill_dir = _i ? scratch : NULL};
    ck_assert_ok(eval_divergence(&pair, &d, &err), &err);
    ck_assert_int_eq(d.block_count, BLOCKS);
    for (int b = 0; b < BLOCKS; b++) {
        const float *x = ours + b * TOKENS * WIDTH, *y = theirs + b * TOKENS * WIDTH;
        check_output(&d.blocks[b].model, x);
        check_output(&d.blocks[b].reference, y);
        ck_assert_double_gt(d.blocks[b].error, 0.01);
        ck_assert_double_eq_tol(d.blocks[b].error, mean_error(x, y), 1e-12);
    }
    divergence_free(&d);
    model_close(&model);
    model_close(&reference);
}
END_TEST

static llmq_compare_options options_on_windows(void) {
    llmq_compare_options o;
    tiny_windows_write(scratch_path("w.json"), WINDOWS, LENGTH, 3);
    llmq_compare_options_init(&o);
    o.model = model_dir;
    o.reference = reference_dir;
    o.text = scratch_path("w.json");
    return o;
}

static const struct origin {
    const char *dir, *message;
} origins[] = {
    {model_dir, "model: block 1 is the first to put out NaN"},
    {reference_dir, "reference: block 1 is the first to put out NaN"},
};

START_TEST(the_first_block_that_is_not_finite_is_named) {
    static const uint16_t infinity = 0x7F80; /* bfloat16 */
    const llmq_compare_options o = options_on_windows();
    llmq_compare_result r;
    edit_poke(origins[_i].dir, "model.layers.1.mlp.down_proj.weight", &infinity, sizeof infinity);
    ck_assert_fails(llmq_compare(&o, NULL, &r, &err), LLMQ_E_NUMERIC, origins[_i].message, &err);
    llmq_compare_result_free(&r);
}
END_TEST

START_TEST(blocks_of_different_models_are_not_compared) {
    const llmq_compare_options o = options_on_windows();
    llmq_compare_result r;
    edit_text(model_dir, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    ck_assert_ok(llmq_compare(&o, NULL, &r, &err), &err);
    ck_assert_int_eq(r.block_count, 0);
    llmq_compare_result_free(&r);
}
END_TEST

int main(void) {
    Suite *s = suite_create("compare_blocks");
    TCase *t = tcase_create("compare_blocks");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, scratch_teardown);
    tcase_add_loop_test(t, figures_are_those_of_the_outputs, 0, 2);
    tcase_add_loop_test(t, the_first_block_that_is_not_finite_is_named, 0, 2);
    tcase_add_test(t, blocks_of_different_models_are_not_compared);
    suite_add_tcase(s, t);
    return run_suite(s);
}
