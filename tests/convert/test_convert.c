/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions on a tiny model: between layouts there and back to the same bytes, refusals that
 * leave nothing behind, and plain weights again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "convert/steps.h"
#include "formats/loaders/model_folder.h"
#include "llmq/convert.h"
#include "llmq/model.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_run.h"
#include "support.h"

#define Q0    "model.layers.0.self_attn.q_proj"
#define DOWN1 "model.layers.1.mlp.down_proj"

static llmq_error err;

/* --- between layouts -------------------------------------------------------------------------- */

START_TEST(round_trip_gives_the_same_bytes) {
    static const struct {
        int bits;
        bool sym;
        const char *through[5];
    } trips[] = {
        {4, true, {"gptq", "awq", "compressed-tensors", "gptq_v2", "gptq"}},
        {4, false, {"awq", "compressed-tensors", "gptq_v2", "awq", NULL}},
        {8, true, {"gptq", "compressed-tensors", "gptq_v2", "gptq", NULL}},
        {8, false, {"gptq_v2", "compressed-tensors", "gptq_v2", NULL}},
        {3, true, {"gptq", "gptq_v2", "gptq", NULL}},
    };
    for (size_t i = 0; i < sizeof trips / sizeof trips[0]; i++) {
        char from[32], to[32] = "";
        snprintf(from, sizeof from, "trip%zu", i);
        step_quantize(from, trips[i].through[0], trips[i].bits, trips[i].sym);
        int steps = 1;
        for (; steps < 5 && trips[i].through[steps]; steps++) {
            snprintf(to, sizeof to, "trip%zu-%d", i, steps);
            step_convert(from, trips[i].through[steps], to);
            step_no_violation(to);
            snprintf(from, sizeof from, "%s", to);
        }
        snprintf(from, sizeof from, "trip%zu", i);
        step_same_tensors(from, to);
    }
}
END_TEST

/* Every format once around. A GGUF file holds vectors in float32, so norms come back wider, with
 * the same values; what was quantized comes back to the bit. */
START_TEST(all_formats_make_the_round) {
    static const char *const through[] = {"awq", "compressed-tensors", "gguf", "onnx", "gptq"};
    struct st_set *x = NULL, *y = NULL;
    char from[32] = "g", to[32];
    step_quantize("g", "gptq", 4, true);
    for (size_t i = 0; i < sizeof through / sizeof through[0]; i++) {
        snprintf(to, sizeof to, "%zu-%s", i, through[i]);
        step_convert(from, through[i], to);
        step_no_violation(to);
        ck_assert_double_eq(step_loss(to, false), step_loss("g", false));
        snprintf(from, sizeof from, "%s", to);
    }
    ck_assert_ok(st_open_dir(scratch_path("g"), &x, &err), &err);
    ck_assert_ok(st_open_dir(scratch_path(to), &y, &err), &err);
    ck_assert_uint_eq(st_count(x), st_count(y));
    for (size_t i = 0; i < st_count(x); i++) {
        const struct st_tensor *t = st_at(x, i), *u = st_find(y, t->name);
        float p[4096], q[4096];
        ck_assert(u && t->nbytes <= sizeof p && u->nbytes <= sizeof p);
        if (t->rank == 1 && dtype_is_float(t->dtype)) {
            ck_assert_ok(st_read_f32(x, t, p, &err), &err);
            ck_assert_ok(st_read_f32(y, u, q, &err), &err);
            ck_assert_mem_eq(p, q, (size_t)t->shape[0] * sizeof *p);
            continue;
        }
        ck_assert(t->dtype == u->dtype && t->nbytes == u->nbytes);
        ck_assert_ok(st_read(x, t, 0, (size_t)t->nbytes, p, &err), &err);
        ck_assert_ok(st_read(y, u, 0, (size_t)t->nbytes, q, &err), &err);
        ck_assert_msg(memcmp(p, q, (size_t)t->nbytes) == 0, "%s differs", t->name);
    }
    st_close(&x);
    st_close(&y);
}
END_TEST

