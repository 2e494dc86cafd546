/* SPDX-License-Identifier: Apache-2.0 */
/* Every format through the whole run on a tiny model: the result loads, computes the same packed
 * and dequantized, and is the same model whatever the format. */
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "llmq/model.h"
#include "llmq/quantize.h"
#include "support.h"
#include "tiny_run.h"

/* The string under `key` of the result's config.json or its quantization_config. */
static void assert_config(bool quantization, const char *key, const char *expected) {
    llmq_error err = {0};
    struct json *root = NULL;
    char *path = path_join(out, "config.json", NULL);
    ck_assert_ok(json_read(path, &root, &err), &err);
    const struct json *object = quantization ? json_get(root, "quantization_config") : root;
    ck_assert_str_eq(json_string(json_get(object, key)), expected);
    json_free(&root);
    free(path);
}

START_TEST(every_format_loads_and_packed_equals_dequantized) {
    static const struct {
        const char *format;
        int bits;
    } cases[] = {{"gptq", 4},
                 {"gptq_v2", 4},
                 {"awq", 4},
                 {"compressed-tensors", 4},
                 {"compressed-tensors", 8},
                 {"onnx", 2},
                 {"onnx", 4},
                 {"onnx", 8}};
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int sym = 0; sym < 2; sym++) {
            llmq_quantize_options o = run_options(LLMQ_METHOD_GPTQ);
            llmq_inspect_report r;
            o.format = cases[i].format;
            o.bits = cases[i].bits;
            o.sym = sym;
            run_quantize(&o);
            ck_assert_double_eq_tol(run_loss(out, false), run_loss(out, true), 1e-5);
            ck_assert_ok(llmq_inspect(out, NULL, &r, &err), &err);
            ck_assert_str_eq(r.layout, cases[i].format);
            ck_assert_int_eq(r.quantized_modules, 14);
            llmq_inspect_report_free(&r);
        }
}
END_TEST

/* The same codes in every format, as long as it has the same zero points to choose from. */
START_TEST(formats_hold_the_same_model) {
    static const char *const formats[] = {"gptq", "gptq_v2", "awq", "compressed-tensors", "onnx"};
    double first = 0;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
        o.format = formats[i];
        run_quantize(&o);
        const double nll = run_loss(out, true);
        first = i == 0 ? nll : first;
        ck_assert(nll >= first && nll <= first);
    }
}
END_TEST

START_TEST(asymmetric_codes_of_4_bits_become_awq) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.sym = false;
    run_quantize(&o);
    assert_config(true, "quant_method", "awq");
    assert_config(false, "torch_dtype", "float16");
    ck_assert(!path_is_file(scratch_path("out/quantize_config.json")));
    o.group = 128;
    o.group_auto_fit = true; /* 64 and 96 columns: awq has one size for all */
    run_quantize(&o);
    assert_config(true, "quant_method", "gptq");
    o.group_auto_fit = false;
    o.group = -1;
    o.bits = 8;
    run_quantize(&o);
    assert_config(true, "quant_method", "gptq");
}
END_TEST

/* One model for each linear beside the weights, also where these are in several files. */
START_TEST(onnx_models_lie_beside_the_weights) {
    const uint64_t limits[] = {UINT64_C(1) << 40, 20000};
    for (int i = 0; i < 2; i++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
        o.format = "onnx";
        o.shard_limit = limits[i];
        struct dir_list list = {0};
        int models = 0;
        run_quantize(&o);
        ck_assert_ok(dir_list_read(out, &list, NULL), &(llmq_error){0});
        for (size_t j = 0; j < list.count; j++)
            models += strstr(list.names[j], ".onnx") != NULL;
        ck_assert_int_eq(models, 14);
        ck_assert(path_is_file(scratch_path("out/model.layers.1.mlp.down_proj.onnx")));
        dir_list_free(&list);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline formats");
    TCase *t = tcase_create("formats");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, every_format_loads_and_packed_equals_dequantized);
    tcase_add_test(t, formats_hold_the_same_model);
    tcase_add_test(t, onnx_models_lie_beside_the_weights);
    tcase_add_test(t, asymmetric_codes_of_4_bits_become_awq);
    suite_add_tcase(s, t);
    return run_suite(s);
}
