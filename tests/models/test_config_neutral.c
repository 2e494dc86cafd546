/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of config.json that change the forward pass: each refused at a value that does, accepted at
 * one that does not; what contradicts itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/config.h"
#include "support.h"

static enum llmq_status parse(const char *model_type, const char *members, struct model_config *c,
                              llmq_error *err) {
    struct json *json = NULL;
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"model_type\":\"%s\",\"hidden_size\":64,\"num_attention_heads\":4,"
                   "\"num_key_value_heads\":2,\"num_hidden_layers\":4,"
                   "\"max_position_embeddings\":128%s%s}",
                   model_type, *members ? "," : "", members);
    *err = (llmq_error){0};
    ck_assert_ok(json_parse(text, strlen(text), "config.json", &json, err), err);
    enum llmq_status status = config_parse(json, c, err);
    json_free(&json);
    free(c->layers); /* the rest is looked at */
    return status;
}

struct row {
    const char *type, *members, *part; /* part NULL: accepted */
    enum llmq_status status;
};

static void check(const struct row *rows, size_t count) {
    llmq_error err;
    struct model_config c;
    for (size_t i = 0; i < count; i++) {
        const enum llmq_status found = parse(rows[i].type, rows[i].members, &c, &err);
        ck_assert_msg(found == rows[i].status, "%s: %s: found %s: %s", rows[i].type,
                      rows[i].members, llmq_status_name(found), err.message);
        ck_assert_msg(!rows[i].part || strstr(err.message, rows[i].part),
                      "%s: the message lacks '%s': %s", rows[i].members, rows[i].part, err.message);
    }
}

#define CHECK(rows)   check(rows, sizeof(rows) / sizeof(rows)[0])
#define GOOD          NULL, LLMQ_OK
#define REFUSED(part) part, LLMQ_E_UNSUPPORTED
#define WRONG(part)   part, LLMQ_E_INPUT

