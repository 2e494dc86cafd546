/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that a result must not hold or cannot: NaN and infinity, values beyond the declared
 * float16, and weights so small or so large that scales are at their limits. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "edit_checkpoint.h"
#include "llmq/convert.h"
#include "llmq/evaluate.h"
#include "llmq/quantize.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

#define LAYER0 "model.layers.0."
#define LAYER1 "model.layers.1."

static llmq_error err;

/* Everything that was told as a warning. */
static char told[1 << 14];

static void take(void *user, enum llmq_log_level level, const char *message) {
    (void)user;
    if (level == LLMQ_LOG_WARNING && strlen(told) + strlen(message) + 2 < sizeof told)
        (void)snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", message);
}

static const llmq_context listening = {.size = sizeof listening, .sink = {.message = take}};

static void quantize_listening(const llmq_quantize_options *o) {
    told[0] = '\0';
    llmq_quantize_report report = run_report(o, &listening);
    llmq_quantize_report_free(&report);
}

/* Set an element of a BF16 tensor. */
static void set_bf16(const char *name, size_t index, float value) {
    struct edit e;
    uint16_t stored = f32_to_bf16(value);
    edit_read(source, &e);
    memcpy((uint16_t *)edit_data(&e, name, NULL) + index, &stored, sizeof stored);
    edit_write(source, &e, 1u << 30);
}

/* Multiply a BF16 tensor by a power of two. */
static void scale_tensor(struct edit *e, const char *name, int power) {
    size_t bytes = 0;
    uint16_t *data = edit_data(e, name, &bytes);
    for (size_t i = 0; i < bytes / sizeof *data; i++)
        data[i] = f32_to_bf16(ldexpf(bf16_to_f32(data[i]), power));
}

/* --- NaN and infinity ------------------------------------------------------------------------- */

static const struct {
    const char *tensor;
    size_t index;
    const char *place;
} spoiled[] = {
    {"model.norm.weight", 5, "element 5 is nan"},
    {"model.embed_tokens.weight", 3 * 64 + 7, "row 3, column 7 is nan"},
    {"lm_head.weight", 64 * 64 - 1, "row 63, column 63 is nan"},
    {LAYER1 "input_layernorm.weight", 0, "element 0 is nan"},
    {LAYER1 "post_attention_layernorm.weight", 63, "element 63 is nan"},
    {LAYER0 "self_attn.k_proj.weight", 31 * 64 + 1, "row 31, column 1 is nan"},
    {LAYER1 "mlp.down_proj.weight", 2 * 96 + 95, "row 2, column 95 is nan"},
};

static void spoil(size_t i) {
    set_bf16(spoiled[i].tensor, spoiled[i].index, NAN);
}

START_TEST(what_is_not_finite_is_named_as_it_is_stored_before_anything_is_written) {
    static const enum llmq_method methods[] = {LLMQ_METHOD_RTN, LLMQ_METHOD_GPTQ, LLMQ_METHOD_AWQ};
    for (size_t m = 0; m < 3; m++) {
        char tensor[128];
        llmq_quantize_options o = run_options(methods[m]);
        spoil((size_t)_i);
        (void)snprintf(tensor, sizeof tensor,
                       "source/model.safetensors: tensor '%s': ", spoiled[_i].tensor);
        llmq_error found = run_refused(&o, LLMQ_E_NUMERIC, spoiled[_i].place);
        ck_assert_ptr_nonnull(strstr(found.message, tensor));
    }
}
END_TEST

START_TEST(infinity_is_found_in_every_type) {
    static const enum dtype types[] = {DTYPE_F16, DTYPE_F32, DTYPE_F64};
    uint64_t raw[64] = {0};
    for (size_t t = 0; t < 3; t++) {
        struct edit e;
        memset(raw, 0, sizeof raw);
        if (types[t] == DTYPE_F16)
            memcpy((uint16_t *)(void *)raw + 9, &(uint16_t){0xfc00}, 2);
        else if (types[t] == DTYPE_F32)
            memcpy((float *)(void *)raw + 9, &(float){-INFINITY}, 4);
        else
            memcpy((double *)(void *)raw + 9, &(double){-(double)INFINITY}, 8);
        edit_read(source, &e);
        edit_put(&e, "model.norm.weight", types[t], 0, 64, raw);
        edit_write(source, &e, 1u << 30);
        llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
        (void)run_refused(&o, LLMQ_E_NUMERIC, "tensor 'model.norm.weight': element 9 is -inf");
    }
}
END_TEST

