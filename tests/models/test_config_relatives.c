/* SPDX-License-Identifier: Apache-2.0 */
/* What config.json says for the families that differ from Llama by norms, factors, bounds, windows
 * or the rotation: files of released models, layers that take turns, both spellings, and what is
 * refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/config_rows.h"

/* --- released models -------------------------------------------------------------------------- */

START_TEST(configs_of_released_models_are_read) {
    static const struct row rows[] = {
        {"helium", /* kyutai/helium-1-preview-2b */
         "\"architectures\":[\"HeliumForCausalLM\"],\"attention_bias\":false,\"head_dim\":128,"
         "\"hidden_act\":\"silu\",\"mlp_bias\":false,\"pretraining_tp\":1,\"rms_norm_eps\":1e-8,"
         "\"rope_theta\":100000.0,\"tie_word_embeddings\":false",
         GOOD},
        {"ernie4_5", /* baidu/ERNIE-4.5-0.3B-PT, first revision */
         "\"architectures\":[\"Ernie4_5_ForCausalLM\"],\"auto_map\":{\"AutoConfig\":"
         "\"configuration_ernie4_5.Ernie4_5_Config\"},\"hidden_act\":\"silu\",\"head_dim\":128,"
         "\"rms_norm_eps\":1e-05,\"use_cache\":false,\"rope_theta\":500000,\"use_bias\":false,"
         "\"tie_word_embeddings\":true",
         GOOD},
        {"granite", /* ibm-granite/granite-3.1-8b-instruct */
         "\"architectures\":[\"GraniteForCausalLM\"],\"attention_bias\":false,"
         "\"attention_multiplier\":0.0078125,\"embedding_multiplier\":12.0,\"logits_scaling\":16.0,"
         "\"residual_multiplier\":0.22,\"mlp_bias\":false,\"num_key_value_heads\":8,"
         "\"intermediate_size\":12800,\"rope_scaling\":null,\"rope_theta\":10000000.0",
         GOOD},
        {"smollm3", /* HuggingFaceTB/SmolLM3-3B, cut to four layers */
         "\"architectures\":[\"SmolLM3ForCausalLM\"],\"num_hidden_layers\":4,\"layer_types\":["
         "\"full_attention\",\"full_attention\",\"full_attention\",\"full_attention\"],"
         "\"max_window_layers\":28,\"no_rope_layer_interval\":4,\"no_rope_layers\":[1,1,1,0],"
         "\"pretraining_tp\":2,\"rope_scaling\":null,\"sliding_window\":null,"
         "\"use_sliding_window\":false",
         GOOD},
        {"olmo", /* allenai/OLMo-1B-hf */
         "\"architectures\":[\"OlmoForCausalLM\"],\"attention_bias\":false,\"clip_qkv\":null,"
         "\"hidden_act\":\"silu\",\"pretraining_tp\":1,\"rope_theta\":10000.0,"
         "\"tie_word_embeddings\":true",
         GOOD},
        {"olmo2", /* allenai/OLMo-2-1124-7B */
         "\"architectures\":[\"Olmo2ForCausalLM\"],\"attention_bias\":false,\"rms_norm_eps\":1e-06,"
         "\"rope_scaling\":null,\"rope_theta\":500000,\"tie_word_embeddings\":false",
         GOOD},
        {"nemotron", /* nvidia/Minitron-4B-Base, with the older name of the rotated part too */
         "\"architectures\":[\"NemotronForCausalLM\"],\"hidden_size\":3072,"
         "\"num_attention_heads\":24,\"num_key_value_heads\":8,\"hidden_act\":\"relu2\","
         "\"norm_eps\":1e-05,\"kv_channels\":128,\"rope_percent\":0.5,"
         "\"partial_rotary_factor\":0.5,\"rope_scaling\":null",
         GOOD},
        {"arcee", /* arcee-ai/AFM-4.5B */
         "\"architectures\":[\"ArceeForCausalLM\"],\"head_dim\":128,\"hidden_size\":2560,"
         "\"num_attention_heads\":20,\"num_key_value_heads\":4,\"hidden_act\":\"relu2\","
         "\"max_position_embeddings\":65536,\"mlp_bias\":false,\"rope_scaling\":{\"factor\":20.0,"
         "\"original_max_position_embeddings\":4096,\"rope_type\":\"yarn\",\"beta_fast\":32.0,"
         "\"beta_slow\":1.0,\"mscale\":1.0}",
         GOOD},
        {"stablelm", /* stabilityai/stablelm-2-1_6b */
         "\"architectures\":[\"StableLmForCausalLM\"],\"layer_norm_eps\":1e-05,"
         "\"partial_rotary_factor\":0.25,\"rope_theta\":10000,\"use_qkv_bias\":true",
         GOOD},
        {"glm", /* THUDM/glm-4-9b-chat-hf */
         "\"architectures\":[\"GlmForCausalLM\"],\"attention_bias\":true,\"head_dim\":128,"
         "\"num_key_value_heads\":2,\"partial_rotary_factor\":0.5,\"rms_norm_eps\":1.5625e-07",
         GOOD},
        {"glm4", /* THUDM/GLM-4-9B-0414 */
         "\"architectures\":[\"Glm4ForCausalLM\"],\"attention_bias\":true,\"head_dim\":128,"
         "\"partial_rotary_factor\":0.5,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0",
         GOOD},
        {"cohere", /* CohereForAI/c4ai-command-r-plus */
         "\"architectures\":[\"CohereForCausalLM\"],\"hidden_size\":12288,"
         "\"num_attention_heads\":96,\"num_key_value_heads\":8,\"logit_scale\":0.8333333333333334,"
         "\"model_max_length\":131072,\"rope_theta\":75000000.0,\"use_qk_norm\":true",
         GOOD},
        {"cohere2", /* CohereForAI/c4ai-command-r7b-12-2024 */
         "\"architectures\":[\"Cohere2ForCausalLM\"],\"cache_implementation\":\"hybrid\","
         "\"head_dim\":128,\"layer_switch\":4,\"logit_scale\":0.25,"
         "\"order_of_interleaved_layers\":\"local_attn_first\","
         "\"position_embedding_type\":\"rope_gptj\",\"rope_scaling\":null,\"rope_theta\":50000,"
         "\"rotary_pct\":1.0,\"sliding_window\":4096,\"sliding_window_pattern\":4,"
         "\"use_embedding_sharing\":true,\"use_gated_activation\":true,"
         "\"use_parallel_block\":true,\"use_parallel_embedding\":true,\"use_qk_norm\":false",
         GOOD},
        {"gemma", /* google/gemma-7b, as it was first released */
         "\"architectures\":[\"GemmaForCausalLM\"],\"attention_bias\":false,\"head_dim\":256,"
         "\"hidden_act\":\"gelu\",\"rms_norm_eps\":1e-06,\"rope_scaling\":null",
         GOOD},
        {"gemma2", /* google/gemma-2-9b */
         "\"architectures\":[\"Gemma2ForCausalLM\"],\"attn_logit_softcapping\":50.0,"
         "\"cache_implementation\":\"hybrid\",\"final_logit_softcapping\":30.0,\"head_dim\":256,"
         "\"hidden_act\":\"gelu_pytorch_tanh\",\"hidden_activation\":\"gelu_pytorch_tanh\","
         "\"query_pre_attn_scalar\":256,\"sliding_window\":4096,\"sliding_window_size\":4096",
         GOOD},
        {"gemma3_text", /* google/gemma-3-1b-it */
         "\"architectures\":[\"Gemma3ForCausalLM\"],\"attn_logit_softcapping\":null,"
         "\"cache_implementation\":\"hybrid\",\"final_logit_softcapping\":null,\"head_dim\":256,"
         "\"hidden_activation\":\"gelu_pytorch_tanh\",\"query_pre_attn_scalar\":256,"
         "\"rope_local_base_freq\":10000,\"rope_scaling\":null,\"rope_theta\":1000000,"
         "\"sliding_window\":512,\"sliding_window_pattern\":6",
         GOOD},
    };
    CHECK(rows);
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

START_TEST(switches_that_llmq_has_no_part_for_are_refused) {
    static const struct row rows[] = {
        /* StableLM 2 12B */
        {"stablelm", "\"qk_layernorm\":true,\"use_parallel_residual\":true",
         REFUSED("'qk_layernorm' is true")},
        {"stablelm", "\"attention_bias\":true", REFUSED("attention_bias")},
        {"stablelm", "\"head_dim\":64", REFUSED("'head_dim' is 64")},
        {"stablelm", "\"use_rms_norm\":true", REFUSED("expected false")},
        {"stablelm", "\"norm_type\":\"rmsnorm\"", REFUSED("expected layernorm")},
        {"nemotron", "\"rope_percent\":0.25", REFUSED("expected 0.5")},
        {"nemotron", "\"gated_mlp\":true", REFUSED("expected false")},
        {"nemotron", "\"apply_layernorm_1p\":false", REFUSED("expected true")},
        {"nemotron", "\"apply_layernorm_1p\":true", GOOD},
        {"arcee", "\"apply_layernorm_1p\":true", REFUSED("expected false")},
        {"helium", "\"rope_interleaved\":false", REFUSED("expected true")},
        {"helium", "\"is_neox_style\":false", GOOD},
        {"llama", "\"is_neox_style\":false", REFUSED("expected true")},
        {"granite", "\"position_embedding_type\":\"alibi\"", REFUSED("expected rope")},
        {"granite", "\"softmax_scale\":1", GOOD},
        {"granite", "\"softmax_scale\":0.125", REFUSED("expected 1")},
        {"granite", "\"num_local_experts\":8", REFUSED("num_local_experts")},
        {"cohere", "\"use_parallel_block\":false", REFUSED("expected true")},
        {"cohere2", "\"use_qk_norm\":true", REFUSED("use_qk_norm")},
        {"cohere2", "\"use_embedding_sharing\":false", REFUSED("expected true")},
        {"cohere2", "\"position_embedding_type\":\"rope\"", GOOD},
        {"llama", "\"position_embedding_type\":\"rope_gptj\"", REFUSED("expected rope")},
        {"olmo2", "\"clip_qkv\":8", REFUSED("clip_qkv")},
        {"olmo2", "\"reordered_norm\":false", REFUSED("expected true")},
        {"gemma3_text", "\"attn_logit_softcapping\":50.0", REFUSED("attn_logit_softcapping")},
        {"gemma3_text", "\"use_bidirectional_attention\":true", REFUSED("bidirectional")},
        {"gemma3_text", "\"sliding_window_size\":16", REFUSED("expected 4096")},
        {"gemma2", "\"rope_local_base_freq\":1e6", REFUSED("rope_local_base_freq")},
        {"gemma", "\"final_logit_softcapping\":30", REFUSED("final_logit_softcapping")},
        {"glm", "\"partial_rotary_factor\":0.5,\"rope_ratio\":500", REFUSED("rope_ratio")},
        {"smollm3", "\"architectures\":[\"LlamaForCausalLM\"]", REFUSED("SmolLM3ForCausalLM")},
        {"gemma3_text", "\"architectures\":[\"Gemma3ForConditionalGeneration\"]",
         REFUSED("Gemma3ForCausalLM")},
    };
    CHECK(rows);
}
END_TEST

START_TEST(values_that_cannot_be_are_refused) {
    static const struct row rows[] = {
        {"granite", "\"attention_multiplier\":0", WRONG("'attention_multiplier' is 0")},
        {"granite", "\"logits_scaling\":0", WRONG("expected more than 0")},
        {"granite", "\"residual_multiplier\":\"0.2\"", WRONG("residual_multiplier")},
        {"cohere", "\"logit_scale\":0", WRONG("'logit_scale' is 0")},
        {"gemma2", "\"query_pre_attn_scalar\":0", WRONG("query_pre_attn_scalar")},
        {"gemma2", "\"attn_logit_softcapping\":-1", WRONG("attn_logit_softcapping")},
        {"olmo", "\"clip_qkv\":\"yes\"", WRONG("clip_qkv")},
        {"olmo", "\"rms_norm_eps\":1e-6", WRONG("loaders take 1e-05 for every olmo model")},
        {"nemotron", "\"layer_norm_eps\":1e-6", WRONG("norm_eps, which loaders read, is absent")},
        {"nemotron", "\"partial_rotary_factor\":0.305", WRONG("39 of the 128 entries")},
        {"nemotron", "\"partial_rotary_factor\":0", WRONG("0 of the 128 entries of a head")},
        {"nemotron", "\"partial_rotary_factor\":2", WRONG("256 entries of a head of 128")},
        {"nemotron", "\"partial_rotary_factor\":\"half\"", WRONG("partial_rotary_factor")},
        {"glm", "\"partial_rotary_factor\":0.5,\"rope_parameters\":{\"partial_rotary_factor\":1}",
         WRONG("'partial_rotary_factor' is 1 and 'partial_rotary_factor' is 0.5")},
        {"glm",
         "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2,\"partial_rotary_factor\":"
         "1}",
         REFUSED("partial_rotary_factor")},
        {"stablelm", "\"num_attention_heads\":6,\"num_key_value_heads\":6",
         WRONG("2560 is not a multiple of 6")},
        {"stablelm", "\"num_attention_heads\":20", WRONG("not a multiple of 32")},
        {"nemotron", "\"hidden_act\":\"relu6\"", REFUSED("'relu6'")},
        {"gemma2", "\"hidden_activation\":\"quick_gelu\"", REFUSED("'quick_gelu'")},
        {"smollm3", "\"no_rope_layers\":[1,0]", WRONG("has 2 entries for 36 layers")},
        {"smollm3", "\"no_rope_layers\":4", WRONG("'no_rope_layers' is 4: expected a list")},
        {"smollm3", "\"use_sliding_window\":true,\"sliding_window\":null", WRONG("is off")},
        {"cohere2", "\"sliding_window\":null", WRONG("'sliding_window' is off, and layer 0")},
        {"gemma2", "\"sliding_window\":null", WRONG("has a window: expected its size")},
        {"gemma2", "\"num_hidden_layers\":1,\"layer_types\":[\"linear_attention\"]",
         REFUSED("layer_types[0] is \"linear_attention\"")},
        {"gemma2", "\"num_hidden_layers\":1,\"layer_types\":[]", WRONG("layer_types")},
        {"gemma3_text", "\"sliding_window_pattern\":6,\"_sliding_window_pattern\":3",
         WRONG("'_sliding_window_pattern' is 3")},
        {"gemma3_text", "\"rope_local_base_freq\":0", WRONG("rope_theta is 0")},
        {"gemma3_text",
         "\"rope_local_base_freq\":5000,\"rope_parameters\":{\"full_attention\":{},"
         "\"sliding_attention\":{\"rope_theta\":10000}}",
         WRONG("rope_local_base_freq is 5000")},
        {"gemma2", "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":10000}}",
         REFUSED("'full_attention'")},
    };
    CHECK(rows);
}
END_TEST

