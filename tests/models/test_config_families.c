/* SPDX-License-Identifier: Apache-2.0 */
/* What the families' own keys of config.json say: their defaults, the names that they have, the
 * switches that are honoured, and those that are refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/config_rows.h"

/* --- defaults --------------------------------------------------------------------------------- */

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fabs(b);
}

/* transformers 4.57's config classes, of a file with nothing but its model_type. */
START_TEST(absent_keys_take_the_class_default) {
    static const struct {
        const char *type;
        int64_t vocab, hidden, layers, heads, kv_heads, head, ffn, positions, rotated, window;
        double eps, theta;
        enum act act;
        bool tied;
    } rows[] = {
        {"gpt2", 50257, 768, 12, 12, 12, 64, 3072, 1024, 0, 0, 1e-5, 0, ACT_GELU_TANH, true},
        {"gpt_bigcode", 50257, 768, 12, 12, 1, 64, 3072, 1024, 0, 0, 1e-5, 0, ACT_GELU_TANH, true},
        {"gpt_neo", 50257, 2048, 24, 16, 16, 128, 8192, 2048, 0, 256, 1e-5, 0, ACT_GELU_TANH, true},
        {"gptj", 50400, 4096, 28, 16, 16, 256, 16384, 2048, 64, 0, 1e-5, 1e4, ACT_GELU_TANH, false},
        {"codegen", 50400, 4096, 28, 16, 16, 256, 16384, 2048, 64, 0, 1e-5, 1e4, ACT_GELU_TANH,
         false},
        {"gpt_neox", 50432, 6144, 44, 64, 64, 96, 24576, 2048, 24, 0, 1e-5, 1e4, ACT_GELU, false},
        {"opt", 50272, 768, 12, 12, 12, 64, 3072, 2048, 0, 0, 1e-5, 0, ACT_RELU, true},
        {"bloom", 250880, 64, 2, 8, 8, 8, 256, 2048, 0, 0, 1e-5, 0, ACT_GELU_TANH, true},
        {"mpt", 50368, 2048, 24, 16, 16, 128, 8192, 2048, 0, 0, 1e-5, 0, ACT_GELU, true},
        {"phi", 51200, 2048, 24, 32, 32, 64, 8192, 2048, 32, 0, 1e-5, 1e4, ACT_GELU_TANH, false},
        {"phi3", 32064, 3072, 32, 32, 32, 96, 8192, 4096, 96, 0, 1e-5, 1e4, ACT_SILU, false},
        {"starcoder2", 49152, 3072, 30, 24, 2, 128, 12288, 4096, 128, 0, 1e-5, 1e4, ACT_GELU_TANH,
         true},
        {"persimmon", 262144, 4096, 36, 64, 64, 64, 16384, 16384, 32, 0, 1e-5, 25000, ACT_RELU2,
         false},
        {"falcon", 65024, 4544, 32, 71, 1, 64, 18176, 2048, 64, 0, 1e-5, 1e4, ACT_GELU, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        llmq_error err;
        struct model_config c = {0};
        const char *type = rows[i].type;
        ck_assert_ok(parse_members(type, "", &c, &err), &err);
        const int64_t *d = c.facts.dims;
        ck_assert_msg(c.vocab == rows[i].vocab && c.hidden == rows[i].hidden &&
                          c.blocks == rows[i].layers && c.max_positions == rows[i].positions,
                      "%s: sizes", type);
        ck_assert_msg(d[DIM_HEADS] == rows[i].heads && d[DIM_KV_HEADS] == rows[i].kv_heads &&
                          d[DIM_HEAD] == rows[i].head && d[DIM_FFN] == rows[i].ffn,
                      "%s: heads and MLP", type);
        ck_assert_msg(!family_rotates(c.family) == (rows[i].rotated == 0) &&
                          (rows[i].rotated == 0 ||
                           (d[DIM_ROT] == rows[i].rotated && near(c.rope.theta, rows[i].theta))),
                      "%s: rotation", type);
        ck_assert_msg(d[DIM_WINDOW] == rows[i].window, "%s: window", type);
        ck_assert_msg(near(c.facts.numbers[NUM_EPS], rows[i].eps), "%s: epsilon", type);
        ck_assert_msg(c.facts.act == rows[i].act && c.tied == rows[i].tied, "%s: the rest", type);
        config_free(&c);
    }
}
END_TEST

/* --- names and switches ----------------------------------------------------------------------- */

/* What the files of released models hold beside the sizes. */
START_TEST(configs_of_released_models_are_read) {
    static const struct row rows[] = {
        {"gpt2",
         "\"n_ctx\":1024,\"summary_type\":\"cls_index\",\"task_specific_params\":{\"text-"
         "generation\":"
         "{\"do_sample\":true,\"max_length\":50}},\"architectures\":[\"GPT2LMHeadModel\"]",
         GOOD},
        {"gpt_neo",
         "\"num_layers\":2,\"attention_types\":[[[\"global\",\"local\"],1]],\"attention_layers\":"
         "[\"global\",\"local\"]",
         GOOD},
        {"gptj", "\"rotary\":true,\"rotary_dim\":64,\"scale_attn_weights\":true", GOOD},
        {"gpt_neox", "\"rotary_emb_base\":10000,\"rotary_pct\":0.25,\"hidden_act\":\"gelu_fast\"",
         GOOD},
        {"opt",
         "\"word_embed_proj_dim\":768,\"do_layer_norm_before\":true,\"prefix\":\"</s>\","
         "\"_remove_final_layer_norm\":false",
         GOOD},
        {"bloom",
         "\"n_embed\":1024,\"num_attention_heads\":16,\"offset_alibi\":100,\"seq_length\":2048,"
         "\"attention_softmax_in_fp32\":true,\"bias_dropout_fusion\":true,\"skip_bias_add\":true,"
         "\"skip_bias_add_qkv\":false,\"n_inner\":null,\"pretraining_tp\":1",
         GOOD},
        {"mpt",
         "\"attn_config\":{\"alibi\":true,\"alibi_bias_max\":8,\"attn_impl\":\"torch\",\"attn_"
         "pdrop\":0,"
         "\"attn_type\":\"multihead_attention\",\"attn_uses_sequence_id\":false,\"clip_qkv\":null,"
         "\"prefix_lm\":false,\"qk_ln\":false,\"softmax_scale\":null},\"learned_pos_emb\":true,"
         "\"architectures\":[\"MPTForCausalLM\"],\"expansion_ratio\":4,\"logit_scale\":null,"
         "\"no_bias\":true,\"norm_type\":\"low_precision_layernorm\",\"max_seq_len\":2048",
         GOOD},
        {"phi", "\"partial_rotary_factor\":0.4,\"hidden_size\":2560,\"qk_layernorm\":false", GOOD},
        {"phi3", "\"lm_head_bias\":false,\"full_attn_mod\":1,\"sliding_window\":262144", GOOD},
        {"starcoder2",
         "\"layer_norm_epsilon\":1e-5,\"norm_epsilon\":1e-5,\"norm_type\":\"layer_norm\","
         "\"mlp_type\":\"default\",\"sliding_window\":4096,\"scale_attn_weights\":true",
         GOOD},
        {"falcon",
         "\"apply_residual_connection_post_layernorm\":false,\"alibi\":false,\"bias\":false,"
         "\"multi_query\":true,\"new_decoder_architecture\":true,\"num_kv_heads\":8,\"hidden_"
         "size\":"
         "8192,\"num_attention_heads\":128,\"parallel_attn\":true",
         GOOD},
    };
    CHECK(rows);
}
END_TEST

START_TEST(switches_that_llmq_has_no_part_for_are_refused) {
    static const struct row rows[] = {
        {"gpt2", "\"scale_attn_by_inverse_layer_idx\":true", REFUSED("by_inverse_layer_idx")},
        {"gpt2", "\"scale_attn_weights\":false", REFUSED("scale_attn_weights")},
        {"gpt2", "\"add_cross_attention\":true", REFUSED("add_cross_attention")},
        {"gpt2", "\"activation_function\":\"mish\"", REFUSED("activation_function 'mish'")},
        {"gpt2", "\"hidden_act\":\"relu\"", REFUSED("expected gelu_pytorch_tanh")},
        {"gpt2", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", REFUSED("rope_scaling")},
        {"gpt2", "\"use_rotary\":true", REFUSED("expected false")},
        {"gptj", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", REFUSED("rope_scaling")},
        {"gptj", "\"rope_theta\":500000", REFUSED("expected 10000")},
        {"gptj", "\"rotary\":false", REFUSED("'rotary'")},
        {"gptj", "\"parallel_attn\":false", REFUSED("expected true")},
        {"opt", "\"do_layer_norm_before\":false", REFUSED("do_layer_norm_before")},
        {"opt", "\"word_embed_proj_dim\":512", REFUSED("expected 768")},
        {"opt", "\"_remove_final_layer_norm\":true", REFUSED("_remove_final_layer_norm")},
        {"opt", "\"layer_norm_elementwise_affine\":false", REFUSED("elementwise_affine")},
        {"bloom", "\"apply_residual_connection_post_layernorm\":true", REFUSED("post_layernorm")},
        {"bloom", "\"alibi\":false", REFUSED("expected true")},
        {"mpt", "\"attn_config\":{\"alibi\":false}", REFUSED("'attn_config.alibi' is false")},
        {"mpt", "\"attn_config\":{\"qk_ln\":true}", REFUSED("attn_config.qk_ln")},
        {"mpt", "\"attn_config\":{\"prefix_lm\":true}", REFUSED("attn_config.prefix_lm")},
        {"mpt", "\"attn_config\":{\"alibi_bias_max\":16}", REFUSED("expected 8")},
        {"mpt", "\"no_bias\":false", REFUSED("no_bias")},
        {"mpt", "\"norm_type\":\"rmsnorm\"", REFUSED("norm_type")},
        {"mpt", "\"logit_scale\":\"inv_sqrt_d_model\"", REFUSED("logit_scale")},
        {"phi3", "\"lm_head_bias\":true", REFUSED("lm_head_bias")},
        {"phi3", "\"attention_bias\":true", REFUSED("attention_bias")},
        {"falcon", "\"apply_residual_connection_post_layernorm\":true", REFUSED("post_layernorm")},
        {"persimmon", "\"hidden_act\":\"swiglu_oai\"", REFUSED("hidden_act 'swiglu_oai'")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(values_that_cannot_be_are_refused) {
    static const struct row rows[] = {
        {"gpt2", "\"n_embd\":768,\"hidden_size\":1024", WRONG("'n_embd' is 768 and 'hidden_size'")},
        {"gpt2", "\"n_head\":7", WRONG("not a multiple of 7")},
        {"gpt2", "\"n_positions\":\"long\"", WRONG("'n_positions' is \"long\"")},
        {"gpt_bigcode", "\"multi_query\":2", WRONG("'multi_query' is 2")},
        {"gpt_neo", "\"attention_layers\":[\"global\"]", WRONG("has 1 entries for 24 layers")},
        {"gpt_neo", "\"attention_types\":[[[\"global\"],3]]", WRONG("has 3 entries for 24 layers")},
        {"gpt_neo", "\"attention_types\":[[\"global\",3]]", WRONG("has 0 entries")},
        {"gptj", "\"rotary_dim\":7", WRONG("7 of the 256 entries of a head")},
        {"gptj", "\"rotary_dim\":512", WRONG("512 entries of a head of 256")},
        {"gpt_neox", "\"rotary_pct\":0.25,\"partial_rotary_factor\":0.5", WRONG("rotary_pct")},
        {"gpt_neox", "\"rope_theta\":1e4,\"rotary_emb_base\":5e5", WRONG("rotary_emb_base")},
        {"gpt_neox", "\"rotary_emb_base\":1e4,\"rope_parameters\":{\"rope_theta\":5e5}",
         WRONG("at the top")},
        {"opt", "\"layer_norm_eps\":1e-6", WRONG("layer_norm_eps")},
        {"mpt", "\"attn_config\":{\"clip_qkv\":-1}", WRONG("'clip_qkv' is -1")},
        {"phi", "\"partial_rotary_factor\":0.05", WRONG("3 of the 64 entries of a head")},
        {"phi3", "\"sliding_window\":8,\"use_sliding_window\":false", WRONG("use_sliding_window")},
        {"starcoder2", "\"num_key_value_heads\":5", WRONG("not a multiple of 5")},
        {"falcon", "\"new_decoder_architecture\":true,\"num_kv_heads\":3",
         WRONG("not a multiple of 3")},
    };
    CHECK(rows);
}
END_TEST

/* --- what the switches switch ----------------------------------------------------------------- */

START_TEST(layers_take_turns_by_lists_of_words) {
    static const char runs[] = "\"num_layers\":5,\"attention_types\":[[[\"local\"],2],[[\"global\","
                               "\"local\",\"global\"],1]]";
    static const bool local[] = {true, true, false, true, false};
    for (int64_t i = 0; i < 5; i++) {
        ck_assert_int_eq((traits_of("gpt_neo", runs, i) & T_WINDOW) != 0, local[i]);
        ck_assert_int_eq((traits_of("gpt_neo", "", i) & T_WINDOW) != 0, i % 2);
    }
}
END_TEST

START_TEST(falcon_has_three_architectures) {
    static const char rw[] =
        "\"alibi\":true,\"multi_query\":false,\"parallel_attn\":false,\"bias\":true";
    static const char large[] = "\"new_decoder_architecture\":true,\"num_kv_heads\":1";
    static const char one_norm[] =
        "\"new_decoder_architecture\":true,\"num_ln_in_parallel_attn\":1,"
        "\"parallel_attn\":false";
    ck_assert_int_eq(dim_of("falcon", rw, DIM_KV_HEADS), 71);
    ck_assert_int_eq(dim_of("falcon", large, DIM_KV_HEADS), 1);
    ck_assert_int_eq(dim_of("falcon", one_norm, DIM_KV_HEADS), 71);
    ck_assert_uint_eq(traits_of("falcon", rw, 0) & (T_PARALLEL | T_NO_ROPE | T_B), T_NO_ROPE);
    ck_assert_uint_eq(traits_of("falcon", "", 0) & (T_PARALLEL | T_NO_ROPE | T_B), T_PARALLEL);
    ck_assert_uint_eq(traits_of("falcon", large, 0) & (T_PARALLEL | T_B), T_PARALLEL | T_B);
    ck_assert_uint_eq(traits_of("falcon", one_norm, 0) & (T_PARALLEL | T_B), T_PARALLEL);
}
END_TEST

START_TEST(clipping_is_on_where_there_is_a_bound) {
    ck_assert(traits_of("mpt", "\"attn_config\":{\"clip_qkv\":6}", 0) & T_CLIP);
    ck_assert(!(traits_of("mpt", "\"attn_config\":{\"clip_qkv\":null}", 0) & T_CLIP));
    ck_assert(!(traits_of("mpt", "", 0) & T_CLIP));
}
END_TEST

START_TEST(heads_of_bigcode_share_keys_and_values_or_not) {
    ck_assert_int_eq(dim_of("gpt_bigcode", "", DIM_QKV), 768 + 2 * 64);
    ck_assert_int_eq(dim_of("gpt_bigcode", "\"multi_query\":false", DIM_QKV), 3 * 768);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config families");
    TCase *t = tcase_create("families");
    tcase_add_test(t, absent_keys_take_the_class_default);
    tcase_add_test(t, configs_of_released_models_are_read);
    tcase_add_test(t, switches_that_llmq_has_no_part_for_are_refused);
    tcase_add_test(t, values_that_cannot_be_are_refused);
    tcase_add_test(t, layers_take_turns_by_lists_of_words);
    tcase_add_test(t, falcon_has_three_architectures);
    tcase_add_test(t, clipping_is_on_where_there_is_a_bound);
    tcase_add_test(t, heads_of_bigcode_share_keys_and_values_or_not);
    suite_add_tcase(s, t);
    return run_suite(s);
}
