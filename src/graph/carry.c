/* SPDX-License-Identifier: Apache-2.0 */
/* See carry.h. */
#include "graph/carry.h"

#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/mixers.h"

/* Entries for each token that attention and indexes carry. */
static int64_t entries_per_token(const struct graph *g, const struct graph_node *n) {
    if (n->row->op == OP_INDEX)
        return g->width[n->in[1]];
    if (n->row->op != OP_ATTENTION)
        return 0;
    return g->width[n->in[1]] + g->width[n->in[2]] + (n->row->lifts ? g->width[n->in[3]] : 0);
}

static int64_t entries_of(const struct graph *g, const struct graph_node *n, int64_t capacity) {
    if (n->row->op == OP_CONV)
        return (g->facts.dims[DIM_CONV] - 1) * n->width[0];
    return entries_per_token(g, n) * capacity + mixers_carried(g, n);
}

uint64_t carry_bytes(const struct graph *g, int64_t capacity) {
    int64_t entries = 0;
    for (int i = 0; i < g->count; i++)
        entries += entries_of(g, &g->node[i], capacity);
    return (uint64_t)entries * sizeof(float);
}

enum llmq_status carry_create(const struct graph *g, int64_t capacity, struct arena *arena,
                              struct carry *out, llmq_error *err) {
    *out = (struct carry){.capacity = capacity};
    for (int i = 0; i < g->count; i++) {
        out->entries[i] = entries_of(g, &g->node[i], capacity);
        if (out->entries[i] == 0)
            continue;
        out->node[i] = arena_alloc(arena, (size_t)out->entries[i], sizeof(float), err);
        if (!out->node[i])
            return LLMQ_E_MEMORY;
    }
    carry_begin(out);
    return LLMQ_OK;
}

void carry_begin(struct carry *c) {
    for (int i = 0; i < GRAPH_NODES; i++)
        if (c->node[i])
            memset(c->node[i], 0, (size_t)c->entries[i] * sizeof *c->node[i]);
}

/* --- for the operations ----------------------------------------------------------------------- */

float *carry_of(const struct step *s) {
    const struct carry *c = s->pass->forward->carry;
    return c ? c->node[s->node - s->pass->block->graph->node] : NULL;
}

int64_t carry_past(const struct forward *f) {
    return f->carry ? f->carry->past : 0;
}

int64_t carry_length(const struct forward *f) {
    return f->carry ? f->carry->length : 0;
}

/* Put the step's rows of a value behind those before them in *at, which moves behind the room of
 * all; where they all begin. */
static float *append_rows(const struct step *s, int input, float **at) {
    const struct carry *c = s->pass->forward->carry;
    const int64_t width = s->pass->block->graph->width[s->node->in[input]];
    float *rows = *at;
    memcpy(rows + c->past * width, s->in[input], (size_t)(s->rows * width) * sizeof *rows);
    *at += c->capacity * width;
    return rows;
}

void carry_attend(const struct step *s, struct attention attention) {
    const struct forward *f = s->pass->forward;
    float *at = carry_of(s);
    const float *k = append_rows(s, 1, &at), *v = append_rows(s, 2, &at);
    if (attention.lift)
        attention.lift = append_rows(s, 3, &at);
    attention.past = f->carry->past;
    attention_sequence(&attention, s->rows, s->in[0], k, v, f->scores, f->max_length + 1,
                       s->out[0]);
}

void carry_choose(const struct step *s, struct index index) {
    const struct forward *f = s->pass->forward;
    float *at = carry_of(s);
    const struct index_input in = {s->in[0], append_rows(s, 1, &at), s->in[2]};
    index.past = f->carry->past;
    index_sequence(&index, s->rows, &in, f->scores, f->max_length + 1, s->out[0]);
}
