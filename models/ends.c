/* SPDX-License-Identifier: Apache-2.0 */
/* See ends.h. */
#include "models/ends.h"

#include <stdio.h>
#include <string.h>

static void add(struct end_param out[ENDS_PARAMS], int *count, const char *name, const char *suffix,
                int64_t rows, int64_t columns) {
    struct end_param *p = &out[(*count)++];
    *p = (struct end_param){.rows = rows, .columns = columns};
    (void)snprintf(p->name, sizeof p->name, "%s%s", name, suffix);
}

enum norm ends_first_norm(const struct model_config *c) {
    return c->family->first_norm ? c->family->first_norm : c->facts.norm;
}

enum norm ends_last_norm(const struct model_config *c) {
    return c->family->last_norm ? c->family->last_norm : c->facts.norm;
}

static void add_norm(struct end_param out[ENDS_PARAMS], int *count, const struct model_config *c,
                     const char *module, enum norm kind) {
    if (module && norm_has_weight(kind))
        add(out, count, module, ".weight", 0, c->hidden);
    if (module && norm_has_bias(kind))
        add(out, count, module, ".bias", 0, c->hidden);
}

/* What tokens say to the blocks is made of these. */
static void add_token(struct end_param out[ENDS_PARAMS], int *count, const struct model_config *c) {
    const struct family *f = c->family;
    const int64_t *d = c->facts.dims;
    add(out, count, f->token_table, "", d[DIM_TOKEN_VOCAB], d[DIM_TOKEN_ALL]);
    add(out, count, f->token_projection, ".weight", d[DIM_TOKEN_ALL], c->hidden);
    add(out, count, f->token_norm, ".weight", 0, d[DIM_TOKEN]);
}

int ends_params(const struct model_config *c, struct end_param out[ENDS_PARAMS]) {
    const struct family *f = c->family;
    char module[FAMILY_NAME_MAX];
    int count = 0;
    add(out, &count, f->embedding, "", c->vocab, c->hidden);
    if (c->facts.traits & T_TOKEN)
        add_token(out, &count, c);
    if (f->positions)
        add(out, &count, f->positions, "", f->position_offset + c->max_positions, c->hidden);
    add_norm(out, &count, c, f->embedding_norm, ends_first_norm(c));
    add_norm(out, &count, c, f->final_norm, ends_last_norm(c));
    if (!c->tied) {
        add(out, &count, f->head, "", c->vocab, c->hidden);
        out[count - 1].head = true;
    }
    if (c->facts.traits & T_HEAD_BIAS)
        add(out, &count, ends_head_module(f, module), ".bias", 0, c->vocab);
    return count;
}

const char *ends_head_module(const struct family *f, char buf[FAMILY_NAME_MAX]) {
    const char *dot = strrchr(f->head, '.');
    (void)snprintf(buf, FAMILY_NAME_MAX, "%.*s", (int)(dot - f->head), f->head);
    return buf;
}
