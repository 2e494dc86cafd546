/* SPDX-License-Identifier: Apache-2.0 */
/* See parts.h. The merged layers are those of vLLM's and SGLang's model files
 * (packed_modules_mapping), the names of GGUF files those of ggml-org/llama.cpp
 * (gguf-py/gguf/constants.py). */
#include "models/parts.h"

#include <stddef.h>
#include <string.h>

/* Of a value: the layer that its linear is merged into; its module's name in GGUF files; the same
 * where it is an expert's, for those of all experts. */
struct part {
    enum value makes;
    const char *fused, *gguf, *gguf_experts;
};

/* clang-format off */
static const struct part parts[] = {
    {V_ATTN_IN,     NULL,               "attn_norm",           NULL},
    {V_QKV,         NULL,               "attn_qkv",            NULL},
    {V_Q,           "qkv_proj",         "attn_q",              NULL},
    {V_K,           "qkv_proj",         "attn_k",              NULL},
    {V_V,           "qkv_proj",         "attn_v",              NULL},
    {V_Q_GATE,      "qkv_proj",         NULL,                  NULL},
    {V_Q_NORM,      NULL,               "attn_q_norm",         NULL},
    {V_K_NORM,      NULL,               "attn_k_norm",         NULL},
    {V_ATTN_OUT,    NULL,               "attn_output",         NULL},
    {V_ATTN_POST,   NULL,               "post_attention_norm", NULL},
    {V_Q_A,         "fused_qkv_a_proj", NULL,                  NULL},
    {V_KV_A,        "fused_qkv_a_proj", NULL,                  NULL},
    {V_CONV_IN,     "in_proj_qkvz",     NULL,                  NULL},
    {V_MIX_Z,       "in_proj_qkvz",     NULL,                  NULL},
    {V_BETA,        "in_proj_ba",       NULL,                  NULL},
    {V_FADE,        "in_proj_ba",       NULL,                  NULL},
    {V_MLP_IN,      NULL,               "ffn_norm",            NULL},
    {V_GATE_UP,     NULL,               "ffn_up",              NULL},
    {V_GATE,        "gate_up_proj",     "ffn_gate",            "ffn_gate_exps"},
    {V_UP,          "gate_up_proj",     "ffn_up",              "ffn_up_exps"},
    {V_MLP_OUT,     NULL,               "ffn_down",            NULL},
    {V_MLP_POST,    NULL,               "post_ffw_norm",       NULL},
    {V_ROUTE,       NULL,               "ffn_gate_inp",        NULL},
    {V_E_OUT,       NULL,               NULL,                  "ffn_down_exps"},
    {V_SHARED_GATE, "gate_up_proj",     NULL,                  NULL},
    {V_SHARED_UP,   "gate_up_proj",     NULL,                  NULL},
};
/* clang-format on */

static const struct part *find(enum value v) {
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].makes == schema_first(v))
            return &parts[i];
    return NULL;
}

static const char *fused_layer(enum value v) {
    const struct part *p = find(v);
    return p ? p->fused : NULL;
}

/* Are both merged into the same layer? Each of two attentions has its own. */
static bool share_layer(enum value a, enum value b) {
    const char *layer = fused_layer(a), *other = fused_layer(b);
    return layer && other && strcmp(layer, other) == 0 &&
           schema_is_second(a) == schema_is_second(b);
}

const char *part_fused(const struct graph *g, const struct graph_node *linear) {
    int members = 0;
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        members += n->row->op == OP_LINEAR && share_layer(n->out[0], linear->out[0]);
    }
    return members > 1 ? fused_layer(linear->out[0]) : NULL;
}

bool part_merged_with_next(const struct blocks *b, int64_t number) {
    if (number + 1 >= blocks_linear_count(b))
        return false;
    const struct linear_place at = blocks_linear_at(b, number);
    const struct linear_place next = blocks_linear_at(b, number + 1);
    if (at.block != next.block)
        return false;
    if (at.expert >= 0 && next.expert >= 0)
        return true;
    return at.expert == next.expert &&
           share_layer(blocks_node(b, at)->out[0], blocks_node(b, next)->out[0]);
}

const char *part_gguf(enum value v, bool of_expert) {
    const struct part *p = find(v);
    return !p ? NULL : of_expert ? p->gguf_experts : p->gguf;
}

/* Through a norm or a switch, if need be: what ends in the stream, or what an expert ends in. */
bool part_splits_columns(const struct graph *g, const struct graph_node *linear) {
    enum value v = linear->out[0];
    if (v == g->output)
        return true;
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        const bool reads = n->in[0] == v || n->in[1] == v;
        if (reads && n->row->op == OP_ADD)
            return true;
        if (reads && (n->row->op == OP_NORM || n->row->op == OP_GLU) &&
            n->width[0] == g->width[g->input])
            v = n->out[0];
    }
    return false;
}
