/* SPDX-License-Identifier: Apache-2.0 */
/* The words that families' tables are written with. Each expands to designated initialisers, so
 * that a row can go on with whatever else it has to say:
 *
 *     {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS},
 */
#ifndef LLMQ_MODELS_ROWS_H
#define LLMQ_MODELS_ROWS_H

#include <math.h>
#include <stddef.h>

#include "models/schema.h"

/* clang-format off */
#define SAME(o, i)                     .op = OP_SAME, .out = {V_##o}, .in = {V_##i}
#define NORM(o, i, module)             .op = OP_NORM, .out = {V_##o}, .in = {V_##i}, .name = module
#define LINEAR(o, i, w, module)        .op = OP_LINEAR, .out = {V_##o}, .in = {V_##i}, .width = {DIM_##w}, .name = module
#define SPLIT(i, g)                    .op = OP_SPLIT, .in = {V_##i}, .groups = DIM_##g
#define JOIN(o, a, b, g)               .op = OP_JOIN, .out = {V_##o}, .in = {V_##a, V_##b}, .groups = DIM_##g
#define ROPE(o, i, g)                  .op = OP_ROPE, .out = {V_##o}, .in = {V_##i}, .groups = DIM_##g, .unless = T_NO_ROPE
/* The same in families of which every layer that attends rotates. */
#define TURN(o, i, g)                  .op = OP_ROPE, .out = {V_##o}, .in = {V_##i}, .groups = DIM_##g
#define JOIN3(o, a, b, c, g)           .op = OP_JOIN, .out = {V_##o}, .in = {V_##a, V_##b, V_##c}, .groups = DIM_##g
#define CLIP(o, i)                     .op = OP_CLIP, .out = {V_##o}, .in = {V_##i}, .when = T_CLIP
#define ATTENTION(o, q, k, v)          .op = OP_ATTENTION, .out = {V_##o}, .in = {V_##q, V_##k, V_##v}
#define CHOSEN_ATTENTION(o, q, k, v, c) .op = OP_ATTENTION, .out = {V_##o}, .in = {V_##q, V_##k, V_##v, V_##c}
#define LIFTED_ATTENTION(o, q, k, v, l) .op = OP_ATTENTION, .out = {V_##o}, .in = {V_##q, V_##k, V_##v, V_##l}, .lifts = true
#define INDEX(o, q, k, gain)           .op = OP_INDEX, .out = {V_##o}, .in = {V_##q, V_##k, V_##gain}, .groups = DIM_INDEX_HEADS
#define DIFFER(o, a, b, g, module)     .op = OP_DIFFER, .out = {V_##o}, .in = {V_##a, V_##b}, .groups = DIM_##g, .name = module
#define ACT(o, i)                      .op = OP_ACT, .out = {V_##o}, .in = {V_##i}
#define GLU(o, gate, up)               .op = OP_GLU, .out = {V_##o}, .in = {V_##gate, V_##up}
#define ADD(o, stream, branch)         .op = OP_ADD, .out = {V_##o}, .in = {V_##stream, V_##branch}
#define CONV(o, i, module)             .op = OP_CONV, .out = {V_##o}, .in = {V_##i}, .name = module
#define SCAN(o, x, b, c, dt, module)    .op = OP_SCAN, .out = {V_##o}, .in = {V_##x, V_##b, V_##c, V_##dt}, .groups = DIM_SSM_GROUPS, .name = module
#define SELECTIVE(o, x, b, c, dt, module) .op = OP_SELECTIVE, .out = {V_##o}, .in = {V_##x, V_##b, V_##c, V_##dt}, .name = module
#define LRU(o, i, module)              .op = OP_LRU, .out = {V_##o}, .in = {V_##i}, .name = module
#define DELTA(o, q, k, v, b, f, module) .op = OP_DELTA, .out = {V_##o}, .in = {V_##q, V_##k, V_##v, V_##b, V_##f}, .name = module
#define LIGHTNING(o, q, k, v)          .op = OP_LIGHTNING, .out = {V_##o}, .in = {V_##q, V_##k, V_##v}
#define SCALE(o, i, tensor)            .op = OP_SCALE, .out = {V_##o}, .in = {V_##i}, .name = tensor
#define SUM(o, i, g)                   .op = OP_SUM, .out = {V_##o}, .in = {V_##i}, .groups = DIM_##g
#define TOKEN(o, w)                    .op = OP_TOKEN, .out = {V_##o}, .width = {DIM_##w}
#define EMBEDDING(o)                   .op = OP_EMBEDDING, .out = {V_##o}, .width = {DIM_HIDDEN}
#define ROUTER(o, i, module)           ROUTER_OF(o, i, EXPERTS, module)
#define ROUTER_OF(o, i, w, module)     .op = OP_ROUTER, .out = {V_##o}, .in = {V_##i}, .width = {DIM_##w}, .name = module
#define EXPERTS(o, i, route, module, rows) .op = OP_EXPERTS, .out = {V_##o}, .in = {V_##i, V_##route}, .name = module, .body = rows
#define END                            .op = OP_END

