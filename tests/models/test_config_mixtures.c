/* SPDX-License-Identifier: Apache-2.0 */
/* What the keys of the mixtures of experts since DeepSeek-V3 say, and which are refused. */
#include <math.h>

#include "models/config_rows.h"

/* What the files of released models hold beside the sizes. */
START_TEST(configs_of_released_models_are_read) {
    static const struct row rows[] = {
        {"glm4_moe",
         "\"attention_bias\":true,\"head_dim\":128,\"partial_rotary_factor\":0.5,"
         "\"use_qk_norm\":true,\"num_nextn_predict_layers\":1,\"n_group\":1",
         GOOD},
        {"kimi_k2",
         "\"n_routed_experts\":384,\"n_group\":1,\"topk_group\":1,\"first_k_dense_replace\":1,"
         "\"routed_scaling_factor\":2.827,\"scoring_func\":\"sigmoid\"",
         GOOD},
        {"kimi_k25",
         "\"text_config\":{\"model_type\":\"kimi_k2\",\"n_group\":1,\"topk_group\":1},"
         "\"vision_config\":{\"hidden_size\":1152}",
         GOOD},
        {"minimax_m2",
         "\"attn_type_list\":[1,1],\"rotary_dim\":64,\"qk_norm_type\":\"per_layer\","
         "\"use_qk_norm\":true,\"use_routing_bias\":true,\"use_mtp\":true,\"num_mtp_modules\":3,"
         "\"shared_intermediate_size\":0,\"scoring_func\":\"sigmoid\",\"sliding_window\":null",
         GOOD},
        {"exaone_moe",
         "\"num_hidden_layers\":4,\"sliding_window\":128,\"sliding_window_pattern\":\"LLLG\","
         "\"num_experts\":128,\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\","
         "\"is_moe_layer\":[false,true,true,true],\"num_nextn_predict_layers\":1",
         GOOD},
        {"mimo_v2_flash",
         "\"num_hidden_layers\":2,\"add_full_attention_sink_bias\":false,"
         "\"add_swa_attention_sink_bias\":true,\"attention_chunk_size\":128,\"swa_head_dim\":192,"
         "\"attention_projection_layout\":\"split\",\"attention_value_scale\":0.707,"
         "\"swa_num_key_value_heads\":8,\"num_key_value_heads\":4,\"swa_v_head_dim\":128,"
         "\"hybrid_layer_pattern\":[0,1],\"moe_layer_freq\":[0,1],\"layernorm_epsilon\":1e-5,"
         "\"n_shared_experts\":null,\"partial_rotary_factor\":0.334,\"rope_theta\":5000000,"
         "\"swa_rope_theta\":10000,\"routed_scaling_factor\":null,\"scoring_func\":\"sigmoid\","
         "\"sliding_window\":128,\"sliding_window_size\":128,\"topk_method\":\"noaux_tc\"",
         GOOD},
        {"afmoe",
         "\"global_attn_every_n_layers\":4,\"mup_enabled\":true,\"n_group\":1,\"num_dense_layers\":"
         "2,"
         "\"num_expert_groups\":1,\"num_limited_groups\":1,\"route_norm\":true,\"route_scale\":2."
         "826,"
         "\"score_func\":\"sigmoid\",\"sliding_window\":2048,\"topk_group\":1,\"rope_scaling\":"
         "null",
         GOOD},
        {"dbrx",
         "\"attn_config\":{\"clip_qkv\":8,\"kv_n_heads\":8,\"rope_theta\":500000},\"ffn_config\":{"
         "\"ffn_hidden_size\":10752,\"moe_jitter_eps\":0.01,\"moe_loss_weight\":0.05,"
         "\"moe_num_experts\":16,\"moe_top_k\":4}",
         GOOD},
        {"hunyuan_v1_dense",
         "\"norm_type\":\"hf_rms\",\"attention_head_dim\":128,\"head_dim\":128,\"use_qk_norm\":"
         "true,"
         "\"use_cla\":false,\"cla_share_factor\":2,\"mlp_bias\":false,\"rope_scaling\":{"
         "\"alpha\":1000,\"beta_fast\":32,\"beta_slow\":1,\"factor\":1,\"mscale\":1,"
         "\"mscale_all_dim\":1,\"type\":\"dynamic\"}",
         GOOD},
        {"hunyuan_v1_moe",
         "\"num_hidden_layers\":2,\"intermediate_size\":3072,\"moe_intermediate_size\":[3072,3072],"
         "\"moe_topk\":[8,8],\"num_experts\":64,\"num_shared_expert\":[1,1],\"use_cla\":false,"
         "\"cla_share_factor\":2,\"use_qk_norm\":true,\"norm_topk_prob\":true,\"mlp_bias\":false",
         GOOD},
        {"mistral4",
         "\"head_dim\":128,\"rope_parameters\":{\"rope_type\":\"yarn\",\"type\":\"yarn\","
         "\"rope_theta\":10000,\"factor\":128,\"original_max_position_embeddings\":8192,"
         "\"max_position_embeddings\":1048576,\"mscale\":1,\"mscale_all_dim\":1,"
         "\"partial_rotary_factor\":0.5,\"llama_4_scaling_beta\":0.1}",
         GOOD},
    };
    CHECK(rows);
}
END_TEST

