/* SPDX-License-Identifier: Apache-2.0 */
/* See drafting.h. */
#include "graph/drafting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/columns.h"
#include "graph/model_private.h"
#include "linalg/linalg.h"
#include "models/drafts.h"

struct drafting {
    const struct model *m;
    int64_t draft;
    float *projection; /* [hidden, 2 hidden] */
    float *embedded;   /* [rows, stream] */
    float *made;       /* [rows, hidden] */
};

/* Its projection is not quantized, and by itself in a tensor. */
static enum llmq_status read_projection(struct drafting *d, llmq_error *err) {
    const struct model *m = d->m;
    const int64_t hidden = m->config.hidden;
    char module[FAMILY_NAME_MAX], name[FAMILY_NAME_MAX + 8];
    const struct st_tensor *t = NULL;
    drafts_module(&m->config, d->draft, m->config.family->draft->projection, module);
    (void)snprintf(name, sizeof name, "%s.weight", module);
    const enum llmq_status status = model_require(m, name, hidden, 2 * hidden, &t, err);
    return status == LLMQ_OK ? st_read_f32(m->tensors, t, d->projection, err) : status;
}

uint64_t drafting_bytes(const struct model *m, int64_t rows) {
    const uint64_t hidden = (uint64_t)m->config.hidden, stream = (uint64_t)m->config.stream;
    return (2 * hidden * hidden + (uint64_t)rows * (hidden + stream)) * sizeof(float);
}

enum llmq_status drafting_open(const struct model *m, int64_t draft, int64_t rows,
                               struct drafting **out, llmq_error *err) {
    const size_t hidden = (size_t)m->config.hidden;
    struct drafting *d = calloc(1, sizeof *d);
    enum llmq_status status = LLMQ_OK;
    *out = d;
    if (!d)
        return error_memory(err, "a layer that predicts further tokens");
    d->m = m;
    d->draft = draft;
    d->projection = malloc(2 * hidden * hidden * sizeof *d->projection);
    d->embedded = malloc((size_t)rows * (size_t)m->config.stream * sizeof *d->embedded);
    d->made = malloc((size_t)rows * hidden * sizeof *d->made);
    if (!d->projection || !d->embedded || !d->made)
        status = error_memory(err, "a layer that predicts further tokens");
    if (status == LLMQ_OK)
        status = read_projection(d, err);
    if (status != LLMQ_OK)
        drafting_close(out);
    return status;
}

void drafting_close(struct drafting **d) {
    if (!*d)
        return;
    free((*d)->projection);
    free((*d)->embedded);
    free((*d)->made);
    free(*d);
    *d = NULL;
}

/* --- tokens ----------------------------------------------------------------------------------- */

void drafting_tokens(const int32_t *ids, const int64_t *offsets, int64_t count, int64_t draft,
                     int32_t *out) {
    for (int64_t s = 0; s < count; s++)
        for (int64_t i = offsets[s]; i < offsets[s + 1]; i++)
            out[i] = i + draft + 1 < offsets[s + 1] ? ids[i + draft + 1] : 0;
}

static enum llmq_status apply_norm(const struct drafting *d, const char *module, int64_t rows,
                                   float *x, llmq_error *err) {
    char name[FAMILY_NAME_MAX];
    drafts_module(&d->m->config, d->draft, module, name);
    return model_apply_norm(d->m, name, d->m->config.facts.norm, rows, x, err);
}

/* Places at the end of each sequence have no such token. */
static void clear_ends(const struct drafting *d, const struct batch *b) {
    const int64_t hidden = d->m->config.hidden;
    for (int64_t s = 0; s < b->sequences; s++) {
        int64_t length = 0;
        const int64_t first = batch_sequence(b, s, &length);
        const int64_t ends = min_i64(length, d->draft + 1);
        memset(d->embedded + (first + length - ends) * hidden, 0,
               (size_t)(ends * hidden) * sizeof *d->embedded);
    }
}

enum llmq_status drafting_embed(struct drafting *d, const int32_t *tokens, const struct batch *b,
                                llmq_error *err) {
    const struct model_config *c = &d->m->config;
    enum llmq_status status = model_embed(d->m, tokens, b, d->embedded, err);
    if (status != LLMQ_OK)
        return status;
    columns_resize(batch_rows(b), c->stream, c->hidden, d->embedded);
    clear_ends(d, b);
    return apply_norm(d, c->family->draft->token_norm, batch_rows(b), d->embedded, err);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* The norm of what was before this layer, then this layer's own. */
static enum llmq_status apply_norms(const struct drafting *d, int64_t rows, float *x,
                                    llmq_error *err) {
    const struct draft_wiring *wiring = d->m->config.family->draft;
    const struct drafting before = {.m = d->m, .draft = d->draft - 1};
    enum llmq_status status = LLMQ_OK;
    if (d->draft == 0 && wiring->behind_norm)
        status = model_final_norm(d->m, rows, x, err);
    else
        columns_resize(rows, d->m->config.stream, d->m->config.hidden, x);
    if (status == LLMQ_OK && d->draft > 0 && wiring->out_norm)
        status = apply_norm(&before, wiring->out_norm, rows, x, err);
    return status == LLMQ_OK ? apply_norm(d, wiring->hidden_norm, rows, x, err) : status;
}

enum llmq_status drafting_rows(struct drafting *d, int64_t rows, float *x, llmq_error *err) {
    const struct model_config *c = &d->m->config;
    const int64_t hidden = c->hidden;
    const bool hidden_first = c->family->draft->hidden_first;
    const float *by_hidden = d->projection + (hidden_first ? 0 : hidden);
    const float *by_token = d->projection + (hidden_first ? hidden : 0);
    const enum llmq_status status = apply_norms(d, rows, x, err);
    if (status != LLMQ_OK)
        return status;
    linalg_gemm_nt(rows, hidden, hidden, 1, x, hidden, by_hidden, 2 * hidden, 0, d->made, hidden);
    linalg_gemm_nt(rows, hidden, hidden, 1, d->embedded, hidden, by_token, 2 * hidden, 1, d->made,
                   hidden);
    memcpy(x, d->made, (size_t)(rows * hidden) * sizeof *x);
    columns_resize(rows, hidden, c->stream, x);
    return LLMQ_OK;
}
