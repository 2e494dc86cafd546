/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for what the tensors of a checkpoint are to its model: names, the output head, tensors that
 * no part of it uses: see verify.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/inventory.h"
#include "graph/tying.h"
#include "verify/verify.h"

/* --- names and head --------------------------------------------------------------------------- */

/* transformers finds a model saved without its head under its base's names; vLLM finds none of
 * them. */
static enum llmq_status tensor_names(struct verify *v, llmq_error *err) {
    (void)err;
    if (v->known && !v->naming.usual && !*v->naming.prefix)
        verify_found(v, NULL, NULL, "llmq's results have the usual names",
                     "names lack what '%s' begins with: vLLM stops at them",
                     v->model.family->embedding);
    if (v->head_adopted)
        verify_found(v, NULL, v->model.family->head, "llmq writes it under the embedding's name",
                     "tied, and stored without %s: vLLM and older loaders pass over the head and "
                     "have no embedding",
                     v->model.family->embedding);
    return LLMQ_OK;
}

static enum llmq_status tensor_prefix(struct verify *v, llmq_error *err) {
    (void)err;
    if (v->known && !v->naming.usual && *v->naming.prefix)
        verify_found(v, NULL, NULL, "llmq's results have the usual names",
                     "names begin with '%s', or their head does not stand where it should: loaders "
                     "look for '%s' and '%s'",
                     v->naming.prefix, v->model.family->embedding, v->model.family->head);
    return LLMQ_OK;
}

/* Newer loaders take the head that is stored, older ones the embedding. */
static enum llmq_status tied_head(struct verify *v, llmq_error *err) {
    if (!v->known || !v->model.tied)
        return LLMQ_OK;
    const struct st_tensor *head = st_find(v->tensors, v->model.family->head);
    const struct st_tensor *embedding = st_find(v->tensors, v->model.family->embedding);
    bool equal = true;
    if (!head || !embedding)
        return LLMQ_OK;
    enum llmq_status status = tying_equal(v->tensors, head, embedding, &equal, err);
    if (status == LLMQ_OK && !equal)
        verify_found(v, verify_file_of(v, head), head->name,
                     "set tie_word_embeddings to false: then every loader takes the stored head",
                     "it differs from the embedding although tie_word_embeddings is true: newer "
                     "loaders take it, older ones the embedding");
    return status;
}

/* --- use -------------------------------------------------------------------------------------- */

/* Buffers that loaders know to pass over. */
static bool is_rotary(const char *name) {
    return strstr(name, "rotary_emb.") != NULL || strcmp(name, "rope_freqs.weight") == 0;
}

static bool stops_loaders(const struct verify *v, const struct st_tensor *t, enum tensor_use use) {
    switch (use) {
    case USE_EXTRA_LAYER:
    case USE_OTHER:
        return true;
    case USE_BUFFER: /* integers in packed checkpoints are another rule's */
        return !is_rotary(t->name) && (dtype_is_float(t->dtype) || !v->layout);
    case USE_PART:
    case USE_CACHE_SCALE:
    case USE_BESIDE:
    case USE_BIAS:
    case USE_ADAPTER:
    case USE_FOREIGN:
    case USE_COUNT:
    default:
        return false;
    }
}

static enum llmq_status unused_tensors(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; v->known && i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        const enum tensor_use use = inventory_use(v->blocks, v->layout, t);
        if (stops_loaders(v, t, use))
            verify_found(v, verify_file_of(v, t), t->name,
                         use == USE_EXTRA_LAYER
                             ? "correct num_hidden_layers, or leave the layers out"
                             : "leave it out, as llmq's results do",
                         "one of the tensors %s: vLLM stops at it", inventory_words(use));
    }
    return LLMQ_OK;
}

/* What they add to the model is in no loader's forward pass. */
static enum llmq_status foreign_tensors(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; v->known && i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        const enum tensor_use use = inventory_use(v->blocks, v->layout, t);
        if (use == USE_ADAPTER || use == USE_FOREIGN)
            verify_found(v, verify_file_of(v, t), t->name,
                         use == USE_ADAPTER ? "merge the adapter: PeftModel.merge_and_unload()"
                                            : "is model_type the right one?",
                         "one of the tensors %s: without it the model is another",
                         inventory_words(use));
    }
    return LLMQ_OK;
}

