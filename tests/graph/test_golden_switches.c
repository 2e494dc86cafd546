/* SPDX-License-Identifier: Apache-2.0 */
/* Switches of config.json, one by one: turned, each changes the logits by as much as it does in the
 * reference implementation. A switch that is not honoured changes nothing. And values that the
 * tensors contradict are refused, naming the tensor. The cases are in the shared data. */
#define _XOPEN_SOURCE 700 /* realpath */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "golden_case.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

/* clang-format off */
#define YARN                                                                         \
    "{\"rope_type\":\"yarn\",\"factor\":4.0,\"beta_fast\":4.0,\"beta_slow\":0.5,"        \
    "\"original_max_position_embeddings\":16"
struct edit {
    const char *key, *value; /* NULL: the key is taken away */
};

static const struct {
    const char *name, *turned; /* the case, and what its file calls the switch */
    struct edit edits[2];
} rows[] = {
    {"llama-base", "rope_theta=5e5", {{"rope_theta", "500000.0"}}},
    {"llama-rope-linear", "no_scaling", {{"rope_scaling", "null"}}},
    {"llama-rope-llama3", "no_scaling", {{"rope_scaling", "null"}}},
    {"llama-rope-yarn", "no_scaling", {{"rope_scaling", "null"}}},
    {"llama-rope-yarn", "attn_factor=1", {{"rope_scaling", YARN ",\"attention_factor\":1.0}"}}},
    {"mistral-swa", "full", {{"sliding_window", "null"}}},
    {"mistral-swa", "window+1", {{"sliding_window", "8"}}},
    {"qwen2", "swa_on", {{"use_sliding_window", "true"},
                         {"layer_types", "[\"full_attention\",\"sliding_attention\"]"}}},
    {"qwen3", "eps", {{"rms_norm_eps", "1e-6"}}},
    {"cohere", "scale", {{"logit_scale", "1.0"}}},
    {"cohere2", "pattern3", {{"sliding_window_pattern", "3"}}},
    {"cohere2", "full", {{"sliding_window", "64"}}},
    {"gemma", "gelu_erf", {{"hidden_activation", "\"gelu\""}}},
    {"gemma2", "no_attn_cap", {{"attn_logit_softcapping", "null"}}},
    {"gemma2", "no_final_cap", {{"final_logit_softcapping", "null"}}},
    {"gemma2", "scalar=head_dim", {{"query_pre_attn_scalar", "24"}}},
    {"gemma2", "full", {{"sliding_window", "64"}}},
    {"gemma3-text", "local=global_theta", {{"rope_local_base_freq", "1000000.0"}}},
    {"gemma3-text", "no_scaling", {{"rope_scaling", "null"}}},
    {"gemma3-text", "full", {{"sliding_window", "64"}}},
    {"gemma3-text", "pattern2", {{"sliding_window_pattern", "2"}}},
    {"mixtral", "top1", {{"num_experts_per_tok", "1"}}},
    {"mixtral", "top3", {{"num_experts_per_tok", "3"}}},
    {"qwen2-moe", "norm_topk", {{"norm_topk_prob", "true"}}},
    {"qwen3-moe", "no_norm_topk", {{"norm_topk_prob", "false"}}},
    {"olmoe", "norm", {{"norm_topk_prob", "true"}}},
    {"olmoe", "noclip", {{"clip_qkv", "null"}}},
    {"deepseek-v3", "no_yarn", {{"rope_scaling", "null"}}},
    {"deepseek-v3", "no_interleave", {{"rope_interleave", "false"}}},
    {"deepseek-v3", "group", {{"topk_group", "4"}}},
    {"deepseek-v3", "nonorm", {{"norm_topk_prob", "false"}}},
    {"deepseek-v3", "scale", {{"routed_scaling_factor", "1.0"}}},
    {"deepseek-v3", "eps", {{"rms_norm_eps", "1e-6"}}},
    {"gpt-oss", "truncate", {{"rope_scaling", YARN ",\"truncate\":true}"}}},
    {"gpt-oss", "full", {{"sliding_window", "64"}}},
    {"gpt-neo", "window", {{"window_size", "64"}}},
    {"gpt-neox", "sequential", {{"use_parallel_residual", "false"}}},
    {"gpt-neox", "theta", {{"rotary_emb_base", "10000"}, {"rope_theta", "10000"}}},
    {"granite", "emb", {{"embedding_multiplier", "1.0"}}},
    {"granite", "att", {{"attention_multiplier", "0.25"}}},
    {"granite", "res", {{"residual_multiplier", "1.0"}}},
    {"granite", "log", {{"logits_scaling", "1.0"}}},
    {"mpt", "noclip", {{"attn_config", NULL}}},
    {"olmo", "noclip", {{"clip_qkv", "null"}}},
    {"phi", "partial=1", {{"partial_rotary_factor", "1.0"}}},
    {"phi3", "full", {{"sliding_window", "null"}}},
    {"phi3-longrope-short", "no_scaling", {{"rope_scaling", "null"}}},
    {"phi4mini-partial", "no_scaling", {{"rope_scaling", "null"}}},
    {"smollm3", "all_rope", {{"no_rope_layers", "[1,1,1]"}}},
    {"starcoder2", "full", {{"sliding_window", "null"}}},
};

