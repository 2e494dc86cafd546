/* SPDX-License-Identifier: Apache-2.0 */
/* Folds between a checkpoint and its original: see verify_fold.h.
 *
 * What makes the value that linears read is a norm's weight, whose quotient is the scale itself, or
 * the rows of a linear. Scales of rows and columns are fitted (verify_fold_fit.h); what a fit
 * leaves open is no disagreement. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/verify_fold_private.h"

/* Undoing a fold leaves less than so much of an error. */
#define UNDONE_SHARE 0.7

/* --- what makes a value ----------------------------------------------------------------------- */

bool made_by_linear(const struct candidate *c) {
    return c->maker->node[c->at.node].row->op == OP_LINEAR;
}

bool fold_vector_name(const struct verify *v, const struct candidate *c,
                      char name[FAMILY_NAME_MAX]) {
    const bool linear = made_by_linear(c);
    if (linear && !graph_node_biased(c->maker, &c->maker->node[c->at.node]))
        return false;
    blocks_node_name(v->blocks, c->at, linear ? ".bias" : ".weight", name);
    return true;
}

/* What a norm adds to its weight. */
static float vector_added(const struct candidate *c) {
    return norm_adds_one(c->maker->node[c->at.node].norm) && !made_by_linear(c) ? 1 : 0;
}

bool fold_follower_name(const struct verify *v, const struct candidate *c,
                        char name[FAMILY_NAME_MAX]) {
    if (made_by_linear(c) || !norm_has_bias(c->maker->node[c->at.node].norm))
        return false;
    blocks_node_name(v->blocks, c->at, ".bias", name);
    return true;
}

int64_t fold_channel(const struct candidate *c, int64_t column) {
    return graph_fold_channel(c->maker, &c->fold, column);
}

/* --- finding ---------------------------------------------------------------------------------- */

/* A vector, or a row of one for each head, of that many numbers. */
static bool holds_vector(const struct st_tensor *t, int64_t count) {
    return t && (t->rank == 1 || t->rank == 2) && dtype_is_float(t->dtype) &&
           t->shape[0] * (t->rank == 2 ? t->shape[1] : 1) == (uint64_t)count;
}

/* `values` [count] is the caller's. */
enum llmq_status fold_vector_quotient(const struct fold_search *s, const char *name,
                                      struct quotient *q, llmq_error *err) {
    const struct st_tensor *t = st_find(s->v->tensors, name);
    const struct st_tensor *o = st_find(s->original->tensors, name);
    enum llmq_status status = LLMQ_OK;
    q->known = holds_vector(t, q->count) && holds_vector(o, q->count);
    if (!q->known)
        return LLMQ_OK;
    float *ours = malloc((size_t)q->count * sizeof *ours);
    if (!ours)
        return error_memory(err, name);
    LLMQ_TRY(st_read_f32(s->v->tensors, t, ours, err));
    LLMQ_TRY(st_read_f32(s->original->tensors, o, q->values, err));
    for (int64_t i = 0; i < q->count; i++)
        q->values[i] = (q->values[i] + q->added) / (ours[i] + q->added);
cleanup:
    free(ours);
    return status;
}

/* A norm that nothing was folded into has its bias as it was. */
static enum llmq_status check_unfolded_bias(const struct fold_search *s, const struct candidate *c,
                                            llmq_error *err) {
    struct quotient q = {.count = c->fold.channels};
    char name[FAMILY_NAME_MAX];
    if (!fold_follower_name(s->v, c, name))
        return LLMQ_OK;
    q.values = malloc((size_t)q.count * sizeof *q.values);
    if (!q.values)
        return error_memory(err, name);
    const enum llmq_status status = fold_vector_quotient(s, name, &q, err);
    int64_t at = 0; /* 0 / 0 is no change */
    while (at < q.count && !(q.known && fabsf(q.values[at] - 1) > 0))
        at++;
    if (status == LLMQ_OK && at < q.count) {
        s->v->rule = verify_rule_find("against-fold");
        verify_found(s->v, NULL, name, "one of the two is not as it was written",
                     "channel %" PRId64 " is divided by %.4g, but the weight that it goes with is "
                     "the original's",
                     at, (double)q.values[at]);
    }
    free(q.values);
    return status;
}

/* Columns that read what a norm makes: the quotients of its channels, where the norm has changed.
 * One that was tuned says nothing of columns. */
