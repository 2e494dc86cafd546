/* Keys of config.json that change the forward pass: see config_parts.h.
 *
 * Configs hold many keys, most of which say nothing about the computation, so that an unknown key
 * cannot be refused. What can be: the keys by which relatives of Llama's shape depart from it, each
 * with the value at which they do not. They come from the configuration and modeling files of
 * transformers 4.57 and of checkpoints that bring their own code: granite, cohere, olmo, stablelm,
 * minicpm, phi, gemma, falcon, gpt-neox, mpt, glm, deepseek, smollm3, qwen, exaone, hunyuan. A last
 * table catches names of the same kinds that are in no list. Null is neutral everywhere. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "models/config_parts.h"

/* At what value a key changes nothing. */
enum neutral {
    OFF,         /* false, 0, or empty */
    ON,          /* true, or 1 */
    ONE,         /* 1, or a list of ones */
    ONE_AT_MOST, /* counts: 0 or 1 */
    ACTIVATION,  /* the model's */
    NORM,        /* a name of the family's kind */
    POSITIONS,   /* the same */
    ROTARY,      /* whether the model rotates queries and keys, ... */
    ALIBI,       /* ... has a bias by distance, ... */
    LEARNED,     /* ... has learned positions, ... */
    PARALLEL,    /* ... has attention and MLP side by side */
    HEAD_SIZE,
    HIDDEN,
    BASE,            /* of the rotary frequencies */
    ATTENTION_SCALE, /* 1 / sqrt(head_dim) */
    DEPTH_SCALE,     /* sqrt(layers): MiniCPM divides by that */
    ALIBI_MAX,       /* 8: the slopes are powers of 1/2 to that */
};

struct rule {
    const char *key;
    enum neutral neutral;
};

