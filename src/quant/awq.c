/* SPDX-License-Identifier: Apache-2.0 */
/* The search for AWQ's scales: see awq.h.
 *
 * A candidate's loss needs no activations: with H at hand it is tr(dW H dW^T), about k / 2T of the
 * cost of running the inputs again. It is summed over panels of rows in a fixed order, and given up
 * as soon as it exceeds the best so far. */
#include "quant/awq.h"

#include <math.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"
#include "quant/grid.h"
#include "quant/panels.h"

#define POWERS     20   /* r = 0 ... 1 */
#define PANEL_ROWS 512  /* rows of a consumer scaled and rounded at a time */
#define MIN_GAIN   0.01 /* smaller gains do not outlast another input */

#define F16_LEAST 0x1p-14F /* smaller ones lose bits */
#define F16_MOST  65504.0F

/* Where a follower is rounded least is looked for in steps of a bfloat16, until it is as close as
 * float32 arithmetic keeps it. */
#define NUDGE          0x1p-8F
#define NUDGES         32
#define FOLLOWED       0x1p-22F
#define FOLLOWED_BADLY 0x1p-13F

/* A search for ranges divides a step by at most this. */
#define SMALLEST_RANGE 4.0F

struct search {
    const struct awq_problem *p;
    float *log_x, *log_w; /* [channels] logarithms; NaN: the channel has no input or no weight */
    float *scales;        /* [channels] candidate */
    float *columns;       /* [k] the same by column */
    float *importance;    /* [k] for the scaled weights */
    float *D;             /* [PANEL_ROWS, k] scaled weights, then their error */
    float *P;             /* [PANEL_ROWS, QUANT_FORM_COLUMNS] */
    double forms[PANEL_ROWS];
    double *identity; /* [count] loss of each consumer without a scale */
};

void awq_magnitude(const float *H, int64_t k, float *magnitude) {
    for (int64_t c = 0; c < k; c++)
        magnitude[c] = sqrtf(fmaxf(H[c * k + c], 0) / 2);
}

void awq_row_limits(const struct quant_grid *grid, const float *W, int64_t n, int64_t k,
                    float *limit) {
    int64_t group = grid_group(grid, k);
    for (int64_t row = 0; row < n; row++) {
        limit[row] = INFINITY;
        for (int64_t at = 0; at < k; at += group) {
            float lo = 0, hi = 0;
            grid_range(W + row * k + at, group, &lo, &hi);
            float step = (hi - lo) / grid_max_code(grid);
            float room = step / (SMALLEST_RANGE * grid_full_scale(grid));
            if (step > 0 && room < limit[row])
                limit[row] = room;
        }
        limit[row] = fmaxf(limit[row], 1);
    }
}

/* --- what the candidates are made of ---------------------------------------------------------- */

/* sums [k] += |weight| / largest of its group, over the rows of one consumer. */
static void add_relative_weights(const struct awq_consumer *c, int64_t k, double *sums) {
    int64_t group = grid_group(&c->grid, k);
    for (int64_t row = 0; row < c->n; row++)
        for (int64_t at = 0; at < k; at += group) {
            const float *w = c->W + row * k + at;
            float lo = 0, hi = 0;
            grid_range(w, group, &lo, &hi);
            float most = fmaxf(-lo, hi);
            for (int64_t i = 0; most > 0 && i < group; i++)
                sums[at + i] += (double)(fabsf(w[i]) / most);
        }
}

/* Logarithms of the mean over the columns of each channel; NaN for 0. */
static void log_means(const struct awq_problem *p, const double *columns, float *out) {
    for (int64_t c = 0; c < p->channels; c++)
        out[c] = 0;
    for (int64_t i = 0; i < p->k; i++)
        out[p->channel[i]] += (float)columns[i];
    for (int64_t c = 0; c < p->channels; c++) /* the number of columns cancels: it is the same */
        out[c] = out[c] > 0 && isfinite(out[c]) ? logf(out[c]) : NAN;
}

static enum llmq_status prepare(struct search *s, llmq_error *err) {
    const struct awq_problem *p = s->p;
    double *columns = calloc((size_t)p->k, sizeof *columns);
    if (!columns)
        return error_memory(err, "the search for scales");
    for (int i = 0; i < p->count; i++)
        add_relative_weights(&p->consumers[i], p->k, columns);
    log_means(p, columns, s->log_w);
    for (int64_t i = 0; i < p->k; i++)
        columns[i] = (double)p->magnitude[i];
    log_means(p, columns, s->log_x);
    free(columns);
    return LLMQ_OK;
}