/* --- layers that take turns ------------------------------------------------------------------- */

/* "w.rn": for each layer whether it has a window (w) and whether it rotates nothing (n); b: both.
 */
static void assert_turns(const char *type, const char *members, const char *turns) {
    char found[16] = "";
    for (size_t i = 0; turns[i]; i++) {
        const trait_set traits = traits_of(type, members, (int64_t)i);
        found[i] = ".wnb"[((traits & T_WINDOW) != 0) + 2 * ((traits & T_NO_ROPE) != 0)];
    }
    ck_assert_msg(strcmp(found, turns) == 0, "%s: %s: expected %s, found %s", type, members, turns,
                  found);
}

/* Convolutions and attention. */
START_TEST(layers_of_lfm2_by_either_key) {
    static const char six[] = "\"num_hidden_layers\":6,\"full_attn_idxs\":[2,5]";
    static const char types[] = "\"num_hidden_layers\":3,\"layer_types\":[\"conv\","
                                "\"full_attention\",\"conv\"],\"full_attn_idxs\":null";
    for (int64_t i = 0; i < 6; i++)
        ck_assert_int_eq((traits_of("lfm2", six, i) & T_RECURRENT) != 0, i != 2 && i != 5);
    for (int64_t i = 0; i < 3; i++)
        ck_assert_int_eq((traits_of("lfm2", types, i) & T_RECURRENT) != 0, i != 1);
    ck_assert_int_eq(traits_of("lfm2", "", 0) & T_RECURRENT, 0);
}
END_TEST

