/* SPDX-License-Identifier: Apache-2.0 */
/* See drafts.h. */
#include "models/drafts.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

int64_t drafts_layer_of(const struct model_config *c, const char *name) {
    const struct family *f = c->family;
    int64_t layer = 0;
    const char *rest = NULL;
    if (!f->draft)
        return -1;
    if (f->draft->prefix)
        return family_numbered(f->draft->prefix, name, &layer, &rest) ? layer : -1;
    return family_block_of(f, name, &layer, &rest) && layer >= c->blocks ? layer - c->blocks : -1;
}

/* The family as one that may be changed. */
static enum llmq_status own_family(struct model_config *c, llmq_error *err) {
    if (c->placed)
        return LLMQ_OK;
    c->placed = malloc(sizeof *c->placed);
    if (!c->placed)
        return error_memory(err, "tensor names");
    *c->placed = *c->family;
    c->family = c->placed;
    return LLMQ_OK;
}

enum llmq_status drafts_take(struct model_config *c, int64_t count, llmq_error *err) {
    const struct draft_wiring *draft = c->family->draft;
    enum llmq_status status = own_family(c, err);
    if (status != LLMQ_OK)
        return status;
    trait_set *layers = realloc(c->layers, (size_t)(c->blocks + count) * sizeof *layers);
    if (!layers)
        return error_memory(err, "the layers' traits");
    c->layers = layers;
    for (int64_t i = 0; i < count; i++)
        layers[c->blocks + i] = (layers[c->blocks - 1] & ~draft->drops) | draft->adds;
    c->drafts = count;
    c->placed->draft_from = count > 0 ? c->blocks : 0;
    return LLMQ_OK;
}

const char *drafts_module(const struct model_config *c, int64_t draft, const char *module,
                          char buf[FAMILY_NAME_MAX]) {
    if (!c->family->draft->shared)
        return family_block_name(c->family, c->blocks + draft, module, "", buf);
    (void)snprintf(buf, FAMILY_NAME_MAX, "%s", module);
    return buf;
}

static void add(const struct model_config *c, int64_t draft, const char *module, int64_t rows,
                int64_t columns, struct end_param *out) {
    char name[FAMILY_NAME_MAX];
    *out = (struct end_param){.rows = rows, .columns = columns};
    (void)snprintf(out->name, sizeof out->name, "%s.weight", drafts_module(c, draft, module, name));
}

/* All norms of families with such layers are a weight. */
int drafts_params(const struct model_config *c, int64_t draft, struct end_param out[ENDS_PARAMS]) {
    const struct draft_wiring *d = c->family->draft;
    int count = 0;
    add(c, draft, d->token_norm, 0, c->hidden, &out[count++]);
    add(c, draft, d->hidden_norm, 0, c->hidden, &out[count++]);
    add(c, draft, d->projection, c->hidden, 2 * c->hidden, &out[count++]);
    if (d->out_norm && draft + 1 < c->drafts)
        add(c, draft, d->out_norm, 0, c->hidden, &out[count++]);
    return count;
}