/* gptq v1 has zero points from 1 on: those of an asymmetric gptq survive every layout. */
START_TEST(asymmetric_gptq_makes_the_round) {
    step_quantize("g", "gptq", 4, false);
    step_convert("g", "awq", "a");
    step_convert("a", "compressed-tensors", "c");
    step_convert("c", "gptq", "g2");
    step_same_tensors("g", "g2");
}
END_TEST

START_TEST(config_keeps_its_text) {
    char *a = NULL, *b = NULL;
    size_t len = 0;
    step_quantize("g", "gptq", 4, true);
    step_convert("g", "compressed-tensors", "c");
    step_convert("c", "gptq", "g2");
    ck_assert_ok(file_read(scratch_path("g/config.json"), 1 << 20, &a, &len, &err), &err);
    ck_assert_ok(file_read(scratch_path("g2/config.json"), 1 << 20, &b, &len, &err), &err);
    ck_assert_str_eq(a, b);
    ck_assert(!path_is_file(scratch_path("c/quantize_config.json")));
    ck_assert(path_is_file(scratch_path("g2/quantize_config.json")));
    free(a);
    free(b);
}
END_TEST

START_TEST(conversion_into_shards) {
    step_quantize("g", "gptq", 4, true);
    char *model = strdup(scratch_path("g"));
    llmq_convert_options o;
    llmq_convert_report r;
    llmq_convert_options_init(&o);
    o.model = model;
    o.out = out;
    o.format = "gptq";
    o.shard_limit = 20000;
    ck_assert_ok(llmq_convert(&o, NULL, &r, &err), &err);
    llmq_convert_report_free(&r);
    ck_assert(path_is_file(scratch_path("out/model.safetensors.index.json")));
    step_same_tensors("g", "out");
    step_no_violation("out");
    ck_assert_fails(llmq_convert(&o, NULL, &r, &err), LLMQ_E_USAGE, "exists", &err);
    llmq_convert_report_free(&r);
    o.force = true;
    ck_assert_ok(llmq_convert(&o, NULL, &r, &err), &err);
    llmq_convert_report_free(&r);
    free(model);
}
END_TEST

/* --- refusals --------------------------------------------------------------------------------- */

START_TEST(what_a_layout_cannot_hold_is_refused) {
    step_quantize("w8", "gptq", 8, true);
    step_refused("w8", "awq", Q0 ": expected 4 bits", "compressed-tensors");
    step_quantize("w3", "gptq", 3, true);
    step_refused("w3", "compressed-tensors", "expected 4 or 8 bits", "gptq_v2");
    step_refused("source", "awq", "is not quantized", "llmq gptq");
}
END_TEST

START_TEST(a_packed_head_goes_there_and_back) {
    struct qlinear q = {0};
    struct edit e;
    step_quantize("g", "gptq", 4, true);
    edit_decode(scratch_path("g"), Q0, &q);
    edit_read(scratch_path("g"), &e);
    edit_encode(&e, &layout_gptq, "lm_head", &q);
    edit_remove(&e, "lm_head.weight");
    edit_write(scratch_path("g"), &e, 1u << 30);
    step_convert("g", "awq", "a");
    step_convert("a", "gptq", "g2");
    step_same_tensors("g", "g2");
    qlinear_free(&q);
}
END_TEST

START_TEST(zero_point_0_is_refused_by_version_1) {
    struct qlinear q = {0};
    struct edit e;
    step_quantize("a", "awq", 4, false);
    edit_decode(scratch_path("a"), DOWN1, &q);
    q.zeros[5] = 0;
    edit_read(scratch_path("a"), &e);
    edit_encode(&e, &layout_awq, DOWN1, &q);
    edit_write(scratch_path("a"), &e, 1u << 30);
    step_refused("a", "gptq", DOWN1 ": row 1, group 2: expected a zero point from 1 to 15, found 0",
                 "gptq_v2, compressed-tensors");
    step_convert("a", "gptq_v2", "v2");
    step_convert("v2", "awq", "a2");
    step_same_tensors("a", "a2");
    qlinear_free(&q);
}
END_TEST