static enum llmq_status find_norm_fold(struct fold_search *s, const struct candidate *c,
                                       llmq_error *err) {
    const int64_t k = s->graph->width[c->source];
    struct quotient q = {.count = c->fold.channels, .added = vector_added(c)};
    char name[FAMILY_NAME_MAX];
    bool changed = false;
    if (s->v->norms_tuned || !fold_vector_name(s->v, c, name))
        return LLMQ_OK;
    float *columns = malloc((size_t)k * sizeof *columns);
    q.values = malloc((size_t)q.count * sizeof *q.values);
    enum llmq_status status = LLMQ_OK;
    if (!columns || !q.values)
        LLMQ_TRY(error_memory(err, name));
    LLMQ_TRY(fold_vector_quotient(s, name, &q, err));
    for (int64_t i = 0; q.known && i < k; i++) {
        columns[i] = q.values[fold_channel(c, i)];
        changed = changed || fabsf(columns[i] - 1) > VECTOR_ROUNDING;
    }
    if (changed) {
        s->fold->columns[c->source] = columns;
        columns = NULL;
    } else if (q.known) {
        status = check_unfolded_bias(s, c, err);
    }
cleanup:
    free(columns);
    free(q.values);
    return status;
}

/* Rows of a linear, its columns being scaled as they are known to be: fits [n]. */
static void fit_rows(const struct pair *p, const float *columns, struct fit *fits) {
    for (int64_t r = 0; r < p->n; r++)
        for (int64_t c = 0; c < p->k; c++) {
            const float scale = columns ? columns[c] : 1;
            if (isfinite(scale))
                fit_add(&fits[r], (double)p->theirs[r * p->k + c] * (double)scale,
                        (double)p->ours[r * p->k + c]);
        }
}

/* Columns of a linear, its rows being divided as they are known to be: fits [k]. The original's
 * weights are compared, so that rows count alike. */
static void fit_columns(const struct pair *p, const float *rows, struct fit *fits) {
    for (int64_t r = 0; r < p->n; r++)
        for (int64_t c = 0; c < p->k; c++)
            fit_add(&fits[c], (double)p->theirs[r * p->k + c],
                    (double)p->ours[r * p->k + c] * (double)(rows ? rows[r] : 1));
}

enum llmq_status fold_fit_source(const struct fold_search *s, const struct candidate *c,
                                 struct fit *fits, int *bits, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < s->graph->count; i++) {
        struct pair p = {0};
        if (!(c->consumers >> i & 1) || s->graph->ordinal[i] < 0)
            continue;
        status = pair_load(s->v, s->original, (struct linear_place){s->at.block, i, s->at.expert},
                           &p, err);
        if (status == LLMQ_OK && p.ours)
            fit_columns(&p, s->fold->rows[i], fits);
        if (p.bits > 0 && p.bits < *bits)
            *bits = p.bits;
        pair_free(&p);
    }
    return status;
}

/* Sum of (x - y / scale)^2. */
static double fit_error(const struct fit *f, double scale) {
    return f->xx - 2 * f->xy / scale + f->yy / (scale * scale);
}

/* Are rows divided where the columns that read them are multiplied? Columns tell one by one, or all
 * together by what undoing the rows' scales leaves of their error. */
static bool both_sides(const struct candidate *c, const struct fit *rows, const struct fit *columns,
                       int64_t k) {
    double plain = 0, undone = 0;
    for (int64_t i = 0; i < k; i++) {
        const struct fit *row = &rows[fold_channel(c, i)];
        const double slope = fit_slope(row);
        plain += fit_error(&columns[i], 1);
        undone += fit_error(&columns[i], slope > 0 ? 1 / slope : 1);
        if (fabs(fit_slope(row) - 1) > fit_tolerance(row) &&
            fabs(fit_slope(&columns[i]) - 1) > fit_tolerance(&columns[i]))
            return true;
    }
    return undone < UNDONE_SHARE * plain;
}