START_TEST(keys_of_relatives_are_refused_where_they_change_something) {
    static const struct row rows[] = {
        {"llama", "\"final_logit_softcapping\":30", REFUSED("'final_logit_softcapping' is 30")},
        {"llama", "\"final_logit_softcapping\":null", GOOD},
        {"qwen3", "\"attn_logit_softcapping\":50.0", REFUSED("does not honour for qwen3")},
        {"llama", "\"attn_logit_softcapping\":0", GOOD},
        {"llama", "\"logit_scale\":0.0625", REFUSED("expected 1")},
        {"llama", "\"logit_scale\":1", GOOD},
        {"llama", "\"logits_scaling\":8", REFUSED("logits_scaling")},
        {"llama", "\"embedding_multiplier\":12.0", REFUSED("embedding_multiplier")},
        {"llama", "\"residual_multiplier\":0.22", REFUSED("residual_multiplier")},
        {"llama", "\"residual_multiplier\":1.0", GOOD},
        {"llama", "\"attention_multiplier\":0.015625", REFUSED("expected 0.25")},
        {"llama", "\"attention_multiplier\":0.25", GOOD},
        {"llama", "\"scale_emb\":12", REFUSED("scale_emb")},
        {"llama", "\"scale_depth\":1.4", REFUSED("expected 2")},
        {"llama", "\"scale_depth\":2", GOOD},
        {"llama", "\"dim_model_base\":256", REFUSED("expected 64")},
        {"llama", "\"dim_model_base\":64", GOOD},
        {"llama", "\"query_pre_attn_scalar\":256", REFUSED("query_pre_attn_scalar")},
        {"llama", "\"query_pre_attn_scalar\":16", GOOD},
        {"mistral", "\"clip_qkv\":8", REFUSED("clip_qkv")},
        {"llama", "\"clip_qkv\":null", GOOD},
        {"llama", "\"hidden_activation\":\"gelu_pytorch_tanh\"", REFUSED("hidden_activation")},
        {"llama", "\"hidden_activation\":\"silu\"", GOOD},
        {"llama", "\"use_qk_norm\":true", REFUSED("use_qk_norm")},
        {"qwen3", "\"use_qk_norm\":true", GOOD},
        {"qwen3", "\"use_qk_norm\":false", REFUSED("expected true")},
        {"llama", "\"partial_rotary_factor\":0.5", REFUSED("partial_rotary_factor")},
        {"llama", "\"partial_rotary_factor\":1.0", GOOD},
        {"llama", "\"rotary_dim\":8", REFUSED("expected 16")},
        {"llama", "\"rope_condense_ratio\":8", REFUSED("rope_condense_ratio")}, /* LongChat */
        {"llama", "\"rope_condense_ratio\":1", GOOD},
        {"llama", "\"position_embedding_type\":\"alibi\"", REFUSED("position_embedding_type")},
        {"llama", "\"position_embedding_type\":\"rope\"", GOOD},
        {"llama", "\"alibi\":true", REFUSED("alibi")},
        {"llama", "\"use_parallel_residual\":true", REFUSED("use_parallel_residual")},
        {"llama", "\"norm_type\":\"layernorm\"", REFUSED("norm_type")},
        {"llama", "\"is_causal\":false", REFUSED("is_causal")},
        {"qwen2", "\"is_causal\":true", GOOD},
        {"llama", "\"use_bidirectional_attention\":true", REFUSED("use_bidirectional")},
        {"llama", "\"num_local_experts\":8", REFUSED("num_local_experts")},
        {"llama", "\"num_experts\":0,\"num_experts_per_tok\":2", GOOD},
        {"llama", "\"no_rope_layers\":[1,1,1,0]", REFUSED("no_rope_layers")},
        {"llama", "\"no_rope_layers\":[1,1,1,1]", GOOD},
        {"llama", "\"quantization\":{\"group_size\":64,\"bits\":4}", REFUSED("'quantization'")},
        {"llama", "\"text_config\":{\"a\":1}", REFUSED("text_config")},
        {"llama", "\"llm_config\":{\"a\":1}", REFUSED("llm_config")},
        /* in no list: known by what their names are made of */
        {"llama", "\"lm_head_logits_scaling_factor\":4", REFUSED("logits_scaling_factor")},
        {"llama", "\"block_output_multiplier\":0.5", REFUSED("block_output_multiplier")},
        {"llama", "\"router_softcap\":10", REFUSED("router_softcap")},
        {"llama", "\"use_hadamard_down\":true", REFUSED("use_hadamard_down")},
        {"llama", "\"use_hadamard_down\":false", GOOD},
    };
    CHECK(rows);
}
END_TEST