/* --- runs of rows that many families share ---------------------------------------------------- */

#define QKV_ROWS(b) QKV_OF_ROWS(ATTN_IN, b)
#define QKV_OF_ROWS(in, b)                                     \
    {LINEAR(Q, in, ATTN, "self_attn.q_proj"), .bias = b},      \
    {LINEAR(K, in, KV, "self_attn.k_proj"), .bias = b},        \
    {LINEAR(V, in, KV, "self_attn.v_proj"), .bias = b}
#define SPLIT_QKV_ROW(from, g) \
    {SPLIT(from, g), .out = {V_Q, V_K, V_V}, .width = {DIM_ATTN, DIM_KV, DIM_KV}}
#define HEAD_NORM_ROWS                                              \
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .groups = DIM_HEADS},     \
    {NORM(K_NORM, K, "self_attn.k_norm"), .groups = DIM_KV_HEADS}
#define ROTATE_ROWS(q, k)     \
    {ROPE(Q_ROT, q, HEADS)},  \
    {ROPE(K_ROT, k, KV_HEADS)}
#define ATTEND_ROWS(q, k, b)                                             \
    ROTATE_ROWS(q, k),                                                   \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},                               \
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = b}
/* Llama's attention with norms of the heads: from X to MLP_IN. */
#define NORMED_HEADS_ROWS(b)                                \
    {NORM(ATTN_IN, X, "input_layernorm")},                  \
    QKV_ROWS(b),                                            \
    HEAD_NORM_ROWS,                                         \
    ATTEND_ROWS(Q_NORM, K_NORM, b),                         \
    {ADD(Y, X, ATTN_OUT)},                                  \
    {NORM(MLP_IN, Y, "post_attention_layernorm")}
#define GATED_ROWS(in, b)                                          \
    {LINEAR(GATE, in, FFN, "mlp.gate_proj"), .bias = b},           \
    {LINEAR(UP, in, FFN, "mlp.up_proj"), .bias = b},               \
    {GLU(MID, GATE, UP)},                                          \
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.down_proj"), .bias = b}

#define FUSED_GATED_ROWS(in, b)                                              \
    {LINEAR(GATE_UP, in, FFN2, "mlp.gate_up_proj"), .bias = b},              \
    {SPLIT(GATE_UP, ONE), .out = {V_GATE, V_UP}, .width = {DIM_FFN, DIM_FFN}}, \
    {GLU(MID, GATE, UP)},                                                    \
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.down_proj"), .bias = b}
#define MLP_ROWS(in, first, second, b)                 \
    {LINEAR(UP, in, FFN, first), .bias = b},           \
    {ACT(MID, UP)},                                    \
    {LINEAR(MLP_OUT, MID, HIDDEN, second), .bias = b}