/* Null says that nothing is rotated, a missing key what transformers takes it for. */
START_TEST(olmo_hybrid_rotates_unless_its_base_is_null) {
    static const char null_base[] = "\"rope_parameters\":{\"rope_theta\":null,"
                                    "\"rope_type\":\"default\"}";
    ck_assert_uint_eq(traits_of("olmo_hybrid", "", 0) & T_A, T_A);
    ck_assert_uint_eq(traits_of("olmo_hybrid", null_base, 0) & T_A, 0);
    ck_assert_uint_eq(traits_of("olmo_hybrid", "\"rope_theta\":null", 0) & T_A, 0);
    ck_assert_uint_eq(traits_of("olmo_hybrid", "\"rope_theta\":500000.0", 0) & T_A, T_A);
    ck_assert_int_eq(dim_of("olmo_hybrid", "", DIM_DELTA_KEY), 96);
    ck_assert_int_eq(dim_of("olmo_hybrid", "", DIM_DELTA_V), 30 * 192);
    ck_assert_int_eq(dim_of("olmo_hybrid", "\"linear_key_head_dim\":64", DIM_DELTA_VALUE), 128);
}
END_TEST

/* Which layers of 8 are recurrent. */
static void assert_recurrent(const char *type, const char *members, const char *expected) {
    char found[16] = "";
    for (int64_t i = 0; expected[i]; i++)
        found[i] = traits_of(type, members, i) & T_RECURRENT ? 'r' : '.';
    ck_assert_msg(strcmp(found, expected) == 0, "%s: %s: %s", type, members, found);
}

