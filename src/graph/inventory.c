/* SPDX-License-Identifier: Apache-2.0 */
/* See inventory.h. What loaders do with a tensor that they have no place for: transformers warns
 * and goes on; vLLM (model_executor/models/llama.py, load_weights) passes over rotary_emb.inv_freq,
 * its cached cosines and sines, unknown names in .bias, and scales of the cache, and stops at any
 * other; llama.cpp's converter stops. */
#include "graph/inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "formats/loaders/layout_load.h"
#include "models/ends.h"

static bool contains_any(const char *name, const char *const *parts) {
    for (int i = 0; parts[i]; i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

static bool ends_with_any(const char *name, const char *const *ends) {
    for (int i = 0; ends[i]; i++)
        if (text_ends_with(name, ends[i]))
            return true;
    return false;
}

/* --- kinds that any name may be of ------------------------------------------------------------ */

static bool is_adapter(const char *name) {
    static const char *const parts[] = {"lora_A",         "lora_B",          "lora_embedding_",
                                        "lora_magnitude", ".lora_",          ".base_layer.",
                                        ".hada_w",        ".lokr_w",         ".oft_r",
                                        ".ia3_l",         "modules_to_save", NULL};
    return contains_any(name, parts);
}

/* compressed-tensors, ModelOpt, AutoFP8 and Quark put them at the attention or at the projections.
 */
static bool is_cache_scale(const char *name) {
    static const char *const ends[] = {".k_scale",
                                       ".v_scale",
                                       ".q_scale",
                                       ".kv_scale",
                                       ".prob_scale",
                                       ".k_zero_point",
                                       ".v_zero_point",
                                       ".q_zero_point",
                                       "k_proj.output_scale",
                                       "v_proj.output_scale",
                                       "q_proj.output_scale",
                                       "k_proj.output_zero_point",
                                       "v_proj.output_zero_point",
                                       NULL};
    return strstr(name, "attn") && ends_with_any(name, ends);
}

static bool is_buffer(const struct st_tensor *t) {
    static const char *const ends[] = {".inv_freq",         ".cos_cached",
                                       ".sin_cached",       ".masked_bias",
                                       ".position_ids",     ".num_batches_tracked",
                                       ".causal_mask",      ".attn_mask",
                                       "rope_freqs.weight", NULL};
    /* GPT-2 keeps its causal mask under the name of a bias */
    const bool mask = t->rank > 2 && text_ends_with(t->name, ".bias");
    return mask || !dtype_is_float(t->dtype) || ends_with_any(t->name, ends);
}

/* --- the family's places ---------------------------------------------------------------------- */

/* Is `rest` a tensor of the graph's own, or a part of a packed linear? Of an expert: those that
 * bear its number; of a block, also the stacks of its experts. */
static bool is_part(const struct graph *g, const struct layout *layout, const char *rest,
                    bool stacked) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(g, params);
    size_t len = 0;
    const bool packed = layout_suffix(layout, rest, &len) >= 0;
    for (int i = 0; i < count; i++) {
        const bool stack = params[i].experts > 0;
        if (params[i].shared)
            continue;
        const char *module = g->node[params[i].node].row->name;
        const char *name = stack && !stacked ? module : params[i].name;
        const char *suffix = stack && !stacked ? ".weight" : params[i].suffix;
        const size_t name_len = strlen(name);
        if (strncmp(rest, name, name_len) == 0 && strcmp(rest + name_len, suffix) == 0 &&
            stack >= stacked)
            return true;
        if (packed && !stacked && params[i].quantized && len == strlen(module) &&
            strncmp(rest, module, len) == 0)
            return true;
    }
    return false;
}

static bool is_block_part(const struct graph *g, const struct layout *layout, const char *rest) {
    int64_t expert = 0;
    const char *inner = NULL;
    if (is_part(g, layout, rest, false) || (g->body && is_part(g->body, layout, rest, true)))
        return true;
    return graph_expert_of(g, rest, &expert, &inner) && is_part(g->body, layout, inner, false);
}

/* Is it one of those that several blocks share? */
static bool is_shared_part(const struct blocks *blocks, int64_t home, const char *name) {
    struct graph_param params[GRAPH_PARAMS];
    char own[FAMILY_NAME_MAX];
    for (int64_t block = home; block < blocks->count; block++) {
        const int count =
            blocks->home[block] == home ? graph_params(blocks_graph(blocks, block), params) : 0;
        for (int i = 0; i < count; i++)
            if (params[i].shared &&
                strcmp(name, blocks_param_name(blocks, block, -1, &params[i], own)) == 0)
                return true;
    }
    return false;
}

/* Is it one of the model's outside of its blocks, or a part of a packed head? */
static bool is_end(const struct blocks *blocks, const struct layout *layout, const char *name) {
    struct end_param ends[ENDS_PARAMS];
    char head[FAMILY_NAME_MAX];
    size_t len = 0;
    const int count = ends_params(blocks->config, ends);
    for (int i = 0; i < count; i++)
        if (strcmp(name, ends[i].name) == 0)
            return true;
    ends_head_module(blocks->config->family, head);
    return strcmp(name, blocks->config->family->head) == 0 ||
           (layout_suffix(layout, name, &len) >= 0 && len == strlen(head) &&
            strncmp(name, head, len) == 0);
}

/* Does a name outside of the blocks stand where the model's data passes: beside the embedding, the
 * last norm, or at the head? */
static bool is_in_stream(const struct family *f, const char *name) {
    static const char *const parts[] = {"embed", "word_embed", "norm", "ln_",      "final_",
                                        "wpe",   "wte",        "pos",  "project_", NULL};
    const size_t trunk = family_trunk(f);
    const size_t head = (size_t)(strrchr(f->head, '.') + 1 - f->head);
    if (strncmp(name, f->head, head) == 0)
        return true;
    if (strncmp(name, f->embedding, trunk) != 0)
        return false;
    for (int i = 0; parts[i]; i++)
        if (strncmp(name + trunk, parts[i], strlen(parts[i])) == 0)
            return true;
    return false;
}

/* --- beside the model ------------------------------------------------------------------------- */

/* The entry of the list that the name begins with, or NULL. */
static const char *beginning(const char *const *list, const char *name) {
    for (int i = 0; list && list[i]; i++)
        if (strncmp(name, list[i], strlen(list[i])) == 0)
            return list[i];
    return NULL;
}

/* Outside of its own names everything is the wrapper's. */
static bool is_beside(const struct blocks *blocks, const char *name) {
    const struct family *f = blocks->config->family;
    int64_t block = 0;
    const char *rest = NULL;
    if (family_block_of(f, name, &block, &rest))
        return block >= blocks->config->blocks || beginning(f->block_beside, rest) != NULL;
    if (beginning(f->beside, name))
        return true;
    return blocks->config->wrapper && strncmp(name, f->embedding, family_trunk(f)) != 0;
}

const char *inventory_group(const struct blocks *blocks, const struct st_tensor *t,
                            char buf[INVENTORY_GROUP_MAX]) {
    static const char above[] = "model.";
    const struct family *f = blocks->config->family;
    int64_t block = 0;
    const char *rest = NULL, *name = t->name;
    const bool in_block = family_block_of(f, name, &block, &rest);
    const char *known = in_block ? beginning(f->block_beside, rest) : NULL;
    name += strncmp(name, above, sizeof above - 1) == 0 ? sizeof above - 1 : 0;
    const bool apart = in_block && family_is_apart(f, block);
    if (known)
        (void)snprintf(buf, INVENTORY_GROUP_MAX, "%.*s", (int)strlen(known) - 1, known);
    else if (in_block && !apart)
        (void)snprintf(buf, INVENTORY_GROUP_MAX, "layers.%" PRId64, block);
    else
        (void)snprintf(buf, INVENTORY_GROUP_MAX, "%.*s", (int)strcspn(name, "."), name);
    return buf;
}

size_t inventory_linear(const struct st_tensor *t) {
    static const char suffix[] = ".weight";
    const char *end = strrchr(t->name, '.');
    const char *module = end;
    while (module && module > t->name && module[-1] != '.')
        module--;
    if (t->rank != 2 || !end || strcmp(end, suffix) != 0)
        return 0;
    const char *embed = strstr(module, "embed");
    return embed && embed < end ? 0 : (size_t)(end - t->name);
}

enum tensor_use inventory_use(const struct blocks *blocks, const struct layout *layout,
                              const struct st_tensor *t) {
    const struct family *f = blocks->config->family;
    int64_t block = 0;
    const char *rest = NULL;
    const bool in_block = family_block_of(f, t->name, &block, &rest);
    if (in_block && block >= blocks->count)
        return f->draft_layers ? USE_BESIDE : USE_EXTRA_LAYER;
    if (in_block ? is_block_part(blocks_graph(blocks, block), layout, rest) ||
                       is_shared_part(blocks, block, t->name)
                 : is_end(blocks, layout, t->name))
        return USE_PART;
    if (is_adapter(t->name))
        return USE_ADAPTER;
    if (is_beside(blocks, t->name))
        return USE_BESIDE;
    if (is_cache_scale(t->name))
        return USE_CACHE_SCALE;
    if (is_buffer(t))
        return USE_BUFFER;
    if (!in_block && !is_in_stream(f, t->name))
        return USE_OTHER;
    return text_ends_with(t->name, ".bias") ? USE_BIAS : USE_FOREIGN;
}

const char *inventory_words(enum tensor_use use) {
    static const char *const words[USE_COUNT] = {
        [USE_PART] = "of the model",
        [USE_CACHE_SCALE] = "with scales of an 8-bit key and value cache",
        [USE_BUFFER] = "for buffers, which loaders make themselves or misread",
        [USE_BIAS] = "with biases where the model has none, all zero",
        [USE_EXTRA_LAYER] = "of layers beyond num_hidden_layers",
        [USE_BESIDE] = "of parts beside the model",
        [USE_OTHER] = "that no part of the model uses",
        [USE_ADAPTER] = "of an adapter that is not merged",
        [USE_FOREIGN] = "of parts that the family does not have",
    };
    return words[use];
}

/* --- what they say of the model --------------------------------------------------------------- */

enum llmq_status inventory_is_zero(const struct st_set *set, const struct st_tensor *t, bool *zero,
                                   llmq_error *err) {
    enum { CHUNK = 1 << 16 };
    unsigned char *bytes = malloc(CHUNK);
    enum llmq_status status = bytes ? LLMQ_OK : error_memory(err, "a bias");
    *zero = true;
    for (uint64_t at = 0; status == LLMQ_OK && *zero && at < t->nbytes; at += CHUNK) {
        const size_t part = t->nbytes - at < CHUNK ? (size_t)(t->nbytes - at) : CHUNK;
        const size_t element = dtype_bits(t->dtype) / 8;
        status = st_read(set, t, at, part, bytes, err);
        /* little-endian: the sign, of a zero too, is in the last byte's highest bit */
        for (size_t i = 0; status == LLMQ_OK && i < part; i++)
            *zero = *zero && (bytes[i] & (i % element == element - 1 ? 0x7f : 0xff)) == 0;
    }
    free(bytes);
    return status;
}

void inventory_hint_merge(llmq_error *err) {
    error_hint(err, "merge it first: in Python, PeftModel.from_pretrained(base, adapter)"
                    ".merge_and_unload().save_pretrained(folder)");
}

static enum llmq_status refuse_adapter(const struct st_tensor *t, llmq_error *err) {
    error_set(
        err, LLMQ_E_UNSUPPORTED,
        "tensor '%.200s': an adapter that is not merged into the weights: without it they are "
        "another model",
        t->name);
    inventory_hint_merge(err);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status refuse_foreign(const struct family *f, const struct st_tensor *t,
                                       llmq_error *err) {
    error_set(
        err, LLMQ_E_UNSUPPORTED,
        "tensor '%.200s': %s models have no such part: the model computes something else than "
        "its config.json says",
        t->name, f->name);
    error_hint(err, "is model_type the right one? the parts of the model follow from it");
    return LLMQ_E_UNSUPPORTED;
}

/* The key of config.json by which the family has this bias; NULL: there is none. */
static const char *bias_key(const struct family *f, const char *name) {
    int64_t block = 0;
    const char *rest = NULL;
    const char *dot = family_block_of(f, name, &block, &rest) ? strrchr(rest, '.') : NULL;
    if (!dot)
        return NULL;
    const trait_set trait = family_bias_trait(f, rest, (size_t)(dot - rest));
    const struct setting *setting = trait ? family_setting(f, SET_TRAIT, trait) : NULL;
    return setting ? setting->key : NULL;
}

static enum llmq_status refuse_bias(const struct family *f, const struct st_tensor *t,
                                    llmq_error *err) {
    const char *key = bias_key(f, t->name);
    error_set(
        err, LLMQ_E_UNSUPPORTED,
        "tensor '%.200s': a bias that is not zero where the config has none: loaders pass over "
        "it, and the model was not made so",
        t->name);
    if (key)
        error_hint(err, "set %s to true in config.json if the model has its biases", key);
    else
        error_hint(err, "is model_type the right one? %s models have no such bias", f->name);
    return LLMQ_E_UNSUPPORTED;
}

enum llmq_status inventory_check(const struct blocks *blocks, const struct layout *layout,
                                 const struct st_set *set, llmq_error *err) {
    const struct family *f = blocks->config->family;
    for (size_t i = 0; i < st_count(set); i++) {
        const struct st_tensor *t = st_at(set, i);
        const enum tensor_use use = inventory_use(blocks, layout, t);
        bool zero = true;
        if (use == USE_ADAPTER)
            return refuse_adapter(t, err);
        if (use == USE_FOREIGN)
            return refuse_foreign(f, t, err);
        if (use != USE_BIAS)
            continue;
        enum llmq_status status = inventory_is_zero(set, t, &zero, err);
        if (status != LLMQ_OK)
            return status;
        if (!zero)
            return refuse_bias(f, t, err);
    }
    return LLMQ_OK;
}