/* clang-format off */
static const struct rule rules[] = {
    /* scales of embeddings, residuals, attention, logits */
    {"embedding_multiplier", ONE}, {"residual_multiplier", ONE}, {"logits_scaling", ONE},
    {"logit_scale", ONE}, {"logits_scale", ONE}, {"output_multiplier_scale", ONE},
    {"lm_head_multiplier", ONE}, {"lm_head_scale", ONE}, {"final_logit_scale", ONE},
    {"embedding_scale", ONE}, {"embed_scale", ONE}, {"scale_emb", ONE}, {"emb_scale", ONE},
    {"residual_scale", ONE}, {"hidden_scale", ONE}, {"width_scale", ONE}, {"width_multiplier", ONE},
    {"depth_multiplier", ONE}, {"mlp_multipliers", ONE}, {"key_multiplier", ONE},
    {"attention_in_multiplier", ONE}, {"attention_out_multiplier", ONE}, {"rope_ratio", ONE},
    {"rope_condense_ratio", ONE},
    {"mup_width_scale", ONE}, {"mup_embedding_multiplier", ONE}, {"layer_scale", ONE},
    {"scale_depth", DEPTH_SCALE}, {"dim_model_base", HIDDEN},
    {"attention_multiplier", ATTENTION_SCALE}, {"softmax_scale", ATTENTION_SCALE},
    {"attention_scale", ATTENTION_SCALE}, {"attn_scale", ATTENTION_SCALE},
    {"query_pre_attn_scalar", HEAD_SIZE}, {"scale_embedding", OFF}, {"scale_embeddings", OFF},
    {"normalize_embedding", OFF}, {"normalize_embeddings", OFF}, {"embedding_layernorm", OFF},
    {"word_embed_layer_norm", OFF}, {"scale_attn_weights", ON},
    {"scale_attn_by_inverse_layer_idx", OFF}, {"attn_temperature_tuning", OFF},
    {"floor_scale", OFF},
    {"use_mup", OFF}, {"mup", OFF}, {"use_logn_attn", OFF}, {"logn_attn", OFF},
    /* caps */
    {"final_logit_softcapping", OFF}, {"attn_logit_softcapping", OFF}, {"logit_softcap", OFF},
    {"logits_soft_cap", OFF}, {"attn_logit_cap", OFF}, {"output_logit_cap", OFF},
    {"clip_qkv", OFF}, {"qkv_clip", OFF}, {"clip_qk", OFF}, {"attention_clip", OFF},
    {"swiglu_limit", OFF}, {"activation_clip", OFF},
    /* activation and feed-forward */
    {"hidden_act", ACTIVATION}, {"hidden_activation", ACTIVATION}, {"activation_function", ACTIVATION}, {"mlp_hidden_act", ACTIVATION},
    {"ffn_activation", ACTIVATION}, {"activation", ACTIVATION}, {"gated_mlp", ON}, {"use_gated_mlp", ON},
    {"use_glu", ON}, {"is_gated_act", ON}, {"gated_linear_unit", ON},
    {"activation_sparsity_pattern", OFF},
    {"activation_sparsity", OFF},
    /* biases */
    {"attention_bias", OFF}, {"mlp_bias", OFF}, {"bias", OFF}, {"use_bias", OFF},
    {"use_biases", OFF},
    {"qkv_bias", OFF}, {"use_qkv_bias", OFF}, {"add_qkv_bias", OFF}, {"attention_qkv_bias", OFF},
    {"attn_bias", OFF}, {"o_bias", OFF}, {"attention_out_bias", OFF}, {"bias_o_proj", OFF},
    {"attention_o_bias", OFF}, {"add_bias_linear", OFF}, {"use_mlp_bias", OFF},
    {"add_ffn_bias", OFF},
    {"ffn_bias", OFF}, {"linear_bias", OFF}, {"lm_head_bias", OFF}, {"head_bias", OFF},
    {"output_bias", OFF}, {"use_lm_head_bias", OFF}, {"norm_bias", OFF}, {"no_bias", ON},
    /* norms and the residual stream */
    {"norm_type", NORM}, {"normalization", NORM}, {"normalization_type", NORM},
    {"layernorm_type", NORM},
    {"layer_norm_type", NORM},  {"use_rms_norm", ON}, {"use_rmsnorm", ON}, {"rms_norm", ON},
    {"rmsnorm", ON}, {"use_layernorm", OFF}, {"use_layer_norm", OFF}, {"post_norm", OFF},
    {"use_post_norm", OFF}, {"norm_after", OFF}, {"reordered_norm", OFF}, {"norm_reordering", OFF},
    {"sandwich_norm", OFF}, {"peri_ln", OFF}, {"post_layer_norm", OFF},
    {"do_layer_norm_before", ON},
    {"apply_residual_connection_post_layernorm", OFF}, {"parallel_attn", PARALLEL},
    {"use_parallel_residual", PARALLEL}, {"parallel_residual", PARALLEL},
    {"parallel_attention", PARALLEL}, {"parallel_block", PARALLEL}, {"use_parallel_block", PARALLEL}, {"num_ln_in_parallel_attn", OFF},
    {"rms_norm_add_unit_offset", OFF}, {"add_unit_offset", OFF}, {"rms_norm_unit_offset", OFF},
    {"norm_unit_offset", OFF}, {"zero_centered_gamma", OFF}, {"layernorm_zero_centered_gamma", OFF},
    {"apply_layernorm_1p", OFF}, {"layernorm1p", OFF}, {"elementwise_affine", ON},
    {"layer_norm_elementwise_affine", ON}, {"_remove_final_layer_norm", OFF}, {"qk_ln", OFF},
    {"qk_layernorm", OFF}, {"qk_norm", OFF}, {"use_qk_norm", OFF}, {"use_qk_layernorm", OFF},
    {"query_key_norm", OFF}, {"qkv_norm", OFF}, {"attention_qk_norm", OFF}, {"v_norm", OFF},
    /* positions */
    {"rope_theta", BASE}, {"rope_scaling", OFF}, {"rope_parameters", OFF},
    {"partial_rotary_factor", ONE}, {"rotary_pct", ONE}, {"rope_pct", ONE}, {"rotary_percent", ONE},
    {"rotary_percentage", ONE}, {"rope_percent", ONE}, {"rotary_fraction", ONE},
    {"rotary_dim", HEAD_SIZE}, {"rope_dim", HEAD_SIZE}, {"rotary_ndims", HEAD_SIZE},
    {"rotary_emb_base", BASE}, {"rotary_base", BASE}, {"rope_base", BASE},
    {"rotary_emb_theta", BASE},
    {"rope_local_base_freq", BASE}, {"local_rope_theta", BASE}, {"global_rope_theta", BASE},
    {"swa_rope_theta", BASE}, {"rope_theta_local", BASE}, {"rope_theta_global", BASE},
    {"position_embedding_type", POSITIONS}, {"pos_emb", POSITIONS}, {"positional_embedding", POSITIONS},
    {"position_encoding_type", POSITIONS}, {"use_rotary", ROTARY}, {"use_rope", ROTARY},
    {"rotary", ROTARY}, {"use_rotary_embedding", ROTARY},
    {"use_rotary_position_embeddings", ROTARY}, {"rotary_embedding", ROTARY},
    {"rope", ROTARY}, {"no_rope", OFF}, {"nope", OFF}, {"no_rope_layers", ONE},
    {"no_rope_layer_interval", OFF}, {"nope_layer_interval", OFF}, {"nope_layers", OFF},
    {"alibi", ALIBI}, {"use_alibi", ALIBI}, {"alibi_bias_max", ALIBI_MAX}, {"use_xpos", OFF},
    {"learned_pos_emb", LEARNED}, {"learned_positional_embedding", LEARNED},
    {"use_position_embedding", LEARNED}, {"use_absolute_position_embeddings", LEARNED},
    {"rope_interleaved", OFF}, {"rope_interleave", OFF}, {"rotary_interleaved", OFF},
    {"interleaved_rope", OFF}, {"is_neox_style", ON}, {"rope_is_neox_style", ON},
    {"use_dynamic_ntk", OFF},  {"mrope_section", OFF}, {"rotary_embedding_scale", ONE},
    /* attention */
    {"attn_uses_sequence_id", OFF}, {"is_causal", ON}, {"causal", ON}, {"causal_attention", ON},
    {"use_bidirectional_attention", OFF},
    {"bidirectional", OFF}, {"is_bidirectional", OFF}, {"use_bidirectional", OFF},
    {"bidirectional_attention", OFF}, {"non_causal", OFF}, {"prefix_lm", OFF},
    {"is_encoder_decoder", OFF}, {"add_cross_attention", OFF}, {"cross_attention_layers", OFF},
    {"cross_attention_hidden_size", OFF}, {"attention_chunk_size", OFF}, {"attention_window", OFF},
    {"window_size", OFF}, {"local_attention", OFF}, {"interleaved_sliding_window", OFF},
    {"sliding_window_pattern", OFF}, {"_sliding_window_pattern", OFF},
    {"global_attention_layers", OFF},
    {"num_sink_tokens", OFF}, {"attention_sink", OFF}, {"attention_sinks", OFF},
    {"attention_sink_size", OFF},
    {"use_attention_sinks", OFF}, {"add_bias_kv", OFF}, {"use_gated_attention", OFF},
    {"gated_attention", OFF}, {"attn_output_gate", OFF}, {"attention_output_gate", OFF},
    {"use_output_gate", OFF}, {"attention_gate", OFF}, {"head_gate", OFF}, {"multi_query", OFF},
    {"q_lora_rank", OFF}, {"kv_lora_rank", OFF}, {"qk_rope_head_dim", OFF},
    {"qk_nope_head_dim", OFF},
    {"head_dim", HEAD_SIZE}, {"v_head_dim", HEAD_SIZE}, {"value_head_dim", HEAD_SIZE}, {"use_mla", OFF}, {"index_topk", OFF},
    {"differential_attention", OFF}, {"num_kv_shared_layers", OFF}, {"use_cla", OFF},
    {"cla_share_factor", ONE_AT_MOST}, {"kv_sharing", OFF}, {"attention_k_eq_v", OFF},
    {"use_linear_attention", OFF}, {"linear_attention", OFF},
    {"full_attention_interval", ONE_AT_MOST},
    /* the shape of the stack */
    {"num_experts", ONE_AT_MOST}, {"num_local_experts", ONE_AT_MOST},
    {"n_routed_experts", ONE_AT_MOST},
    {"moe_num_experts", ONE_AT_MOST}, {"num_routed_experts", ONE_AT_MOST},
    {"n_experts", ONE_AT_MOST},
    {"num_moe_experts", ONE_AT_MOST}, {"n_shared_experts", OFF}, {"num_shared_experts", OFF},
    {"moe", OFF}, {"use_moe", OFF}, {"mixer_types", OFF}, {"block_types", OFF},
    {"layers_block_type", OFF},
    {"block_configs", OFF}, {"hybrid_override_pattern", OFF}, {"hybrid_layer_pattern", OFF},
    {"num_key_value_heads_per_layer", OFF}, {"num_attention_heads_per_layer", OFF},
    {"intermediate_size_per_layer", OFF}, {"head_dim_per_layer", OFF}, {"attn_layer_period", OFF},
    {"hidden_size_per_layer_input", OFF}, {"skip_layers", OFF}, {"num_loops", ONE_AT_MOST},
    {"num_recurrences", ONE_AT_MOST}, {"use_layer_scale", OFF}, {"embedding_size", HIDDEN},
    {"embedding_dim", HIDDEN}, {"word_embed_proj_dim", HIDDEN}, {"use_value_embeddings", OFF},
    {"text_config", OFF}, {"use_ngram_embedding", OFF}, {"pruned_heads", OFF},
    {"sparse_config", OFF}, {"use_engram", OFF},
    /* weights stored in another form */
    {"quantization", OFF}, {"transform_config", OFF}, {"sparsity_config", OFF},
    {"rotation_config", OFF},
    {"online_rotation", OFF}, {"weight_tying_groups", OFF},
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
    {"altup_", BEGIN, OFF},
    {"laurel_", BEGIN, OFF}, {"mup_", BEGIN, OFF}, {"hadamard", WITHIN, OFF},
    {"online_rot", WITHIN, OFF},
    {"bidirectional", WITHIN, OFF}, {"_alibi", END, OFF}, {"alibi_", BEGIN, OFF},
    {"parallel_residual", WITHIN, PARALLEL}, {"qk_norm", WITHIN, OFF}, {"qk_layernorm", WITHIN, OFF},
    {"unit_offset", WITHIN, OFF},
};
/* clang-format on */
enum { RULES = sizeof rules / sizeof rules[0], PATTERNS = sizeof patterns / sizeof patterns[0] };