/* --- candidates ------------------------------------------------------------------------------- */

/* Does half precision, in which a server may run the model, hold the value in full? */
static bool half_holds(float v) {
    return fabsf(v) >= F16_LEAST && fabsf(v) <= F16_MOST;
}

/* `v` as the type, of at most 32 bits, has it. */
static float rounded(enum dtype type, float v) {
    uint32_t bits = 0;
    type = type == DTYPE_F64 ? DTYPE_F32 : type;
    dtype_from_f32(type, &v, 1, &bits);
    dtype_to_f32(type, &bits, 1, &v);
    return v;
}

/* The scale that is left when what is stored of anchor / scale has been rounded to its type; 1 when
 * that would leave the range of half precision or vanish. */
static float anchored_scale(const struct awq_problem *p, int64_t channel, float scale) {
    const float added = p->anchor ? p->anchor_added : 0;
    const float anchor = p->anchor ? p->anchor[channel] : 0, whole = anchor + added;
    if (whole == 0) /* 0 stays 0 under any scale */
        return scale;
    const float stored = rounded(p->anchor_dtype, whole / scale - added);
    const float left = whole / (stored + added);
    if ((half_holds(anchor) && !half_holds(stored) && (added == 0 || fabsf(stored) > F16_MOST)) ||
        !isfinite(left) || !(left > 0))
        return 1;
    return left;
}

/* What rounding costs the follower, as a share of it. */
static float follower_error(const struct awq_problem *p, int64_t channel, float scale) {
    const float follower = p->follower ? p->follower[channel] : 0;
    if (follower == 0)
        return 0;
    return fabsf(rounded(p->follower_dtype, follower / scale) * scale / follower - 1);
}

/* Take the scale that the anchor holds exactly near `wish` if the follower is rounded less by it.
 */
static void consider(const struct awq_problem *p, int64_t channel, float wish, float *best,
                     float *least) {
    const float scale = anchored_scale(p, channel, wish);
    const float error = follower_error(p, channel, scale);
    if (error < *least) {
        *best = scale;
        *least = error;
    }
}

/* The scale near the wish that the anchor holds exactly and the follower as closely as may be.
 * Steps of the two can be in each other's way; a power of two suits both. */
static float exact_scale(const struct awq_problem *p, int64_t channel, float wish) {
    if (p->exact) {
        const float power = exp2f(roundf(log2f(wish)));
        return anchored_scale(p, channel, power) == power ? power : 1;
    }
    float best = anchored_scale(p, channel, wish), least = follower_error(p, channel, best);
    for (int i = 1; i <= NUDGES && least > FOLLOWED; i++)
        for (int sign = -1; sign <= 1; sign += 2)
            consider(p, channel, wish * (1 + (float)(sign * i) * NUDGE), &best, &least);
    if (least > FOLLOWED_BADLY)
        consider(p, channel, exp2f(roundf(log2f(wish))), &best, &least);
    return best;
}

static void spread_to_columns(const struct search *s) {
    for (int64_t i = 0; i < s->p->k; i++)
        s->columns[i] = s->scales[s->p->channel[i]];
}

/* Logarithms in s->scales, NaN for 1, become scales that can be stored. */
static void finish_candidate(const struct search *s) {
    const struct awq_problem *p = s->p;
    float least = INFINITY, most = -INFINITY;
    for (int64_t c = 0; c < p->channels; c++) {
        least = fminf(least, s->scales[c]); /* NaN does not take part */
        most = fmaxf(most, s->scales[c]);
    }
    for (int64_t c = 0; c < p->channels; c++) {
        float scale = isnan(s->scales[c]) ? 1 : expf(s->scales[c] - (most + least) / 2);
        if (p->limit)
            scale = fminf(scale, p->exact ? exp2f(floorf(log2f(p->limit[c]))) : p->limit[c]);
        s->scales[c] = exact_scale(p, c, scale);
    }
    spread_to_columns(s);
}

static void set_candidate(const struct search *s, double power, bool by_weights) {
    for (int64_t c = 0; c < s->p->channels; c++) {
        float l = (float)power * s->log_x[c];
        if (by_weights)
            l -= (1 - (float)power) * s->log_w[c];
        s->scales[c] = isnan(s->log_w[c]) ? NAN : l;
    }
    finish_candidate(s);
}