START_TEST(a_bias_that_is_not_finite_is_refused) {
    tiny_model_write_biased(source, 1);
    set_bf16(LAYER1 "self_attn.v_proj.bias", 17, INFINITY);
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    (void)run_refused(&o, LLMQ_E_NUMERIC, LAYER1 "self_attn.v_proj.bias': element 17 is inf");
}
END_TEST

static void convert_fails(const char *model, const char *format, enum llmq_status code,
                          const char *part) {
    llmq_convert_options o;
    llmq_convert_report report;
    llmq_convert_options_init(&o);
    o.model = model;
    o.format = format;
    o.out = scratch_path("converted");
    ck_assert_fails(llmq_convert(&o, NULL, &report, &err), code, part, &err);
    llmq_convert_report_free(&report);
    ck_assert(!path_is_dir(scratch_path("converted")));
    ck_assert(!path_is_dir(scratch_path("converted.partial")));
}

START_TEST(convert_does_not_carry_on_what_is_not_finite) {
    static const char *const formats[] = {"compressed-tensors", "f32", "gguf"};
    struct edit e;
    uint16_t nan = 0x7fc0;
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    run_quantize(&o);
    edit_read(out, &e);
    memcpy((uint16_t *)edit_data(&e, "model.norm.weight", NULL) + 1, &nan, sizeof nan);
    edit_write(out, &e, 1u << 30);
    for (size_t i = 0; i < 3; i++)
        convert_fails(out, formats[i], LLMQ_E_NUMERIC, "'model.norm.weight': element 1 is nan");
}
END_TEST

/* --- float16 ---------------------------------------------------------------------------------- */

static size_t findings_of(const char *model, const char *rule, const char *part) {
    const llmq_verify_options o = {.size = sizeof o, .model = model};
    llmq_verify_report report;
    size_t count = 0;
    ck_assert_ok(llmq_verify(&o, NULL, &report, &err), &err);
    for (size_t i = 0; i < report.warnings.count; i++) {
        const llmq_finding *f = &report.warnings.items[i];
        if (strcmp(f->rule, rule) != 0)
            continue;
        ck_assert_msg(strstr(f->tensor, part) || strstr(f->message, part), "%s", f->message);
        count++;
    }
    llmq_verify_report_free(&report);
    return count;
}

START_TEST(values_beyond_the_declared_float16_are_told_and_found) {
    static const char place[] = "model.embed_tokens.weight: row 2, column 9 is 100352, beyond";
    set_bf16("model.embed_tokens.weight", 2 * 64 + 9, 100352);
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    quantize_listening(&o); /* the config names bfloat16 */
    ck_assert_ptr_null(strstr(told, "float16"));
    ck_assert_uint_eq(findings_of(out, "half-range", ""), 0);
    o.format = "awq"; /* which names float16 */
    quantize_listening(&o);
    ck_assert_ptr_nonnull(strstr(told, place));
    ck_assert_uint_eq(findings_of(out, "half-range", "row 2, column 9 is 100352"), 1);
    edit_text(source, "config.json", "\"bfloat16\"", "\"float16\"");
    o.format = "gptq";
    quantize_listening(&o);
    ck_assert_ptr_nonnull(strstr(told, place));
    ck_assert_uint_eq(findings_of(out, "half-range", "row 2, column 9 is 100352"), 1);
    ck_assert_uint_eq(findings_of(source, "half-range", "row 2, column 9 is 100352"), 1);
}
END_TEST

START_TEST(linears_beyond_the_declared_float16_are_told_and_found) {
    set_bf16(LAYER1 "mlp.down_proj.weight", 5, -1e5f);
    edit_text(source, "config.json", "\"bfloat16\"", "\"float16\"");
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    quantize_listening(&o);
    ck_assert_ptr_nonnull(strstr(told, LAYER1 "mlp.down_proj: weights up to 1"));
    ck_assert_uint_eq(findings_of(out, "half-range-packed", LAYER1 "mlp.down_proj"), 1);
    ck_assert_uint_eq(findings_of(source, "half-range", LAYER1 "mlp.down_proj.weight"), 1);
    edit_text(source, "config.json", "\"float16\"", "\"float32\"");
    quantize_listening(&o);
    ck_assert_ptr_null(strstr(told, "float16"));
}
END_TEST