/* Llama's block: attention, then a gated MLP, each behind a norm. */
#define LLAMA_ROWS(qkv_bias, out_bias, mlp_bias)            \
    {NORM(ATTN_IN, X, "input_layernorm")},                  \
    QKV_ROWS(qkv_bias),                                     \
    ATTEND_ROWS(Q, K, out_bias),                            \
    {ADD(Y, X, ATTN_OUT), .number = NUM_RESIDUAL},          \
    {NORM(MLP_IN, Y, "post_attention_layernorm")},          \
    GATED_ROWS(MLP_IN, mlp_bias),                           \
    {ADD(Z, Y, MLP_OUT), .number = NUM_RESIDUAL}

/* Mamba-2's mixer of what `in` holds, but for the norm behind its gate. A_log, D and dt_bias are
 * `vectors` of the module. */
#define MAMBA2_ROWS(in, module, w, wo)                                                              \
    {LINEAR(MIX_IN, in, SSM_IN, (module ".in_proj")), .bias = T_MIXER_BIAS, .when = w, .unless = wo}, \
    {SPLIT(MIX_IN, ONE), .out = {V_MIX_Z, V_CONV_IN, V_MIX_DT},                                      \
     .width = {DIM_SSM_X, DIM_SSM_CONV, DIM_SSM_HEADS}, .when = w, .unless = wo},                    \
    {CONV(CONV_OUT, CONV_IN, (module ".conv1d")), .bias = T_CONV_BIAS, .act = ACT_SILU, .when = w, .unless = wo}, \
    {SPLIT(CONV_OUT, ONE), .out = {V_MIX_X, V_MIX_B, V_MIX_C},                                       \
     .width = {DIM_SSM_X, DIM_SSM_BC, DIM_SSM_BC}, .when = w, .unless = wo},                         \
    {SCAN(SCAN, MIX_X, MIX_B, MIX_C, MIX_DT, module), .when = w, .unless = wo},                      \
    {GLU(SCAN_GATED, MIX_Z, SCAN), .act = ACT_SILU, .when = w, .unless = wo}
#define MAMBA2_OUT_ROW(from, module, b, w, wo)                                                         \
    {LINEAR(MIX_OUT, from, HIDDEN, (module ".out_proj")), .bias = b, .when = w, .unless = wo}

/* An expert like Llama's MLP. */
#define EXPERT_ROWS(w, gate, up, down)       \
    {LINEAR(GATE, E, w, gate)},              \
    {LINEAR(UP, E, w, up)},                  \
    {GLU(MID, GATE, UP)},                    \
    {LINEAR(E_OUT, MID, HIDDEN, down)},      \
    {END}
/* The same of all experts in two tensors; by themselves they have the names that DeepSeek's have. */
#define STACKED_EXPERT_ROWS(how, gate_up, down)                                                     \
    {LINEAR(GATE, E, EXPERT_FFN, "gate_proj"), .storage = how, .stack = gate_up, .part = PART_FIRST}, \
    {LINEAR(UP, E, EXPERT_FFN, "up_proj"), .storage = how, .stack = gate_up, .part = PART_SECOND},  \
    {GLU(MID, GATE, UP)},                                                                           \
    {LINEAR(E_OUT, MID, HIDDEN, "down_proj"), .storage = how, .stack = down},                       \
    {END}
/* In models with experts in some layers: the MLP of the others, and that which every token passes.
 */
#define DENSE_ROWS(module) DENSE_MLP_ROWS(module), {ADD(Z, Y, MLP_OUT), .unless = T_SPARSE}
#define DENSE_MLP_ROWS(module)                                                             \
    {LINEAR(GATE, MLP_IN, FFN, (module ".gate_proj")), .unless = T_SPARSE},            \
    {LINEAR(UP, MLP_IN, FFN, (module ".up_proj")), .unless = T_SPARSE},                \
    {GLU(MID, GATE, UP), .unless = T_SPARSE},                                          \
    {LINEAR(MLP_OUT, MID, HIDDEN, (module ".down_proj")), .unless = T_SPARSE}