static const struct {
    const char *name;
    struct edit edits[2];
    const char *part; /* of the message */
} refused[] = {
    {"gemma2", {{"head_dim", "32"}},
      "self_attn.q_proj.weight' has shape [96, 64]; config.json implies [128, 64]"},
    {"gemma2", {{"num_hidden_layers", "4"}}, "'model.layers.3.input_layernorm.weight' is missing"},
    {"gemma3-text", {{"tie_word_embeddings", "false"}}, "'lm_head.weight' is missing"},
    {"gemma", {{"num_key_value_heads", "3"}}, "config.json implies [96, 72]"},
    {"glm", {{"intermediate_size", "64"}},
      "mlp.gate_up_proj.weight' has shape [256, 64]; config.json implies [128, 64]"},
    {"glm", {{"attention_bias", "false"}}, "self_attn.k_proj.bias': a bias that is not zero"},
    {"glm", {{"model_type", "\"glm4\""}, {"architectures", "null"}},
      "post_self_attn_layernorm.weight' is missing"},
    {"glm4", {{"model_type", "\"glm\""}, {"architectures", "null"}},
      "post_mlp_layernorm.weight': glm models have no such part"},
    {"cohere", {{"use_qk_norm", "true"}}, "self_attn.q_norm.weight' is missing"},
    {"olmo", {{"attention_bias", "true"}}, "self_attn.q_proj.bias' is missing"},
    {"olmo2", {{"model_type", "\"olmo\""}, {"architectures", "null"}},
      "loaders take 1e-05 for every olmo model"},
    {"arcee", {{"mlp_bias", "true"}}, "mlp.up_proj.bias' is missing"},
    {"stablelm", {{"use_qkv_bias", "false"}}, "self_attn.k_proj.bias': a bias that is not zero"},
    {"granite", {{"hidden_size", "128"}},
      "'model.embed_tokens.weight' has shape [128, 64]; config.json implies [128, 128]"},
    {"smollm3", {{"num_key_value_heads", "1"}}, "config.json implies [16, 64]"},
    {"ernie4-5", {{"use_bias", "true"}}, "self_attn.q_proj.bias' is missing"},
    /* mixtures of experts, by themselves and stacked */
    {"mixtral", {{"num_local_experts", "5"}}, "config.json implies [5, 64]"},
    {"mixtral", {{"num_local_experts", "3"}}, "config.json implies [3, 64]"},
    {"mixtral", {{"num_experts_per_tok", "5"}}, "num_experts_per_tok 5: expected 1 to 4"},
    {"mixtral", {{"num_experts_per_tok", "0"}}, "num_experts_per_tok"},
    {"mixtral", {{"intermediate_size", "48"}}, "experts.0.w1.weight' has shape"},
    {"mixtral", {{"hidden_act", "\"foo\""}}, "hidden_act 'foo' is not supported"},
    {"mixtral", {{"model_type", "\"qwen3_moe\""}, {"architectures", "null"}}, "config.json"},
    {"qwen2-moe", {{"moe_intermediate_size", "48"}}, "experts.0.gate_proj.weight' has shape"},
    {"qwen2-moe", {{"shared_expert_intermediate_size", "64"}},
      "shared_expert.gate_proj.weight' has shape"},
    {"qwen2-moe", {{"mlp_only_layers", "[0, 1]"}}, "'model.layers.1.mlp.gate_proj.weight'"},
    {"qwen3-moe", {{"decoder_sparse_step", "0"}}, "layers.1.mlp.gate_proj.weight' is missing"},
    {"granitemoe", {{"num_local_experts", "5"}}, "config.json implies [5, 64]"},
    {"granitemoe", {{"intermediate_size", "48"}}, "input_linear.weight' has shape"},
    {"gpt-oss", {{"intermediate_size", "32"}}, "mlp.experts.gate_up_proj"},
    {"gpt-oss", {{"layer_types", "[\"foo\",\"full_attention\"]"}}, "layer_types[0] is \"foo\""},
    {"llama4-text", {{"num_local_experts", "4"}}, "feed_forward.router.weight' has shape"},
    {"llama4-text", {{"moe_layers", "[]"}}, "'model.layers.1.feed_forward.gate_proj.weight'"},
    /* groups of experts and latents */
    {"deepseek-v3", {{"n_group", "3"}}, "n_group 3: expected a divisor of the 8 experts"},
    {"deepseek-v3", {{"topk_group", "1000"}}, "topk_group 1000: expected 1 to 4"},
    {"deepseek-v3", {{"topk_group", "1"}, {"num_experts_per_tok", "3"}},
      "num_experts_per_tok 3: expected 1 to 2"},
    {"deepseek-v3", {{"kv_lora_rank", "20"}}, "kv_a_proj_with_mqa.weight' has shape"},
    {"deepseek-v3", {{"q_lora_rank", "null"}}, "self_attn.q_proj.weight' is missing"},
    {"deepseek-v3", {{"qk_rope_head_dim", "7"}}, "config.json"},
    {"deepseek-v3", {{"v_head_dim", "24"}}, "kv_b_proj.weight' has shape"},
    {"deepseek-v3", {{"first_k_dense_replace", "0"}}, "'model.layers.0.mlp.gate.e_score_correction_bias' is missing"},
    {"deepseek-v3", {{"scoring_func", "\"foo\""}}, "scoring_func"},
    {"deepseek-v3", {{"rope_scaling", "{\"rope_type\":\"foo\",\"factor\":2.0}"}},
      "rope type 'foo' is not supported"},
    /* layers with two attentions, idle experts, pairs of heads, shared blocks, lifted keys */
    {"longcat-flash", {{"zero_expert_num", "0"}}, "mlp.router.e_score_correction_bias' has shape"},
    {"longcat-flash", {{"num_layers", "3"}},
      "'model.layers.2.input_layernorm.0.weight' is missing"},
    {"diffllama", {{"num_key_value_heads", "1"}}, "the split that makes V_LEFT: it has no width"},
    {"diffllama", {{"head_dim", "8"}}, "self_attn.q_proj.weight' has shape"},
    {"zamba2", {{"num_mem_blocks", "2"}},
      "'model.layers.2.shared_transformer.input_layernorm.weight' is missing"},
    {"zamba2", {{"adapter_rank", "8"}}, "linear_q_adapter_list.0.0.weight' has shape"},
    {"zamba2", {{"use_shared_attention_adapter", "false"}},
      "linear_k_adapter_list.0.0.weight': zamba2 models have no such part"},
    {"doge", {{"num_key_value_heads", "1"}}, "self_attn.k_proj.weight' has shape"},
    /* fused and stored as [in, out] */
    {"phi3", {{"num_key_value_heads", "1"}}, "self_attn.qkv_proj.weight' has shape"},
    {"phi3", {{"num_attention_heads", "3"}}, "config.json"},
    {"gpt2", {{"n_inner", "96"}}, "mlp.c_fc.bias' has shape [192]"},
    {"gpt2", {{"activation_function", "\"foo\""}}, "activation_function 'foo' is not supported"},
};
/* clang-format on */

