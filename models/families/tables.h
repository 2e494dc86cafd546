/* SPDX-License-Identifier: Apache-2.0 */
/* The families' tables. */
#ifndef LLMQ_MODELS_FAMILIES_TABLES_H
#define LLMQ_MODELS_FAMILIES_TABLES_H

#include "models/family.h"
#include "models/rows.h"

extern const struct family family_afmoe;
extern const struct family family_apertus;
extern const struct family family_arcee;
extern const struct family family_axk1;
extern const struct family family_bailing_moe;
extern const struct family family_bailing_moe_v2;
extern const struct family family_bitnet;
extern const struct family family_bamba;
extern const struct family family_bloom;
extern const struct family family_chatglm;
extern const struct family family_codegen;
extern const struct family family_cohere2;
extern const struct family family_cohere2_moe;
extern const struct family family_cohere;
extern const struct family family_cwm;
extern const struct family family_dbrx;
extern const struct family family_deepseek;
extern const struct family family_deepseek_v2;
extern const struct family family_deepseek_v3;
extern const struct family family_deepseek_v32;
extern const struct family family_diffllama;
extern const struct family family_doge;
extern const struct family family_dots1;
extern const struct family family_ernie4_5;
extern const struct family family_ernie4_5_moe;
extern const struct family family_exaone;
extern const struct family family_exaone4;
extern const struct family family_exaone_moe;
extern const struct family family_falcon;
extern const struct family family_falcon_h1;
extern const struct family family_falcon_mamba;
extern const struct family family_flex_olmo;
extern const struct family family_gemma2;
extern const struct family family_gemma3;
extern const struct family family_gemma4;
extern const struct family family_gemma;
extern const struct family family_glm4;
extern const struct family family_glm4_moe;
extern const struct family family_glm4_moe_lite;
extern const struct family family_glm;
extern const struct family family_glm4v_moe_text;
extern const struct family family_glm4v_text;
extern const struct family family_glm_moe_dsa;
extern const struct family family_gpt2;
extern const struct family family_gpt_bigcode;
extern const struct family family_gpt_neo;
extern const struct family family_gpt_neox;
extern const struct family family_gpt_oss;
extern const struct family family_gptj;
extern const struct family family_granite;
extern const struct family family_granite_swa;
extern const struct family family_granitemoe;
extern const struct family family_granitemoehybrid;
extern const struct family family_helium;
extern const struct family family_hunyuan_v1_dense;
extern const struct family family_hunyuan_v1_moe;
extern const struct family family_hy_v3;
extern const struct family family_hyperclovax;
extern const struct family family_internlm2;
extern const struct family family_internlm3;
extern const struct family family_jais2;
extern const struct family family_jamba;
extern const struct family family_laguna;
extern const struct family family_lfm2;
extern const struct family family_lfm2_moe;
extern const struct family family_llama4_text;
extern const struct family family_longcat_flash;
extern const struct family family_mamba;
extern const struct family family_mamba2;
extern const struct family family_llama;
extern const struct family family_mellum;
extern const struct family family_mimo;
extern const struct family family_mimo_v2_flash;
extern const struct family family_minicpm;
extern const struct family family_minicpm3;
extern const struct family family_minimax;
extern const struct family family_minimax_m2;
extern const struct family family_minimax_m3_vl_text;
extern const struct family family_ministral;
extern const struct family family_ministral3;
extern const struct family family_mistral4;
extern const struct family family_mistral;
extern const struct family family_mixtral;
extern const struct family family_mpt;
extern const struct family family_muse_glimmer_text;
extern const struct family family_nanochat;
extern const struct family family_nemotron;
extern const struct family family_nemotron_h;
extern const struct family family_olmo2;
extern const struct family family_olmo;
extern const struct family family_olmo3;
extern const struct family family_olmo_hybrid;
extern const struct family family_olmoe;
extern const struct family family_opt;
extern const struct family family_persimmon;
extern const struct family family_phi3;
extern const struct family family_phi;
extern const struct family family_qwen;
extern const struct family family_qwen2;
extern const struct family family_qwen2_5_vl_text;
extern const struct family family_qwen2_moe;
extern const struct family family_qwen3;
extern const struct family family_qwen3_moe;
extern const struct family family_qwen3_vl_moe_text;
extern const struct family family_qwen3_vl_text;
extern const struct family family_recurrent_gemma;
extern const struct family family_qwen3_next;
extern const struct family family_qwen3_5;
extern const struct family family_qwen3_5_moe;
extern const struct family family_seed_oss;
extern const struct family family_smollm3;
extern const struct family family_solar_open;
extern const struct family family_stablelm;
extern const struct family family_starcoder2;
extern const struct family family_vaultgemma;
extern const struct family family_xglm;
extern const struct family family_youtu;
extern const struct family family_zamba2;