START_TEST(what_llmq_has_no_part_for_is_refused) {
    static const struct row rows[] = {
        {"minimax_m2", "\"qk_norm_type\":\"per_head\"", REFUSED("expected per_layer")},
        {"minimax_m2", "\"rotary_dim\":64,\"partial_rotary_factor\":0.25",
         WRONG("64 entries of a head of 128 are rotated, and a part of 0.25")},
        {"exaone_moe", "\"sliding_window_pattern\":\"LGLG\"", REFUSED("letters of which the last")},
        {"exaone_moe", "\"sliding_window_pattern\":\"LLL\"", REFUSED("letters of which the last")},
        {"exaone_moe", "\"attention_bias\":true", REFUSED("attention_bias")},
        {"hy_v3", "\"moe_router_use_sigmoid\":false", REFUSED("moe_router_use_sigmoid")},
        {"hy_v3", "\"route_norm\":false", REFUSED("route_norm")},
        {"hunyuan_v1_moe", "\"moe_topk\":[8,4]", WRONG("'moe_topk' is [8,4]")},
        {"hunyuan_v1_moe", "\"intermediate_size\":32,\"moe_intermediate_size\":[16,16]",
         WRONG("'intermediate_size' is 32 and 'moe_intermediate_size' is [16,16]")},
        {"llama", "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":1,\"alpha\":1000}",
         REFUSED("'alpha' is 1000")},
        {"afmoe", "\"route_norm\":false", REFUSED("route_norm")},
        {"afmoe", "\"score_func\":\"softmax\"", REFUSED("expected sigmoid")},
        {"cohere2_moe", "\"expert_selection_fn\":\"top\"", REFUSED("expected sigmoid or softmax")},
        {"cohere2_moe", "\"prefix_dense_sliding_window_pattern\":4",
         REFUSED("prefix_dense_sliding_window_pattern")},
        {"laguna",
         "\"num_hidden_layers\":2,\"num_attention_heads\":8,\"layer_types\":[\"full_attention\","
         "\"sliding_attention\"],\"num_attention_heads_per_layer\":[16,16]",
         REFUSED("layer 0 has 16: expected 8")},
        {"laguna", "\"num_attention_heads_per_layer\":[16]", WRONG("has 1 entries for 40 layers")},
        {"laguna", "\"gating\":false", REFUSED("gating")},
        {"mimo_v2_flash", "\"swa_num_key_value_heads\":3",
         WRONG("64 attention heads are not a multiple of 3")},
        {"minimax_m3_vl_text", "\"sparse_attention_config\":{\"use_sparse_attention\":true}",
         REFUSED("sparse_attention_config")},
        {"minimax_m3_vl_text", "\"num_hidden_layers\":1,\"layer_types\":[\"sparse_attention\"]",
         REFUSED("layer_types[0]")},
        {"mistral4", "\"rope_parameters\":{\"partial_rotary_factor\":0.25}",
         REFUSED("'partial_rotary_factor' is 0.25")},
        {"mistral", "\"rope_parameters\":{\"llama_4_scaling_beta\":0.1}",
         REFUSED("'llama_4_scaling_beta' is 0.1")},
        {"solar_open", "\"scoring_func\":\"softmax\"", REFUSED("expected sigmoid")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(layers_take_turns) {
    static const char letters[] = "\"sliding_window_pattern\":\"LLG\"";
    ck_assert(traits_of("exaone_moe", letters, 1) & T_WINDOW);
    ck_assert(!(traits_of("exaone_moe", letters, 1) & T_NO_ROPE));
    ck_assert(!(traits_of("exaone_moe", letters, 2) & T_WINDOW));
    ck_assert(traits_of("exaone_moe", letters, 2) & T_NO_ROPE);
    ck_assert(!(traits_of("hy_v3", "\"first_k_dense_replace\":2", 1) & T_SPARSE));
    ck_assert(traits_of("hy_v3", "\"first_k_dense_replace\":2", 2) & T_SPARSE);
    ck_assert_int_eq(dim_of("minimax_m2", "\"rotary_dim\":64", DIM_ROT), 64);
}
END_TEST

/* Dense layers come first, see everything and rotate; the turns begin behind them. */
START_TEST(turns_begin_behind_the_dense_layers) {
    static const char some[] = "\"first_k_dense_replace\":1,\"sliding_window_pattern\":3";
    const trait_set shown = T_SPARSE | T_WINDOW | T_NO_ROPE;
    ck_assert_uint_eq(traits_of("cohere2_moe", some, 0) & shown, 0);
    ck_assert_uint_eq(traits_of("cohere2_moe", some, 2) & shown, T_SPARSE | T_WINDOW);
    ck_assert_uint_eq(traits_of("cohere2_moe", some, 3) & shown, T_SPARSE | T_NO_ROPE);
    ck_assert_uint_eq(traits_of("cohere2_moe", some, 4) & shown, T_SPARSE | T_WINDOW);
}
END_TEST

/* Of a file without rotary settings the class's own hold. */
START_TEST(queries_grow_by_the_rotary_settings) {
    static const char some[] = "\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4,"
                               "\"llama_4_scaling_beta\":0.4,"
                               "\"original_max_position_embeddings\":64}";
    static const char none[] = "\"rope_parameters\":{\"rope_type\":\"default\"}";
    ck_assert(number_of("ministral3", some, NUM_TEMPERATURE) == 0.4);
    ck_assert(number_of("ministral3", some, NUM_FLOOR) == 64);
    ck_assert(number_of("ministral3", none, NUM_TEMPERATURE) == 0);
    ck_assert(number_of("ministral3", "", NUM_TEMPERATURE) == 0.1);
    ck_assert(number_of("ministral3", "", NUM_FLOOR) == 16384);
    ck_assert(number_of("ministral3", "", NUM_FIRST) == 0);
    ck_assert(traits_of("llama4_text", "", 3) & T_HEATED);
    ck_assert(!(traits_of("llama4_text", "", 0) & T_HEATED));
}
END_TEST

START_TEST(a_base_raised_by_alpha) {
    struct model_config c = {0};
    llmq_error err = {0};
    ck_assert_ok(parse_members("hunyuan_v1_dense",
                               "\"hidden_size\":64,\"num_attention_heads\":4,\"rope_scaling\":{"
                               "\"type\":\"dynamic\",\"factor\":1,\"alpha\":1000}",
                               &c, &err),
                 &err);
    const double expected = 10000 * pow(1000, 16.0 / 14);
    ck_assert(fabs(c.rope.theta - expected) < 1e-9 * expected && c.rope.type == ROPE_DEFAULT);
    config_free(&c);
}
END_TEST

/* Of layers with a window: sizes of their own, or one for each layer in a list. */
START_TEST(layers_with_a_window_have_sizes_of_their_own) {
    struct model_config c = {0};
    llmq_error err = {0};
    ck_assert_ok(parse_members("mimo_v2_flash", "\"num_key_value_heads\":2", &c, &err), &err);
    ck_assert_int_eq(config_facts(&c, 0)->dims[DIM_KV_HEADS], 2);
    ck_assert_int_eq(config_facts(&c, T_WINDOW)->dims[DIM_KV_HEADS], 4);
    ck_assert_int_eq(config_facts(&c, T_WINDOW)->dims[DIM_KV], 4 * 192);
    config_free(&c);
    ck_assert_ok(parse_members("laguna",
                               "\"num_hidden_layers\":3,\"num_attention_heads\":8,"
                               "\"layer_types\":[\"full_attention\",\"sliding_attention\","
                               "\"sliding_attention\"],\"num_attention_heads_per_layer\":[8,16,16]",
                               &c, &err),
                 &err);
    ck_assert_int_eq(config_facts(&c, 0)->dims[DIM_HEADS], 8);
    ck_assert_int_eq(config_facts(&c, T_WINDOW)->dims[DIM_HEADS], 16);
    ck_assert_int_eq(config_facts(&c, 0)->dims[DIM_ROT], 64);
    ck_assert_int_eq(config_facts(&c, T_WINDOW)->dims[DIM_ROT], 128);
    config_free(&c);
}
END_TEST

START_TEST(factors_by_sizes) {
    static const char sizes[] = "\"num_hidden_layers\":4,\"scale_depth\":3,\"hidden_size\":64,"
                                "\"dim_model_base\":16";
    ck_assert(number_of("minicpm3", sizes, NUM_RESIDUAL) == 1.5);
    ck_assert(number_of("minicpm3", sizes, NUM_LOGITS) == 0.25);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config mixtures");
    TCase *t = tcase_create("mixtures");
    tcase_add_test(t, configs_of_released_models_are_read);
    tcase_add_test(t, what_llmq_has_no_part_for_is_refused);
    tcase_add_test(t, layers_take_turns);
    tcase_add_test(t, turns_begin_behind_the_dense_layers);
    tcase_add_test(t, queries_grow_by_the_rotary_settings);
    tcase_add_test(t, a_base_raised_by_alpha);
    tcase_add_test(t, layers_with_a_window_have_sizes_of_their_own);
    tcase_add_test(t, factors_by_sizes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
