/* SPDX-License-Identifier: Apache-2.0 */
/* Muse Glimmer, the text model: norms before and behind each branch, a gate on the output of
 * attention, norms without weights of the embedding and of the heads of queries and keys; layers
 * with a window rotate, every fourth from the last on has none. Defaults: transformers'
 * MuseGlimmerTextConfig. */
#include "models/families/tables.h"

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(T_ATTENTION_BIAS),
    {NORM(Q_NORM, Q, NULL), .groups = DIM_HEADS, .norm = NORM_RMS_BARE},
    {NORM(K_NORM, K, NULL), .groups = DIM_KV_HEADS, .norm = NORM_RMS_BARE},
    ROTATE_ROWS(Q_NORM, K_NORM),
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},
    {LINEAR(ATTN_GATE, ATTN_IN, ATTN, "self_attn.gate_proj"), .bias = T_ATTENTION_BIAS},
    {GLU(ATTN_GATED, ATTN_GATE, CONTEXT), .act = ACT_SIGMOID},
    {LINEAR(ATTN_OUT, ATTN_GATED, HIDDEN, "self_attn.o_proj"), .bias = T_ATTENTION_BIAS},
    {NORM(ATTN_POST, ATTN_OUT, "post_attention_layernorm"), .eps_number = NUM_POST_EPS},
    {ADD(Y, X, ATTN_POST)},
    {NORM(MLP_IN, Y, "pre_feedforward_layernorm")},
    GATED_ROWS(MLP_IN, 0),
    {NORM(MLP_POST, MLP_OUT, "post_feedforward_layernorm"), .eps_number = NUM_POST_EPS},
    {ADD(Z, Y, MLP_POST)},
    {END},
};

static const struct setting settings[] = {
    SIZES(202048, 6656, 52, 32, 131072),
    KV_HEADS(2),
    HEAD_DIM(128),
    FFN(19968),
    WINDOW(2048),
    THETA(10000),
    RMS_EPS(1e-5),
    NUMBER(POST_EPS, "post_norm_eps", 1e-8),
    TIED(false),
    FLAG(T_ATTENTION_BIAS, "attention_bias", false),
    NUMBER(ATTN_GAIN, "qk_scale_factor", 3.87),
    NUMBER(LOGITS, "output_multiplier", 0.19611613513818404),
    CAP(FINAL_CAP, "final_logit_softcapping", 20),
    {0},
};

static const struct layer_rule rules[] = {
    {ALL_LAYERS(T_WINDOW)},
    {EVERY(T_WINDOW, NULL, 4), .from_last = true, .clears = true},
    {EVERY(T_NO_ROPE, NULL, 4), .from_last = true},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_NUMBER(T_NO_ROPE, "layer_rope_theta", 0), .others = NUM_THETA},
    {0},
};

static const char *const architectures[] = {"MuseGlimmerForCausalLM", "MuseGlimmerTextModel", NULL};
static const char *const inherent[] = {"qk_norm", "use_qk_norm", NULL};

const struct family family_muse_glimmer_text = {
    .name = "muse_glimmer_text",
    .model_types = {"muse_glimmer_text"},
    LLAMA_TENSOR_NAMES,
    .embedding_norm = "model.embed_norm",
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS1,
    .first_norm = NORM_RMS_BARE,
    .last_norm = NORM_RMS,
    .act_key = "hidden_activation",
    .act = ACT_SILU,
    .architectures = architectures,
    .inherent_keys = inherent,
};
