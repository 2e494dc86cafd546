/* SPDX-License-Identifier: Apache-2.0 */
/* What config.json says for families without a case of the reference: files of released models,
 * which layers they say to be of which kind, and what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/config_rows.h"
#include "models/graph.h"
#include "models/unknown.h"
#include "models/wrapper.h"

START_TEST(configs_of_released_models_are_read) {
    static const struct row rows[] = {
        {"olmo3", /* allenai/Olmo-3-1125-32B, cut to four layers */
         "\"architectures\":[\"Olmo3ForCausalLM\"],\"num_hidden_layers\":4,\"layer_types\":["
         "\"sliding_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"],"
         "\"max_position_embeddings\":65536,\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":"
         "\"yarn\",\"factor\":8.0,\"original_max_position_embeddings\":8192,\"attention_factor\":"
         "1.2079441541679836,\"beta_fast\":32.0,\"beta_slow\":1.0},\"sliding_window\":4096",
         GOOD},
        {"exaone4", /* LGAI-EXAONE/EXAONE-4.0-1.2B, cut to two layers */
         "\"architectures\":[\"Exaone4ForCausalLM\"],\"num_hidden_layers\":2,\"sliding_window\":"
         "null,\"sliding_window_pattern\":null,\"layer_types\":[\"full_attention\","
         "\"full_attention\"],\"tie_word_embeddings\":true,\"rope_theta\":1000000,\"rope_scaling\":"
         "{\"rope_type\":\"llama3\",\"factor\":16.0,\"high_freq_factor\":4.0,\"low_freq_factor\":"
         "1.0,\"original_max_position_embeddings\":8192}",
         GOOD},
        {"seed_oss", /* ByteDance-Seed/Seed-OSS-36B-Instruct */
         "\"architectures\":[\"SeedOssForCausalLM\"],\"attention_bias\":true,\"attention_dropout\":"
         "0.1,\"attention_out_bias\":false,\"mlp_bias\":false,\"residual_dropout\":0.1,"
         "\"hidden_size\":5120,\"rope_scaling\":{\"rope_type\":\"default\"},\"rope_theta\":1e7",
         GOOD},
        {"ernie4_5_moe", /* baidu/ERNIE-4.5-21B-A3B-PT */
         "\"architectures\":[\"Ernie4_5_MoeForCausalLM\"],\"use_bias\":false,\"moe_capacity\":[64,"
         "64,64],\"moe_num_experts\":64,\"moe_num_shared_experts\":2,\"moe_layer_start_index\":1,"
         "\"moe_layer_interval\":1,\"moe_layer_end_index\":-1,\"moe_use_aux_free\":true,"
         "\"num_nextn_predict_layers\":1,\"rope_scaling\":null",
         GOOD},
        {"dots1", /* rednote-hilab/dots.llm1.inst */
         "\"architectures\":[\"Dots1ForCausalLM\"],\"n_routed_experts\":128,\"n_shared_experts\":2,"
         "\"num_experts_per_tok\":6,\"n_group\":1,\"topk_group\":1,\"norm_topk_prob\":true,"
         "\"routed_scaling_factor\":2.5,\"scoring_func\":\"noaux_tc\",\"sliding_window\":null,"
         "\"first_k_dense_replace\":1,\"moe_layer_freq\":1",
         GOOD},
        {"minicpm", /* openbmb/MiniCPM-2B-sft-bf16 */
         "\"architectures\":[\"MiniCPMForCausalLM\"],\"auto_map\":{\"AutoConfig\":\"x\"},"
         "\"scale_emb\":12,\"dim_model_base\":256,\"scale_depth\":1.4,\"hidden_size\":2304,"
         "\"num_attention_heads\":36,\"num_key_value_heads\":36,\"rope_scaling\":null",
         GOOD},
        {"internlm2", /* internlm/internlm2_5-7b-chat */
         "\"architectures\":[\"InternLM2ForCausalLM\"],\"attn_implementation\":\"eager\",\"bias\":"
         "false,\"max_position_embeddings\":32768,\"rope_scaling\":{\"type\":\"dynamic\","
         "\"factor\":2.0},\"rope_theta\":1000000,\"num_key_value_heads\":8",
         GOOD},
        {"exaone", /* LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct */
         "\"architectures\":[\"ExaoneForCausalLM\"],\"activation_function\":\"silu\","
         "\"embed_dropout\":0.0,\"head_dim\":128,\"hidden_size\":4096,\"intermediate_size\":14336,"
         "\"layer_norm_epsilon\":1e-05,\"num_key_value_heads\":8,\"num_layers\":32,"
         "\"tie_word_embeddings\":false,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
         "\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,"
         "\"original_max_position_embeddings\":8192}",
         GOOD},
        {"chatglm", /* THUDM/glm-4-9b-chat */
         "\"architectures\":[\"ChatGLMModel\"],\"add_bias_linear\":false,\"add_qkv_bias\":true,"
         "\"apply_query_key_layer_scaling\":true,\"apply_residual_connection_post_layernorm\":"
         "false,"
         "\"ffn_hidden_size\":13696,\"kv_channels\":128,\"layernorm_epsilon\":1.5625e-07,"
         "\"multi_query_attention\":true,\"multi_query_group_num\":2,\"num_layers\":40,"
         "\"original_rope\":true,\"padded_vocab_size\":151552,\"post_layer_norm\":true,\"rmsnorm\":"
         "true,\"rope_ratio\":500,\"seq_length\":131072,\"vocab_size\":151552",
         GOOD},
        {"qwen", /* Qwen/Qwen-7B-Chat */
         "\"architectures\":[\"QWenLMHeadModel\"],\"emb_dropout_prob\":0.0,\"kv_channels\":128,"
         "\"layer_norm_epsilon\":1e-06,\"max_position_embeddings\":32768,\"no_bias\":true,\"onnx_"
         "safe\":null,\"rotary_emb_base\":10000,\"rotary_pct\":1.0,\"scale_attn_weights\":true,"
         "\"seq_length\":8192,\"use_dynamic_ntk\":true,\"use_logn_attn\":true",
         GOOD},
        {"qwen2_vl", /* Qwen/Qwen2-VL-7B-Instruct */
         "\"architectures\":[\"Qwen2VLForConditionalGeneration\"],\"hidden_size\":3584,"
         "\"num_attention_heads\":28,\"num_key_value_heads\":4,\"rms_norm_eps\":1e-06,"
         "\"max_window_layers\":28,\"sliding_window\":32768,\"use_sliding_window\":false,"
         "\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[16,24,24]},\"vision_config\":{}",
         GOOD},
        {"qwen3_vl_moe", /* Qwen/Qwen3-VL-30B-A3B-Instruct */
         "\"architectures\":[\"Qwen3VLMoeForConditionalGeneration\"],\"text_config\":{"
         "\"model_type\":\"qwen3_vl_moe_text\",\"head_dim\":128,\"num_experts\":128,"
         "\"num_experts_per_tok\":8,\"norm_topk_prob\":true,\"mlp_only_layers\":[],"
         "\"decoder_sparse_step\":1,\"rope_scaling\":{\"mrope_interleaved\":true,\"mrope_section\":"
         "[24,20,20],\"rope_type\":\"default\"}}",
         GOOD},
        {"internvl_chat", /* OpenGVLab/InternVL3-8B */
         "\"architectures\":[\"InternVLChatModel\"],\"hidden_size\":3584,\"llm_config\":{"
         "\"architectures\":[\"Qwen2ForCausalLM\"],\"model_type\":\"qwen2\",\"rope_scaling\":{"
         "\"factor\":2.0,\"rope_type\":\"dynamic\",\"type\":\"dynamic\"}},\"vision_config\":{}",
         GOOD},
    };
    CHECK(rows);
}
END_TEST