/* --- values ----------------------------------------------------------------------------------- */

static bool is_number(const struct json *v, double wanted) {
    double found = 0;
    return json_as_double(v, &found) && fabs(found - wanted) <= 1e-6 * fabs(wanted);
}

static bool is_flag(const struct json *v, bool wanted) {
    bool found = false;
    return json_as_bool(v, &found) ? found == wanted : is_number(v, wanted ? 1 : 0);
}

static bool is_ones(const struct json *v) {
    if (json_type(v) != JSON_ARRAY)
        return is_number(v, 1);
    for (const struct json *c = json_first(v); c; c = json_next(c))
        if (!is_flag(c, true))
            return false;
    return true;
}

/* False, zero, empty, or a list or object of such. */
static bool is_off(const struct json *v) {
    if (json_type(v) == JSON_NULL || (json_string(v) && *json_string(v) == '\0') ||
        is_flag(v, false))
        return true;
    if (json_type(v) != JSON_ARRAY && json_type(v) != JSON_OBJECT)
        return false;
    for (const struct json *c = json_first(v); c; c = json_next(c))
        if (!(json_type(c) == JSON_NULL || is_flag(c, false)))
            return false;
    return true;
}

static bool is_one_of(const struct json *v, const char *const *texts) {
    for (int i = 0; json_string(v) && texts[i]; i++)
        if (strcmp(json_string(v), texts[i]) == 0)
            return true;
    return false;
}