#define SHARED_ROWS(w, module)                                                         \
    {LINEAR(SHARED_GATE, MLP_IN, w, (module ".gate_proj")), .when = T_SPARSE},         \
    {LINEAR(SHARED_UP, MLP_IN, w, (module ".up_proj")), .when = T_SPARSE},             \
    {GLU(SHARED_MID, SHARED_GATE, SHARED_UP), .when = T_SPARSE},                       \
    {LINEAR(SHARED_OUT, SHARED_MID, HIDDEN, (module ".down_proj")), .when = T_SPARSE}
/* Experts, and beside them an MLP that every token passes; the sum of both is added to Y. */
#define ROUTED_AND_SHARED_ROWS(experts, body, shared)                                   \
    {EXPERTS(ROUTED, MLP_IN, ROUTE, experts, body), .when = T_SPARSE},                  \
    {ADD(Y_ROUTED, Y, ROUTED), .when = T_SPARSE},                                       \
    SHARED_ROWS(SHARED_FFN, shared),                                                    \
    {ADD(Z, Y_ROUTED, SHARED_OUT), .when = T_SPARSE}

/* --- settings --------------------------------------------------------------------------------- */

#define DIM(d, k, a)         {.set = SET_DIM, .what = DIM_##d, .key = k, .absent = a}
/* One that null makes 0. */
#define DIM_OR_NONE(d, k, a) {.set = SET_DIM, .what = DIM_##d, .key = k, .absent = a, .null_is_off = true}
#define DIM_AS(d, k, s)      {.set = SET_DIM, .what = DIM_##d, .key = k, .same = DIM_##s}
#define NUMBER(n, k, a)      {.set = SET_NUMBER, .what = NUM_##n, .key = k, .absent = a}
#define NUMBER_POW(n, k, a, p) {.set = SET_NUMBER, .what = NUM_##n, .key = k, .absent = a, .power = p}
/* Times a size to a power. */
#define NUMBER_BY(n, k, a, d, p) {.set = SET_NUMBER, .what = NUM_##n, .key = k, .absent = a, .size = DIM_##d, .size_to = p}
#define FLAG(t, k, a)        {.set = SET_TRAIT, .what = t, .key = k, .absent = a}
#define FLAG_IF(t, k)        {.set = SET_TRAIT_IF, .what = t, .key = k}
/* On where the key is missing; off where it is null. */
#define FLAG_UNLESS_NULL(t, k) {.set = SET_TRAIT_IF, .what = t, .key = k, .absent = 1, .null_is_off = true}
#define WORD(t, k, w)        {.set = SET_WORD, .what = t, .key = k, .word = w}

/* The keys that Llama gave its sizes, with what they are where they are missing. */
#define SIZES(vocab, hidden, layers, heads, positions)   \
    DIM(VOCAB, "vocab_size", vocab),                     \
    DIM(HIDDEN, "hidden_size", hidden),                  \
    DIM(LAYERS, "num_hidden_layers", layers),            \
    DIM(HEADS, "num_attention_heads", heads),            \
    DIM(POSITIONS, "max_position_embeddings", positions)
/* Sequences of any length. */
#define NO_POSITIONS  DIM(POSITIONS, NULL, 1 << 30)
/* Of Mamba-2, as Bamba and those after it call them. */
#define MAMBA2_SETTINGS(heads, state)                                                               \
    DIM(EXPAND, "mamba_expand", 2),                                                                 \
    DIM(SSM_HEADS, "mamba_n_heads", heads),                                                         \
    {.set = SET_DIM, .what = DIM_SSM_HEAD, .key = "mamba_d_head", .same = DIM_HIDDEN, .by = DIM_EXPAND, .over = DIM_SSM_HEADS}, \
    DIM(SSM_STATE, "mamba_d_state", state),                                                         \
    DIM(SSM_GROUPS, "mamba_n_groups", 1),                                                           \
    DIM(CONV, "mamba_d_conv", 4),                                                                   \
    FLAG(T_CONV_BIAS, "mamba_conv_bias", true),                                                     \
    FLAG(T_MIXER_BIAS, "mamba_proj_bias", false),                                                   \
    STEP_LIMITS