/* The text with a key set or taken away; frees the text. */
static char *edit(char *text, const char *key, const char *value) {
    llmq_error err = {0};
    char *edited = NULL;
    ck_assert_ok(value ? json_text_set(text, strlen(text), key, value, &edited, &err)
                       : json_text_remove(text, strlen(text), key, &edited, &err),
                 &err);
    free(text);
    return edited;
}

static char *edited_config(const char *dir, const struct edit edits[2]) {
    llmq_error err = {0};
    char *text = NULL, *path = path_join(dir, "config.json", NULL);
    size_t len = 0;
    ck_assert_ok(file_read(path, 1 << 20, &text, &len, &err), &err);
    free(path);
    for (int i = 0; i < 2 && edits[i].key; i++)
        text = edit(text, edits[i].key, edits[i].value);
    return text;
}

/* A folder with the case's files and another config; NULL: the case is not there. */
static char *assemble(const char *name, const struct edit edits[2]) {
    static const char *const kept[] = {"model.safetensors", "expected.json",
                                       "expected.safetensors"};
    llmq_error err = {0};
    char path[64];
    snprintf(path, sizeof path, "golden/%s", name);
    char *dir = shared_path(path);
    if (!dir)
        return NULL;
    char *folder = path_join(scratch_path(""), "edited", NULL);
    char *config = edited_config(dir, edits);
    ck_assert_ok(dir_remove(folder, &err), &err);
    ck_assert_ok(dir_make(folder, false, &err), &err);
    for (int i = 0; i < 3; i++) {
        char *from = path_join(dir, kept[i], NULL), *to = path_join(folder, kept[i], NULL);
        char *target = realpath(from, NULL);
        ck_assert_int_eq(symlink(target, to), 0);
        free(target);
        free(from);
        free(to);
    }
    put_file("edited/config.json", config, strlen(config));
    free(config);
    free(dir);
    return folder;
}

