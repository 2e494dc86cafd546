/* K-EXAONE: DeepSeek-V3's experts; norms of heads; layers with a window rotate, the others do not.
 * Defaults: transformers' ExaoneMoeConfig. */
#include "models/families/tables.h"

static const struct node expert[] = {EXPERT_ROWS(EXPERT_FFN, "gate_proj", "up_proj", "down_proj")};

static const struct node rows[] = {
    {NORM(ATTN_IN, X, "input_layernorm")},
    QKV_ROWS(0),
    HEAD_NORM_ROWS,
    ATTEND_ROWS(Q_NORM, K_NORM, 0),
    {ADD(Y, X, ATTN_OUT)},
    {NORM(MLP_IN, Y, "post_attention_layernorm")},
    DENSE_ROWS("mlp"),
    {ROUTER(ROUTE, MLP_IN, "mlp.gate"), .score = SCORE_SIGMOID,
     .choice_bias = "mlp.e_score_correction_bias", .when = T_SPARSE},
    V3_ROUTED_ROWS(expert),
    {END},
};

static const struct setting settings[] = {
    SIZES(102400, 4096, 32, 32, 2048),
    KV_HEADS(32),
    HEAD_DIM(0),
    FFN(16384),
    WINDOW(4096),
    THETA(10000),
    RMS_EPS(1e-5),
    TIED(false),
    V3_SCORES,
    DIM(EXPERTS, "num_experts", 64),
    DIM(TOP_K, "num_experts_per_tok", 8),
    DIM(EXPERT_FFN, "moe_intermediate_size", 1024),
    DIM_OR_NONE(N_SHARED, "num_shared_experts", 1),
    V3_CHOICE(1, 1, 2.5),
    {0},
};

static const struct layer_rule rules[] = {
    {NOT_EVERY(T_WINDOW, WINDOW_PATTERN, 4)},
    {EVERY(T_NO_ROPE, WINDOW_PATTERN, 4)},
    {BY_WORD(T_WINDOW, "layer_types", "sliding_attention")},
    {BY_WORD(T_NO_ROPE, "layer_types", "full_attention")},
    {FROM(T_SPARSE, "first_k_dense_replace", 1)},
    {BY_WORD(T_SPARSE, "mlp_layer_types", "sparse")},
    {0},
};

static const char *const architectures[] = {"ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM",
                                            "ExaoneMoeModel", NULL};

static const char *const beside[] = {"mtp.", NULL};

const struct family family_exaone_moe = {
    .name = "exaone_moe",
    .model_types = {"exaone_moe"},
    LLAMA_TENSOR_NAMES,
    .beside = beside,
    .rows = rows,
    .settings = settings,
    .rules = rules,
    .norm = NORM_RMS,
    .act_key = "hidden_act",
    .act = ACT_SILU,
    .architectures = architectures,
};
