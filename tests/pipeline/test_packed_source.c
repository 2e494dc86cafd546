/* SPDX-License-Identifier: Apache-2.0 */
/* Sources whose linears are packed: kept byte for byte beside others that are quantized, or
 * quantized anew; interrupted, and refused where they cannot be. */
#include <stdlib.h>
#include <string.h>

#include "edit_checkpoint.h"
#include "support.h"
#include "tiny_run.h"

#define PLAIN "model.layers.1.self_attn.k_proj"

static llmq_error err;
static char packed[300];

/* A checkpoint of that format at `packed`; with `mixed`, one linear of it is plain. */
static void make(const char *format, bool mixed) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    struct edit e;
    struct qlinear q = {0};
    strcpy(packed, scratch_path("packed"));
    o.format = format;
    o.out = packed;
    run_quantize(&o);
    if (!mixed)
        return;
    edit_decode(packed, PLAIN, &q);
    edit_read(packed, &e);
    edit_make_plain(&e, layout_find(format), PLAIN, &q);
    edit_write(packed, &e, 1u << 30);
    qlinear_free(&q);
}

static llmq_quantize_options options_of(enum llmq_method method, enum llmq_source_quantized what) {
    llmq_quantize_options o = run_options(method);
    o.model = packed;
    o.source_quantized = what;
    return o;
}

static const llmq_module_report *find(const llmq_quantize_report *r, const char *name) {
    for (size_t i = 0; i < r->module_count; i++)
        if (strcmp(r->modules[i].name, name) == 0)
            return &r->modules[i];
    ck_abort_msg("no module %s", name);
    return NULL;
}

/* Every tensor of the source but the plain linear's is in the result. */
static void check_kept(void) {
    struct edit before, after;
    size_t bytes = 0;
    edit_read(packed, &before);
    edit_read(out, &after);
    for (size_t i = 0; i < before.count; i++) {
        if (strcmp(before.specs[i].name, PLAIN ".weight") == 0)
            continue;
        const void *data = edit_data(&after, before.specs[i].name, &bytes);
        ck_assert_uint_eq(bytes, before.bytes[i]);
        ck_assert_mem_eq(data, before.data[i], bytes);
    }
    edit_write(packed, &before, 1u << 30);
    edit_write(out, &after, 1u << 30);
}

START_TEST(packed_linears_are_kept_and_the_plain_one_is_quantized) {
    static const char *const formats[] = {"gptq", "gptq_v2", "awq", "compressed-tensors"};
    for (int i = 0; i < 4; i++) {
        make(formats[i], true);
        llmq_quantize_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_SOURCE_KEEP);
        llmq_quantize_report r = run_report(&o, NULL);
        ck_assert_str_eq(r.format, formats[i]);
        ck_assert_uint_eq(r.module_count, 14);
        for (size_t m = 0; m < r.module_count; m++)
            ck_assert_msg((strcmp(r.modules[m].method, "kept") == 0) ==
                              (strcmp(r.modules[m].name, PLAIN) != 0),
                          "%s: %s", r.modules[m].name, r.modules[m].method);
        ck_assert_double_gt(find(&r, PLAIN)->error, 0);
        llmq_quantize_report_free(&r);
        check_kept();
    }
}
END_TEST

START_TEST(a_run_that_keeps_is_resumed) {
    make("gptq", true);
    const llmq_quantize_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_SOURCE_KEEP);
    run_interrupt(&o);
    llmq_quantize_report r = run_resume(&o);
    ck_assert_str_eq(find(&r, "model.layers.0.mlp.up_proj")->method, "kept");
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(quantizing_anew_gives_the_same_for_any_threads_and_memory) {
    make("compressed-tensors", true);
    llmq_quantize_options o = options_of(LLMQ_METHOD_GPTQ, LLMQ_SOURCE_REQUANTIZE);
    o.bits = 8;
    run_with_any_threads_and_memory(&o);
    llmq_quantize_report r = run_report(&o, NULL);
    for (size_t m = 0; m < r.module_count; m++)
        ck_assert(strcmp(r.modules[m].method, "gptq") == 0 && r.modules[m].bits == 8);
    llmq_quantize_report_free(&r);
}
END_TEST

/* As the other packed linears. */
START_TEST(a_packed_head_is_kept) {
    struct edit e;
    struct qlinear q = {0};
    make("gptq", true);
    edit_decode(packed, "model.layers.0.self_attn.q_proj", &q);
    edit_read(packed, &e);
    edit_remove(&e, "lm_head.weight");
    edit_encode(&e, &layout_gptq, "lm_head", &q);
    edit_write(packed, &e, 1u << 30);
    edit_text(packed, "config.json", "\"lm_head\": false", "\"lm_head\": true");
    qlinear_free(&q);
    const llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, LLMQ_SOURCE_KEEP);
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_str_eq(find(&r, "lm_head")->method, "kept");
    ck_assert_str_eq(find(&r, PLAIN)->method, "rtn");
    llmq_quantize_report_free(&r);
    check_kept();
}
END_TEST

static void refused(enum llmq_source_quantized what, const char *format, const char *part,
                    const char *hint) {
    llmq_quantize_options o = options_of(LLMQ_METHOD_RTN, what);
    o.format = format;
    err = run_refused(&o, LLMQ_E_UNSUPPORTED, part);
    ck_assert_msg(strstr(err.hint, hint) != NULL, "hint lacks '%s': %s", hint, err.hint);
}

START_TEST(what_cannot_be_is_refused_with_a_way_out) {
    struct edit e;
    struct qlinear q = {0};
    make("gptq", false);
    refused(LLMQ_SOURCE_REFUSE, NULL, "quantized already (gptq)", "--source-quantized requantize");
    refused(LLMQ_SOURCE_KEEP, "gptq_v2", "do not fit byte for byte into gptq_v2",
            "give --format gptq; or --source-quantized requantize");
    edit_decode(packed, "model.layers.0.self_attn.q_proj", &q);
    edit_read(packed, &e);
    edit_remove(&e, "lm_head.weight");
    edit_encode(&e, &layout_gptq, "lm_head", &q);
    edit_write(packed, &e, 1u << 30);
    edit_text(packed, "config.json", "\"lm_head\": false", "\"lm_head\": true");
    qlinear_free(&q);
    refused(LLMQ_SOURCE_REQUANTIZE, NULL, "lm_head is packed", "llmq convert --format bf16");
    make("onnx", false);
    refused(LLMQ_SOURCE_REQUANTIZE, NULL, "quantized already (onnx)", "llmq convert");
}
END_TEST

int main(void) {
    Suite *s = suite_create("packed_source");
    TCase *t = tcase_create("packed_source");
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, packed_linears_are_kept_and_the_plain_one_is_quantized);
    tcase_add_test(t, a_run_that_keeps_is_resumed);
    tcase_add_test(t, quantizing_anew_gives_the_same_for_any_threads_and_memory);
    tcase_add_test(t, a_packed_head_is_kept);
    tcase_add_test(t, what_cannot_be_is_refused_with_a_way_out);
    suite_add_tcase(s, t);
    return run_suite(s);
}