START_TEST(activations_beyond_the_declared_float16_are_told) {
    struct edit e;
    edit_read(source, &e);
    scale_tensor(&e, LAYER0 "self_attn.v_proj.weight", 10);
    scale_tensor(&e, LAYER0 "self_attn.o_proj.weight", 10);
    edit_write(source, &e, 1u << 30);
    llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
    quantize_listening(&o);
    ck_assert_ptr_null(strstr(told, "float16"));
    edit_text(source, "config.json", "\"bfloat16\"", "\"float16\"");
    quantize_listening(&o);
    const char *line = strstr(told, "block 0, residual stream: activations up to ");
    ck_assert_ptr_nonnull(line);
    ck_assert_ptr_null(strstr(strchr(line, '\n'), "activations up to")); /* once */
}
END_TEST

static void convert_to(const char *format, llmq_convert_report *report) {
    llmq_convert_options o;
    llmq_convert_options_init(&o);
    o.model = out;
    o.format = format;
    o.out = scratch_path("converted");
    o.force = true;
    ck_assert_ok(llmq_convert(&o, NULL, report, &err), &err);
}

START_TEST(dequantizing_gives_every_tensor_the_type) {
    static const struct {
        const char *format;
        enum dtype type;
    } plain[] = {{"f16", DTYPE_F16}, {"bf16", DTYPE_BF16}, {"f32", DTYPE_F32}};
    set_bf16("model.embed_tokens.weight", 11, 1e-30f); /* float16 makes it 0 */
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    run_quantize(&o);
    for (size_t i = 0; i < 3; i++) {
        llmq_convert_report report;
        struct edit e;
        convert_to(plain[i].format, &report);
        edit_read(scratch_path("converted"), &e);
        for (size_t t = 0; t < e.count; t++)
            ck_assert_int_eq(e.specs[t].dtype, plain[i].type);
        ck_assert(report.max_relative_error == 1 || plain[i].type != DTYPE_F16);
        ck_assert(report.max_error == 0 || plain[i].type != DTYPE_F32);
        edit_write(scratch_path("converted"), &e, 1u << 30);
        llmq_convert_report_free(&report);
    }
}
END_TEST

START_TEST(float16_is_refused_where_it_overflows) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    set_bf16("lm_head.weight", 64 + 2, 65536);
    run_quantize(&o);
    convert_fails(out, "f16", LLMQ_E_NUMERIC, "'lm_head.weight': row 1, column 2 is 65536, beyond");
    set_bf16("lm_head.weight", 64 + 2, 1);
    set_bf16(LAYER0 "self_attn.q_proj.weight", 64 + 2, 1e5f);
    run_quantize(&o);
    convert_fails(out, "f16", LLMQ_E_NUMERIC, LAYER0 "self_attn.q_proj: row 1, column 2: ");
}
END_TEST

/* --- the limits of scales --------------------------------------------------------------------- */

/* The same function with small up and v, large down and o; and with large norms and small linears
 * behind them. */
static void make_twin(int power, bool norms) {
    struct edit e;
    tiny_model_write(source, 1, 0);
    edit_read(source, &e);
    for (size_t t = 0; t < e.count; t++) {
        const char *name = e.specs[t].name;
        const bool behind = strstr(name, "q_proj") || strstr(name, "k_proj") ||
                            strstr(name, "v_proj") || strstr(name, "gate_proj") ||
                            strstr(name, "up_proj");
        const bool front = strstr(name, "up_proj") || strstr(name, "v_proj");
        const bool back = strstr(name, "down_proj") || strstr(name, "o_proj");
        if (norms && (behind || strstr(name, "layernorm")))
            scale_tensor(&e, name, behind ? -power : power);
        else if (!norms && (front || back))
            scale_tensor(&e, name, front ? -power : power);
    }
    edit_write(source, &e, 1u << 30);
}

