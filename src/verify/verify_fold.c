/* Folds between a checkpoint and its original: see verify_fold.h.
 *
 * What makes the value that linears read is a norm's weight, whose quotient is the scale itself, or
 * the rows of a linear. Scales of rows and columns are fitted (verify_fold_fit.h); what a fit
 * leaves open is no disagreement. */
#include "verify/verify_fold.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/verify_fold_fit.h"

/* Undoing a fold leaves less than so much of an error. */
#define UNDONE_SHARE 0.7

/* Scales count together from so many squares of the tolerance on: their mean is as certain as one
 * of the tolerance's standard errors then. */
#define EVIDENCE 4.0

/* Vectors this close are the original's, rounded to another type. */
#define VECTOR_ROUNDING 0.01f

/* --- what makes a value ----------------------------------------------------------------------- */

/* A fold of a block: of what linears read. */
struct candidate {
    int64_t block;
    enum value source;
    struct graph_fold fold;
};

static bool made_by_linear(const struct graph *g, const struct candidate *c) {
    return g->node[c->fold.producer].row->op == OP_LINEAR;
}

/* Name of the vector that the fold divides; false: there is none. */
static bool vector_name(const struct verify *v, const struct candidate *c,
                        char name[FAMILY_NAME_MAX]) {
    const struct graph *g = blocks_graph(v->blocks, c->block);
    const bool linear = made_by_linear(g, c);
    if (linear && !graph_node_biased(g, &g->node[c->fold.producer]))
        return false;
    blocks_node_name(v->blocks, (struct linear_place){c->block, c->fold.producer, -1},
                     linear ? ".bias" : ".weight", name);
    return true;
}

/* What a norm adds to its weight. */
static float vector_added(const struct graph *g, const struct candidate *c) {
    return norm_adds_one(g->node[c->fold.producer].norm) && !made_by_linear(g, c) ? 1 : 0;
}

/* Name of a second vector that the fold divides, the bias of a norm; false: there is none. */
static bool follower_name(const struct verify *v, const struct candidate *c,
                          char name[FAMILY_NAME_MAX]) {
    const struct graph *g = blocks_graph(v->blocks, c->block);
    if (made_by_linear(g, c) || !norm_has_bias(g->node[c->fold.producer].norm))
        return false;
    blocks_node_name(v->blocks, (struct linear_place){c->block, c->fold.producer, -1}, ".bias",
                     name);
    return true;
}

/* --- finding ---------------------------------------------------------------------------------- */

/* What the steps for one block share. */
struct search {
    struct verify *v;
    const struct verify *original;
    const struct graph *graph;
    struct verify_fold *fold;
};

/* The original's vector divided by the checkpoint's, `added` to both. */
struct quotient {
    int64_t count;
    float added;
    float *values; /* NaN where neither has a number other than 0 */
    bool known;    /* false: there are none to compare */
};

/* A vector, or a row of one for each head, of that many numbers. */
static bool holds_vector(const struct st_tensor *t, int64_t count) {
    return t && (t->rank == 1 || t->rank == 2) && dtype_is_float(t->dtype) &&
           t->shape[0] * (t->rank == 2 ? t->shape[1] : 1) == (uint64_t)count;
}