START_TEST(biases_are_the_familys) {
    static const struct row rows[] = {
        {"llama", "\"attention_bias\":true,\"mlp_bias\":true", GOOD},
        {"qwen3", "\"attention_bias\":true", GOOD},
        {"qwen3", "\"mlp_bias\":true", REFUSED("mlp_bias")},
        {"mistral", "\"attention_bias\":true", REFUSED("'attention_bias' is true")},
        {"mistral", "\"attention_bias\":false", GOOD},
        {"qwen2", "\"attention_bias\":true", GOOD},
        {"qwen2", "\"attention_bias\":false", REFUSED("expected true")},
        {"llama", "\"bias\":true", REFUSED("'bias'")},
        {"llama", "\"attention_bias\":\"true\"", WRONG("is \"true\": expected true or false")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(keys_that_say_nothing_of_the_computation_pass) {
    static const struct row rows[] = {
        {"llama",
         "\"attention_dropout\":0.1,\"pretraining_tp\":2,\"use_cache\":true,\"my_key\":[1,2],"
         "\"initializer_range\":0.02,\"torch_dtype\":\"float16\",\"transformers_version\":\"4.57\","
         "\"is_decoder\":true,\"num_nextn_predict_layers\":1,\"id2label\":{\"0\":\"a\"}",
         GOOD},
        {"qwen2", "\"rope_scaling\":null,\"layer_types\":null,\"sliding_window\":null", GOOD},
    };
    CHECK(rows);
    llmq_error err;
    struct model_config c;
    ck_assert_ok(parse("llama", "\"auto_map\":{\"AutoModelForCausalLM\":\"m.M\"}", &c, &err), &err);
    ck_assert(c.own_code);
    ck_assert_ok(parse("llama", "", &c, &err), &err);
    ck_assert(!c.own_code);
}
END_TEST

START_TEST(rotary_settings_are_those_of_their_type) {
#define YARN "\"rope_type\":\"yarn\",\"factor\":4"
#define LLAMA3                                                                                     \
    "\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"original_max_position_"         \
    "embeddings\":32"
    static const struct row rows[] = {
        {"llama", "\"rope_scaling\":{" YARN ",\"attention_factor\":1.2,\"truncate\":false}", GOOD},
        {"llama", "\"rope_scaling\":{" YARN ",\"alpha\":2}", REFUSED("'alpha' is 2")},
        {"llama", "\"rope_scaling\":{" YARN ",\"extra\":null,\"partial_rotary_factor\":1}", GOOD},
        {"llama", "\"rope_scaling\":{" YARN ",\"partial_rotary_factor\":0.5}",
         REFUSED("partial_rotary_factor")},
        {"llama", "\"rope_scaling\":{\"type\":\"linear\"}", WRONG("needs 'factor'")},
        {"llama", "\"rope_scaling\":{\"factor\":2}", WRONG("expected a rope_type")},
        {"llama", "\"rope_scaling\":{\"type\":\"default\",\"factor\":2}", REFUSED("'factor' is 2")},
        {"llama", "\"rope_scaling\":{\"type\":\"default\",\"factor\":1}", GOOD},
        {"llama", "\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"dynamic\",\"factor\":2}",
         WRONG("rope_type is 'dynamic' and type is 'linear'")},
        {"llama", "\"rope_scaling\":{" LLAMA3 "}", WRONG("needs 'high_freq_factor'")},
        {"llama", "\"rope_scaling\":{" LLAMA3 ",\"high_freq_factor\":1}", WRONG("low_freq_factor")},
        {"llama", "\"rope_scaling\":{" LLAMA3 ",\"high_freq_factor\":4}", GOOD},
        {"llama",
         "\"original_max_position_embeddings\":64,\"rope_scaling\":{" LLAMA3
         ",\"high_freq_factor\":4}",
         WRONG("is 64 at the top and 32")},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":2}",
         WRONG("needs 'short_factor'")},
        {"llama", "\"rope_scaling\":{\"type\":\"su\",\"short_factor\":[1,1],\"long_factor\":[1,1]}",
         WRONG("short_factor has 2 entries: expected one for each of 8")},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"xpos\",\"factor\":2}",
         REFUSED("'xpos' is not supported")},
        {"llama", "\"rope_scaling\":{\"rope_type\":7}", WRONG("'rope_type' is 7")},
        {"llama", "\"rope_scaling\":2", WRONG("expected an object")},
        {"llama", "\"rope_theta\":0", WRONG("rope_theta is 0")},
        {"llama", "\"rope_theta\":1e4,\"rope_parameters\":{\"rope_theta\":5e5}",
         WRONG("at the top")},
        {"llama",
         "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_type\":"
         "\"linear\",\"factor\":2,\"rope_theta\":1e4}",
         GOOD},
        {"llama",
         "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_type\":"
         "\"linear\",\"factor\":4,\"rope_theta\":1e4}",
         WRONG("different things")},
        {"llama", "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6}}",
         REFUSED("'full_attention'")},
        {"llama",
         "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2,\"original_max_position_"
         "embeddings\":64}",
         REFUSED("dynamic")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(windows_that_loaders_read_differently_are_refused) {
    static const struct row rows[] = {
        {"llama", "\"sliding_window\":16", REFUSED("'sliding_window' is 16")},
        {"llama", "\"sliding_window\":4096", GOOD}, /* beyond the context */
        {"llama", "\"sliding_window\":16,\"use_sliding_window\":false", GOOD},
        {"llama",
         "\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\","
         "\"sliding_attention\"]",
         WRONG("layer_types[3] is sliding_attention")},
        {"mistral", "\"sliding_window\":16,\"use_sliding_window\":false", WRONG("use_sliding")},
        {"mistral",
         "\"sliding_window\":16,\"layer_types\":[\"full_attention\",\"full_attention\","
         "\"full_attention\",\"full_attention\"]",
         REFUSED("layer_types[0]")},
        {"mistral", "\"sliding_window\":0", WRONG("sliding_window")},
        {"qwen3",
         "\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\","
         "\"linear_attention\"]",
         REFUSED("layer_types[3] is \"linear_attention\": expected one of full_attention, "
                 "sliding_attention, chunked_attention")},
        {"qwen3", "\"layer_types\":\"full_attention\"", WRONG("layer_types")},
        {"qwen3", "\"use_sliding_window\":\"no\"", WRONG("use_sliding_window")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(architectures_name_what_model_type_says) {
    static const struct row rows[] = {
        {"llama", "\"architectures\":[\"LlamaForCausalLM\"]", GOOD},
        {"llama", "\"architectures\":[\"LlamaModel\"]", GOOD},
        {"llama", "\"architectures\":null", GOOD},
        {"llama", "\"architectures\":[]", GOOD},
        {"llama", "\"architectures\":[\"LlamaForSequenceClassification\"]",
         REFUSED("\"LlamaForSequenceClassification\"")},
        {"llama", "\"architectures\":[\"MistralForCausalLM\"]", REFUSED("LlamaForCausalLM")},
        {"mistral", "\"architectures\":[\"LlamaForCausalLM\"]", REFUSED("'mistral'")},
        {"qwen2", "\"architectures\":[\"Qwen2ForRewardModel\"]", REFUSED("Qwen2ForRewardModel")},
        {"llama", "\"architectures\":\"LlamaForCausalLM\"", WRONG("expected a list")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(values_that_contradict_are_refused) {
    static const struct row rows[] = {
        {"llama", "\"layer_norm_eps\":1e-5", WRONG("'layer_norm_eps' is 1e-05")},
        {"llama", "\"layer_norm_eps\":1e-5,\"rms_norm_eps\":1e-5", GOOD},
        {"llama", "\"hidden_act\":7", REFUSED("hidden_act '7'")},
        {"llama", "\"hidden_act\":\"swish\"", GOOD},
        {"llama", "\"vocab_size\":\"64\"", WRONG("'vocab_size' is \"64\": expected an integer")},
        {"llama", "\"vocab_size\":64.5", WRONG("'vocab_size' is 64.5")},
        {"llama", "\"vocab_size\":true", WRONG("'vocab_size' is true")},
        {"llama", "\"intermediate_size\":[96,128]", WRONG("'intermediate_size' is [96,128]")},
        {"llama", "\"tie_word_embeddings\":\"false\"", WRONG("tie_word_embeddings")},
        {"llama", "\"rms_norm_eps\":\"1e-5\"", WRONG("expected a non-negative number")},
    };
    CHECK(rows);
    llmq_error err = {0};
    struct model_config c;
    struct json *json = NULL;
    static const char text[] =
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":6}";
    ck_assert_ok(json_parse(text, sizeof text - 1, "config.json", &json, &err), &err);
    ck_assert_fails(config_parse(json, &c, &err), LLMQ_E_INPUT, "not a multiple of 6", &err);
    json_free(&json);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config keys");
    TCase *t = tcase_create("keys");
    tcase_add_test(t, keys_of_relatives_are_refused_where_they_change_something);
    tcase_add_test(t, biases_are_the_familys);
    tcase_add_test(t, keys_that_say_nothing_of_the_computation_pass);
    tcase_add_test(t, rotary_settings_are_those_of_their_type);
    tcase_add_test(t, windows_that_loaders_read_differently_are_refused);
    tcase_add_test(t, architectures_name_what_model_type_says);
    tcase_add_test(t, values_that_contradict_are_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