/* transformers puts packed linears in the place of torch's Linear; in that of Conv1D, whose weight
 * is [in, out], GPTQ's loader alone does. TGI's GPT-2 reads GPTQ, too, and no other layout. */
static enum llmq_status turned_packed(struct verify *v, llmq_error *err) {
    struct linear_place at = {0};
    (void)err;
    if (!v->known || v->layout == &layout_gptq || v->layout == &layout_gptq_v2)
        return LLMQ_OK;
    for (size_t i = 0; i < v->report->module_count; i++) {
        const char *name = v->report->modules[i].name;
        if (blocks_find_linear(v->blocks, name, &at) && blocks_linear_turned(v->blocks, at))
            verify_found(v, NULL, name, "llmq convert --format gptq writes what they load",
                         "a Conv1D, which transformers and TGI read packed from GPTQ files only");
    }
    return LLMQ_OK;
}

/* Scales without a scheme are passed over; a scheme without a layout that states it cannot be. */
static enum llmq_status cache_scales(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; v->known && !v->layout_config.cache_scheme && i < st_count(v->tensors);
         i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        if (inventory_use(v->blocks, v->layout, t) == USE_CACHE_SCALE)
            verify_found(v, verify_file_of(v, t), t->name, NULL,
                         "a scale of an 8-bit key and value cache, and no kv_cache_scheme: loaders "
                         "pass over it");
    }
    return LLMQ_OK;
}

/* Biases that the model has none for; those that are zero when `zero`. */
static enum llmq_status unknown_biases(struct verify *v, bool zero, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; v->known && i < st_count(v->tensors); i++) {
        const struct st_tensor *t = st_at(v->tensors, i);
        bool is_zero = false;
        if (inventory_use(v->blocks, v->layout, t) != USE_BIAS)
            continue;
        LLMQ_TRY(inventory_is_zero(v->tensors, t, &is_zero, err));
        if (zero && is_zero)
            verify_found(v, verify_file_of(v, t), t->name, "llmq convert leaves it out",
                         "a bias of zeros where the family has none");
        else if (!zero && !is_zero)
            verify_found(v, verify_file_of(v, t), t->name, NULL,
                         "a bias that is not zero where the family has none: loaders ignore it");
    }
cleanup:
    return status;
}

static enum llmq_status bias_zero(struct verify *v, llmq_error *err) {
    return unknown_biases(v, true, err);
}

static enum llmq_status bias_unknown(struct verify *v, llmq_error *err) {
    return unknown_biases(v, false, err);
}

const struct verify_rule verify_use_rules[] = {
    {"tensor-names", VERIFY_VIOLATION, VERIFY_HEADERS,
     "tensors have the names by which loaders look for them", tensor_names, NULL},
    {"tensor-prefix", VERIFY_VIOLATION, VERIFY_HEADERS,
     "tensors are the model's own, not behind another's prefix, and not twice", tensor_prefix,
     NULL},
    {"unused-tensors", VERIFY_VIOLATION, VERIFY_HEADERS,
     "every tensor is part of the model, or of what loaders pass over", unused_tensors, NULL},
    {"foreign-tensors", VERIFY_VIOLATION, VERIFY_HEADERS,
     "no tensor adds to the model what its config.json does not say", foreign_tensors, NULL},
    {"turned-packed", VERIFY_WARNING, VERIFY_HEADERS,
     "linears of the class Conv1D are packed as GPTQ, if they are packed", turned_packed, NULL},
    {"cache-scales", VERIFY_WARNING, VERIFY_HEADERS,
     "scales of a key and value cache go with a scheme", cache_scales, NULL},
    {"tied-head", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "an output head beside tie_word_embeddings is the embedding", tied_head, NULL},
    {"bias-zero", VERIFY_WARNING, VERIFY_CONTENTS,
     "no tensor is a bias of zeros that the family does not know", bias_zero, NULL},
    {"bias-unknown", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "no tensor is a bias with contents that the family does not know", bias_unknown, NULL},
    {.id = NULL},
};