/* `values` [count] is the caller's. */
static enum llmq_status vector_quotient(const struct search *s, const char *name,
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

/* Columns that read what a norm makes: the quotients of its channels, where the norm has changed.
 */
static enum llmq_status find_norm_fold(struct search *s, const struct candidate *c,
                                       llmq_error *err) {
    const int64_t k = s->graph->width[c->source];
    struct quotient q = {.count = c->fold.channels, .added = vector_added(s->graph, c)};
    char name[FAMILY_NAME_MAX];
    bool changed = false;
    if (!vector_name(s->v, c, name))
        return LLMQ_OK;
    float *columns = malloc((size_t)k * sizeof *columns);
    q.values = malloc((size_t)q.count * sizeof *q.values);
    enum llmq_status status = LLMQ_OK;
    if (!columns || !q.values)
        LLMQ_TRY(error_memory(err, name));
    LLMQ_TRY(vector_quotient(s, name, &q, err));
    for (int64_t i = 0; q.known && i < k; i++) {
        columns[i] = q.values[graph_fold_channel(s->graph, &c->fold, i)];
        changed = changed || fabsf(columns[i] - 1) > VECTOR_ROUNDING;
    }
    if (changed) {
        s->fold->columns[c->source] = columns;
        columns = NULL;
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

/* The columns of all linears that read the source together: fits [k]. */
static enum llmq_status fit_source(const struct search *s, const struct candidate *c,
                                   struct fit *fits, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < s->graph->count; i++) {
        struct pair p = {0};
        if (!(c->fold.consumers >> i & 1) || s->graph->ordinal[i] < 0)
            continue;
        status = pair_load(s->v, s->original, (struct linear_place){c->block, i, -1}, &p, err);
        if (status == LLMQ_OK && p.ours)
            fit_columns(&p, s->fold->rows[i], fits);
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
static bool both_sides(const struct graph *g, const struct candidate *c, const struct fit *rows,
                       const struct fit *columns, int64_t k) {
    double plain = 0, undone = 0;
    for (int64_t i = 0; i < k; i++) {
        const struct fit *row = &rows[graph_fold_channel(g, &c->fold, i)];
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
static enum llmq_status bias_rows(const struct search *s, const struct candidate *c, int64_t n,
                                  float *rows, bool *folded, llmq_error *err) {
    struct quotient q = {.count = n, .values = rows};
    char name[FAMILY_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    if (vector_name(s->v, c, name))
        status = vector_quotient(s, name, &q, err);
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
        const int64_t r = graph_fold_channel(g, &c->fold, i);
        const double slope = fit_slope(&fits[r]);
        columns[i] = isfinite(rows[r]) ? rows[r] : slope > 0 ? (float)(1 / slope) : 1;
    }
    for (int64_t r = 0; r < n; r++)
        rows[r] = 1;
    for (int64_t i = 0; i < k; i++)
        rows[graph_fold_channel(g, &c->fold, i)] = columns[i];
}

static enum llmq_status find_linear_fold(struct search *s, const struct candidate *c,
                                         llmq_error *err) {
    const struct graph *g = s->graph;
    const int producer = c->fold.producer;
    struct pair p = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(pair_load(s->v, s->original, (struct linear_place){c->block, producer, -1}, &p, err));
    if (!p.ours)
        return LLMQ_OK;
    const int64_t n = p.n, k = g->width[c->source];
    struct fit *fits = calloc((size_t)(n + k), sizeof *fits);
    float *rows = malloc((size_t)n * sizeof *rows), *columns = malloc((size_t)k * sizeof *columns);
    bool folded = false;
    if (!fits || !rows || !columns)
        status = error_memory(err, "the folds of a block");
    if (status == LLMQ_OK)
        fit_rows(&p, s->fold->columns[g->node[producer].in[0]], fits);
    if (status == LLMQ_OK)
        status = fit_source(s, c, fits + n, err);
    if (status == LLMQ_OK)
        status = bias_rows(s, c, n, rows, &folded, err);
    if (status == LLMQ_OK && (folded || both_sides(g, c, fits, fits + n, k))) {
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

/* A scale that says nothing leaves the column as it is. */
static float divisor(float scale) {
    return isfinite(scale) && scale != 0 ? scale : 1;
}

/* --- checking --------------------------------------------------------------------------------- */

static void disagree(struct search *s, const struct candidate *c, int64_t column, double made,
                     int64_t count) {
    char name[FAMILY_NAME_MAX];
    if (made_by_linear(s->graph, c))
        blocks_node_name(s->v->blocks, (struct linear_place){c->block, c->fold.producer, -1}, "",
                         name);
    else if (!vector_name(s->v, c, name))
        return;
    s->v->rule = verify_rule_find("against-fold");
    verify_found(s->v, NULL, name, "one of the two sides is not as it was written",
                 "channel %" PRId64 " is divided by %.4g, but column %" PRId64
                 " of the linears that read it is multiplied by %.4g (%" PRId64 " such columns)",
                 graph_fold_channel(s->graph, &c->fold, column),
                 (double)s->fold->columns[c->source][column], column, made, count);
}

/* A bias is divided as the norm's weight or the linear's rows are, channel by channel. */
static enum llmq_status check_bias(struct search *s, const struct candidate *c, llmq_error *err) {
    const int64_t count = c->fold.channels, k = s->graph->width[c->source];
    struct quotient q = {.count = count};
    char name[FAMILY_NAME_MAX];
    if (!(made_by_linear(s->graph, c) ? vector_name : follower_name)(s->v, c, name))
        return LLMQ_OK;
    q.values = malloc(2 * (size_t)count * sizeof *q.values);
    if (!q.values)
        return error_memory(err, name);
    float *expected = q.values + count;
    for (int64_t i = 0; i < count; i++)
        expected[i] = 1;
    for (int64_t i = 0; i < k; i++)
        expected[graph_fold_channel(s->graph, &c->fold, i)] = s->fold->columns[c->source][i];
    enum llmq_status status = vector_quotient(s, name, &q, err);
    int64_t at = 0;
    while (at < count && !(q.known && fabsf(q.values[at] / expected[at] - 1) > VECTOR_ROUNDING))
        at++;
    if (status == LLMQ_OK && at < count) {
        s->fold->sound[c->source] = false;
        s->v->rule = verify_rule_find("against-fold");
        verify_found(s->v, NULL, name, "one of the two is not as it was written",
                     "channel %" PRId64 " is divided by %.4g, but by %.4g in the weight that it "
                     "goes with",
                     at, (double)q.values[at], (double)expected[at]);
    }
    free(q.values);
    return status;
}

/* Compare the columns that read a source with what makes it. Where the vector says nothing, being
 * 0, the columns do. */
static enum llmq_status check_source(struct search *s, const struct candidate *c, llmq_error *err) {
    float *columns = s->fold->columns[c->source];
    const int64_t k = s->graph->width[c->source];
    int64_t bad = 0, first = 0;
    double made = 0, together = 0, evidence = 0;
    struct fit *fits = calloc((size_t)k, sizeof *fits);
    if (!fits)
        return error_memory(err, "the folds of a block");
    enum llmq_status status = fit_source(s, c, fits, err);
    for (int64_t i = 0; status == LLMQ_OK && i < k; i++) {
        const double slope = fit_slope(&fits[i]), tolerance = fit_tolerance(&fits[i]);
        if (slope > 0 && columns[i] > 0 && isfinite(columns[i])) {
            const double scale = log((double)columns[i]) / tolerance;
            together += scale * log(slope) / tolerance;
            evidence += scale * scale;
        }
        if (isnan(columns[i])) {
            columns[i] = slope > 0 ? (float)slope : 1;
        } else if (fits[i].xx > 0 && tolerance < 1 &&
                   !(fabs(slope / (double)columns[i] - 1) <= 2 * tolerance)) {
            first = bad ? first : i;
            made = bad ? made : slope;
            bad++;
        }
    }
    free(fits);
    /* Small scales of which the columns show nothing, taken together. */
    if (bad == 0 && evidence > EVIDENCE && together < evidence / 2) {
        made = 1;
        bad = k;
    }
    s->fold->sound[c->source] = bad == 0;
    if (bad > 0)
        disagree(s, c, first, made, bad);
    return status == LLMQ_OK && bad == 0 ? check_bias(s, c, err) : status;
}

/* The folds that AWQ can have made: norms first, for what they say of the linears behind them. */
static int list_candidates(const struct graph *g, int64_t block,
                           struct candidate out[GRAPH_TASKS]) {
    int count = 0;
    for (int linears = 0; linears < 2; linears++)
        for (int t = 0; t < g->task_count; t++) {
            const enum value source = g->task[t].source;
            bool listed = false;
            for (int i = 0; i < count; i++)
                listed = listed || out[i].source == source;
            if (listed)
                continue;
            out[count] = (struct candidate){block, source, graph_fold_find(g, source)};
            count += out[count].fold.producer >= 0 && made_by_linear(g, &out[count]) == linears;
        }
    return count;
}

enum llmq_status verify_fold_find(struct verify *v, const struct verify *original, int64_t block,
                                  struct verify_fold *out, llmq_error *err) {
    struct search s = {v, original, blocks_graph(v->blocks, block), out};
    struct candidate candidates[GRAPH_TASKS];
    const int count = list_candidates(s.graph, block, candidates);
    enum llmq_status status = LLMQ_OK;
    *out = (struct verify_fold){0};
    for (int i = 0; i < count; i++)
        LLMQ_TRY((made_by_linear(s.graph, &candidates[i]) ? find_linear_fold : find_norm_fold)(
            &s, &candidates[i], err));
    for (int t = 0; t < s.graph->task_count; t++)
        for (int i = 0; i < count; i++)
            if (candidates[i].source == s.graph->task[t].source &&
                out->columns[candidates[i].source])
                LLMQ_TRY(check_source(&s, &candidates[i], err));
cleanup:
    if (status != LLMQ_OK)
        verify_fold_free(out);
    return status;
}

void verify_fold_free(struct verify_fold *f) {
    for (int value = 0; value < V_COUNT; value++)
        free(f->columns[value]);
    for (int node = 0; node < GRAPH_NODES; node++)
        free(f->rows[node]);
    *f = (struct verify_fold){0};
}

bool verify_fold_explains(const struct verify *v, const struct verify_fold *f, int64_t block,
                          const char *tensor) {
    const struct graph *g = blocks_graph(v->blocks, block);
    struct candidate candidates[GRAPH_TASKS];
    const int count = list_candidates(g, block, candidates);
    char name[FAMILY_NAME_MAX];
    for (int i = 0; i < count; i++)
        if (f->sound[candidates[i].source] &&
            ((vector_name(v, &candidates[i], name) && strcmp(name, tensor) == 0) ||
             (follower_name(v, &candidates[i], name) && strcmp(name, tensor) == 0)))
            return true;
    return false;
}

void verify_fold_undo(const struct verify *v, const struct verify_fold *f, struct linear_place at,
                      int64_t begin, int64_t count, float *w) {
    if (at.expert >= 0) /* what experts read and make is not scaled */
        return;
    const struct graph *g = blocks_graph(v->blocks, at.block);
    const float *columns = f->columns[g->node[at.node].in[0]];
    const float *rows = f->rows[at.node];
    int64_t n = 0, k = 0;
    blocks_linear_shape(v->blocks, at, &n, &k);
    for (int64_t r = 0; (columns || rows) && r < count; r++)
        for (int64_t c = 0; c < k; c++)
            w[r * k + c] *= (rows ? rows[begin + r] : 1) / divisor(columns ? columns[c] : 1);
}
