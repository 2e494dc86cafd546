/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes made of others, so that no fused width is computed anywhere else. */
#include <stddef.h>

#include "base/int64.h"
#include "models/config_parts.h"

/* A size is a sum of products of two. */
enum { TERMS = 3 };
static const struct {
    enum dim dim;
    enum dim terms[TERMS][2];
} formulas[] = {
    {DIM_ATTN, {{DIM_HEADS, DIM_HEAD}}},
    {DIM_KV, {{DIM_KV_HEADS, DIM_HEAD}}},
    {DIM_ATTN2, {{DIM_ATTN, DIM_ONE}, {DIM_ATTN, DIM_ONE}}},
    {DIM_ATTN3, {{DIM_ATTN, DIM_ONE}, {DIM_ATTN, DIM_ONE}, {DIM_ATTN, DIM_ONE}}},
    {DIM_QKV, {{DIM_ATTN, DIM_ONE}, {DIM_KV, DIM_ONE}, {DIM_KV, DIM_ONE}}},
    {DIM_HIDDEN3, {{DIM_HIDDEN, DIM_ONE}, {DIM_HIDDEN, DIM_ONE}, {DIM_HIDDEN, DIM_ONE}}},
    {DIM_FFN2, {{DIM_FFN, DIM_ONE}, {DIM_FFN, DIM_ONE}}},
    {DIM_EXPERT_FFN2, {{DIM_EXPERT_FFN, DIM_ONE}, {DIM_EXPERT_FFN, DIM_ONE}}},
    {DIM_CHOICES, {{DIM_EXPERTS, DIM_ONE}, {DIM_IDLE, DIM_ONE}}},
    {DIM_SHARED_FFN, {{DIM_N_SHARED, DIM_EXPERT_FFN}}},
    {DIM_SHARED_FFN2, {{DIM_SHARED_FFN, DIM_ONE}, {DIM_SHARED_FFN, DIM_ONE}}},
    {DIM_DELTA_K, {{DIM_DELTA_KEY_HEADS, DIM_DELTA_KEY}}},
    {DIM_DELTA_V, {{DIM_DELTA_VALUE_HEADS, DIM_DELTA_VALUE}}},
    {DIM_DELTA_QKV, {{DIM_DELTA_K, DIM_ONE}, {DIM_DELTA_K, DIM_ONE}, {DIM_DELTA_V, DIM_ONE}}},
    {DIM_DELTA_IN, {{DIM_DELTA_QKV, DIM_ONE}, {DIM_DELTA_V, DIM_ONE}}},
    {DIM_DELTA_STEPS, {{DIM_DELTA_VALUE_HEADS, DIM_ONE}, {DIM_DELTA_VALUE_HEADS, DIM_ONE}}},
    {DIM_SSM_X, {{DIM_SSM_HEADS, DIM_SSM_HEAD}}},
    {DIM_SSM_X2, {{DIM_SSM_X, DIM_ONE}, {DIM_SSM_X, DIM_ONE}}},
    {DIM_SSM_DBC, {{DIM_SSM_RANK, DIM_ONE}, {DIM_SSM_STATE, DIM_ONE}, {DIM_SSM_STATE, DIM_ONE}}},
    {DIM_SSM_BC, {{DIM_SSM_GROUPS, DIM_SSM_STATE}}},
    {DIM_SSM_CONV, {{DIM_SSM_X, DIM_ONE}, {DIM_SSM_BC, DIM_ONE}, {DIM_SSM_BC, DIM_ONE}}},
    {DIM_SSM_IN, {{DIM_SSM_X, DIM_ONE}, {DIM_SSM_CONV, DIM_ONE}, {DIM_SSM_HEADS, DIM_ONE}}},
    {DIM_VALUES, {{DIM_KV_HEADS, DIM_V_HEAD}}},
    {DIM_MLA_NOPE, {{DIM_HEADS, DIM_NOPE}}},
    {DIM_MLA_V, {{DIM_HEADS, DIM_V_HEAD}}},
    {DIM_MLA_Q, {{DIM_HEADS, DIM_NOPE}, {DIM_HEADS, DIM_PE}}},
    {DIM_KV_A, {{DIM_KV_LORA, DIM_ONE}, {DIM_PE, DIM_ONE}}},
    {DIM_INDEX_Q, {{DIM_INDEX_HEADS, DIM_INDEX_HEAD}}},
    {DIM_KV_B, {{DIM_MLA_NOPE, DIM_ONE}, {DIM_MLA_V, DIM_ONE}}},
    {DIM_TOKEN_ALL, {{DIM_LAYERS, DIM_TOKEN}}},
};

/* transformers' Lfm2MLP, as in Llama 1's own code. */
static int64_t fitted_ffn(const struct facts *facts) {
    const int64_t ffn = facts->dims[DIM_FFN], step = facts->dims[DIM_FFN_STEP];
    if (!(facts->traits & T_FITTED_FFN) || step < 1)
        return ffn;
    return ceil_div((int64_t)(facts->numbers[NUM_FFN] * (double)(2 * ffn / 3)), step) * step;
}

/* Heads two by two. */
static void derive_pairs(int64_t *dims) {
    dims[DIM_HEAD_PAIRS] = dims[DIM_HEADS] % 2 ? 0 : dims[DIM_HEADS] / 2;
    dims[DIM_KV_PAIRS] = dims[DIM_KV_HEADS] % 2 ? 0 : dims[DIM_KV_HEADS] / 2;
    dims[DIM_KV_HALF] = dims[DIM_KV_PAIRS] * dims[DIM_HEAD];
}

void config_derive(struct facts *facts) {
    int64_t *dims = facts->dims;
    derive_pairs(dims);
    dims[DIM_FITTED_FFN] = fitted_ffn(facts);
    if (dims[DIM_ROT] == 0)
        dims[DIM_ROT] = (int64_t)((double)dims[DIM_HEAD] * facts->numbers[NUM_ROTARY]);
    for (size_t i = 0; i < sizeof formulas / sizeof formulas[0]; i++)
        for (int t = 0; t < TERMS; t++)
            dims[formulas[i].dim] += dims[formulas[i].terms[t][0]] * dims[formulas[i].terms[t][1]];
}

void config_stream(struct model_config *c) {
    const bool keeps = c->facts.traits & T_KEPT;
    struct facts *const both[] = {&c->facts, &c->windowed};
    const int64_t local = keeps ? 2 * c->windowed.dims[DIM_KV] : 0;
    const int64_t global = keeps ? 2 * c->facts.dims[DIM_KV] : 0;
    for (int i = 0; i < 2; i++) {
        int64_t *dims = both[i]->dims;
        dims[DIM_KEPT_LOCAL] = local;
        dims[DIM_KEPT_GLOBAL] = global;
        dims[DIM_KEPT] = local + global;
        dims[DIM_STREAM] = dims[DIM_HIDDEN] + dims[DIM_KEPT];
    }
    c->stream = c->facts.dims[DIM_STREAM];
}