/* largest [channels] magnitude of a channel's weights in all consumers. */
static void find_largest(const struct awq_problem *p, float *largest) {
    for (int64_t c = 0; c < p->channels; c++)
        largest[c] = 0;
    for (int i = 0; i < p->count; i++)
        for (int64_t at = 0; at < p->consumers[i].n * p->k; at++) {
            float *l = &largest[p->channel[at % p->k]];
            *l = fmaxf(*l, fabsf(p->consumers[i].W[at]));
        }
}

/* r1 / s = r2 s */
static void set_equalized(const struct search *s) {
    const struct awq_problem *p = s->p;
    find_largest(p, s->scales);
    for (int64_t c = 0; c < p->channels; c++) {
        const float made = p->produced ? p->produced[c]
                           : p->anchor ? fabsf(p->anchor[c] + p->anchor_added)
                                       : 1;
        const float read = s->scales[c];
        s->scales[c] = made > 0 && read > 0 ? (logf(made) - logf(read)) / 2 : NAN;
    }
    finish_candidate(s);
}

static void set_identity(const struct search *s) {
    for (int64_t c = 0; c < s->p->channels; c++)
        s->scales[c] = 1;
    spread_to_columns(s);
}

/* --- loss ------------------------------------------------------------------------------------- */

/* D = scaled weights - what they are rounded to, taken back to the scale of W. */
static void residuals(const struct search *s, const struct qlinear *q) {
    const float *columns = s->columns;
    float *D = s->D;
#pragma omp parallel for schedule(static) default(none) shared(q, columns, D)
    for (int64_t row = 0; row < q->n; row++)
        for (int64_t g = 0; g < q->groups; g++) {
            float scale = q->scales[row * q->groups + g];
            int zero = q->zeros[row * q->groups + g];
            for (int64_t i = g * q->group; i < (g + 1) * q->group; i++) {
                float *d = D + row * q->k + i;
                *d = (*d - (float)((int)q->codes[row * q->k + i] - zero) * scale) / columns[i];
            }
        }
}

/* *loss += tr(dW H dW^T) of `rows` rows of W. */
static enum llmq_status add_panel(struct search *s, const struct quant_grid *grid, const float *W,
                                  int64_t rows, double *loss, llmq_error *err) {
    int64_t k = s->p->k;
    const float *columns = s->columns;
    float *D = s->D;
    struct qlinear q = {0};
#pragma omp parallel for schedule(static) default(none) shared(rows, k, W, columns, D)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < k; i++)
            D[row * k + i] = W[row * k + i] * columns[i];
    enum llmq_status status = rtn_quantize(grid, s->D, s->importance, rows, k, &q, err);
    if (status != LLMQ_OK)
        return status;
    residuals(s, &q);
    qlinear_free(&q);
    quant_forms(s->D, rows, k, &(struct quant_inputs){.H = s->p->H}, s->P, s->forms);
    for (int64_t row = 0; row < rows; row++)
        *loss += s->forms[row];
    return LLMQ_OK;
}

