/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of config.json that change the forward pass: see config_neutral.h.
 *
 * Configs hold many keys, most of which say nothing about the computation, so that an unknown key
 * cannot be refused. What can be: the keys by which relatives of Llama's shape depart from it, each
 * with the value at which they do not. They come from the configuration and modeling files of
 * transformers 4.57 and of checkpoints that bring their own code: granite, cohere, olmo, stablelm,
 * minicpm, phi, gemma, falcon, gpt-neox, mpt, glm, deepseek, smollm3, qwen, exaone, hunyuan. A last
 * table catches names of the same kinds that are in no list. */
#include "models/config_neutral.h"

#include <string.h>

/* clang-format off */
static const struct {
    const char *key;
    enum neutral neutral;
} rules[] = {
    /* scales of embeddings, residuals, attention, logits */
    {"embedding_multiplier", ONE}, {"residual_multiplier", ONE}, {"logits_scaling", ONE},
    {"logit_scale", ONE}, {"logits_scale", ONE}, {"output_multiplier_scale", ONE},
    {"lm_head_multiplier", ONE}, {"lm_head_scale", ONE}, {"final_logit_scale", ONE},
    {"embedding_scale", ONE}, {"embed_scale", ONE}, {"scale_emb", ONE}, {"emb_scale", ONE},
    {"residual_scale", ONE}, {"hidden_scale", ONE}, {"width_scale", ONE},
    {"width_multiplier", ONE}, {"depth_multiplier", ONE}, {"mlp_multipliers", ONE},
    {"key_multiplier", ONE}, {"attention_in_multiplier", ONE}, {"attention_out_multiplier", ONE},
    {"rope_ratio", ONE}, {"rope_condense_ratio", ONE}, {"mup_width_scale", ONE},
    {"mup_embedding_multiplier", ONE}, {"layer_scale", ONE}, {"scale_depth", DEPTH_SCALE},
    {"dim_model_base", HIDDEN}, {"attention_multiplier", ATTENTION_SCALE},
    {"softmax_scale", ATTENTION_SCALE}, {"attention_scale", ATTENTION_SCALE},
    {"attn_scale", ATTENTION_SCALE}, {"query_pre_attn_scalar", QUERY_SCALAR},
    {"scale_embedding", OFF}, {"scale_embeddings", OFF}, {"normalize_embedding", OFF},
    {"normalize_embeddings", OFF}, {"embedding_layernorm", OFF}, {"word_embed_layer_norm", OFF},
    {"scale_attn_weights", ON}, {"scale_attn_by_inverse_layer_idx", OFF},
    {"attn_temperature_tuning", OFF}, {"floor_scale", OFF}, {"use_mup", OFF}, {"mup", OFF},
    {"use_logn_attn", OFF}, {"logn_attn", OFF},
    {"norm_head", OFF},
    /* caps */
    {"final_logit_softcapping", OFF}, {"attn_logit_softcapping", OFF}, {"logit_softcap", OFF},
    {"logits_soft_cap", OFF}, {"attn_logit_cap", OFF}, {"output_logit_cap", OFF},
    {"clip_qkv", OFF}, {"qkv_clip", OFF}, {"clip_qk", OFF}, {"attention_clip", OFF},
    {"swiglu_limit", OFF}, {"activation_clip", OFF},
    /* activation and feed-forward */
    {"hidden_act", ACTIVATION}, {"hidden_activation", ACTIVATION},
    {"activation_function", ACTIVATION}, {"mlp_hidden_act", ACTIVATION},
    {"ffn_activation", ACTIVATION}, {"activation", ACTIVATION}, {"gated_mlp", GATE},
    {"use_gated_mlp", GATE}, {"use_glu", GATE}, {"is_gated_act", GATE},
    {"gated_linear_unit", GATE}, {"use_gated_activation", GATE},
    {"activation_sparsity_pattern", OFF}, {"activation_sparsity", OFF},
    /* biases */
    {"attention_bias", OFF}, {"mlp_bias", OFF}, {"bias", OFF}, {"use_bias", OFF},
    {"use_biases", OFF}, {"qkv_bias", OFF}, {"use_qkv_bias", OFF}, {"add_qkv_bias", OFF},
    {"attention_qkv_bias", OFF}, {"attn_bias", OFF}, {"o_bias", OFF}, {"attention_out_bias", OFF},
    {"bias_o_proj", OFF}, {"attention_o_bias", OFF}, {"add_bias_linear", OFF},
    {"use_mlp_bias", OFF}, {"add_ffn_bias", OFF}, {"ffn_bias", OFF}, {"linear_bias", OFF},
    {"lm_head_bias", OFF}, {"head_bias", OFF}, {"output_bias", OFF}, {"use_lm_head_bias", OFF},
    {"norm_bias", NORM_BIAS}, {"no_bias", ON},
    /* norms and the residual stream */
    {"norm_type", NORM}, {"normalization", NORM}, {"normalization_type", NORM},
    {"layernorm_type", NORM}, {"layer_norm_type", NORM}, {"use_rms_norm", RMS},
    {"use_rmsnorm", RMS}, {"rms_norm", RMS}, {"rmsnorm", RMS}, {"use_layernorm", MEAN},
    {"use_layer_norm", MEAN}, {"post_norm", OFF}, {"use_post_norm", OFF}, {"norm_after", OFF},
    {"reordered_norm", OFF}, {"norm_reordering", OFF}, {"sandwich_norm", OFF}, {"peri_ln", OFF},
    {"post_layer_norm", OFF}, {"do_layer_norm_before", ON},
    {"apply_residual_connection_post_layernorm", OFF}, {"parallel_attn", PARALLEL},
    {"use_parallel_residual", PARALLEL}, {"parallel_residual", PARALLEL},
    {"parallel_attention", PARALLEL}, {"parallel_block", PARALLEL},
    {"use_parallel_block", PARALLEL}, {"num_ln_in_parallel_attn", OFF},
    {"rms_norm_add_unit_offset", PLUS_ONE}, {"add_unit_offset", PLUS_ONE},
    {"rms_norm_unit_offset", PLUS_ONE}, {"norm_unit_offset", PLUS_ONE},
    {"zero_centered_gamma", PLUS_ONE}, {"layernorm_zero_centered_gamma", PLUS_ONE},
    {"apply_layernorm_1p", PLUS_ONE}, {"layernorm1p", PLUS_ONE}, {"elementwise_affine", WEIGHT},
    {"layer_norm_elementwise_affine", WEIGHT}, {"_remove_final_layer_norm", OFF}, {"qk_ln", OFF},
    {"qk_layernorm", OFF}, {"qk_norm", OFF}, {"use_qk_norm", OFF}, {"use_qk_layernorm", OFF},
    {"query_key_norm", OFF}, {"qkv_norm", OFF}, {"attention_qk_norm", OFF}, {"v_norm", OFF},
    /* positions */
    {"rope_theta", BASE}, {"rope_scaling", OFF}, {"rope_parameters", OFF},
    {"partial_rotary_factor", ROTARY_PART}, {"rotary_pct", ROTARY_PART}, {"rope_pct", ROTARY_PART},
    {"rotary_percent", ROTARY_PART}, {"rotary_percentage", ROTARY_PART},
    {"rope_percent", ROTARY_PART}, {"rope_percentage", ROTARY_PART},
    {"rotary_fraction", ROTARY_PART}, {"rotary_dim", ROTARY_SIZE}, {"rope_dim", ROTARY_SIZE},
    {"rotary_ndims", ROTARY_SIZE}, {"rotary_emb_base", BASE}, {"rotary_base", BASE},
    {"rope_base", BASE}, {"rotary_emb_theta", BASE}, {"rope_local_base_freq", BASE},
    {"local_rope_theta", BASE}, {"global_rope_theta", BASE}, {"swa_rope_theta", BASE},
    {"rope_theta_local", BASE}, {"rope_theta_global", BASE},
    {"position_embedding_type", POSITIONS}, {"pos_emb", POSITIONS},
    {"positional_embedding", POSITIONS}, {"position_encoding_type", POSITIONS},
    {"use_rotary", ROTARY}, {"use_rope", ROTARY}, {"rotary", ROTARY},
    {"use_rotary_embedding", ROTARY}, {"use_rotary_position_embeddings", ROTARY},
    {"rotary_embedding", ROTARY}, {"rope", ROTARY}, {"no_rope", OFF}, {"nope", OFF},
    {"no_rope_layers", ONE}, {"no_rope_layer_interval", OFF}, {"nope_layer_interval", OFF},
    {"nope_layers", OFF}, {"alibi", ALIBI}, {"use_alibi", ALIBI}, {"alibi_bias_max", ALIBI_MAX},
    {"use_xpos", OFF}, {"learned_pos_emb", LEARNED}, {"learned_positional_embedding", LEARNED},
    {"use_position_embedding", LEARNED}, {"use_absolute_position_embeddings", LEARNED},
    {"rope_interleaved", NEIGHBOURS}, {"rope_interleave", NEIGHBOURS},
    {"rotary_interleaved", NEIGHBOURS}, {"interleaved_rope", NEIGHBOURS},
    {"is_neox_style", HALVES}, {"rope_is_neox_style", HALVES}, {"use_dynamic_ntk", OFF},
    {"mrope_section", OFF}, {"rotary_embedding_scale", ONE},
    /* attention */
    {"attn_uses_sequence_id", OFF}, {"is_causal", ON}, {"causal", ON}, {"causal_attention", ON},
    {"use_bidirectional_attention", OFF}, {"bidirectional", OFF}, {"is_bidirectional", OFF},
    {"use_bidirectional", OFF}, {"bidirectional_attention", OFF}, {"non_causal", OFF},
    {"prefix_lm", OFF}, {"is_encoder_decoder", OFF}, {"add_cross_attention", OFF},
    {"cross_attention_layers", OFF}, {"cross_attention_hidden_size", OFF},
    {"attention_chunk_size", OFF}, {"attention_window", OFF}, {"window_size", OFF},
    {"sliding_window_size", WINDOW}, {"local_attention", OFF}, {"interleaved_sliding_window", OFF},
    {"sliding_window_pattern", OFF}, {"_sliding_window_pattern", OFF},
    {"global_attention_layers", OFF}, {"num_sink_tokens", OFF}, {"attention_sink", OFF},
    {"attention_sinks", OFF}, {"attention_sink_size", OFF}, {"use_attention_sinks", OFF},
    {"add_bias_kv", OFF}, {"use_gated_attention", OFF}, {"gated_attention", OFF},
    {"attn_output_gate", OFF}, {"attention_output_gate", OFF}, {"use_output_gate", OFF},
    {"attention_gate", OFF}, {"head_gate", OFF}, {"multi_query", OFF}, {"q_lora_rank", OFF},
    {"kv_lora_rank", OFF}, {"qk_rope_head_dim", OFF}, {"qk_nope_head_dim", OFF},
    {"head_dim", HEAD_SIZE}, {"v_head_dim", HEAD_SIZE}, {"value_head_dim", HEAD_SIZE},
    {"use_mla", OFF}, {"index_topk", OFF}, {"differential_attention", OFF},
    {"num_kv_shared_layers", OFF}, {"use_cla", OFF}, {"cla_share_factor", ONE_AT_MOST},
    {"kv_sharing", OFF}, {"attention_k_eq_v", OFF}, {"use_linear_attention", OFF},
    {"linear_attention", OFF}, {"full_attention_interval", ONE_AT_MOST},
    /* the shape of the stack */
    {"num_experts", ONE_AT_MOST}, {"num_local_experts", ONE_AT_MOST},
    {"n_routed_experts", ONE_AT_MOST}, {"moe_num_experts", ONE_AT_MOST},
    {"num_routed_experts", ONE_AT_MOST}, {"n_experts", ONE_AT_MOST},
    {"num_moe_experts", ONE_AT_MOST}, {"n_shared_experts", OFF}, {"num_shared_experts", OFF},
    {"moe", OFF}, {"use_moe", OFF}, {"moe_layer_freq", ONE}, {"norm_topk_prob", OFF},
    {"mixer_types", OFF}, {"block_types", OFF},
    {"layers_block_type", OFF}, {"block_configs", OFF}, {"hybrid_override_pattern", OFF},
    {"hybrid_layer_pattern", OFF}, {"num_key_value_heads_per_layer", OFF},
    {"num_attention_heads_per_layer", OFF}, {"intermediate_size_per_layer", OFF},
    {"head_dim_per_layer", OFF}, {"attn_layer_period", OFF}, {"hidden_size_per_layer_input", OFF},
    {"skip_layers", OFF}, {"num_loops", ONE_AT_MOST}, {"num_recurrences", ONE_AT_MOST},
    {"use_layer_scale", OFF}, {"embedding_size", HIDDEN}, {"use_embedding_sharing", TIED_HEAD},
    {"share_embeddings_and_output_weights", TIED_HEAD}, {"embedding_dim", HIDDEN},
    {"word_embed_proj_dim", HIDDEN}, {"use_value_embeddings", OFF}, {"text_config", OFF},
    {"llm_config", OFF},
    {"use_ngram_embedding", OFF}, {"pruned_heads", OFF}, {"sparse_config", OFF},
    {"sparse_attention_config", OFF}, {"add_full_attention_sink_bias", OFF},
    {"moe_apply_router_weight_on_input", OFF}, {"router_bias", OFF},
    {"use_long_context", OFF}, {"is_moe", OFF},
    {"use_engram", OFF}, {"moe_latent_size", OFF}, {"norm_before_gate", OFF},
    /* weights stored in another form */
    {"quantization", OFF}, {"transform_config", OFF}, {"sparsity_config", OFF},
    {"rotation_config", OFF}, {"online_rotation", OFF}, {"weight_tying_groups", OFF},
};

