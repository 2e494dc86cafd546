/* SPDX-License-Identifier: Apache-2.0 */
/* The architectures: see gguf_archs.h. What each computes and which keys it reads: src/models/ and
 * src/llama-arch.cpp of ggml-org/llama.cpp; what its converter makes of a checkpoint: conversion/.
 */
#include "gguf/gguf_archs.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

/* clang-format off */
#define BIT(v) (UINT64_C(1) << V_##v)
_Static_assert(V_E_OUT < 64, "values that files have names for are bits of a word");

#define ATTENTION (BIT(Q) | BIT(K) | BIT(V) | BIT(ATTN_OUT))
#define FFN       (BIT(UP) | BIT(MLP_OUT))
#define GATED     (BIT(GATE) | FFN)
#define NORMS     (BIT(ATTN_IN) | BIT(MLP_IN))
#define POSTS     (BIT(ATTN_POST) | BIT(MLP_POST))
#define HEADS     (BIT(Q_NORM) | BIT(K_NORM))
#define EXPERTS   (BIT(ROUTE) | BIT(E_OUT))

#define ROPE(type)  (1U << ROPE_##type)
#define ROPE_PLAIN  (ROPE(DEFAULT) | ROPE(DYNAMIC))
#define ROPE_SCALED (ROPE_PLAIN | ROPE(LINEAR) | ROPE(YARN))
/* clang-format on */

static const struct gguf_number gemma2_numbers[] = {
    {NUM_SOFT_CAP, ".attn_logit_softcapping", 1},
    {NUM_FINAL_CAP, ".final_logit_softcapping", 1},
    {0},
};

static const struct gguf_number granite_numbers[] = {
    {NUM_EMBED, ".embedding_scale", 1},
    {NUM_RESIDUAL, ".residual_scale", 1},
    {NUM_ATTN_SCALE, ".attention.scale", 1},
    {NUM_LOGITS, ".logit_scale", -1},
    {0},
};

static const struct gguf_arch archs[] = {
    {
        .name = "llama",
        .norm = NORM_RMS,
        .act = ACT_SILU,
        .modules = NORMS | ATTENTION | GATED | EXPERTS,
        .biases = ATTENTION | GATED,
        .ropes = ROPE_SCALED | ROPE(LLAMA3),
        .experts = true,
        .dense = true,
    },
    {
        .name = "qwen2",
        .norm = NORM_RMS,
        .act = ACT_SILU,
        .modules = NORMS | ATTENTION | GATED,
        .biases = BIT(Q) | BIT(K) | BIT(V),
        .ropes = ROPE_SCALED,
        .dense = true,
    },
    {
        .name = "qwen3",
        .norm = NORM_RMS,
        .act = ACT_SILU,
        .modules = NORMS | ATTENTION | HEADS | GATED,
        .ropes = ROPE_SCALED,
        .dense = true,
    },
    {
        .name = "qwen3moe",
        .norm = NORM_RMS,
        .act = ACT_SILU,
        .modules = NORMS | ATTENTION | HEADS | GATED | EXPERTS,
        .ropes = ROPE_SCALED,
        .experts = true,
        .expert_width = ".expert_feed_forward_length",
    },
    {
        .name = "gemma",
        .norm = NORM_RMS,
        .act = ACT_GELU_TANH,
        .modules = NORMS | ATTENTION | GATED,
        .tied_only = true,
        .ropes = ROPE_PLAIN | ROPE(LINEAR),
        .embed_sqrt = true,
        .dense = true,
    },
    {
        .name = "gemma2",
        .norm = NORM_RMS,
        .act = ACT_GELU_TANH,
        .modules = NORMS | ATTENTION | GATED | POSTS,
        .tied_only = true,
        .ropes = ROPE_PLAIN | ROPE(LINEAR),
        .window_period = 2,
        .wide_layers = 46,
        .embed_sqrt = true,
        .numbers = gemma2_numbers,
        .dense = true,
    },
    {
        .name = "gemma3",
        .norm = NORM_RMS,
        .act = ACT_GELU_TANH,
        .modules = NORMS | ATTENTION | HEADS | GATED | POSTS,
        .tied_only = true,
        .ropes = ROPE_PLAIN | ROPE(LINEAR),
        .window_period = 6,
        .local_theta = 10000,
        .wide_layers = 62,
        .embed_sqrt = true,
        .dense = true,
    },
    {
        .name = "phi3",
        .norm = NORM_RMS,
        .act = ACT_SILU,
        .modules = NORMS | BIT(QKV) | BIT(ATTN_OUT) | BIT(GATE_UP) | BIT(MLP_OUT),
        .part_rotary = true,
        .equal_width = true,
        .ropes = ROPE_PLAIN | ROPE(LONGROPE),
        .dense = true,
    },
    {
        .name = "starcoder2",
        .norm = NORM_LAYER,
        .act = ACT_GELU_TANH,
        .modules = NORMS | ATTENTION | FFN,
        .biases = ATTENTION | FFN,
        .biased = true,
        .equal_width = true,
        .ropes = ROPE_SCALED,
        .dense = true,
    },
    {
        .name = "olmo2",
        .norm = NORM_RMS,
        .act = ACT_SILU,
        .modules = ATTENTION | HEADS | GATED | POSTS,
        .untied_only = true,
        .equal_width = true,
        .ropes = ROPE_SCALED,
        .dense = true,
    },
    {
        .name = "granite",
        .norm = NORM_RMS,
        .act = ACT_SILU,
        .modules = NORMS | ATTENTION | GATED,
        .biases = ATTENTION | GATED,
        .ropes = ROPE_SCALED | ROPE(LLAMA3),
        .numbers = granite_numbers,
        .dense = true,
    },
};