START_TEST(recurrent_layers_take_turns) {
    static const char *const quarters[] = {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text",
                                           "olmo_hybrid"};
    for (size_t i = 0; i < sizeof quarters / sizeof quarters[0]; i++)
        assert_recurrent(quarters[i], "", "rrr.rrr.");
    assert_recurrent("qwen3_next", "\"full_attention_interval\":2", "r.r.r.r.");
    assert_recurrent("minimax", "", ".r.r.r.r");
}
END_TEST

/* LFM2-1.2B, LFM2-350M, and 2048 as it stands. */
START_TEST(an_mlp_is_fitted_to_two_thirds) {
    ck_assert_int_eq(dim_of("lfm2", "", DIM_FITTED_FFN), 8192);
    ck_assert_int_eq(dim_of("lfm2", "\"block_ff_dim\":6656", DIM_FITTED_FFN), 4608);
    ck_assert_int_eq(
        dim_of("lfm2", "\"block_ff_dim\":6656,\"block_ffn_dim_multiplier\":1.5", DIM_FITTED_FFN),
        6656);
    ck_assert_int_eq(dim_of("lfm2", "\"intermediate_size\":2000,\"block_auto_adjust_ff_dim\":false",
                            DIM_FITTED_FFN),
                     2000);
}
END_TEST

