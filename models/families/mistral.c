/* SPDX-License-Identifier: Apache-2.0 */
/* Mistral 7B, Nemo and relatives: Llama with a sliding window (on unless the config says null) and
 * a head_dim of its own. Ministral 3: the same with queries that grow with the position. Mistral 4:
 * these behind DeepSeek's latents, and experts. Defaults: transformers' MistralConfig,
 * MinistralConfig, Ministral3Config and Mistral4Config. */
#include "models/families/latent.h"

static const struct node rows[] = {
    LLAMA_ROWS(0, 0, 0),
    {END},
};

static const struct setting settings[] = {
    SIZES(32000, 4096, 32, 32, 131072),
    KV_HEADS(8),
    HEAD_DIM(0),
    FFN(14336),
    WINDOW(4096),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    {0},
};

static const struct layer_rule rules[] = {{ALL_LAYERS(T_WINDOW)}, {0}};

static const char *const architectures[] = {"MistralForCausalLM", "MistralModel", NULL};

const struct family family_mistral = {
    .name = "mistral",
    .model_types = {"mistral"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .gguf = "llama",
    .architectures = architectures,
};

/* Ministral 8B as a class of its own, with and without a window in turn. */
static const struct layer_rule ministral_rules[] = {
    {ALL_LAYERS(T_WINDOW)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {0},
};

static const char *const ministral_architectures[] = {"MinistralForCausalLM", "MinistralModel",
                                                      NULL};

const struct family family_ministral = {
    .name = "ministral",
    .model_types = {"ministral"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = settings,
    .rules = ministral_rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = ministral_architectures,
};

/* --- Ministral 3 ------------------------------------------------------------------------------ */

static const struct setting ministral3_settings[] = {
    SIZES(131072, 4096, 34, 32, 262144),
    KV_HEADS(8),
    HEAD_DIM(128),
    FFN(14336),
    WINDOW(0),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    {0},
};

static const char *const ministral3_architectures[] = {"Ministral3ForCausalLM", "Ministral3Model",
                                                       NULL};

const struct family family_ministral3 = {
    .name = "ministral3",
    .model_types = {"ministral3"},
    LLAMA_TENSOR_NAMES,
    .rows = rows,
    .settings = ministral3_settings,
    .rules = rules,
    .norm = NORM_RMS,
    .traits = T_HEATED,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .rotary =
        "{\"rope_type\": \"yarn\", \"rope_theta\": 1000000, \"factor\": 16, \"beta_fast\": 32, "
        "\"beta_slow\": 1, \"original_max_position_embeddings\": 16384, \"mscale\": 1, "
        "\"mscale_all_dim\": 1, \"llama_4_scaling_beta\": 0.1}",
    .architectures = ministral3_architectures,
};

/* --- Mistral 4 -------------------------------------------------------------------------------- */

static const struct node mistral4_expert[] = {
    STACKED_EXPERT_ROWS(STORED_STACK, "mlp.experts.gate_up_proj", "mlp.experts.down_proj")};

static const struct node mistral4_rows[] = {
    LATENT_ROWS,
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .when = T_SPARSE},
    V3_ROUTED_ROWS(mistral4_expert),
    {END},
};

static const struct setting mistral4_settings[] = {
    SIZES(131072, 4096, 36, 32, 1048576),
    FFN(12288),
    THETA(10000),
    RMS_EPS(1e-6),
    TIED(false),
    LATENT_SETTINGS(1024, 256, 64, 64),
    DIM(V_HEAD, "v_head_dim", 128),
    FLAG(T_INTERLEAVED, "rope_interleave", true),
    DIM(EXPERTS, "n_routed_experts", 128),
    DIM(TOP_K, "num_experts_per_tok", 4),
    DIM(EXPERT_FFN, "moe_intermediate_size", 2048),
    DIM_OR_NONE(N_SHARED, "n_shared_experts", 1),
    V3_CHOICE(1, 1, 1),
    {0},
};

static const struct layer_rule mistral4_rules[] = {{FROM(T_SPARSE, "first_k_dense_replace", 0)},
                                                   {0}};

static const struct family_limit mistral4_limits[] = {
    LATENT_LIMITS,
    STACKED_LIMITS,
    {.stack = NULL},
};

static const char *const mistral4_architectures[] = {"Mistral4ForCausalLM", "Mistral4Model", NULL};
/* what q and k have together, whatever the key says */
static const char *const mistral4_ignored[] = {"head_dim", NULL};

/* Yarn's magnitude does not scale the scores, as in vLLM and SGLang; transformers 5.15 differs. */
const struct family family_mistral4 = {
    .name = "mistral4",
    .model_types = {"mistral4"},
    LLAMA_TENSOR_NAMES,
    .rows = mistral4_rows,
    .settings = mistral4_settings,
    .rules = mistral4_rules,
    .norm = NORM_RMS,
    .traits = T_HEATED,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .rotary = "{\"rope_type\": \"yarn\", \"factor\": 128, \"beta_fast\": 32, \"beta_slow\": 1, "
              "\"original_max_position_embeddings\": 8192, \"mscale\": 1, \"mscale_all_dim\": 1, "
              "\"llama_4_scaling_beta\": 0.1}",
    .architectures = mistral4_architectures,
    .ignored_keys = mistral4_ignored,
    .limits = mistral4_limits,
};
