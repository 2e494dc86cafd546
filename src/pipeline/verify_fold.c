/* Folds between a checkpoint and its original: see verify_fold.h.
 *
 * What feeds a stage is a norm's weight, whose quotient is the scale itself, or the rows of a
 * linear. Scales of rows and columns are fitted: y = a x over the original's weights x and the
 * checkpoint's y. Rounding that adds noise makes the y larger by the noise, rounding to the mean of
 * what is near makes them smaller by it: a^2 = sum yy / sum xx lies between. So much, what the
 * residual leaves uncertain, and a little for what methods do to weights, is no disagreement. */
#include "pipeline/verify_fold.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "models/fold.h"

/* What a fit may be off: so much, so many standard errors, and shares of the residual. */
#define TOLERANCE       0.05
#define TOLERANCE_SIGMA 6.0
#define TOLERANCE_SHARE 1.0

/* Undoing a fold leaves less than so much of an error. */
#define UNDONE_SHARE 0.7

/* Scales count together from so many squares of the tolerance on: their mean is as certain as one
 * of the tolerance's standard errors then. */
#define EVIDENCE 4.0

/* Vectors this close are the original's, rounded to another type. */
#define VECTOR_ROUNDING 0.01f

/* --- fits ------------------------------------------------------------------------------------- */

struct fit {
    double xx, xy, yy, xxxx;
};

static void fit_add(struct fit *f, double x, double y) {
    f->xx += x * x;
    f->xy += x * y;
    f->yy += y * y;
    f->xxxx += x * x * x * x;
}

/* 0: there is nothing to fit. */
static double fit_slope(const struct fit *f) {
    return f->xx > 0 && (f->xy > 0 || f->xy < 0) ? copysign(sqrt(f->yy / f->xx), f->xy) : 0;
}

/* A few large weights count as few, however many small ones there are beside them. */
static double fit_tolerance(const struct fit *f) {
    const double count = f->xxxx > 0 ? f->xx * f->xx / f->xxxx : 1;
    const double share = f->xy > 0 ? fmax(f->yy * f->xx / (f->xy * f->xy) - 1, 0) : HUGE_VAL;
    return TOLERANCE + TOLERANCE_SIGMA * sqrt(share / count) + TOLERANCE_SHARE * share;
}

/* --- one linear of both ----------------------------------------------------------------------- */

struct pair {
    int64_t n, k;
    float *ours, *theirs; /* [n, k]; NULL: one of the two has no such linear */
};

static void pair_free(struct pair *p) {
    free(p->ours);
    free(p->theirs);
    *p = (struct pair){0};
}

static enum llmq_status load(const struct verify *v, const char *module, int64_t n, int64_t k,
                             float **out, llmq_error *err) {
    char name[LAYOUT_NAME_MAX + 8];
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    (void)snprintf(name, sizeof name, "%s.weight", module);
    const struct st_tensor *t = st_find(v->tensors, name);
    const bool plain = t && t->rank == 2 && t->shape[0] == (uint64_t)n &&
                       t->shape[1] == (uint64_t)k && dtype_is_float(t->dtype);
    if (!plain && !layout_has_module(v->tensors, v->layout, module))
        return LLMQ_OK;
    if (!plain)
        LLMQ_TRY(layout_load(v->tensors, v->layout, &v->layout_config, module, &q, err));
    if (!plain && (q.n != n || q.k != k))
        goto cleanup;
    *out = malloc((size_t)n * (size_t)k * sizeof **out);
    if (!*out)
        LLMQ_TRY(error_memory(err, name));
    if (plain)
        LLMQ_TRY(st_read_f32(v->tensors, t, *out, err));
    else
        qlinear_dequantize(&q, 0, n, *out);
cleanup:
    qlinear_free(&q);
    return status;
}