START_TEST(scales_beyond_f16_are_refused) {
    struct edit e;
    step_quantize("g", "gptq", 4, true);
    edit_read(scratch_path("g"), &e);
    edit_widen(&e, Q0 ".scales");
    edit_write(scratch_path("g"), &e, 1u << 30);
    step_convert("g", "awq", "a"); /* F32 scales that F16 holds are welcome */
    edit_read(scratch_path("g"), &e);
    float *scales = edit_data(&e, Q0 ".scales", NULL);
    scales[3] = 0.0123456f;
    edit_write(scratch_path("g"), &e, 1u << 30);
    step_refused("g", "awq", Q0 ": row 3, group 0: expected a positive scale that F16 holds",
                 "--format bf16");
    step_convert("g", "f32", "f");
}
END_TEST

START_TEST(a_map_of_groups_is_refused_but_dequantizes) {
    struct edit e;
    step_quantize("g", "gptq", 4, true);
    edit_read(scratch_path("g"), &e);
    int32_t *map = edit_data(&e, Q0 ".g_idx", NULL);
    map[0] = 1; /* a permutation of two equal groups */
    map[63] = 0;
    edit_write(scratch_path("g"), &e, 1u << 30);
    edit_text(scratch_path("g"), "config.json", "\"desc_act\": false", "\"desc_act\": true");
    step_refused("g", "awq", Q0 ": column 0: expected group 0, found 1", "--format bf16");
    step_refused("g", "gptq", "column 0", "--format bf16");
    step_convert("g", "f32", "f");
    const double packed = step_loss("g", true), plain = step_loss("f", false);
    ck_assert(packed >= plain && packed <= plain);
}
END_TEST

START_TEST(a_damaged_source_leaves_nothing_behind) {
    struct edit e;
    llmq_convert_report r;
    step_quantize("g", "gptq", 4, true);
    edit_read(scratch_path("g"), &e);
    uint16_t *scales = edit_data(&e, DOWN1 ".scales", NULL);
    scales[0] = 0x7e00; /* NaN, found only while writing */
    edit_write(scratch_path("g"), &e, 1u << 30);
    ck_assert_fails(step_try("g", "bf16", "out", &r, &err), LLMQ_E_INPUT, DOWN1, &err);
    llmq_convert_report_free(&r);
    ck_assert(!path_is_dir(scratch_path("out")));
    ck_assert(!path_is_dir(scratch_path("out.partial")));
}
END_TEST

START_TEST(leftovers_and_interruption) {
    static const volatile sig_atomic_t stop = 1;
    const llmq_context ctx = {.size = sizeof ctx, .interrupt = &stop};
    llmq_convert_report r;
    llmq_convert_options o;
    step_quantize("g", "gptq", 4, true);
    ck_assert_ok(dir_make(scratch_path("out.partial"), false, &err), &err);
    ck_assert_fails(step_try("g", "awq", "out", &r, &err), LLMQ_E_USAGE, "holds an interrupted run",
                    &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "give --resume or --force to start over"));
    llmq_convert_report_free(&r);
    llmq_convert_options_init(&o);
    o.model = scratch_path("g");
    o.out = out;
    o.format = "bf16";
    o.force = true;
    ck_assert_int_eq(llmq_convert(&o, &ctx, &r, &err), LLMQ_E_INTERRUPTED);
    llmq_convert_report_free(&r);
    ck_assert(!path_is_dir(scratch_path("out.partial")));
    ck_assert(!path_is_dir(scratch_path("out")));
}
END_TEST

/* --- plain weights ---------------------------------------------------------------------------- */