/* Loss of one consumer under the candidate; given up beyond `bound`. */
static enum llmq_status consumer_loss(struct search *s, const struct awq_consumer *c, double bound,
                                      double *loss, llmq_error *err) {
    *loss = 0;
    for (int64_t at = 0; at < c->n && *loss <= bound; at += PANEL_ROWS) {
        int64_t rows = min_i64(PANEL_ROWS, c->n - at);
        enum llmq_status status = add_panel(s, &c->grid, c->W + at * s->p->k, rows, loss, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

/* Loss of the candidate over all consumers, or infinity once it is `bound` or more or a consumer is
 * worse than without a scale. */
static enum llmq_status total_loss(struct search *s, double bound, double *total, llmq_error *err) {
    const struct awq_problem *p = s->p;
    quant_importance(p->H, p->k, s->importance);
    for (int64_t i = 0; i < p->k; i++)
        s->importance[i] /= s->columns[i] * s->columns[i];
    *total = 0;
    for (int i = 0; i < p->count; i++) {
        double loss = 0, left = fmin(s->identity[i], bound - *total);
        enum llmq_status status = consumer_loss(s, &p->consumers[i], left, &loss, err);
        if (status != LLMQ_OK)
            return status;
        *total = loss <= left ? *total + loss : HUGE_VAL;
        if (!(*total < bound))
            break;
    }
    return LLMQ_OK;
}

/* --- the search ------------------------------------------------------------------------------- */

static enum llmq_status without_scale(struct search *s, struct awq_outcome *o, llmq_error *err) {
    set_identity(s);
    quant_importance(s->p->H, s->p->k, s->importance);
    for (int i = 0; i < s->p->count; i++) {
        enum llmq_status status =
            consumer_loss(s, &s->p->consumers[i], HUGE_VAL, &s->identity[i], err);
        if (status != LLMQ_OK)
            return status;
        o->identity_loss += s->identity[i];
    }
    o->loss = o->identity_loss;
    return LLMQ_OK;
}

/* Take the candidate in s->scales when it is the best so far; `found` is how it was made. */
static enum llmq_status try_candidate(struct search *s, const struct awq_outcome *found,
                                      float *scales, struct awq_outcome *o, llmq_error *err) {
    const double identity_loss = o->identity_loss;
    double loss = 0, bound = fmin(o->loss, (1 - MIN_GAIN) * identity_loss);
    enum llmq_status status = total_loss(s, bound, &loss, err);
    if (status != LLMQ_OK || !(loss < bound))
        return status;
    *o = *found;
    o->identity_loss = identity_loss;
    o->loss = loss;
    o->scaled = true;
    for (int64_t c = 0; c < s->p->channels; c++)
        scales[c] = s->scales[c];
    return LLMQ_OK;
}

static enum llmq_status search_alloc(struct search *s, llmq_error *err) {
    size_t k = (size_t)s->p->k, channels = (size_t)s->p->channels, floats = 0;
    if (!checked_mul_size(k + QUANT_FORM_COLUMNS, PANEL_ROWS * sizeof *s->D, &floats))
        return error_memory(err, "the search for scales");
    s->log_x = malloc(channels * sizeof *s->log_x);
    s->log_w = malloc(channels * sizeof *s->log_w);
    s->scales = malloc(channels * sizeof *s->scales);
    s->columns = malloc(k * sizeof *s->columns);
    s->importance = malloc(k * sizeof *s->importance);
    s->identity = calloc((size_t)s->p->count, sizeof *s->identity);
    s->D = malloc(floats);
    bool whole = s->log_x && s->log_w && s->scales && s->columns && s->importance && s->identity;
    if (!whole || !s->D)
        return error_memory(err, "the search for scales");
    s->P = s->D + PANEL_ROWS * s->p->k;
    return LLMQ_OK;
}

static void search_free(struct search *s) {
    free(s->log_x);
    free(s->log_w);
    free(s->scales);
    free(s->columns);
    free(s->importance);
    free(s->identity);
    free(s->D);
}

enum llmq_status awq_search(const struct awq_problem *p, float *scales, struct awq_outcome *outcome,
                            llmq_error *err) {
    struct search s = {.p = p};
    enum llmq_status status = LLMQ_OK;
    *outcome = (struct awq_outcome){0};
    for (int64_t c = 0; c < p->channels; c++)
        scales[c] = 1;
    LLMQ_TRY(search_alloc(&s, err));
    LLMQ_TRY(prepare(&s, err));
    LLMQ_TRY(without_scale(&s, outcome, err));
    for (int i = 0; i < 2 * POWERS; i++) {
        double power = (double)(i / 2) / (POWERS - 1);
        bool by_weights = i % 2;
        if ((i / 2 == 0 || i / 2 == POWERS - 1) && !by_weights)
            continue; /* x^0 is 1, and x^1 is the same either way */
        set_candidate(&s, power, by_weights);
        const struct awq_outcome found = {.power = power, .by_weights = by_weights};
        LLMQ_TRY(try_candidate(&s, &found, scales, outcome, err));
    }
    if (p->equalize) {
        const struct awq_outcome found = {.equalized = true};
        set_equalized(&s);
        LLMQ_TRY(try_candidate(&s, &found, scales, outcome, err));
    }
cleanup:
    search_free(&s);
    return status;
}

uint64_t awq_search_bytes(int64_t k) {
    /* D and P, a panel's codes, and at most six vectors (the sums in double). */
    uint64_t n = (uint64_t)k;
    return PANEL_ROWS * ((n + QUANT_FORM_COLUMNS) * sizeof(float) + n) + 7 * n * sizeof(float);
}
