/* SPDX-License-Identifier: Apache-2.0 */
/* What config.json says of models with experts: how they are chosen, which layers have them, and
 * what latent attention takes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/config.h"
#include "support.h"

/* Release with config_free. */
static enum llmq_status parse(const char *members, struct model_config *c, llmq_error *err) {
    struct json *json = NULL;
    char text[2048];
    (void)snprintf(text, sizeof text, "{%s}", members);
    ck_assert_ok(json_parse(text, strlen(text), "config.json", &json, err), err);
    enum llmq_status status = config_parse(json, c, err);
    json_free(&json);
    return status;
}

static void parse_ok(const char *members, struct model_config *c) {
    llmq_error err = {0};
    ck_assert_ok(parse(members, c, &err), &err);
}

static void assert_refused(const char *members, const char *part) {
    struct model_config c = {0};
    llmq_error err = {0};
    ck_assert_int_eq(parse(members, &c, &err), LLMQ_E_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, part) != NULL, "the message lacks '%s': %s", part,
                  err.message);
    config_free(&c);
}

static void assert_number(double found, double expected) {
    ck_assert_msg(fabs(found - expected) <= 1e-12 * fabs(expected), "%.15g, expected %.15g", found,
                  expected);
}

#define YARN                                                                                       \
    "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"beta_fast\":32,\"beta_slow\":1,"          \
    "\"original_max_position_embeddings\":4096,\"mscale\":0.707,\"mscale_all_dim\":0.707}"

/* What the files of released models hold beside the sizes. */
START_TEST(configs_of_released_models_are_read) {
    static const char *const configs[] = {
        "\"model_type\":\"mixtral\",\"num_local_experts\":8,\"sliding_window\":null,"
        "\"output_router_logits\":false,\"router_aux_loss_coef\":0.02,\"rope_theta\":1e6",
        "\"model_type\":\"qwen2_moe\",\"decoder_sparse_step\":1,\"max_window_layers\":21,"
        "\"use_sliding_window\":false,\"sliding_window\":32768,\"norm_topk_prob\":false",
        "\"model_type\":\"qwen3_moe\",\"head_dim\":128,\"mlp_only_layers\":[],\"num_experts\":128,"
        "\"norm_topk_prob\":true,\"sliding_window\":null,\"use_sliding_window\":false,"
        "\"max_window_layers\":48",
        "\"model_type\":\"olmoe\",\"clip_qkv\":null,\"norm_topk_prob\":false",
        "\"model_type\":\"granitemoe\",\"attention_multiplier\":0.015625,\"logits_scaling\":6,"
        "\"embedding_multiplier\":12,\"residual_multiplier\":0.22",
        "\"model_type\":\"gpt_oss\",\"experts_per_token\":4,\"num_experts_per_tok\":4,"
        "\"initial_context_length\":4096,\"swiglu_limit\":7.0,\"attention_bias\":true",
        "\"model_type\":\"llama4_text\",\"no_rope_layers\":[],\"attn_temperature_tuning\":4,"
        "\"for_llm_compressor\":false,\"interleave_moe_layer_step\":1,\"use_qk_norm\":true",
        "\"model_type\":\"deepseek_v2\",\"num_experts_per_tok\":6,\"topk_method\":\"greedy\","
        "\"scoring_func\":\"softmax\",\"moe_layer_freq\":1,\"n_group\":1,\"q_lora_rank\":null,"
        "\"ep_size\":1,\"norm_topk_prob\":false," YARN,
        "\"model_type\":\"deepseek_v3\",\"topk_method\":\"noaux_tc\",\"scoring_func\":\"sigmoid\","
        "\"moe_layer_freq\":1,\"num_nextn_predict_layers\":1,\"ep_size\":1," YARN,
    };
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        struct model_config c = {0};
        parse_ok(configs[i], &c);
        config_free(&c);
    }
}
END_TEST

START_TEST(words_that_say_how_experts_are_chosen) {
    struct model_config c = {0};
    parse_ok("\"model_type\":\"deepseek_v2\",\"topk_method\":\"group_limited_greedy\","
             "\"n_group\":8,\"topk_group\":3",
             &c);
    ck_assert_int_eq(c.facts.dims[DIM_N_GROUPS], 8);
    ck_assert_int_eq(c.facts.dims[DIM_TOP_GROUPS], 3);
    config_free(&c);
    /* groups are there and not in use */
    parse_ok("\"model_type\":\"deepseek_v2\",\"topk_method\":\"greedy\",\"n_group\":8", &c);
    ck_assert_int_eq(c.facts.dims[DIM_N_GROUPS], 0);
    config_free(&c);
    assert_refused("\"model_type\":\"deepseek_v2\",\"topk_method\":\"noaux_tc\"",
                   "'topk_method' is \"noaux_tc\": expected greedy or group_limited_greedy");
    assert_refused("\"model_type\":\"deepseek_v3\",\"scoring_func\":\"softmax\"",
                   "'scoring_func' is \"softmax\": expected sigmoid");
    assert_refused("\"model_type\":\"deepseek_v3\",\"scoring_func\":3", "expected sigmoid");
}
END_TEST

/* Loaders differ in them, or have no part for them. */
START_TEST(switches_that_llmq_has_no_part_for_are_refused) {
    assert_refused("\"model_type\":\"deepseek_v2\",\"norm_topk_prob\":true", "norm_topk_prob");
    assert_refused("\"model_type\":\"mixtral\",\"norm_topk_prob\":false", "norm_topk_prob");
    assert_refused("\"model_type\":\"deepseek_v3\",\"moe_layer_freq\":2", "moe_layer_freq");
    assert_refused("\"model_type\":\"qwen3_moe\",\"use_sliding_window\":true,"
                   "\"sliding_window\":128",
                   "sliding_window");
    assert_refused("\"model_type\":\"llama\",\"num_experts\":8", "num_experts");
}
END_TEST