/* rows[channel] := what the bias was divided by, if there is one; *folded: it was. */
static enum llmq_status bias_rows(const struct fold_search *s, const struct candidate *c, int64_t n,
                                  float *rows, bool *folded, llmq_error *err) {
    struct quotient q = {.count = n, .values = rows};
    char name[FAMILY_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    if (fold_vector_name(s->v, c, name))
        status = fold_vector_quotient(s, name, &q, err);
    for (int64_t r = 0; r < n; r++) {
        rows[r] = q.known ? rows[r] : (float)NAN;
        *folded = *folded || fabsf(rows[r] - 1) > VECTOR_ROUNDING;
    }
    return status;
}

/* What the rows were divided by where the bias does not say it, and the columns that read them
 * multiplied; rows that make other parts of the output (queries beside the values) were not. */
static void settle(const struct graph *g, const struct candidate *c, const struct fit *fits,
                   int64_t n, float *rows, float *columns) {
    const int64_t k = g->width[c->source];
    for (int64_t i = 0; i < k; i++) {
        const int64_t r = fold_channel(c, i);
        const double slope = fit_slope(&fits[r]);
        columns[i] = isfinite(rows[r]) ? rows[r] : slope > 0 ? (float)(1 / slope) : 1;
    }
    for (int64_t r = 0; r < n; r++)
        rows[r] = 1;
    for (int64_t i = 0; i < k; i++)
        rows[fold_channel(c, i)] = columns[i];
}

static enum llmq_status find_linear_fold(struct fold_search *s, const struct candidate *c,
                                         llmq_error *err) {
    const struct graph *g = s->graph;
    const int producer = c->at.node;
    struct pair p = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(pair_load(s->v, s->original, c->at, &p, err));
    if (!p.ours)
        return LLMQ_OK;
    const int64_t n = p.n, k = g->width[c->source];
    struct fit *fits = calloc((size_t)(n + k), sizeof *fits);
    float *rows = malloc((size_t)n * sizeof *rows), *columns = malloc((size_t)k * sizeof *columns);
    bool folded = false;
    int bits = 16;
    if (!fits || !rows || !columns)
        status = error_memory(err, "the folds of a block");
    if (status == LLMQ_OK)
        fit_rows(&p, s->fold->columns[g->node[producer].in[0]], fits);
    if (status == LLMQ_OK)
        status = fold_fit_source(s, c, fits + n, &bits, err);
    if (status == LLMQ_OK)
        status = bias_rows(s, c, n, rows, &folded, err);
    if (status == LLMQ_OK && (folded || both_sides(c, fits, fits + n, k))) {
        settle(g, c, fits, n, rows, columns);
        s->fold->rows[producer] = rows;
        s->fold->columns[c->source] = columns;
        rows = columns = NULL;
    }
    free(fits);
    free(rows);
    free(columns);
cleanup:
    pair_free(&p);
    return status;
}

/* --- the folds of a block ----------------------------------------------------------------------
 */

/* The fold of a task's input; its producer is -1 where there is none. */
static struct candidate candidate_of(const struct verify *v, struct linear_place at,
                                     enum value source) {
    const struct graph *g = blocks_graph(v->blocks, at.block);
    const bool within = at.expert >= 0 && source != g->body->input;
    struct candidate c = {.source = source, .at = at, .maker = within ? g->body : g};
    c.fold = graph_fold_of(g, at.expert >= 0, source);
    c.consumers =
        at.expert >= 0 && !within ? graph_fold_consumers(g->body, source) : c.fold.consumers;
    c.at.node = c.fold.producer;
    c.at.expert = within ? at.expert : -1;
    return c;
}

/* The folds that AWQ can have made: norms first, for what they say of the linears behind them. */
static int list_candidates(const struct verify *v, struct linear_place at,
                           struct candidate out[GRAPH_TASKS]) {
    const struct graph *block = blocks_graph(v->blocks, at.block);
    const struct graph *g = at.expert >= 0 ? block->body : block;
    int count = 0;
    for (int linears = 0; linears < 2; linears++)
        for (int t = 0; t < g->task_count; t++) {
            const enum value source = g->task[t].source;
            bool listed = false;
            for (int i = 0; i < count; i++)
                listed = listed || out[i].source == source;
            if (listed)
                continue;
            out[count] = candidate_of(v, at, source);
            count += out[count].fold.producer >= 0 && made_by_linear(&out[count]) == linears;
        }
    return count;
}

/* What an expert is given has the scale of the block's value. */
static enum llmq_status take_from_block(struct fold_search *s, const struct verify_fold *block,
                                        llmq_error *err) {
    const struct graph *g = blocks_graph(s->v->blocks, s->at.block);
    const size_t bytes = (size_t)s->graph->width[s->graph->input] * sizeof(float);
    const enum value given = g->node[g->experts].in[0];
    if (!block->columns[given])
        return LLMQ_OK;
    float *columns = malloc(bytes);
    if (!columns)
        return error_memory(err, "the folds of an expert");
    memcpy(columns, block->columns[given], bytes);
    s->fold->columns[s->graph->input] = columns;
    return LLMQ_OK;
}

static enum llmq_status find_fold(struct fold_search *s, const struct candidate *c,
                                  llmq_error *err) {
    if (s->at.expert >= 0 && c->source == s->graph->input)
        return LLMQ_OK;
    return made_by_linear(c) ? find_linear_fold(s, c, err) : find_norm_fold(s, c, err);
}

static enum llmq_status find_folds(struct fold_search *s, llmq_error *err) {
    struct candidate candidates[GRAPH_TASKS];
    const int count = list_candidates(s->v, s->at, candidates);
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < count; i++)
        LLMQ_TRY(find_fold(s, &candidates[i], err));
    for (int t = 0; t < s->graph->task_count; t++)
        for (int i = 0; i < count; i++)
            if (candidates[i].source == s->graph->task[t].source &&
                s->fold->columns[candidates[i].source])
                LLMQ_TRY(fold_check(s, &candidates[i], err));
cleanup:
    if (status != LLMQ_OK)
        verify_fold_free(s->fold);
    return status;
}