static const char *const rms_names[] = {"rmsnorm", "rms_norm", "RMSNorm", "rms", "RMS_norm", NULL};
static const char *const layer_names[] = {"layernorm", "layer_norm", "LayerNorm",
                                          "low_precision_layernorm", NULL};
static const char *const rotary_names[] = {"rope", "rotary", "ROPE", "rotary_embedding", NULL};
static const char *const alibi_names[] = {"alibi", "ALiBi", NULL};
static const char *const learned_names[] = {"learned", "absolute", "learned_absolute", NULL};

static const char *const *norm_names(const struct model_config *c) {
    return norm_has_mean(c->facts.norm) ? layer_names : rms_names;
}

static const char *const *position_names(const struct model_config *c) {
    if (c->facts.traits & T_ALIBI)
        return alibi_names;
    return c->family->positions ? learned_names : rotary_names;
}

/* Has the model what the key is about? */
static bool has_part(enum neutral neutral, const struct model_config *c) {
    const bool alibi = c->facts.traits & T_ALIBI;
    if (neutral == ROTARY)
        return family_rotates(c->family) && !alibi;
    if (neutral == LEARNED)
        return c->family->positions != NULL;
    return neutral == ALIBI ? alibi : (c->facts.traits & T_PARALLEL) != 0;
}

