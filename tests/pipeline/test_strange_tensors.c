/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors beside the model's own: adapters, parts that its family does not have, what no part of
 * the model uses, scales of an 8-bit cache. What changes the function is refused, the rest is left
 * out and told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "edit_checkpoint.h"
#include "look.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

#define Q0 "model.layers.0.self_attn.q_proj"

static llmq_error err;

static void refused(const char *part, const char *hint) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_error found = run_fails(&o, LLMQ_E_UNSUPPORTED, part);
    ck_assert_msg(strstr(found.hint, hint) != NULL, "hint lacks '%s': %s", hint, found.hint);
    ck_assert(!path_is_dir(out));
}

/* --- tensors that no part of the model uses --------------------------------------------------- */

START_TEST(adapters_that_are_not_merged_are_refused) {
    edit_add(source, Q0 ".lora_A.default.weight", DTYPE_BF16, 8, 64, 1);
    edit_add(source, Q0 ".lora_B.default.weight", DTYPE_BF16, 64, 8, 1);
    refused("lora_A.default.weight", "merge_and_unload");
    ck_assert(look_finds(source, "foreign-tensors", true));
}
END_TEST

START_TEST(wrapped_weights_are_refused) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    edit_rename(source, Q0 ".", Q0 ".base_layer.");
    llmq_error found = run_fails(&o, LLMQ_E_INPUT, Q0 ".weight' is missing");
    ck_assert_ptr_nonnull(strstr(found.hint, "merge_and_unload"));
}
END_TEST

/* As bitsandbytes and FP8 leave them: before the shape, which is another one too, the type. */
START_TEST(weights_that_are_not_of_floating_type_are_refused) {
    static const enum dtype types[] = {DTYPE_U8, DTYPE_I8, DTYPE_F8_E4M3};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char expected[160];
        (void)snprintf(expected, sizeof expected, Q0 ".weight' is %s: expected F64, F32, F16",
                       dtype_name(types[i]));
        edit_add(source, Q0 ".weight", types[i], 2048, 1, 1);
        refused(expected, "in 16 or 32 bits");
    }
}
END_TEST

START_TEST(parts_that_the_family_does_not_have_are_refused) {
    edit_add(source, "model.layers.1.self_attn.q_norm.weight", DTYPE_BF16, 0, 16, 0x3f80);
    refused("self_attn.q_norm.weight", "model_type");
    ck_assert(look_finds(source, "foreign-tensors", true));
    edit_take(source, "model.layers.1.self_attn.q_norm.weight");
    edit_add(source, "model.embed_positions.weight", DTYPE_BF16, 64, 64, 0x3f80);
    refused("model.embed_positions.weight", "model_type");
}
END_TEST

START_TEST(biases_that_say_something_are_refused) {
    static const struct {
        const char *name, *hint;
        uint64_t columns;
    } rows[] = {{Q0 ".bias", "attention_bias", 64},
                {"model.layers.1.mlp.down_proj.bias", "mlp_bias", 64},
                {"model.layers.0.input_layernorm.bias", "llama models have no such bias", 64},
                {"model.layers.0.bias", "llama models have no such bias", 64},
                {"model.layers.0.mlp.bias", "llama models have no such bias", 64},
                {"lm_head.bias", "llama models have no such bias", TINY_VOCAB}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        edit_add(source, rows[i].name, DTYPE_F16, 0, rows[i].columns, 0x3c00);
        refused(rows[i].name, rows[i].hint);
        ck_assert(look_finds(source, "bias-unknown", true));
        edit_add(source, rows[i].name, DTYPE_F16, 0, rows[i].columns, 0x8000); /* minus zero */
        look_quantize("gptq");
        look_says("all zero");
        ck_assert(!look_stored(out, rows[i].name));
        ck_assert_ok(dir_remove(out, &err), &err);
        edit_take(source, rows[i].name);
    }
}
END_TEST

START_TEST(what_is_beside_the_model_is_left_out) {
    static const struct {
        const char *name, *words;
        bool violation;
    } rows[] = {
        {"model.layers.2.input_layernorm.weight", "beyond num_hidden_layers", true},
        {"vision_tower.patch_embed.weight", "no part of the model uses", true},
        {"model.vision_tower.blocks.0.norm.weight", "no part of the model uses", true},
        {"optimizer.state.exp_avg", "no part of the model uses", true},
        {"score.weight", "no part of the model uses", true},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", "buffer", false},
        {"model.layers.0.self_attn.masked_bias", "buffer", true},
        {"model.rotary_emb.cos_cached", "buffer", false},
    };
    const double plain = look_loss(source);
    look_quantize("gptq");
    const double packed = look_loss(out);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        edit_add(source, rows[i].name, DTYPE_F32, 0, 16, 1);
        ck_assert_double_eq(look_loss(source), plain);
        ck_assert_msg(look_finds(source, "unused-tensors", true) == rows[i].violation, "%s",
                      rows[i].name);
        look_quantize("gptq");
        look_says(rows[i].words);
        look_says(rows[i].name);
        ck_assert(!look_stored(out, rows[i].name));
        ck_assert_double_eq(look_loss(out), packed);
        ck_assert(!look_finds(out, "unused-tensors", true));
        look_quantize("gguf"); /* is not refused for its sake */
        edit_take(source, rows[i].name);
    }
}
END_TEST