START_TEST(a_switch_changes_the_logits_as_in_the_reference) {
    char *folder = assemble(rows[_i].name, rows[_i].edits);
    llmq_error err = {0};
    struct golden g = {0};
    if (folder) {
        double expected = 0;
        ck_assert_ok(golden_open(folder, "config.json", &g, &err), &err);
        const double found = golden_measure(&g).logits;
        const struct json *all = json_get(g.facts, "sensitivity_max_abs_logit_diff");
        ck_assert(json_as_double(json_get(all, rows[_i].turned), &expected));
        printf("%-20s %-20s %.6f  %.6f\n", rows[_i].name, rows[_i].turned, expected, found);
        ck_assert_msg(fabs(found - expected) <= GOLDEN_LOGITS, "%s, %s: expected %g, found %g",
                      rows[_i].name, rows[_i].turned, expected, found);
        golden_close(&g);
    }
    free(folder);
}
END_TEST

START_TEST(a_value_that_the_tensors_contradict_is_refused) {
    char *folder = assemble(refused[_i].name, refused[_i].edits);
    llmq_error err = {0};
    struct golden g = {0};
    if (folder) {
        const enum llmq_status status = golden_open(folder, "config.json", &g, &err);
        ck_assert_msg(status == LLMQ_E_INPUT || status == LLMQ_E_UNSUPPORTED, "%s: %s",
                      refused[_i].name, llmq_status_name(status));
        ck_assert_msg(strstr(err.message, refused[_i].part) != NULL,
                      "%s: the message lacks '%s': %s", refused[_i].name, refused[_i].part,
                      err.message);
        golden_close(&g);
    }
    free(folder);
}
END_TEST

int main(void) {
    Suite *s = suite_create("golden_switches");
    TCase *t = tcase_create("golden_switches");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, a_switch_changes_the_logits_as_in_the_reference, 0,
                        (int)(sizeof rows / sizeof rows[0]));
    tcase_add_loop_test(t, a_value_that_the_tensors_contradict_is_refused, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    suite_add_tcase(s, t);
    return run_suite(s);
}