static double neutral_number(enum neutral neutral, const struct model_config *c) {
    const double head = (double)c->facts.dims[DIM_HEAD];
    switch (neutral) {
    case ONE:
        return 1;
    case HEAD_SIZE:
        return head;
    case HIDDEN:
        return (double)c->hidden;
    case BASE:
        return c->facts.numbers[NUM_THETA];
    case ATTENTION_SCALE:
        return 1 / sqrt(head);
    case DEPTH_SCALE:
        return sqrt((double)c->blocks);
    case ALIBI_MAX:
        return 8;
    case OFF:
    case ON:
    case ONE_AT_MOST:
    case ACTIVATION:
    case NORM:
    case POSITIONS:
    case ROTARY:
    case ALIBI:
    case LEARNED:
    case PARALLEL:
    default:
        return (double)NAN;
    }
}

/* The neutral value in words for messages; NULL where it is a number. */
static const char *neutral_words(enum neutral neutral, const struct model_config *c) {
    switch (neutral) {
    case OFF:
        return "false, 0 or null";
    case ON:
        return "true";
    case ONE_AT_MOST:
        return "0, 1 or null";
    case ACTIVATION:
        return schema_act_name(c->facts.act);
    case NORM:
        return norm_names(c)[0];
    case POSITIONS:
        return position_names(c)[0];
    case ROTARY:
    case ALIBI:
    case LEARNED:
    case PARALLEL:
        return has_part(neutral, c) ? "true" : "false";
    case ONE:
    case HEAD_SIZE:
    case HIDDEN:
    case BASE:
    case ATTENTION_SCALE:
    case DEPTH_SCALE:
    case ALIBI_MAX:
    default:
        return NULL;
    }
}

static bool is_neutral(const struct json *v, enum neutral neutral, const struct model_config *c) {
    switch (neutral) {
    case OFF:
        return is_off(v);
    case ON:
        return is_flag(v, true);
    case ONE:
        return is_ones(v);
    case ONE_AT_MOST:
        return is_off(v) || is_number(v, 1);
    case ACTIVATION:
        return json_string(v) && schema_act_find(json_string(v)) == c->facts.act;
    case NORM:
        return is_one_of(v, norm_names(c));
    case POSITIONS:
        return is_one_of(v, position_names(c));
    case ROTARY:
    case ALIBI:
    case LEARNED:
    case PARALLEL:
        return is_flag(v, has_part(neutral, c));
    case BASE: /* of nothing */
        return !family_rotates(c->family) || is_number(v, neutral_number(neutral, c));
    case HEAD_SIZE:
    case HIDDEN:
    case ATTENTION_SCALE:
    case DEPTH_SCALE:
    case ALIBI_MAX:
    default:
        return is_number(v, neutral_number(neutral, c));
    }
}

/* --- keys ------------------------------------------------------------------------------------- */

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

