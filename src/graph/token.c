/* SPDX-License-Identifier: Apache-2.0 */
/* See token.h. */
#include "graph/token.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/int64.h"
#include "graph/columns.h"
#include "graph/norm.h"
#include "linalg/linalg.h"

/* Tokens at a time: a gathered embedding of these is small beside a batch. */
enum { TOKEN_ROWS = 512 };

void token_add(const struct token_sum *s, int64_t rows, const float *table, float *out) {
    const struct norm_rule norm = {
        .kind = NORM_RMS, .eps = s->eps, .groups = 1, .width = s->width, .weight = s->norm_weight};
    norm_rows(&norm, rows, out, out);
    columns_add(s->number, s->number * s->table_number, rows * s->width, out, table, out);
}

/* A layer's part of the three tensors, and room for a piece. */
struct token_layer {
    const struct model *m;
    const struct st_tensor *embedding, *table;
    int64_t index, width;
    float *projection, *norm_weight; /* [width, hidden], [width] */
    float *embedded, *said;          /* [TOKEN_ROWS, hidden], [TOKEN_ROWS, width] */
};

static enum llmq_status alloc(struct arena *arena, int64_t count, float **out, llmq_error *err) {
    *out = arena_alloc(arena, (size_t)count, sizeof **out, err);
    return *out ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status read_part(const struct model *m, const struct st_tensor *t, int64_t begin,
                                  int64_t count, float *out, llmq_error *err) {
    return st_read_part_f32(m->tensors, t, (uint64_t)begin, (size_t)count, out, err);
}

static const struct st_tensor *weight_of(const struct model *m, const char *module) {
    char name[FAMILY_NAME_MAX + 8];
    (void)snprintf(name, sizeof name, "%s.weight", module);
    return st_find(m->tensors, name);
}

static enum llmq_status open_layer(const struct model *m, int64_t index, struct arena *arena,
                                   struct token_layer *out, llmq_error *err) {
    const struct family *f = m->config.family;
    const int64_t hidden = m->config.hidden, width = m->config.facts.dims[DIM_TOKEN];
    enum llmq_status status = LLMQ_OK;
    *out = (struct token_layer){.m = m,
                                .embedding = st_find(m->tensors, f->embedding),
                                .table = st_find(m->tensors, f->token_table),
                                .index = index,
                                .width = width};
    LLMQ_TRY(alloc(arena, width * hidden, &out->projection, err));
    LLMQ_TRY(alloc(arena, width, &out->norm_weight, err));
    LLMQ_TRY(alloc(arena, TOKEN_ROWS * hidden, &out->embedded, err));
    LLMQ_TRY(alloc(arena, TOKEN_ROWS * width, &out->said, err));
    LLMQ_TRY(read_part(m, weight_of(m, f->token_projection), index * width * hidden, width * hidden,
                       out->projection, err));
    LLMQ_TRY(read_part(m, weight_of(m, f->token_norm), 0, width, out->norm_weight, err));
cleanup:
    return status;
}

static enum llmq_status gather(const struct token_layer *l, const int32_t *ids, int64_t rows,
                               llmq_error *err) {
    const struct facts *facts = &l->m->config.facts;
    const int64_t hidden = l->m->config.hidden, all = facts->dims[DIM_TOKEN_ALL];
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t known = ids[i] < facts->dims[DIM_TOKEN_VOCAB] ? ids[i] : 0;
        LLMQ_TRY(
            read_part(l->m, l->embedding, ids[i] * hidden, hidden, l->embedded + i * hidden, err));
        LLMQ_TRY(read_part(l->m, l->table, known * all + l->index * l->width, l->width,
                           l->said + i * l->width, err));
    }
cleanup:
    return status;
}

static enum llmq_status run_piece(const struct token_layer *l, const int32_t *ids, int64_t rows,
                                  float *out, llmq_error *err) {
    const double *numbers = l->m->config.facts.numbers;
    const int64_t hidden = l->m->config.hidden, width = l->width;
    const struct token_sum sum = {.width = width,
                                  .eps = numbers[NUM_EPS],
                                  .norm_weight = l->norm_weight,
                                  .table_number = (float)numbers[NUM_TOKEN_TABLE],
                                  .number = (float)numbers[NUM_TOKEN]};
    enum llmq_status status = gather(l, ids, rows, err);
    if (status != LLMQ_OK)
        return status;
    linalg_gemm_nt(rows, width, hidden, (float)(numbers[NUM_EMBED] * numbers[NUM_TOKEN_PROJECTION]),
                   l->embedded, hidden, l->projection, hidden, 0.0f, out, width);
    token_add(&sum, rows, l->said, out);
    return LLMQ_OK;
}

enum llmq_status token_rows(const struct model *m, int64_t index, const int32_t *ids, int64_t rows,
                            float *out, llmq_error *err) {
    struct arena *arena = NULL;
    struct token_layer layer;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(arena_create("what tokens say to a block", &arena, err));
    LLMQ_TRY(open_layer(m, index, arena, &layer, err));
    for (int64_t at = 0; at < rows; at += TOKEN_ROWS)
        LLMQ_TRY(run_piece(&layer, ids + at, min_i64(TOKEN_ROWS, rows - at), out + at * layer.width,
                           err));
cleanup:
    arena_free(&arena);
    return status;
}