START_TEST(layers_take_turns) {
    assert_turns("smollm3", "", "...n...n");
    assert_turns("smollm3", "\"no_rope_layer_interval\":2", ".n.n");
    assert_turns("smollm3", "\"num_hidden_layers\":3,\"no_rope_layers\":[0,1,1]", "n..");
    assert_turns("smollm3",
                 "\"num_hidden_layers\":3,\"no_rope_layers\":[0,1,1],\"use_sliding_window\":true,"
                 "\"sliding_window\":64",
                 "b..");
    assert_turns("smollm3",
                 "\"num_hidden_layers\":2,\"no_rope_layers\":[0,1],\"use_sliding_window\":true,"
                 "\"sliding_window\":64,\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
                 "nw");
    assert_turns("cohere2", "", "wwwnwwwn");
    assert_turns("cohere2", "\"_sliding_window_pattern\":2", "wnwn");
    assert_turns("cohere2",
                 "\"num_hidden_layers\":2,\"layer_types\":[\"full_attention\","
                 "\"sliding_attention\"]",
                 "nw");
    assert_turns("gemma", "", "....");
    assert_turns("gemma2", "", "w.w.");
    assert_turns("gemma2",
                 "\"num_hidden_layers\":2,\"layer_types\":[\"full_attention\","
                 "\"sliding_attention\"]",
                 ".w");
    assert_turns("gemma3_text", "", "wwwww.wwwww.");
    assert_turns("gemma3_text", "\"sliding_window_pattern\":3", "ww.ww.");
}
END_TEST

/* --- numbers ---------------------------------------------------------------------------------- */

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-12 * fabs(b);
}

/* A base for each layer says no more than which of them rotate. */
START_TEST(bases_of_layers_are_the_models_or_none) {
    static const char some[] = "\"num_hidden_layers\":2,\"layer_rope_theta\":[10000,0]";
    static const struct row rows[] = {
        {"apertus", "\"hidden_act\":\"silu\"", REFUSED("'hidden_act' is \"silu\": expected xielu")},
        {"llama", "\"hidden_act\":\"xielu\"", REFUSED("hidden_act 'xielu' is not supported")},
        {"granite_swa", "\"num_hidden_layers\":2,\"layer_rope_theta\":[10000,500]",
         REFUSED("layer_rope_theta[1] is 500: expected 0 or 10000")},
    };
    ck_assert(!(traits_of("granite_swa", some, 0) & (T_NO_ROPE | T_WINDOW)));
    ck_assert(traits_of("granite_swa", some, 1) & T_NO_ROPE);
    ck_assert(traits_of("granite_swa", "", 3) & T_WINDOW);
    ck_assert(!(traits_of("granite_swa", "", 4) & T_WINDOW));
    /* every fourth, counted from the last */
    ck_assert(traits_of("muse_glimmer_text", "\"num_hidden_layers\":6", 1) & T_NO_ROPE);
    ck_assert(traits_of("muse_glimmer_text", "\"num_hidden_layers\":6", 2) & T_WINDOW);
    ck_assert(!(traits_of("muse_glimmer_text", "\"num_hidden_layers\":6", 5) & T_WINDOW));
    CHECK(rows);
}
END_TEST