static enum llmq_status load_pair(const struct verify *v, const struct verify *original,
                                  int64_t block, enum linear_role role, struct pair *p,
                                  llmq_error *err) {
    char module[LAYOUT_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    *p = (struct pair){0};
    verify_linear_name(v, block, role, module, sizeof module);
    config_linear_shape(&v->model, role, &p->n, &p->k);
    LLMQ_TRY(load(v, module, p->n, p->k, &p->ours, err));
    LLMQ_TRY(load(original, module, p->n, p->k, &p->theirs, err));
    if (!p->ours || !p->theirs)
        pair_free(p);
cleanup:
    if (status != LLMQ_OK)
        pair_free(p);
    return status;
}

/* --- what feeds a stage ----------------------------------------------------------------------- */

/* Name of the vector that the fold of a stage divides; false: there is none. */
static bool vector_name(const struct verify *v, int64_t block, enum block_stage stage, char *name,
                        size_t size) {
    const struct family *f = v->model.family;
    const struct family_fold *fold = &f->folds[stage];
    char linear[LAYOUT_NAME_MAX - 8];
    const char *norm = fold->producer == FOLD_ATTENTION_NORM ? f->attention_norm
                       : fold->producer == FOLD_MLP_NORM     ? f->mlp_norm
                                                             : NULL;
    if (!norm && (fold->producer != FOLD_LINEAR || !config_linear_bias(&v->model, fold->linear)))
        return false;
    const enum linear_role role = norm ? LINEAR_Q : fold->linear;
    verify_linear_name(v, block, role, linear, sizeof linear);
    const size_t prefix = strlen(linear) - strlen(f->linears[role].name);
    if (norm)
        (void)snprintf(name, size, "%.*s%s", (int)prefix, linear, norm);
    else
        (void)snprintf(name, size, "%s.bias", linear);
    return true;
}

/* out [count] = the original's vector divided by the checkpoint's: NaN where neither has a number
 * other than 0. False: there are none to compare. */
static enum llmq_status vector_quotient(const struct verify *v, const struct verify *original,
                                        const char *name, int64_t count, float *out, bool *known,
                                        llmq_error *err) {
    const struct st_tensor *t = st_find(v->tensors, name), *o = st_find(original->tensors, name);
    enum llmq_status status = LLMQ_OK;
    *known = t && o && t->rank == 1 && o->rank == 1 && t->shape[0] == (uint64_t)count &&
             o->shape[0] == (uint64_t)count && dtype_is_float(t->dtype) && dtype_is_float(o->dtype);
    if (!*known)
        return LLMQ_OK;
    float *ours = malloc((size_t)count * sizeof *ours);
    if (!ours)
        return error_memory(err, name);
    LLMQ_TRY(st_read_f32(v->tensors, t, ours, err));
    LLMQ_TRY(st_read_f32(original->tensors, o, out, err));
    for (int64_t i = 0; i < count; i++)
        out[i] /= ours[i];
cleanup:
    free(ours);
    return status;
}

/* --- finding ---------------------------------------------------------------------------------- */

/* What the steps for one block share. */
struct search {
    struct verify *v;
    const struct verify *original;
    int64_t block;
    struct verify_fold *fold;
};

/* Columns of a stage that a norm feeds: its quotients, where the norm has changed. */
static enum llmq_status find_norm_fold(struct search *s, enum block_stage stage, llmq_error *err) {
    const int64_t count = fold_channels(&s->v->model, stage);
    char name[LAYOUT_NAME_MAX];
    bool known = false, changed = false;
    if (!vector_name(s->v, s->block, stage, name, sizeof name))
        return LLMQ_OK;
    float *quotient = malloc((size_t)count * sizeof *quotient);
    if (!quotient)
        return error_memory(err, name);
    enum llmq_status status =
        vector_quotient(s->v, s->original, name, count, quotient, &known, err);
    for (int64_t i = 0; status == LLMQ_OK && known && i < count; i++)
        changed = changed || fabsf(quotient[i] - 1) > VECTOR_ROUNDING;
    if (changed)
        s->fold->columns[stage] = quotient;
    else
        free(quotient);
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

/* The columns of all linears of a stage together: fits [k]. */
static enum llmq_status fit_stage(const struct search *s, enum block_stage stage, struct fit *fits,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (enum linear_role role = 0; status == LLMQ_OK && role < LINEAR_COUNT; role++) {
        struct pair p = {0};
        if (!(s->v->model.family->folds[stage].consumers & FOLD_ROLE(role)))
            continue;
        status = load_pair(s->v, s->original, s->block, role, &p, err);
        if (status == LLMQ_OK && p.ours)
            fit_columns(&p, s->fold->rows[role], fits);
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
static bool both_sides(const struct model_config *c, enum block_stage stage, const struct fit *rows,
                       const struct fit *columns, int64_t k) {
    double plain = 0, undone = 0;
    for (int64_t i = 0; i < k; i++) {
        const struct fit *row = &rows[fold_channel(c, stage, i)];
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
static enum llmq_status bias_rows(const struct search *s, enum block_stage stage, int64_t n,
                                  float *rows, bool *folded, llmq_error *err) {
    char name[LAYOUT_NAME_MAX];
    bool known = false;
    enum llmq_status status = LLMQ_OK;
    if (vector_name(s->v, s->block, stage, name, sizeof name))
        status = vector_quotient(s->v, s->original, name, n, rows, &known, err);
    for (int64_t r = 0; r < n; r++) {
        rows[r] = known ? rows[r] : (float)NAN;
        *folded = *folded || fabsf(rows[r] - 1) > VECTOR_ROUNDING;
    }
    return status;
}

/* What the rows were divided by where the bias does not say it. */
static void settle_rows(const struct fit *fits, int64_t n, float *rows) {
    for (int64_t r = 0; r < n; r++) {
        const double slope = fit_slope(&fits[r]);
        if (!isfinite(rows[r]))
            rows[r] = slope > 0 ? (float)(1 / slope) : 1;
    }
}

static enum llmq_status find_linear_fold(struct search *s, enum block_stage stage,
                                         llmq_error *err) {
    const struct model_config *c = &s->v->model;
    const enum linear_role role = c->family->folds[stage].linear;
    const enum block_stage before = c->family->linears[role].stage;
    struct pair p = {0};
    int64_t n = 0, k = 0, any = 0;
    enum llmq_status status = LLMQ_OK;
    for (enum linear_role r = 0; r < LINEAR_COUNT; r++)
        if (c->family->linears[r].stage == stage)
            config_linear_shape(c, r, &any, &k);
    LLMQ_TRY(load_pair(s->v, s->original, s->block, role, &p, err));
    if (!p.ours)
        return LLMQ_OK;
    n = p.n;
    struct fit *fits = calloc((size_t)(n + k), sizeof *fits);
    float *rows = malloc((size_t)n * sizeof *rows), *columns = malloc((size_t)k * sizeof *columns);
    if (!fits || !rows || !columns)
        status = error_memory(err, "the folds of a block");
    if (status == LLMQ_OK)
        fit_rows(&p, s->fold->columns[before], fits);
    if (status == LLMQ_OK)
        status = fit_stage(s, stage, fits + n, err);
    bool folded = false;
    if (status == LLMQ_OK)
        status = bias_rows(s, stage, n, rows, &folded, err);
    if (status == LLMQ_OK && (folded || both_sides(c, stage, fits, fits + n, k))) {
        settle_rows(fits, n, rows);
        for (int64_t i = 0; i < k; i++)
            columns[i] = rows[fold_channel(c, stage, i)];
        s->fold->rows[role] = rows;
        s->fold->columns[stage] = columns;
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

static void disagree(struct search *s, enum block_stage stage, int64_t column, double made,
                     int64_t count) {
    const struct family *f = s->v->model.family;
    const struct family_fold *fold = &f->folds[stage];
    char name[LAYOUT_NAME_MAX];
    if (fold->producer == FOLD_LINEAR)
        verify_linear_name(s->v, s->block, fold->linear, name, sizeof name);
    else if (!vector_name(s->v, s->block, stage, name, sizeof name))
        return;
    s->v->rule = verify_rule_find("against-fold");
    verify_found(s->v, NULL, name, "one of the two sides is not as it was written",
                 "channel %" PRId64 " is divided by %.4g, but column %" PRId64
                 " of the linears that read it is multiplied by %.4g (%" PRId64 " such columns)",
                 fold_channel(&s->v->model, stage, column), (double)s->fold->columns[stage][column],
                 column, made, count);
}

/* Compare the columns of a stage with what feeds them. Where the vector says nothing, being 0, the
 * columns do. */
static enum llmq_status check_stage(struct search *s, enum block_stage stage, llmq_error *err) {
    float *columns = s->fold->columns[stage];
    int64_t k = 0, n = 0, bad = 0, first = 0;
    double made = 0, together = 0, evidence = 0;
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++)
        if (s->v->model.family->linears[role].stage == stage)
            config_linear_shape(&s->v->model, role, &n, &k);
    struct fit *fits = calloc((size_t)k, sizeof *fits);
    if (!fits)
        return error_memory(err, "the folds of a block");
    enum llmq_status status = fit_stage(s, stage, fits, err);
    for (int64_t c = 0; status == LLMQ_OK && c < k; c++) {
        const double slope = fit_slope(&fits[c]), tolerance = fit_tolerance(&fits[c]);
        if (slope > 0 && columns[c] > 0 && isfinite(columns[c])) {
            const double scale = log((double)columns[c]) / tolerance;
            together += scale * log(slope) / tolerance;
            evidence += scale * scale;
        }
        if (isnan(columns[c])) {
            columns[c] = slope > 0 ? (float)slope : 1;
        } else if (fits[c].xx > 0 && tolerance < 1 &&
                   !(fabs(slope / (double)columns[c] - 1) <= 2 * tolerance)) {
            first = bad ? first : c;
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
    s->fold->sound[stage] = bad == 0;
    if (bad > 0)
        disagree(s, stage, first, made, bad);
    return status;
}

enum llmq_status verify_fold_find(struct verify *v, const struct verify *original, int64_t block,
                                  struct verify_fold *out, llmq_error *err) {
    struct search s = {v, original, block, out};
    enum llmq_status status = LLMQ_OK;
    *out = (struct verify_fold){0};
    for (enum block_stage stage = 0; stage < STAGE_COUNT; stage++)
        if (v->model.family->folds[stage].producer != FOLD_LINEAR)
            LLMQ_TRY(find_norm_fold(&s, stage, err));
    for (enum block_stage stage = 0; stage < STAGE_COUNT; stage++)
        if (v->model.family->folds[stage].producer == FOLD_LINEAR)
            LLMQ_TRY(find_linear_fold(&s, stage, err));
    for (enum block_stage stage = 0; stage < STAGE_COUNT; stage++)
        if (out->columns[stage])
            LLMQ_TRY(check_stage(&s, stage, err));
cleanup:
    if (status != LLMQ_OK)
        verify_fold_free(out);
    return status;
}

void verify_fold_free(struct verify_fold *f) {
    for (enum block_stage stage = 0; stage < STAGE_COUNT; stage++)
        free(f->columns[stage]);
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++)
        free(f->rows[role]);
    *f = (struct verify_fold){0};
}

bool verify_fold_explains(const struct verify *v, const struct verify_fold *f, int64_t block,
                          const char *tensor) {
    char name[LAYOUT_NAME_MAX];
    for (enum block_stage stage = 0; stage < STAGE_COUNT; stage++)
        if (f->sound[stage] && vector_name(v, block, stage, name, sizeof name) &&
            strcmp(name, tensor) == 0)
            return true;
    return false;
}

void verify_fold_undo(const struct verify *v, const struct verify_fold *f, enum linear_role role,
                      int64_t begin, int64_t count, float *w) {
    const float *columns = f->columns[v->model.family->linears[role].stage];
    const float *rows = f->rows[role];
    int64_t n = 0, k = 0;
    config_linear_shape(&v->model, role, &n, &k);
    for (int64_t r = 0; (columns || rows) && r < count; r++)
        for (int64_t c = 0; c < k; c++)
            w[r * k + c] *= (rows ? rows[begin + r] : 1) / divisor(columns ? columns[c] : 1);
}
