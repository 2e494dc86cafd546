/* SPDX-License-Identifier: Apache-2.0 */
/* Scores, choice, weights: see router.h. */
#include "graph/router.h"

#include <math.h>

#include "models/graph.h"

/* One token's experts. */
struct choice {
    double score[GRAPH_EXPERTS], pick[GRAPH_EXPERTS]; /* what weighs, and what chooses */
    bool chosen[GRAPH_EXPERTS];
    double sum; /* of the scores of those chosen */
};

static void score_softmax(int64_t n, const float *logits, double *score) {
    float most = logits[0];
    double sum = 0;
    for (int64_t e = 1; e < n; e++)
        most = logits[e] > most ? logits[e] : most;
    for (int64_t e = 0; e < n; e++)
        score[e] = exp((double)logits[e] - (double)most);
    for (int64_t e = 0; e < n; e++)
        sum += score[e];
    for (int64_t e = 0; e < n; e++)
        score[e] /= sum;
}

static void score(const struct router *r, const float *logits, struct choice *c) {
    if (r->score == SCORE_SOFTMAX)
        score_softmax(r->experts, logits, c->score);
    for (int64_t e = 0; e < r->experts; e++) {
        if (r->score == SCORE_SIGMOID)
            c->score[e] = 1 / (1 + exp(-(double)logits[e]));
        c->pick[e] = c->score[e] + (r->choice_bias ? (double)r->choice_bias[e] : 0);
        c->chosen[e] = false;
    }
}

/* The first of the largest that are not taken yet. */
static int64_t largest(const double *x, const bool *taken, int64_t count) {
    int64_t best = -1;
    for (int64_t i = 0; i < count; i++)
        if (!taken[i] && (best < 0 || x[i] > x[best]))
            best = i;
    return best;
}

static double score_group(enum group_score kind, const double *pick, int64_t count) {
    double first = -(double)INFINITY, second = -(double)INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (pick[i] > first) {
            second = first;
            first = pick[i];
        } else if (pick[i] > second) {
            second = pick[i];
        }
    }
    return kind == GROUP_BEST_TWO && count > 1 ? first + second : first;
}

/* Experts of groups that are not among the best are out of the choice, as in DeepSeek's own code;
 * to count them 0 there, as older versions of transformers do, differs when the others are
 * negative. */
static void limit_groups(const struct router *r, struct choice *c) {
    const int64_t members = r->experts / r->groups;
    double best[GRAPH_EXPERTS];
    bool kept[GRAPH_EXPERTS] = {false};
    for (int64_t g = 0; g < r->groups; g++)
        best[g] = score_group(r->group_score, c->pick + g * members, members);
    for (int64_t i = 0; i < r->top_groups; i++)
        kept[largest(best, kept, r->groups)] = true;
    for (int64_t e = 0; e < r->experts; e++)
        if (!kept[e / members])
            c->pick[e] = -(double)INFINITY;
}

static void choose(const struct router *r, struct choice *c) {
    if (r->groups > 1)
        limit_groups(r, c);
    c->sum = 1e-20; /* scores that are all 0 make weights of 0 */
    for (int64_t k = 0; k < r->top_k; k++) {
        const int64_t best = largest(c->pick, c->chosen, r->experts);
        c->chosen[best] = true;
        c->sum += c->score[best];
    }
}

static void weigh(const struct router *r, const struct choice *c, float *out) {
    const double factor = r->renormalised ? r->gain / (c->sum + r->rest) : r->gain;
    for (int64_t e = 0; e < r->experts; e++)
        out[e] =
            c->chosen[e] ? (float)(c->score[e] * factor * (r->gains ? (double)r->gains[e] : 1)) : 0;
}

void router_weights(const struct router *r, int64_t rows, float *x) {
#pragma omp parallel for schedule(static) default(none) shared(r, rows, x)
    for (int64_t t = 0; t < rows; t++) {
        struct choice c;
        score(r, x + t * r->experts, &c);
        choose(r, &c);
        weigh(r, &c, x + t * r->experts);
    }
}

/* --- the way back ----------------------------------------------------------------------------- */

/* pick = the gradient towards the scores of those chosen, 0 of the others; d is that towards the
 * weights. Where they are renormalised, each score also made the others smaller. */
static void find_score_gradients(const struct router *r, struct choice *c, const float *d) {
    const double total = c->sum + r->rest, factor = r->renormalised ? r->gain / total : r->gain;
    double shared = 0;
    for (int64_t e = 0; e < r->experts; e++) {
        c->pick[e] =
            c->chosen[e] ? (double)d[e] * factor * (r->gains ? (double)r->gains[e] : 1) : 0;
        shared += r->renormalised ? c->pick[e] * c->score[e] / total : 0;
    }
    for (int64_t e = 0; e < r->experts; e++)
        c->pick[e] -= c->chosen[e] ? shared : 0;
}

void router_back(const struct router *r, int64_t rows, const float *x, float *dx) {
#pragma omp parallel for schedule(static) default(none) shared(r, rows, x, dx)
    for (int64_t t = 0; t < rows; t++) {
        float *d = dx + t * r->experts;
        double level = 0;
        struct choice c;
        score(r, x + t * r->experts, &c);
        choose(r, &c);
        find_score_gradients(r, &c, d);
        for (int64_t e = 0; r->score == SCORE_SOFTMAX && e < r->experts; e++)
            level += c.pick[e] * c.score[e];
        for (int64_t e = 0; e < r->experts; e++) {
            const double steep = r->score == SCORE_SIGMOID ? 1 - c.score[e] : 1;
            d[e] = (float)(c.score[e] * steep * (c.pick[e] - level));
        }
    }
}