/* A packed model whose config.json names fewer layers than it has. */
START_TEST(packed_layers_beyond_the_configs_are_left_out) {
    look_quantize("gptq");
    edit_text(out, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    const double shallow = look_loss(out);
    look_says("beyond num_hidden_layers");
    ck_assert(look_finds(out, "unused-tensors", true));
    look_convert(out, "awq", scratch_path("awq"));
    look_says("beyond num_hidden_layers");
    ck_assert_double_eq(look_loss(scratch_path("awq")), shallow);
    ck_assert(!look_stored(scratch_path("awq"), "model.layers.1.self_attn.q_proj.qweight"));
    ck_assert(!look_finds(scratch_path("awq"), "unused-tensors", true));
}
END_TEST

START_TEST(the_plan_lists_what_is_left_out) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    edit_add(source, "vision_tower.patch_embed.weight", DTYPE_F32, 0, 16, 1);
    o.dry_run = true;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_eq(r.dropped_count, 1);
    ck_assert_str_eq(r.dropped[0], "vision_tower.patch_embed.weight");
    llmq_quantize_report_free(&r);
}
END_TEST

/* --- scales of the cache ---------------------------------------------------------------------- */

#define SCHEME                                                                                     \
    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\",\"symmetric\":true,\"dynamic\":"   \
    "false}"

static char *text_of(const char *dir, const char *key) {
    struct json *config = NULL;
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(json_read(path, &config, &err), &err);
    char *text_found = json_print(json_get(json_get(config, "quantization_config"), key), false);
    json_free(&config);
    free(path);
    return text_found;
}

START_TEST(scales_of_the_cache_stay_where_their_scheme_does) {
    static const char scale[] = "model.layers.0.self_attn.k_scale";
    static const char *const others[] = {"gptq", "awq", "gguf", "onnx", "bf16"};
    look_quantize("compressed-tensors");
    const double packed = look_loss(out);
    edit_add(out, scale, DTYPE_BF16, 0, 1, 0x3f80);
    edit_add(out, "model.layers.1.self_attn.v_scale", DTYPE_BF16, 0, 1, 0x3f80);
    ck_assert(look_finds(out, "cache-scales", false));
    edit_text(out, "config.json", "\"kv_cache_scheme\": null", "\"kv_cache_scheme\": " SCHEME);
    ck_assert(!look_finds(out, "cache-scales", false) && !look_finds(out, "unused-tensors", true));
    ck_assert_double_eq(look_loss(out), packed);
    look_says("key and value cache");
    look_convert(out, "compressed-tensors", scratch_path("same"));
    ck_assert(look_stored(scratch_path("same"), scale));
    char *scheme = text_of(scratch_path("same"), "kv_cache_scheme");
    ck_assert_str_eq(scheme, SCHEME);
    free(scheme);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char *to = strdup(scratch_path("other"));
        look_convert(out, others[i], to);
        look_says("left out: 2 tensors with scales of an 8-bit key and value cache");
        look_says("kv_cache_scheme of the source is left out");
        ck_assert(!look_stored(to, scale));
        if (strcmp(others[i], "bf16") != 0)
            ck_assert_double_eq(look_loss(to), packed);
        free(to);
    }
}
END_TEST

START_TEST(scales_of_the_cache_of_plain_models_are_left_out) {
    static const char *const names[] = {
        "model.layers.0.self_attn.k_proj.output_scale", "model.layers.0.self_attn.attn.k_scale",
        "model.layers.1.self_attn.v_proj.v_scale", "model.layers.1.self_attn.kv_scale"};
    static const char *const formats[] = {"gptq", "compressed-tensors", "gguf"};
    const double plain = look_loss(source);
    for (size_t i = 0; i < 4; i++)
        edit_add(source, names[i], DTYPE_F32, 0, 1, 1);
    ck_assert_double_eq(look_loss(source), plain);
    look_says("not applied: 4 tensors");
    for (size_t f = 0; f < 3; f++) {
        look_quantize(formats[f]);
        look_says("left out: 4 tensors");
        for (size_t i = 0; i < 4; i++)
            ck_assert(!look_stored(out, names[i]));
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("strange tensors");
    TCase *t = tcase_create("tensors");
    tcase_set_timeout(t, 600);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, adapters_that_are_not_merged_are_refused);
    tcase_add_test(t, wrapped_weights_are_refused);
    tcase_add_test(t, weights_that_are_not_of_floating_type_are_refused);
    tcase_add_test(t, parts_that_the_family_does_not_have_are_refused);
    tcase_add_test(t, biases_that_say_something_are_refused);
    tcase_add_test(t, what_is_beside_the_model_is_left_out);
    tcase_add_test(t, packed_layers_beyond_the_configs_are_left_out);
    tcase_add_test(t, the_plan_lists_what_is_left_out);
    tcase_add_test(t, scales_of_the_cache_stay_where_their_scheme_does);
    tcase_add_test(t, scales_of_the_cache_of_plain_models_are_left_out);
    suite_add_tcase(s, t);
    return run_suite(s);
}