static double divergence(void) {
    llmq_compare_options o;
    llmq_compare_result result;
    llmq_compare_options_init(&o);
    o.model = out;
    o.reference = source;
    o.text = text;
    ck_assert_ok(llmq_compare(&o, NULL, &result, &err), &err);
    llmq_compare_result_free(&result);
    return result.kl_mean;
}

static const struct kind {
    enum llmq_method method;
    int bits;
    bool sym, awq;
    const char *format;
} kinds[] = {
    {LLMQ_METHOD_RTN, 4, true, false, "gptq"},
    {LLMQ_METHOD_RTN, 8, true, false, "compressed-tensors"},
    {LLMQ_METHOD_RTN, 4, false, false, "awq"},
    {LLMQ_METHOD_RTN, 8, false, false, "onnx"},
    {LLMQ_METHOD_RTN, 8, true, false, "gguf"},
    {LLMQ_METHOD_GPTQ, 4, true, false, "gptq"},
    {LLMQ_METHOD_GPTQ, 3, false, false, "gptq_v2"},
    {LLMQ_METHOD_AWQ, 4, false, true, "awq"},
    {LLMQ_METHOD_GPTQ, 4, true, true, "gptq"},
};

START_TEST(rescaled_twins_are_as_near_to_their_original) {
    const struct kind *k = &kinds[_i];
    const int least = k->bits == 8 ? 12 : 15;
    double plain = 0;
    llmq_quantize_options o = run_options(k->method);
    o.bits = k->bits;
    o.sym = k->sym;
    o.awq = k->awq;
    o.format = k->format;
    for (int i = 0; i < 5; i++) {
        const int power = i == 0 ? 0 : i <= 2 ? least : -10;
        make_twin(power, i % 2);
        quantize_listening(&o);
        double kl = divergence();
        ck_assert_ptr_null(strstr(told, "scales beyond"));
        plain = i == 0 ? kl : plain;
        ck_assert_msg(kl < 1.5 * plain, "twin 2^%d: %g, original %g", -power, kl, plain);
    }
}
END_TEST

START_TEST(weights_that_no_scale_fits_are_told_and_found) {
    struct edit e;
    edit_read(source, &e);
    scale_tensor(&e, LAYER1 "mlp.up_proj.weight", -40);
    scale_tensor(&e, LAYER0 "self_attn.o_proj.weight", 25);
    edit_write(source, &e, 1u << 30);
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    quantize_listening(&o);
    ck_assert_ptr_nonnull(strstr(told, LAYER1 "mlp.up_proj: 192 of 192 groups ask for scales"));
    ck_assert_ptr_nonnull(strstr(told, LAYER0 "self_attn.o_proj: 128 of 128 groups ask for"));
    ck_assert_uint_eq(findings_of(out, "scale-coarse", "proj"), 2);
    o.format = "onnx"; /* whose scales are float32 */
    quantize_listening(&o);
    ck_assert_ptr_null(strstr(told, "groups ask for scales"));
    ck_assert_uint_eq(findings_of(out, "scale-coarse", ""), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("values");
    TCase *tc = tcase_create("values");
    tcase_add_checked_fixture(tc, run_setup, run_teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, what_is_not_finite_is_named_as_it_is_stored_before_anything_is_written,
                        0, sizeof spoiled / sizeof spoiled[0]);
    tcase_add_test(tc, infinity_is_found_in_every_type);
    tcase_add_test(tc, a_bias_that_is_not_finite_is_refused);
    tcase_add_test(tc, convert_does_not_carry_on_what_is_not_finite);
    tcase_add_test(tc, values_beyond_the_declared_float16_are_told_and_found);
    tcase_add_test(tc, linears_beyond_the_declared_float16_are_told_and_found);
    tcase_add_test(tc, activations_beyond_the_declared_float16_are_told);
    tcase_add_test(tc, dequantizing_gives_every_tensor_the_type);
    tcase_add_test(tc, float16_is_refused_where_it_overflows);
    tcase_add_loop_test(tc, rescaled_twins_are_as_near_to_their_original, 0,
                        sizeof kinds / sizeof kinds[0]);
    tcase_add_test(tc, weights_that_no_scale_fits_are_told_and_found);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