START_TEST(what_they_have_no_part_for_is_refused) {
    static const struct row rows[] = {
        {"bailing_moe", "\"norm_head\":true", REFUSED("'norm_head'")},
        {"bailing_moe_v2", "\"use_bias\":true", REFUSED("'use_bias'")},
        {"ernie4_5_moe", "\"use_bias\":true", REFUSED("'use_bias'")},
        {"ernie4_5_moe", "\"moe_layer_end_index\":-2", WRONG("'moe_layer_end_index' is -2")},
        {"qwen3_vl_moe_text", "\"norm_topk_prob\":false", REFUSED("'norm_topk_prob'")},
        {"minicpm", "\"num_experts\":8", REFUSED("'num_experts'")},
        {"dots1", "\"scoring_func\":\"softmax\"", REFUSED("'scoring_func'")},
        {"longcat_flash", "\"zero_expert_type\":\"copy\"", REFUSED("'zero_expert_type'")},
        {"longcat_flash", "\"router_bias\":true", REFUSED("'router_bias'")},
        {"doge", "\"is_moe\":true", REFUSED("'is_moe'")},
        {"zamba2", "\"use_long_context\":true", REFUSED("'use_long_context'")},
        {"zamba2", "\"num_hidden_layers\":2,\"layers_block_type\":[\"mamba\",\"attention\"]",
         REFUSED("'layers_block_type'")},
        {"zamba2", "\"hidden_act\":\"mish\"", REFUSED("'mish'")},
        {"longcat_flash", "\"norm_topk_prob\":true", REFUSED("'norm_topk_prob'")},
        {"longcat_flash", "\"moe_topk\":769",
         WRONG("moe_topk 769: expected 1 to 768, of 768 experts")},
        {"gemma3n", "\"text_config\":{\"model_type\":\"gemma3n_text\"}",
         REFUSED("several residual streams")},
        {"llava", "\"text_config\":{\"model_type\":\"jetmoe\"}",
         REFUSED("text_config: model_type 'jetmoe' is not supported: it has experts in place")},
        {"internvl_chat", "\"llm_config\":{\"model_type\":\"llamoid\"}",
         REFUSED("llm_config: model_type 'llamoid' is not supported")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(models_that_are_known_to_have_no_table_are_refused_with_why) {
    for (const struct unknown *u = unknown_models; u->model_type; u++) {
        const struct row rows[] = {{u->model_type, "\"x\":1", REFUSED(u->why)}};
        CHECK(rows);
        ck_assert_msg(wrapper_find(u->model_type) == NULL, "%s is a wrapper", u->model_type);
    }
}
END_TEST

START_TEST(layers_are_of_the_kinds_that_keys_say) {
    const char *ernie = "\"num_hidden_layers\":8,\"moe_layer_start_index\":3,"
                        "\"moe_layer_end_index\":5,\"moe_layer_interval\":2";
    const char *whole = "\"num_hidden_layers\":8,\"moe_layer_end_index\":-1";
    for (int64_t i = 0; i < 8; i++) {
        const bool sparse = i == 3 || i == 5;
        ck_assert_int_eq((traits_of("ernie4_5_moe", ernie, i) & T_SPARSE) != 0, sparse);
        ck_assert_int_eq((traits_of("ernie4_5_moe", whole, i) & T_SPARSE) != 0, i > 0);
        ck_assert_int_eq((traits_of("cwm", "\"x\":1", i) & T_WINDOW) != 0, i % 4 != 0);
        ck_assert_int_eq((traits_of("olmo3", "\"x\":1", i) & T_WINDOW) != 0, i % 4 != 3);
        ck_assert_int_eq((traits_of("exaone4", "\"x\":1", i) & T_NO_ROPE) != 0, i % 4 == 3);
        ck_assert_int_eq(
            traits_of("exaone4", "\"sliding_window\":null", i) & (T_NO_ROPE | T_WINDOW), 0);
    }
    ck_assert(fabs(number_of("chatglm", "\"rope_ratio\":500", NUM_THETA) - 5e6) < 1e-6);
    ck_assert(fabs(number_of("chatglm", "\"x\":1", NUM_THETA) - 1e4) < 1e-9);
    ck_assert_int_eq(dim_of("qwen", "\"intermediate_size\":96", DIM_FFN), 48);
}
END_TEST

/* --- tensors ---------------------------------------------------------------------------------- */

START_TEST(a_bias_that_chooses_may_be_a_row) {
    llmq_error err;
    struct model_config c = {0};
    struct graph_param params[GRAPH_PARAMS];
    uint64_t shape[GRAPH_PARAM_RANK] = {0};
    int found = 0;
    struct graph *g = malloc(sizeof *g);
    ck_assert_ptr_nonnull(g);
    ck_assert_ok(parse_members("ernie4_5_moe", "\"moe_num_experts\":16", &c, &err), &err);
    ck_assert_ok(
        graph_make(c.family->rows, c.layers[1], config_facts(&c, c.layers[1]), V_X, g, &err), &err);
    for (int i = graph_params(g, params) - 1; i >= 0; i--) {
        if (!strstr(params[i].name, "e_score_correction_bias"))
            continue;
        ck_assert_int_eq(graph_param_shape(&params[i], shape), 2);
        ck_assert_uint_eq(shape[0], 1);
        ck_assert_uint_eq(shape[1], 16);
        found++;
    }
    ck_assert_int_eq(found, 1);
    config_free(&c);
    free(g);
}
END_TEST

static void assert_moved(const struct family *f, const char *from, const char *to) {
    const size_t trunk = family_trunk(f);
    if (!from || strncmp(from, f->embedding, trunk) != 0)
        ck_assert_pstr_eq(to, from);
    else
        ck_assert_msg(strncmp(to, "inner.", strlen("inner.")) == 0 &&
                          strcmp(to + strlen("inner."), from + trunk) == 0,
                      "%s: %s is %s", f->name, from, to);
}

START_TEST(all_names_of_a_trunk_move_with_it) {
    const struct family *f = family_at(_i);
    llmq_error err;
    struct model_config c = {0};
    ck_assert_ok(parse_members(f->model_types[0], "\"num_experts_per_tok\":2", &c, &err), &err);
    ck_assert_ok(config_take_names(&c, "inner.", "outer.weight", &err), &err);
    assert_moved(f, f->embedding, c.family->embedding);
    assert_moved(f, f->block_prefix, c.family->block_prefix);
    assert_moved(f, f->final_norm, c.family->final_norm);
    assert_moved(f, f->embedding_norm, c.family->embedding_norm);
    assert_moved(f, f->positions, c.family->positions);
    assert_moved(f, f->token_table, c.family->token_table);
    assert_moved(f, f->token_projection, c.family->token_projection);
    assert_moved(f, f->token_norm, c.family->token_norm);
    ck_assert_str_eq(c.family->head, "outer.weight");
    config_free(&c);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config_newer");
    TCase *t = tcase_create("config_newer");
    int families = 0;
    while (family_at(families))
        families++;
    tcase_add_test(t, configs_of_released_models_are_read);
    tcase_add_test(t, what_they_have_no_part_for_is_refused);
    tcase_add_test(t, models_that_are_known_to_have_no_table_are_refused_with_why);
    tcase_add_test(t, layers_are_of_the_kinds_that_keys_say);
    tcase_add_test(t, a_bias_that_chooses_may_be_a_row);
    tcase_add_loop_test(t, all_names_of_a_trunk_move_with_it, 0, families);
    suite_add_tcase(s, t);
    return run_suite(s);
}