/* Does a rule know the key? `path`: the same with the objects that it lies in. */
static bool rule_of(const char *path, const char *key, const struct family *family,
                    enum neutral *out) {
    if (family_reads(family, path) || is_listed(family->ignored_keys, key))
        return false;
    if (is_listed(family->inherent_keys, key)) {
        *out = ON;
        return true;
    }
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

static enum llmq_status refuse(const char *path, const struct json *v, enum neutral neutral,
                               const struct model_config *c, llmq_error *err) {
    char text[CONFIG_TEXT_MAX];
    const char *words = neutral_words(neutral, c);
    char value[32];
    (void)snprintf(value, sizeof value, "%g", neutral_number(neutral, c));
    error_set(err, LLMQ_E_UNSUPPORTED,
              "config.json: '%.80s' is %s, which changes what the model computes and which llmq "
              "does not honour for %s: expected %s",
              path, config_text(v, text), c->family->name, words ? words : value);
    error_hint(err,
               "llmq has no part for it and would give wrong numbers; if the model was trained "
               "without it, correct the key in config.json");
    return LLMQ_E_UNSUPPORTED;
}

/* Names that other families give to the epsilon of norms, which the family's loaders do not read.
 */
static enum llmq_status check_epsilon(const struct json *json, const struct model_config *c,
                                      llmq_error *err) {
    static const char *const names[] = {"layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon",
                                        "norm_eps",       "norm_epsilon",       "rms_norm_epsilon",
                                        "rms_eps",        "rms_norm_eps",       NULL};
    const struct setting *setting = family_setting(c->family, SET_NUMBER, NUM_EPS);
    struct config_key key;
    char text[CONFIG_TEXT_MAX];
    enum llmq_status status = config_find(json, setting ? setting->key : NULL, &key, err);
    if (status != LLMQ_OK || key.found)
        return status;
    for (int i = 0; names[i]; i++)
        if (config_value(json, names[i]) && !family_reads(c->family, names[i]) &&
            !is_number(config_value(json, names[i]), c->facts.numbers[NUM_EPS]))
            return error_set(err, LLMQ_E_INPUT,
                             "config.json: '%s' is %s and %s, which loaders read, is absent: "
                             "expected %s",
                             names[i], config_text(config_value(json, names[i]), text),
                             setting ? setting->key : "the epsilon",
                             setting ? setting->key : "none");
    return LLMQ_OK;
}

enum { PATH_MAX_LEN = 128 };

/* The members of an object that stands at "attn_config.", and of those in it that the family reads
 * members of. The rotary settings have a reader of their own. */
static enum llmq_status check_members(const struct json *object, const char *at,
                                      const struct model_config *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *v = json_first(object); v && status == LLMQ_OK; v = json_next(v)) {
        enum neutral neutral = OFF;
        char path[PATH_MAX_LEN], inside[PATH_MAX_LEN + 1];
        (void)snprintf(path, sizeof path, "%s%s", at, json_key(v));
        (void)snprintf(inside, sizeof inside, "%s.", path);
        if (json_type(v) == JSON_OBJECT && family_reads_members(c->family, path) &&
            strcmp(path, "rope_parameters") != 0)
            status = check_members(v, inside, c, err);
        else if (json_type(v) != JSON_NULL && rule_of(path, json_key(v), c->family, &neutral) &&
                 !is_neutral(v, neutral, c))
            status = refuse(path, v, neutral, c, err);
    }
    return status;
}

enum llmq_status config_check_keys(const struct json *json, const struct model_config *c,
                                   llmq_error *err) {
    enum llmq_status status = check_members(json, "", c, err);
    return status == LLMQ_OK ? check_epsilon(json, c, err) : status;
}

/* --- architectures ---------------------------------------------------------------------------- */

/* transformers goes by model_type, vLLM and SGLang by architectures; a class of another family, or
 * one with another head, is another model. The model without its head is read where the head is
 * there. */
enum llmq_status config_check_architectures(const struct json *json, const struct family *family,
                                            llmq_error *err) {
    const struct json *list = config_value(json, "architectures");
    char text[CONFIG_TEXT_MAX];
    if (list && json_type(list) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "config.json: 'architectures' is %s: expected a list",
                         config_text(list, text));
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        if (json_string(v) && is_listed(family->architectures, json_string(v)))
            continue;
        error_set(err, LLMQ_E_UNSUPPORTED,
                  "config.json: 'architectures' names %s, which is not what model_type '%s' stands "
                  "for: expected %s",
                  config_text(v, text), family->model_types[0], family->architectures[0]);
        error_hint(err, "loaders go by the one or the other; models with another head than the "
                        "vocabulary's, and with code of their own, are not supported");
        return LLMQ_E_UNSUPPORTED;
    }
    return LLMQ_OK;
}
