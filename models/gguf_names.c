/* SPDX-License-Identifier: Apache-2.0 */
/* See gguf_names.h. Which architectures turn neighbours: llama_model_rope_type in
 * src/llama-model.cpp of ggml-org/llama.cpp. */
#include "models/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/parts.h"

#define BLOCK_PREFIX "blk."

bool gguf_turns_neighbours(const char *arch) {
    static const char *const archs[] = {"llama", "granite"};
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (strcmp(archs[i], arch) == 0)
            return true;
    return false;
}

/* --- the ends --------------------------------------------------------------------------------- */

struct end {
    const char *stem;
    const char *name; /* of the family's module, or of a tensor of it; NULL: there is none */
    bool norm;
};

enum { END_COUNT = 5 };

static void list_ends(const struct family *f, struct end out[END_COUNT]) {
    out[0] = (struct end){"token_embd", f->embedding, false};
    out[1] = (struct end){"position_embd", f->positions, false};
    out[2] = (struct end){"token_embd_norm", f->embedding_norm, true};
    out[3] = (struct end){"output_norm", f->final_norm, true};
    out[4] = (struct end){"output", f->head, false};
}

/* Bytes of a name up to its suffix, without the dot. */
static size_t module_length(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : strlen(name);
}

static size_t end_length(const struct end *e) {
    return !e->name ? 0 : e->norm ? strlen(e->name) : module_length(e->name);
}

static bool same(const char *a, size_t len, const char *b, size_t b_len) {
    return len == b_len && memcmp(a, b, len) == 0;
}

static bool adds_one(enum norm norm, const char *suffix) {
    return norm_adds_one(norm) && strcmp(suffix, ".weight") == 0;
}

static bool end_tensor(const struct blocks *b, const char *name, size_t len,
                       struct gguf_tensor *out) {
    struct end ends[END_COUNT];
    list_ends(b->config->family, ends);
    for (int i = 0; i < END_COUNT; i++) {
        if (!ends[i].name || !same(name, len, ends[i].name, end_length(&ends[i])))
            continue;
        out->plus_one = ends[i].norm && adds_one(b->config->facts.norm, name + len);
        return snprintf(out->name, sizeof out->name, "%s%s", ends[i].stem, name + len) <
               (int)sizeof out->name;
    }
    return false;
}

static bool end_name(const struct blocks *b, const char *stored, size_t len,
                     char name[FAMILY_NAME_MAX]) {
    struct end ends[END_COUNT];
    list_ends(b->config->family, ends);
    for (int i = 0; i < END_COUNT; i++)
        if (ends[i].name && same(stored, len, ends[i].stem, strlen(ends[i].stem))) {
            (void)snprintf(name, FAMILY_NAME_MAX, "%.*s%s", (int)end_length(&ends[i]), ends[i].name,
                           stored + len);
            return true;
        }
    return false;
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* What a node's module is called; of rows that only move values, NULL. */
static const char *stem_of(const struct graph_node *n, bool of_expert) {
    return n->row->name ? part_gguf(n->row->out[0], of_expert) : NULL;
}

/* Of how many heads the rows are interleaved. */
static int64_t heads_of(const struct blocks *b, const struct graph *g, const struct graph_node *n) {
    const enum value v = n->row->out[0];
    if (n->row->op != OP_LINEAR || (v != V_Q && v != V_K) || (g->traits & T_INTERLEAVED) ||
        !gguf_turns_neighbours(b->config->family->gguf))
        return 0;
    return g->facts.dims[v == V_Q ? DIM_HEADS : DIM_KV_HEADS];
}

static bool block_tensor(const struct blocks *b, int64_t block, const char *rest,
                         struct gguf_tensor *out) {
    const struct graph *g = blocks_graph(b, block);
    int64_t expert = -1;
    if (graph_expert_of(g, rest, &expert, &rest)) {
        out->part = expert;
        out->parts = g->facts.dims[DIM_EXPERTS];
        g = g->body;
    }
    const size_t len = module_length(rest);
    const int node = graph_find_module(g, rest, len);
    const char *stem = node < 0 ? NULL : stem_of(&g->node[node], out->parts > 0);
    if (!stem)
        return false;
    out->heads = heads_of(b, g, &g->node[node]);
    out->plus_one = g->node[node].row->op == OP_NORM && adds_one(g->node[node].norm, rest + len);
    return snprintf(out->name, sizeof out->name, BLOCK_PREFIX "%lld.%s%s", (long long)block, stem,
                    rest + len) < (int)sizeof out->name;
}

bool gguf_tensor_of(const struct blocks *b, const char *name, struct gguf_tensor *out) {
    int64_t block = 0;
    const char *rest = NULL;
    *out = (struct gguf_tensor){0};
    if (!b->config->family->gguf)
        return false;
    if (family_block_of(b->config->family, name, &block, &rest))
        return block < b->count && block_tensor(b, block, rest, out);
    return end_tensor(b, name, module_length(name), out);
}

/* The node whose module has that stem, -1: none. */
static int find_stem(const struct graph *g, const char *stem, size_t len, bool of_expert) {
    for (int i = 0; g && i < g->count; i++) {
        const char *own = stem_of(&g->node[i], of_expert);
        if (own && same(stem, len, own, strlen(own)))
            return i;
    }
    return -1;
}

static bool block_name(const struct blocks *b, int64_t block, const char *stem, int64_t part,
                       char name[FAMILY_NAME_MAX]) {
    const struct graph *g = blocks_graph(b, block);
    const size_t len = module_length(stem);
    struct linear_place at = {block, find_stem(g, stem, len, false), -1};
    if (at.node < 0) {
        at.node = find_stem(g->body, stem, len, true);
        at.expert = part;
    }
    if (at.node >= 0)
        blocks_node_name(b, at, stem + len, name);
    return at.node >= 0;
}

bool gguf_tensor_name(const struct blocks *b, const char *stored, int64_t part,
                      char name[FAMILY_NAME_MAX]) {
    const size_t prefix = strlen(BLOCK_PREFIX);
    if (strncmp(stored, BLOCK_PREFIX, prefix) != 0)
        return end_name(b, stored, module_length(stored), name);
    const char *digits = stored + prefix;
    const size_t count = strspn(digits, "0123456789");
    const bool number = count > 0 && count <= 9 && (count == 1 || digits[0] != '0');
    if (!number || digits[count] != '.')
        return false;
    const int64_t block = strtol(digits, NULL, 10);
    return block < b->count && block_name(b, block, digits + count + 1, part, name);
}