const struct gguf_arch *gguf_arch_at(int index) {
    return index >= 0 && index < (int)(sizeof archs / sizeof archs[0]) ? &archs[index] : NULL;
}

/* --- what llama.cpp would compute otherwise --------------------------------------------------- */

/* What config.json says under `key` cannot be. */
static enum llmq_status refuse(const struct gguf_arch *arch, const char *key, const char *why,
                               llmq_error *err) {
    return error_set(err, LLMQ_E_UNSUPPORTED, "config.json: %s: llama.cpp's %s models %s", key,
                     arch->name, why);
}

static const struct gguf_number *find_number(const struct gguf_arch *arch, enum number n) {
    for (const struct gguf_number *row = arch->numbers; row && row->key; row++)
        if (row->number == n)
            return row;
    return NULL;
}

/* What llama.cpp takes the number to be where the file does not say it. */
static double expected_number(const struct gguf_arch *arch, const struct facts *f, enum number n) {
    const int64_t *d = f->dims;
    const bool wide = arch->wide_layers > 0 && d[DIM_LAYERS] == arch->wide_layers;
    if (n == NUM_ATTN_SCALE)
        return 1 / sqrt((double)(wide ? d[DIM_HIDDEN] / d[DIM_HEADS] : d[DIM_HEAD]));
    if (n == NUM_EMBED && arch->embed_sqrt)
        return sqrt((double)d[DIM_HIDDEN]);
    if (n == NUM_LOCAL_THETA)
        return arch->local_theta;
    return n == NUM_SOFT_CAP || n == NUM_FINAL_CAP || n == NUM_CLIP || n == NUM_FLOOR ? 0 : 1;
}

/* Is the number what llama.cpp takes it to be, or said by the file? */
static bool number_fits(const struct gguf_arch *arch, const struct facts *f, enum number n) {
    double value = f->numbers[n];
    const double expected = expected_number(arch, f, n);
    if (n == NUM_LOCAL_THETA && !(f->traits & T_LOCAL_ROPE))
        return true;
    if (n == NUM_ATTN_SCALE && !(value > 0))
        value = 1 / sqrt((double)f->dims[DIM_HEAD]);
    if (find_number(arch, n))
        return value > 0;
    return fabs(value - expected) <= 1e-6 * expected;
}

