/* SPDX-License-Identifier: Apache-2.0 */
/* Do both sides of a fold agree? See verify_fold.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "verify/verify_fold_private.h"

/* Scales count together from so many squares of the tolerance on: their mean is as certain as one
 * of the tolerance's standard errors then. */
#define EVIDENCE 4.0

/* Bits that columns have at least for that. With fewer a group's large columns are clipped and its
 * small ones drowned, which draws all slopes towards 1, as if there were no scales. */
enum { CLEAR_BITS = 4 };

static void disagree(struct fold_search *s, const struct candidate *c, int64_t column, double made,
                     int64_t count) {
    char name[FAMILY_NAME_MAX];
    if (made_by_linear(c))
        blocks_node_name(s->v->blocks, c->at, "", name);
    else if (!fold_vector_name(s->v, c, name))
        return;
    s->v->rule = verify_rule_find("against-fold");
    verify_found(s->v, NULL, name, "one of the two sides is not as it was written",
                 "channel %" PRId64 " is divided by %.4g, but column %" PRId64
                 " of the linears that read it is multiplied by %.4g (%" PRId64 " such columns)",
                 fold_channel(c, column), (double)s->fold->columns[c->source][column], column, made,
                 count);
}

/* A bias is divided as the norm's weight or the linear's rows are, channel by channel. */
static enum llmq_status check_bias(struct fold_search *s, const struct candidate *c,
                                   llmq_error *err) {
    const int64_t count = c->fold.channels, k = s->graph->width[c->source];
    struct quotient q = {.count = count};
    char name[FAMILY_NAME_MAX];
    if (!(made_by_linear(c) ? fold_vector_name : fold_follower_name)(s->v, c, name))
        return LLMQ_OK;
    q.values = malloc(2 * (size_t)count * sizeof *q.values);
    if (!q.values)
        return error_memory(err, name);
    float *expected = q.values + count;
    for (int64_t i = 0; i < count; i++)
        expected[i] = 1;
    for (int64_t i = 0; i < k; i++)
        expected[fold_channel(c, i)] = s->fold->columns[c->source][i];
    enum llmq_status status = fold_vector_quotient(s, name, &q, err);
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

/* One that is not quantized holds the columns times their scales, as its type has them. */
static enum llmq_status check_matrix(struct fold_search *s, const struct candidate *c,
                                     struct linear_place at, llmq_error *err) {
    const float *scales = s->fold->columns[c->source];
    const int64_t k = s->graph->width[c->source];
    char name[FAMILY_NAME_MAX];
    struct pair p = {0};
    enum llmq_status status = pair_load(s->v, s->original, at, &p, err);
    int64_t bad = 0, first = 0;
    for (int64_t i = 0; p.ours && i < p.n * k; i++) {
        const float expected = p.theirs[i] * scales[i % k];
        if (isfinite(expected) && fabsf(p.ours[i] - expected) > VECTOR_ROUNDING * fabsf(expected)) {
            first = bad ? first : i;
            bad++;
        }
    }
    if (bad > 0) {
        s->fold->sound[c->source] = false;
        s->v->rule = verify_rule_find("against-fold");
        verify_found(s->v, NULL, blocks_node_name(s->v->blocks, at, ".weight", name),
                     "one of the two sides is not as it was written",
                     "column %" PRId64 " of row %" PRId64 " is %.4g, not the original's %.4g times "
                     "%.4g, the scale of what it reads (%" PRId64 " such numbers)",
                     first % k, first / k, (double)p.ours[first], (double)p.theirs[first],
                     (double)scales[first % k], bad);
    }
    pair_free(&p);
    return status;
}

static enum llmq_status check_plain(struct fold_search *s, const struct candidate *c,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < s->graph->count; i++)
        if (c->consumers >> i & 1 && !graph_node_quantized(&s->graph->node[i]))
            status = check_matrix(s, c, (struct linear_place){s->at.block, i, -1}, err);
    return status;
}

enum llmq_status fold_check(struct fold_search *s, const struct candidate *c, llmq_error *err) {
    float *columns = s->fold->columns[c->source];
    const int64_t k = s->graph->width[c->source];
    int64_t bad = 0, first = 0;
    int bits = 16;
    double made = 0, together = 0, evidence = 0;
    struct fit *fits = calloc((size_t)k, sizeof *fits);
    if (!fits)
        return error_memory(err, "the folds of a block");
    enum llmq_status status = fold_fit_source(s, c, fits, &bits, err);
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
    if (bad == 0 && bits >= CLEAR_BITS && evidence > EVIDENCE && together < evidence / 2) {
        made = 1;
        bad = k;
    }
    s->fold->sound[c->source] = bad == 0;
    if (bad > 0)
        disagree(s, c, first, made, bad);
    if (status == LLMQ_OK && bad == 0 && s->at.expert < 0)
        status = check_bias(s, c, err);
    return status == LLMQ_OK && s->at.expert < 0 ? check_plain(s, c, err) : status;
}
