/* SPDX-License-Identifier: Apache-2.0 */
/* AWQ's scales in norms that add one to their weight, norms with a bias, and linears that make
 * other parts beside the values: folded without loss in float32 and bfloat16, accounted for, and
 * an element that was not divided is found. The models are in the shared data. */
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

/* What rounding a bias to bfloat16 where it happens to fall would cost: 2e-4. */
#define FOLD_ERROR 2e-5

static llmq_error err;

/* A vector that a fold divides, or stands beside what it divides. */
static const struct scene {
    const char *model, *vector;
    int channel;
} scenes[] = {
    {"gemma2", "model.layers.0.input_layernorm.weight", 5},
    {"nemotron", "model.layers.1.post_attention_layernorm.weight", 5},
    {"nemotron", "model.layers.1.post_attention_layernorm.bias", 5},
    {"stablelm", "model.layers.0.post_attention_layernorm.bias", 7},
    {"gpt2", "transformer.h.1.ln_1.weight", 5}, /* before a linear that is stored as [in, out] */
    {"gpt2", "transformer.h.0.attn.c_attn.bias", 3},                     /* a query */
    {"bloom", "transformer.h.0.self_attention.query_key_value.bias", 0}, /* a query */
};
#define SCENES ((int)(sizeof scenes / sizeof scenes[0]))

static void round_tensors(void) {
    struct edit e;
    edit_read(source, &e);
    for (size_t i = 0; i < e.count; i++) {
        const size_t count = e.bytes[i] / sizeof(float);
        uint16_t *rounded = malloc(count * sizeof *rounded);
        dtype_from_f32(DTYPE_BF16, e.data[i], count, rounded);
        free(e.data[i]);
        e.data[i] = rounded;
        e.bytes[i] = count * sizeof *rounded;
        e.specs[i].dtype = DTYPE_BF16;
    }
    edit_write(source, &e, 1u << 30);
}

static void quantize(void) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    o.group = 8;
    o.format = "compressed-tensors";
    llmq_quantize_report report = run_report(&o, NULL);
    for (size_t m = 0; m < report.module_count; m++)
        ck_assert_double_le(report.modules[m].fold_error, FOLD_ERROR);
    llmq_quantize_report_free(&report);
}

/* The vector that rule against-fold names; NULL: no rule about the original is broken. */
static char *verify(void) {
    const llmq_verify_options o = {.size = sizeof o, .model = out, .against = source};
    llmq_verify_report report;
    char *named = NULL;
    ck_assert_ok(llmq_verify(&o, NULL, &report, &err), &err);
    for (size_t i = 0; i < report.violations.count && !named; i++)
        if (strncmp(report.violations.items[i].rule, "against", 7) == 0)
            named = strdup(report.violations.items[i].tensor);
    ck_assert_int_gt(report.folded, 0);
    llmq_verify_report_free(&report);
    return named;
}

static void change(const struct scene *s, bool rounded) {
    struct edit e;
    edit_read(out, &e);
    void *data = edit_data(&e, s->vector, NULL);
    float *wide = (float *)data + s->channel;
    uint16_t *narrow = (uint16_t *)data + s->channel;
    if (rounded)
        *narrow = f32_to_bf16(bf16_to_f32(*narrow) * 1.5F + 0.25F);
    else
        *wide = *wide * 1.5F + 0.25F;
    edit_write(out, &e, 1u << 30);
}

START_TEST(folds_of_every_kind_are_sound_and_checked) {
    const struct scene *s = &scenes[_i / 2];
    const bool rounded = _i % 2 == 1;
    if (!golden_source(s->model))
        return;
    if (rounded)
        round_tensors();
    quantize();
    char *named = verify();
    ck_assert_msg(named == NULL, "%s: %s", s->model, named);
    change(s, rounded);
    named = verify();
    ck_assert_msg(named != NULL, "%s: %s", s->model, s->vector);
    ck_assert_str_eq(named, s->vector);
    free(named);
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify fold norms");
    TCase *tc = tcase_create("verify fold norms");
    tcase_add_checked_fixture(tc, run_setup, run_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, folds_of_every_kind_are_sound_and_checked, 0, 2 * SCENES);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