START_TEST(factors_are_what_the_keys_say) {
    ck_assert(near(number_of("granite", "\"logits_scaling\":16", NUM_LOGITS), 1 / 16.0));
    ck_assert(near(number_of("granite", "\"attention_multiplier\":0.5", NUM_ATTN_SCALE), 0.5));
    ck_assert(near(number_of("granite", "\"residual_multiplier\":0.22", NUM_RESIDUAL), 0.22));
    ck_assert(near(number_of("granite", "\"embedding_multiplier\":12", NUM_EMBED), 12));
    ck_assert(near(number_of("cohere", "", NUM_LOGITS), 0.0625));
    ck_assert(near(number_of("gemma", "\"hidden_size\":2048", NUM_EMBED), sqrt(2048)));
    ck_assert(
        near(number_of("gemma2", "\"query_pre_attn_scalar\":224", NUM_ATTN_SCALE), 1 / sqrt(224)));
    ck_assert(near(number_of("gemma2", "", NUM_SOFT_CAP), 50));
    ck_assert(near(number_of("gemma2", "\"attn_logit_softcapping\":null", NUM_SOFT_CAP), 0));
    ck_assert(near(number_of("gemma3_text", "", NUM_FINAL_CAP), 0));
    ck_assert(near(number_of("olmo", "\"clip_qkv\":8", NUM_CLIP), 8));
    ck_assert_int_eq(dim_of("nemotron", "", DIM_ROT), 64);
    ck_assert_int_eq(dim_of("glm", "\"rope_parameters\":{\"partial_rotary_factor\":0.25}", DIM_ROT),
                     32);
}
END_TEST

static void assert_same_rope(const struct rope_config *a, const struct rope_config *b) {
    ck_assert(a->type == b->type && near(a->theta, b->theta) && near(a->factor, b->factor));
}

/* Gemma 3's layers with and without a window, in the words of transformers 4 and 5. */
START_TEST(windowed_layers_have_a_rotation_of_their_own) {
    struct model_config v4 = {0}, v5 = {0};
    llmq_error err;
    ck_assert_ok(parse_members("gemma3_text",
                               "\"rope_theta\":2e6,\"rope_local_base_freq\":5000,"
                               "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}",
                               &v4, &err),
                 &err);
    ck_assert_ok(parse_members("gemma3_text",
                               "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":2e6,"
                               "\"rope_type\":\"linear\",\"factor\":8},\"sliding_attention\":{"
                               "\"rope_theta\":5000,\"rope_type\":\"default\"}}",
                               &v5, &err),
                 &err);
    ck_assert(v4.rope.type == ROPE_LINEAR && near(v4.rope.factor, 8) && near(v4.rope.theta, 2e6));
    ck_assert(v4.local_rope.type == ROPE_DEFAULT && near(v4.local_rope.theta, 5000));
    assert_same_rope(&v4.rope, &v5.rope);
    assert_same_rope(&v4.local_rope, &v5.local_rope);
    config_free(&v4);
    config_free(&v5);
}
END_TEST

int main(void) {
    Suite *s = suite_create("config_relatives");
    TCase *t = tcase_create("config_relatives");
    tcase_add_test(t, configs_of_released_models_are_read);
    tcase_add_test(t, switches_that_llmq_has_no_part_for_are_refused);
    tcase_add_test(t, values_that_cannot_be_are_refused);
    tcase_add_test(t, layers_of_lfm2_by_either_key);
    tcase_add_test(t, olmo_hybrid_rotates_unless_its_base_is_null);
    tcase_add_test(t, recurrent_layers_take_turns);
    tcase_add_test(t, an_mlp_is_fitted_to_two_thirds);
    tcase_add_test(t, layers_take_turns);
    tcase_add_test(t, bases_of_layers_are_the_models_or_none);
    tcase_add_test(t, factors_are_what_the_keys_say);
    tcase_add_test(t, windowed_layers_have_a_rotation_of_their_own);
    suite_add_tcase(s, t);
    return run_suite(s);
}