enum llmq_status verify_fold_find(struct verify *v, const struct verify *original, int64_t block,
                                  struct verify_fold *out, llmq_error *err) {
    struct fold_search s = {v, original, {block, 0, -1}, blocks_graph(v->blocks, block), out};
    *out = (struct verify_fold){0};
    return find_folds(&s, err);
}

enum llmq_status verify_fold_find_expert(struct verify *v, const struct verify *original,
                                         struct linear_place at, const struct verify_fold *block,
                                         struct verify_fold *out, llmq_error *err) {
    struct fold_search s = {v, original, at, blocks_graph(v->blocks, at.block)->body, out};
    *out = (struct verify_fold){0};
    enum llmq_status status = take_from_block(&s, block, err);
    return status == LLMQ_OK ? find_folds(&s, err) : status;
}

void verify_fold_free(struct verify_fold *f) {
    for (int value = 0; value < V_COUNT; value++)
        free(f->columns[value]);
    for (int node = 0; node < GRAPH_NODES; node++)
        free(f->rows[node]);
    *f = (struct verify_fold){0};
}

/* Is it the matrix of a plain linear that reads what is folded? */
static bool is_plain_consumer(const struct verify *v, const struct candidate *c,
                              const char *tensor) {
    char name[FAMILY_NAME_MAX];
    for (int i = 0; i < c->maker->count; i++)
        if (c->consumers >> i & 1 && !graph_node_quantized(&c->maker->node[i]) &&
            strcmp(tensor, blocks_node_name(v->blocks, (struct linear_place){c->at.block, i, -1},
                                            ".weight", name)) == 0)
            return true;
    return false;
}

bool verify_fold_explains(const struct verify *v, const struct verify_fold *f, int64_t block,
                          const char *tensor) {
    struct candidate candidates[GRAPH_TASKS];
    const int count = list_candidates(v, (struct linear_place){block, 0, -1}, candidates);
    char name[FAMILY_NAME_MAX];
    for (int i = 0; i < count; i++)
        if (f->sound[candidates[i].source] &&
            ((fold_vector_name(v, &candidates[i], name) && strcmp(name, tensor) == 0) ||
             (fold_follower_name(v, &candidates[i], name) && strcmp(name, tensor) == 0) ||
             is_plain_consumer(v, &candidates[i], tensor)))
            return true;
    return false;
}

/* A scale that says nothing leaves the column as it is. */
static float divisor(float scale) {
    return isfinite(scale) && scale != 0 ? scale : 1;
}

void verify_fold_undo(const struct verify *v, const struct verify_fold *f, struct linear_place at,
                      int64_t begin, int64_t count, float *w) {
    const float *columns = f->columns[blocks_node(v->blocks, at)->in[0]];
    const float *rows = f->rows[at.node];
    int64_t n = 0, k = 0;
    blocks_linear_shape(v->blocks, at, &n, &k);
    for (int64_t r = 0; (columns || rows) && r < count; r++)
        for (int64_t c = 0; c < k; c++)
            w[r * k + c] *= (rows ? rows[begin + r] : 1) / divisor(columns ? columns[c] : 1);
}