/* Names of the same kinds that no list has. */
static const struct pattern {
    const char *text;
    enum { BEGIN, END, WITHIN } place;
    enum neutral neutral;
} patterns[] = {
    {"_multiplier", END, ONE}, {"_multipliers", END, ONE}, {"multiplier_", BEGIN, ONE},
    {"_softcapping", END, OFF}, {"_softcap", END, OFF}, {"_soft_cap", END, OFF},
    {"_logit_cap", END, OFF}, {"_logits_cap", END, OFF}, {"logit_scal", WITHIN, ONE},
    {"logits_scal", WITHIN, ONE}, {"mamba_", BEGIN, OFF}, {"ssm_", BEGIN, OFF},
    {"altup_", BEGIN, OFF}, {"laurel_", BEGIN, OFF}, {"mup_", BEGIN, OFF},
    {"hadamard", WITHIN, OFF}, {"online_rot", WITHIN, OFF}, {"bidirectional", WITHIN, OFF},
    {"_alibi", END, OFF}, {"alibi_", BEGIN, OFF}, {"parallel_residual", WITHIN, PARALLEL},
    {"qk_norm", WITHIN, OFF}, {"qk_layernorm", WITHIN, OFF}, {"unit_offset", WITHIN, PLUS_ONE},
};
/* clang-format on */
enum { RULES = sizeof rules / sizeof rules[0], PATTERNS = sizeof patterns / sizeof patterns[0] };

static bool is_listed(const char *const *keys, const char *key) {
    for (int i = 0; keys && keys[i]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static bool has_pattern(const char *key, const struct pattern *p) {
    const size_t len = strlen(key), part = strlen(p->text);
    if (p->place == WITHIN)
        return strstr(key, p->text) != NULL;
    return len >= part && strncmp(key + (p->place == END ? len - part : 0), p->text, part) == 0;
}

bool neutral_find(const char *path, const char *key, const struct family *family,
                  enum neutral *out) {
    if (family_reads(family, path) || family_ignores(family, key))
        return false;
    *out = ON;
    if (is_listed(family->inherent_keys, key))
        return true;
    for (int i = 0; i < RULES; i++)
        if (strcmp(rules[i].key, key) == 0) {
            *out = rules[i].neutral;
            return true;
        }
    for (int i = 0; i < PATTERNS; i++)
        if (has_pattern(key, &patterns[i])) {
            *out = patterns[i].neutral;
            return true;
        }
    return false;
}