/* The names that Llama gave its tensors and that most families kept. */
/* clang-format off */
/* What DeepSeek-V3 and those after it call the parts of a layer that predicts further tokens. */
#define EH_PROJ_WIRING .token_norm = "enorm", .hidden_norm = "hnorm", .projection = "eh_proj"

#define LLAMA_TENSOR_NAMES                                 \
    .embedding      = "model.embed_tokens.weight",         \
    .block_prefix   = "model.layers.%lld.",                \
    .final_norm     = "model.norm",                        \
    .head           = "lm_head.weight"

/* Of Mamba and what came of it. */
#define BACKBONE_NAMES                                                                              \
    .embedding = "backbone.embeddings.weight",                                                      \
    .block_prefix = "backbone.layers.%lld.",                                                        \
    .final_norm = "backbone.norm_f",                                                                \
    .head = "lm_head.weight"
/* The same with the last norm called what it is. */
#define LATE_NORM_NAMES                                                                             \
    .embedding = "model.embed_tokens.weight",                                                       \
    .block_prefix = "model.layers.%lld.",                                                           \
    .final_norm = "model.final_layernorm",                                                          \
    .head = "lm_head.weight"

/* The names that GPT-2 gave its tensors. */
#define GPT_TENSOR_NAMES                                                                            \
    .embedding = "transformer.wte.weight",                                                          \
    .block_prefix = "transformer.h.%lld.",                                                          \
    .final_norm = "transformer.ln_f",                                                               \
    .head = "lm_head.weight"

/* Of experts that lie in stacks. */
#define STACKED_LIMITS                                                                              \
    {"transformers", NULL, true, "keeps the experts of this model stacked, and has no packed form"}

/* DeepSeek-V3's routing, which many took over: sigmoids and a bias that chooses, by groups; weights
 * that add up to 1, times a factor. */
#define V3_ROUTER_ROW                                                                               \
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .score = SCORE_SIGMOID,                                     \
     .choice_bias = "mlp.gate.e_score_correction_bias", .when = T_SPARSE}
#define V3_ROUTED_ROWS(expert)                                                                      \
    ROUTED_AND_SHARED_ROWS("mlp.experts.%d.", expert, "mlp.shared_experts")
#define V3_SCORES                                                                                   \
    WORD(0, "scoring_func", "sigmoid"),                                                             \
    WORD(0, "topk_method", "noaux_tc")
#define V3_EXPERTS(experts, top_k, ffn)                                                             \
    DIM(EXPERTS, "n_routed_experts", experts),                                                      \
    DIM(TOP_K, "num_experts_per_tok", top_k),                                                       \
    DIM(EXPERT_FFN, "moe_intermediate_size", ffn),                                                  \
    DIM_OR_NONE(N_SHARED, "n_shared_experts", 1)
#define V3_CHOICE(groups, top_groups, factor)                                                       \
    DIM(N_GROUPS, "n_group", groups),                                                               \
    DIM(TOP_GROUPS, "topk_group", top_groups),                                                      \
    FLAG(T_NORM_TOPK, "norm_topk_prob", true),                                                      \
    NUMBER(ROUTED, "routed_scaling_factor", factor)

/* The keys that GPT-2 gave its sizes, and those that later configs call them by as well. */
#define GPT_SIZES(vocab, hidden, layers, heads, positions)              \
    DIM(VOCAB, "vocab_size", vocab),                                    \
    DIM(HIDDEN, "n_embd|hidden_size", hidden),                          \
    DIM(LAYERS, "n_layer|num_hidden_layers", layers),                   \
    DIM(HEADS, "n_head|num_attention_heads", heads),                    \
    DIM(POSITIONS, "n_positions|max_position_embeddings", positions)
/* clang-format on */

#endif