#define STEP_LIMITS                                                                                 \
    NUMBER(STEP_MIN, "time_step_limit[0/2]", 0),                                                    \
    {.set = SET_NUMBER, .what = NUM_STEP_MAX, .key = "time_step_limit[1/2]", .absent = (double)INFINITY, .infinite = true}
#define KV_HEADS(n)   {.set = SET_DIM, .what = DIM_KV_HEADS, .key = "num_key_value_heads", .absent = n, .same = DIM_HEADS}
#define HEAD_DIM(n)   {.set = SET_DIM, .what = DIM_HEAD, .key = "head_dim", .absent = n, .same = DIM_HIDDEN, .over = DIM_HEADS}
/* One for each head of the queries, and all of them together as wide as the model. */
#define EQUAL_HEADS   DIM_AS(KV_HEADS, NULL, HEADS), {.set = SET_DIM, .what = DIM_HEAD, .same = DIM_HIDDEN, .over = DIM_HEADS}
#define FFN(n)        DIM(FFN, "intermediate_size", n)
#define FFN_4(k)      {.set = SET_DIM, .what = DIM_FFN, .key = k, .same = DIM_HIDDEN, .times = 4}
#define WINDOW(n)     {.set = SET_DIM, .what = DIM_WINDOW, .key = "sliding_window", .absent = n, .null_is_off = true}
#define THETA(t)      NUMBER(THETA, "rope_theta", t)
#define RMS_EPS(e)    NUMBER(EPS, "rms_norm_eps", e)
/* 5: in the rotary settings */
#define ROTARY(k, part) NUMBER(ROTARY, "rope_parameters.partial_rotary_factor|" k, part)
/* A bound that null takes away. */
#define CAP(n, k, a)  {.set = SET_NUMBER, .what = NUM_##n, .key = k, .absent = a, .null_is_off = true}
#define LAYER_EPS(k)  NUMBER(EPS, k, 1e-5)
#define TIED(t)       FLAG(T_TIED, "tie_word_embeddings", t)

/* --- layer rules ------------------------------------------------------------------------------ */

#define ALL_LAYERS(t)          .trait = t, .rule = RULE_ALL
#define BY_WORD(t, k, w)       .trait = t, .rule = RULE_WORD, .key = k, .word = w
#define BY_LETTER(t, k, w)     .trait = t, .rule = RULE_LETTER, .key = k, .word = w
#define CYCLE(t, k, w)         .trait = t, .rule = RULE_CYCLE, .key = k, .word = w
#define PHASE(t, k, n, p, m)   .trait = t, .rule = RULE_PHASE, .key = k, .absent = n, .offset = p, .phase = m
#define BY_RUNS(t, k, w)       .trait = t, .rule = RULE_RUNS, .key = k, .word = w
#define BY_NUMBER(t, k, n)     .trait = t, .rule = RULE_NUMBER, .key = k, .absent = n
/* every how many layers one has no window */
#define WINDOW_PATTERN         "sliding_window_pattern|_sliding_window_pattern"
#define EVERY(t, k, n)         .trait = t, .rule = RULE_EVERY, .key = k, .absent = n
#define NOT_EVERY(t, k, n)     .trait = t, .rule = RULE_NOT_EVERY, .key = k, .absent = n
#define FROM(t, k, n)          .trait = t, .rule = RULE_FROM, .key = k, .absent = n
#define BEFORE(t, k, n)        .trait = t, .rule = RULE_BEFORE, .key = k, .absent = n
#define BEHIND(t, k, n)        .trait = t, .rule = RULE_BEHIND, .key = k, .absent = n
#define LAST(t, k, n)          .trait = t, .rule = RULE_LAST, .key = k, .absent = n
#define AMONG(t, k)            .trait = t, .rule = RULE_AMONG, .key = k
#define NOT_AMONG(t, k)        .trait = t, .rule = RULE_NOT_AMONG, .key = k
/* clang-format on */

#endif