START_TEST(dequantized_weights_evaluate_alike) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors"};
    for (size_t i = 0; i < 3; i++) {
        char q[16], f[16], b[16];
        llmq_convert_report r;
        llmq_inspect_report in;
        snprintf(q, sizeof q, "q%zu", i);
        snprintf(f, sizeof f, "f%zu", i);
        snprintf(b, sizeof b, "b%zu", i);
        step_quantize(q, formats[i], 4, i != 1);
        ck_assert_ok(step_try(q, "f32", f, &r, &err), &err);
        ck_assert(r.max_error <= 0 && r.modules == 14 && r.plain == 0);
        llmq_convert_report_free(&r);
        const double packed = step_loss(q, true), plain = step_loss(f, false);
        ck_assert(packed >= plain && packed <= plain);
        ck_assert_ok(step_try(q, "bf16", b, &r, &err), &err);
        ck_assert(r.max_error > 0 && r.max_relative_error > 0);
        ck_assert(r.max_relative_error <= 0x1p-8); /* half a unit of 8 significant bits */
        llmq_convert_report_free(&r);
        ck_assert_double_eq_tol(step_loss(b, false), packed, 5e-3);
        ck_assert_ok(llmq_inspect(scratch_path(b), NULL, &in, &err), &err);
        ck_assert_str_eq(in.layout, "none");
        llmq_inspect_report_free(&in);
        step_no_violation(b);
        step_no_violation(f);
    }
}
END_TEST

START_TEST(dequantized_config_names_the_dtype_and_nothing_else_changes) {
    char *original = NULL, *found = NULL;
    size_t len = 0;
    step_quantize("g", "gptq", 4, true);
    step_convert("g", "bf16", "b");
    step_convert("g", "f16", "h");
    ck_assert_ok(file_read(scratch_path("source/config.json"), 1 << 20, &original, &len, &err),
                 &err);
    ck_assert_ok(file_read(scratch_path("b/config.json"), 1 << 20, &found, &len, &err), &err);
    ck_assert_str_eq(found, original);
    free(found);
    ck_assert_ok(file_read(scratch_path("h/config.json"), 1 << 20, &found, &len, &err), &err);
    ck_assert_ptr_nonnull(strstr(found, "\"torch_dtype\": \"float16\""));
    ck_assert_ptr_null(strstr(found, "quantization_config"));
    ck_assert(!path_is_file(scratch_path("b/quantize_config.json")));
    free(found);
    free(original);
}
END_TEST

START_TEST(weights_beyond_f16_are_refused) {
    struct edit e;
    llmq_convert_report r;
    step_quantize("g", "gptq", 4, true);
    edit_read(scratch_path("g"), &e);
    uint16_t *scales = edit_data(&e, Q0 ".scales", NULL);
    for (int i = 0; i < 64; i++)
        scales[i] = 0x7bff; /* 65504 */
    edit_write(scratch_path("g"), &e, 1u << 30);
    ck_assert_fails(step_try("g", "f16", "h", &r, &err), LLMQ_E_NUMERIC, "beyond the range of f16",
                    &err);
    llmq_convert_report_free(&r);
    ck_assert(!path_is_dir(scratch_path("h.partial")));
}
END_TEST

int main(void) {
    Suite *s = suite_create("convert");
    TCase *t = tcase_create("convert");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, round_trip_gives_the_same_bytes);
    tcase_add_test(t, all_formats_make_the_round);
    tcase_add_test(t, asymmetric_gptq_makes_the_round);
    tcase_add_test(t, config_keeps_its_text);
    tcase_add_test(t, conversion_into_shards);
    tcase_add_test(t, what_a_layout_cannot_hold_is_refused);
    tcase_add_test(t, a_packed_head_goes_there_and_back);
    tcase_add_test(t, zero_point_0_is_refused_by_version_1);
    tcase_add_test(t, scales_beyond_f16_are_refused);
    tcase_add_test(t, a_map_of_groups_is_refused_but_dequantizes);
    tcase_add_test(t, a_damaged_source_leaves_nothing_behind);
    tcase_add_test(t, leftovers_and_interruption);
    tcase_add_test(t, dequantized_weights_evaluate_alike);
    tcase_add_test(t, dequantized_config_names_the_dtype_and_nothing_else_changes);
    tcase_add_test(t, weights_beyond_f16_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