static enum llmq_status check_numbers(const struct gguf_arch *arch, const struct model_config *c,
                                      llmq_error *err) {
    static const enum number numbers[] = {
        NUM_ATTN_SCALE, NUM_ATTN_GAIN, NUM_SOFT_CAP, NUM_FINAL_CAP, NUM_CLIP,       NUM_EMBED,
        NUM_RESIDUAL,   NUM_LOGITS,    NUM_ROUTED,   NUM_FLOOR,     NUM_LOCAL_THETA};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (number_fits(arch, &c->facts, numbers[i]))
            continue;
        const struct setting *s = family_setting(c->family, SET_NUMBER, numbers[i]);
        return refuse(arch, s ? s->key : "a factor",
                      find_number(arch, numbers[i]) ? "need a number above 0"
                                                    : "have another number here, which a GGUF file "
                                                      "does not change",
                      err);
    }
    return LLMQ_OK;
}

static enum llmq_status check_sizes(const struct gguf_arch *arch, const struct model_config *c,
                                    llmq_error *err) {
    const int64_t *d = c->facts.dims;
    if (!arch->part_rotary && d[DIM_ROT] != d[DIM_HEAD])
        return refuse(arch, "partial_rotary_factor", "rotate whole heads", err);
    if (arch->equal_width && d[DIM_ATTN] != d[DIM_HIDDEN])
        return refuse(arch, "head_dim", "have heads that together are as wide as the model", err);
    if (c->tied ? arch->untied_only : arch->tied_only)
        return refuse(arch, "tie_word_embeddings",
                      c->tied ? "have an output head of their own"
                              : "have the embedding as their output head",
                      err);
    return LLMQ_OK;
}

static bool has_experts(const struct blocks *b, int64_t block) {
    return blocks_graph(b, block)->experts >= 0;
}

static enum llmq_status check_layers(const struct gguf_arch *arch, const struct blocks *blocks,
                                     llmq_error *err) {
    const struct model_config *c = blocks->config;
    const bool experts = has_experts(blocks, 0);
    const int period = arch->window_period;
    for (int64_t b = 0; b < c->blocks; b++) {
        const bool window = c->layers[b] & T_WINDOW, sparse = has_experts(blocks, b);
        if (period > 0 && window != ((b + 1) % period != 0))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "config.json: layer_types: llama.cpp's %s models have a window in all "
                             "layers but every %dth",
                             arch->name, period);
        if (c->layers[b] & (T_NO_ROPE | T_CHUNKED))
            return refuse(arch, "layer_types", "have no layers of this kind", err);
        if (sparse ? !arch->experts : !arch->dense)
            return refuse(arch, "mlp_only_layers",
                          sparse ? "have no experts" : "have experts in every layer", err);
        if (sparse != experts)
            return refuse(arch, "mlp_only_layers", "have experts in all layers or in none", err);
    }
    if (experts && !(c->facts.traits & T_NORM_TOPK))
        return refuse(arch, "norm_topk_prob", "have weights of experts that add up to 1", err);
    return LLMQ_OK;
}

/* The modules of a kind of block and their biases. */
static enum llmq_status check_graph(const struct gguf_arch *arch, const struct graph *g,
                                    llmq_error *err) {
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->node[i];
        const uint64_t bit = n->row->out[0] < 64 ? UINT64_C(1) << n->row->out[0] : 0;
        const bool linear = n->row->op == OP_LINEAR || n->row->op == OP_ROUTER;
        if (!n->row->name || n->row->op == OP_EXPERTS)
            continue;
        if (!(arch->modules & bit))
            return refuse(arch, n->row->name, "have no such module", err);
        const bool biased = linear && graph_node_biased(g, n);
        if (biased && !(arch->biases & bit))
            return refuse(arch, n->row->name, "have no bias here", err);
        if (linear && !biased && arch->biased)
            return refuse(arch, n->row->name, "have a bias here", err);
    }
    return LLMQ_OK;
}

static enum llmq_status check_graphs(const struct gguf_arch *arch, const struct blocks *b,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int kind = 0; status == LLMQ_OK && kind < b->kind_count; kind++) {
        status = check_graph(arch, &b->kinds[kind], err);
        if (status == LLMQ_OK && b->kinds[kind].body)
            status = check_graph(arch, b->kinds[kind].body, err);
    }
    return status;
}

