/* The words that families' rows are written with. Each expands to designated initialisers, so that
 * a row can go on with whatever else it has to say:
 *
 *     {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = T_ATTENTION_BIAS},
 */
#ifndef LLMQ_MODELS_ROWS_H
#define LLMQ_MODELS_ROWS_H

#include "models/schema.h"

/* clang-format off */
#define NORM(o, i, module)             .op = OP_NORM, .out = {V_##o}, .in = {V_##i}, .name = module
#define LINEAR(o, i, w, module)        .op = OP_LINEAR, .out = {V_##o}, .in = {V_##i}, .width = {DIM_##w}, .name = module
#define SPLIT(i, g)                    .op = OP_SPLIT, .in = {V_##i}, .groups = DIM_##g
#define JOIN(o, a, b, g)               .op = OP_JOIN, .out = {V_##o}, .in = {V_##a, V_##b}, .groups = DIM_##g
#define ROPE(o, i, g)                  .op = OP_ROPE, .out = {V_##o}, .in = {V_##i}, .groups = DIM_##g, .unless = T_NO_ROPE
#define CLIP(o, i)                     .op = OP_CLIP, .out = {V_##o}, .in = {V_##i}, .when = T_CLIP
#define ATTENTION(o, q, k, v)          .op = OP_ATTENTION, .out = {V_##o}, .in = {V_##q, V_##k, V_##v}
#define ACT(o, i)                      .op = OP_ACT, .out = {V_##o}, .in = {V_##i}
#define GLU(o, gate, up)               .op = OP_GLU, .out = {V_##o}, .in = {V_##gate, V_##up}
#define ADD(o, stream, branch)         .op = OP_ADD, .out = {V_##o}, .in = {V_##stream, V_##branch}
#define ROUTER(o, i, module)           .op = OP_ROUTER, .out = {V_##o}, .in = {V_##i}, .width = {DIM_EXPERTS}, .name = module
#define EXPERTS(o, i, route, module, rows) .op = OP_EXPERTS, .out = {V_##o}, .in = {V_##i, V_##route}, .name = module, .body = rows
#define END                            .op = OP_END
/* Runs of rows that many families share. */
#define QKV_ROWS(b)                                            \
    {LINEAR(Q, ATTN_IN, ATTN, "self_attn.q_proj"), .bias = b}, \
    {LINEAR(K, ATTN_IN, KV, "self_attn.k_proj"), .bias = b},   \
    {LINEAR(V, ATTN_IN, KV, "self_attn.v_proj"), .bias = b}
#define HEAD_NORM_ROWS                                              \
    {NORM(Q_NORM, Q, "self_attn.q_norm"), .groups = DIM_HEADS},     \
    {NORM(K_NORM, K, "self_attn.k_norm"), .groups = DIM_KV_HEADS}
#define ATTEND_ROWS(q, k, b)                                             \
    {ROPE(Q_ROT, q, HEADS)},                                             \
    {ROPE(K_ROT, k, KV_HEADS)},                                          \
    {ATTENTION(CONTEXT, Q_ROT, K_ROT, V)},                               \
    {LINEAR(ATTN_OUT, CONTEXT, HIDDEN, "self_attn.o_proj"), .bias = b}
#define GATED_ROWS(b)                                              \
    {LINEAR(GATE, MLP_IN, FFN, "mlp.gate_proj"), .bias = b},       \
    {LINEAR(UP, MLP_IN, FFN, "mlp.up_proj"), .bias = b},           \
    {GLU(MID, GATE, UP)},                                          \
    {LINEAR(MLP_OUT, MID, HIDDEN, "mlp.down_proj"), .bias = b}
/* clang-format on */

#endif
