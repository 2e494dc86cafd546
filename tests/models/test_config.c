/* SPDX-License-Identifier: Apache-2.0 */
/* config.json: both spellings, defaults, windows, rope types, and what is refused. */
#include <stdlib.h>
#include <string.h>

#include "models/config.h"
#include "support.h"

/* Release with config_free. */
static enum llmq_status parse(const char *text, struct model_config *c, llmq_error *err) {
    struct json *json = NULL;
    ck_assert_ok(json_parse(text, strlen(text), "config.json", &json, err), err);
    config_free(c);
    enum llmq_status status = config_parse(json, c, err);
    json_free(&json);
    return status;
}

static bool slides(const struct model_config *c, int64_t layer) {
    return c->layers[layer] & T_WINDOW;
}

START_TEST(absent_keys_take_the_family_default) {
    llmq_error err = {0};
    struct model_config c = {0};
    ck_assert_ok(
        parse("{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4}", &c, &err),
        &err);
    ck_assert_int_eq(c.facts.dims[DIM_KV_HEADS], 4);
    ck_assert_int_eq(c.facts.dims[DIM_HEAD], 16);
    ck_assert_int_eq(c.vocab, 32000);
    ck_assert_int_eq(c.max_positions, 2048);
    ck_assert(c.facts.numbers[NUM_EPS] == 1e-6 && c.rope.theta == 10000.0 && !c.tied &&
              c.facts.dims[DIM_WINDOW] == 0);
    ck_assert_ok(parse("{\"model_type\":\"mistral\"}", &c, &err), &err);
    ck_assert(c.facts.dims[DIM_KV_HEADS] == 8 && c.facts.dims[DIM_HEAD] == 128 &&
              c.facts.dims[DIM_WINDOW] == 4096 && slides(&c, 31));
    ck_assert_ok(parse("{\"model_type\":\"qwen3\"}", &c, &err), &err);
    ck_assert(c.facts.dims[DIM_HEAD] == 128 && c.facts.dims[DIM_WINDOW] == 0);
    config_free(&c);
}
END_TEST

START_TEST(both_transformers_spellings_say_the_same) {
    llmq_error err = {0};
    struct model_config v4 = {0}, v5 = {0};
    ck_assert_ok(parse("{\"model_type\":\"llama\",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":"
                       "\"linear\",\"factor\":2}}",
                       &v4, &err),
                 &err);
    ck_assert_ok(parse("{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_theta\":5e5,"
                       "\"rope_type\":\"linear\",\"factor\":2}}",
                       &v5, &err),
                 &err);
    ck_assert_int_eq(memcmp(&v4.rope, &v5.rope, sizeof v4.rope), 0);
    ck_assert(v4.rope.type == ROPE_LINEAR && v4.rope.factor == 2 && v4.rope.theta == 5e5);
    config_free(&v4);
    config_free(&v5);
}
END_TEST

START_TEST(windows_follow_the_family_rule) {
    llmq_error err = {0};
    struct model_config c = {0};
    ck_assert_ok(parse("{\"model_type\":\"mistral\",\"sliding_window\":null}", &c, &err), &err);
    ck_assert(c.facts.dims[DIM_WINDOW] == 0 && !slides(&c, 0));
    ck_assert_ok(parse("{\"model_type\":\"qwen2\",\"sliding_window\":8}", &c, &err), &err);
    ck_assert(c.facts.dims[DIM_WINDOW] == 0 && !slides(&c, 31));
    ck_assert_ok(parse("{\"model_type\":\"qwen2\",\"sliding_window\":8,\"use_sliding_window\":true,"
                       "\"max_window_layers\":30}",
                       &c, &err),
                 &err);
    ck_assert(c.facts.dims[DIM_WINDOW] == 8 && !slides(&c, 29) && slides(&c, 30));
    ck_assert_ok(parse("{\"model_type\":\"qwen3\",\"sliding_window\":8,\"use_sliding_window\":true,"
                       "\"num_hidden_layers\":2,\"layer_types\":[\"sliding_attention\","
                       "\"full_attention\"]}",
                       &c, &err),
                 &err);
    ck_assert(slides(&c, 0) && !slides(&c, 1));
    config_free(&c);
}
END_TEST

START_TEST(what_llmq_cannot_run_is_refused) {
    static const struct {
        const char *text, *part;
        enum llmq_status status;
    } rows[] = {
        {"[]", "not a JSON object", LLMQ_E_INPUT},
        {"{}", "model_type", LLMQ_E_INPUT},
        {"{\"model_type\":\"rwkv\"}", "'rwkv' is not supported", LLMQ_E_UNSUPPORTED},
        {"{\"model_type\":\"llama\",\"hidden_size\":-1}", "hidden_size", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"hidden_size\":1.5}", "hidden_size", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"hidden_size\":\"64\"}", "hidden_size", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":99999}", "99999 layers",
         LLMQ_E_UNSUPPORTED},
        {"{\"model_type\":\"llama\",\"num_key_value_heads\":5}", "not a multiple", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"head_dim\":7}", "head_dim 7", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"hidden_size\":8}", "head_dim 0", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"hidden_act\":\"gelu_10\"}", "'gelu_10'", LLMQ_E_UNSUPPORTED},
        {"{\"model_type\":\"llama\",\"rms_norm_eps\":-1}", "rms_norm_eps", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"tie_word_embeddings\":1}", "tie_word", LLMQ_E_INPUT},
        {"{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"xpos\"}}", "'xpos'",
         LLMQ_E_UNSUPPORTED},
        {"{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0.5}}",
         "factor 0.5", LLMQ_E_INPUT},
        {"{\"model_type\":\"qwen3\",\"layer_types\":[]}", "layer_types", LLMQ_E_INPUT},
    };
    llmq_error err = {0};
    struct model_config c = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_fails(parse(rows[i].text, &c, &err), rows[i].status, rows[i].part, &err);
    config_free(&c);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");
    tcase_add_test(t, absent_keys_take_the_family_default);
    tcase_add_test(t, both_transformers_spellings_say_the_same);
    tcase_add_test(t, windows_follow_the_family_rule);
    tcase_add_test(t, what_llmq_cannot_run_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