static void check_traits(const char *members, int64_t layers, const trait_set *traits) {
    const trait_set shown = T_SPARSE | T_NO_ROPE | T_CHUNKED | T_WINDOW;
    struct model_config c = {0};
    parse_ok(members, &c);
    ck_assert_int_eq(c.blocks, layers);
    for (int64_t i = 0; i < layers; i++)
        ck_assert_msg((c.layers[i] & shown) == traits[i], "%s: layer %d has %#" PRIx64, members,
                      (int)i, c.layers[i] & shown);
    config_free(&c);
}

START_TEST(which_layers_have_experts) {
    check_traits("\"model_type\":\"qwen3_moe\",\"num_hidden_layers\":5,\"decoder_sparse_step\":2,"
                 "\"mlp_only_layers\":[3]",
                 5, (const trait_set[]){0, T_SPARSE, 0, 0, 0});
    check_traits("\"model_type\":\"deepseek_v3\",\"num_hidden_layers\":5", 5,
                 (const trait_set[]){0, 0, 0, T_SPARSE, T_SPARSE});
    check_traits("\"model_type\":\"gpt_oss\",\"num_hidden_layers\":3", 3,
                 (const trait_set[]){T_WINDOW, 0, T_WINDOW});
}
END_TEST

/* An empty list says nothing; a list of which layers have experts is one. */
START_TEST(layers_of_llama_4_take_turns) {
    const trait_set near = T_CHUNKED | T_SPARSE, far = T_NO_ROPE | T_SPARSE;
    const trait_set usual[] = {near, near, near, far, near};
    check_traits("\"model_type\":\"llama4_text\",\"num_hidden_layers\":5", 5, usual);
    check_traits("\"model_type\":\"llama4_text\",\"num_hidden_layers\":5,\"no_rope_layers\":[]", 5,
                 usual);
    check_traits("\"model_type\":\"llama4_text\",\"num_hidden_layers\":3,"
                 "\"no_rope_layers\":[0,1,1],\"moe_layers\":[1]",
                 3, (const trait_set[]){T_NO_ROPE, near, T_CHUNKED});
    check_traits("\"model_type\":\"llama4_text\",\"num_hidden_layers\":2,\"moe_layers\":[]", 2,
                 (const trait_set[]){T_CHUNKED, T_CHUNKED});
}
END_TEST

START_TEST(temperature_is_on_or_off) {
    struct model_config c = {0};
    parse_ok("\"model_type\":\"llama4_text\"", &c);
    assert_number(c.facts.numbers[NUM_TEMPERATURE], 0.1);
    assert_number(c.facts.numbers[NUM_FLOOR], 8192);
    config_free(&c);
    parse_ok("\"model_type\":\"llama4_text\",\"attn_temperature_tuning\":false", &c);
    ck_assert(!(c.facts.numbers[NUM_FLOOR] > 0));
    config_free(&c);
}
END_TEST

/* A file without any rotary settings is not one that says there are none. */
START_TEST(rotary_settings_of_the_family) {
    struct model_config c = {0};
    parse_ok("\"model_type\":\"gpt_oss\"", &c);
    ck_assert_int_eq(c.rope.type, ROPE_YARN);
    assert_number(c.rope.factor, 32);
    assert_number(c.rope.theta, 150000);
    ck_assert(!c.rope.truncate);
    config_free(&c);
    parse_ok("\"model_type\":\"gpt_oss\",\"rope_scaling\":null", &c);
    ck_assert_int_eq(c.rope.type, ROPE_DEFAULT);
    config_free(&c);
}
END_TEST

START_TEST(latent_attention) {
    struct model_config c = {0};
    const double m = 0.1 * 0.707 * log(40) + 1;
    parse_ok("\"model_type\":\"deepseek_v2\"," YARN, &c);
    assert_number(c.facts.numbers[NUM_ATTN_GAIN], m * m);
    assert_number(c.rope.attention_factor, 1);
    ck_assert_int_eq(c.facts.dims[DIM_ROT], 64);
    ck_assert_int_eq(c.facts.dims[DIM_SHARED_FFN], 2 * 1407);
    ck_assert(c.facts.traits & T_Q_LORA);
    config_free(&c);
    parse_ok("\"model_type\":\"deepseek_v3\",\"q_lora_rank\":null,\"rope_interleave\":false", &c);
    ck_assert(!(c.facts.traits & (T_Q_LORA | T_INTERLEAVED)));
    assert_number(c.facts.numbers[NUM_ATTN_GAIN], 1);
    config_free(&c);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config_experts");
    TCase *t = tcase_create("config_experts");
    tcase_add_test(t, configs_of_released_models_are_read);
    tcase_add_test(t, words_that_say_how_experts_are_chosen);
    tcase_add_test(t, switches_that_llmq_has_no_part_for_are_refused);
    tcase_add_test(t, which_layers_have_experts);
    tcase_add_test(t, layers_of_llama_4_take_turns);
    tcase_add_test(t, temperature_is_on_or_off);
    tcase_add_test(t, rotary_settings_of_the_family);
    tcase_add_test(t, latent_attention);
    suite_add_tcase(s, t);
    return run_suite(s);
}