/* A norm as it is stored with one added, and without. */
static enum norm stored_norm(enum norm norm) {
    return norm == NORM_RMS1 ? NORM_RMS : norm == NORM_LAYER1 ? NORM_LAYER : norm;
}

enum llmq_status gguf_arch_of(const struct blocks *b, const struct gguf_arch **out,
                              llmq_error *err) {
    const struct model_config *c = b->config;
    const struct gguf_arch *arch = NULL;
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; b->config->family->gguf && (arch = gguf_arch_at(i)); i++)
        if (strcmp(arch->name, b->config->family->gguf) == 0)
            break;
    *out = arch;
    if (!arch)
        return error_set(err, LLMQ_E_UNSUPPORTED, "llmq makes no GGUF files of %s models",
                         b->config->family->name);
    if (stored_norm(c->facts.norm) != arch->norm || c->facts.traits & T_HEAD_BIAS)
        return refuse(arch, "model_type", "have other norms, or no bias at the head", err);
    if (c->facts.act != arch->act)
        return refuse(arch, b->config->family->act_key ? b->config->family->act_key : "hidden_act",
                      "have another activation", err);
    if (!(arch->ropes >> c->rope.type & 1))
        return refuse(arch, "rope_scaling", "have no rotary scaling of this type", err);
    LLMQ_TRY(check_numbers(arch, c, err));
    LLMQ_TRY(check_sizes(arch, c, err));
    LLMQ_TRY(check_layers(arch, b, err));
    LLMQ_TRY(check_graphs(arch, b, err));
cleanup:
    return status;
}

/* --- keys ------------------------------------------------------------------------------------- */

static void put_experts(const struct gguf_arch *arch, const struct graph *g,
                        struct gguf_metadata *m) {
    gguf_put_u32(m, ".expert_count", (uint32_t)g->facts.dims[DIM_EXPERTS]);
    gguf_put_u32(m, ".expert_used_count", (uint32_t)g->facts.dims[DIM_TOP_K]);
    if (arch->expert_width)
        gguf_put_u32(m, arch->expert_width, (uint32_t)g->body->width[V_UP]);
}

void gguf_arch_put(const struct gguf_arch *arch, const struct blocks *b, int64_t context,
                   struct gguf_metadata *m) {
    const struct model_config *c = b->config;
    const struct graph *g = blocks_graph(b, 0);
    const int64_t *d = c->facts.dims;
    const int64_t ffn = g->body && !arch->expert_width ? g->body->width[V_UP] : d[DIM_FFN];
    gguf_put_u32(m, ".context_length", (uint32_t)context);
    gguf_put_u32(m, ".embedding_length", (uint32_t)c->hidden);
    gguf_put_u32(m, ".block_count", (uint32_t)c->blocks);
    gguf_put_u32(m, ".feed_forward_length", (uint32_t)ffn);
    gguf_put_u32(m, ".vocab_size", (uint32_t)c->vocab);
    gguf_put_u32(m, ".attention.head_count", (uint32_t)d[DIM_HEADS]);
    gguf_put_u32(m, ".attention.head_count_kv", (uint32_t)d[DIM_KV_HEADS]);
    gguf_put_u32(m, ".attention.key_length", (uint32_t)d[DIM_HEAD]);
    gguf_put_u32(m, ".attention.value_length", (uint32_t)d[DIM_HEAD]);
    gguf_put_f32(m,
                 norm_has_mean(arch->norm) ? ".attention.layer_norm_epsilon"
                                           : ".attention.layer_norm_rms_epsilon",
                 c->facts.numbers[NUM_EPS]);
    gguf_put_u32(m, ".rope.dimension_count", (uint32_t)d[DIM_ROT]);
    gguf_put_f32(m, ".rope.freq_base", c->rope.theta);
    if (arch->window_period > 0)
        gguf_put_u32(m, ".attention.sliding_window", (uint32_t)d[DIM_WINDOW]);
    for (const struct gguf_number *n = arch->numbers; n && n->key; n++)
        gguf_put_f32(m, n->key, pow(c->facts.numbers[n->number], n->power));
    if (g->body)
        put_experts(arch, g, m);
}
