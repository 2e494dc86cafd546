/* Fits, and weights to fit: see verify_fold_fit.h.
 *
 * Rounding that adds noise makes the y larger by the noise, rounding to the mean of what is near
 * makes them smaller by it: a^2 = sum yy / sum xx lies between. So much, what the residual leaves
 * uncertain, and a little for what methods do to weights, is the tolerance. */
#include "verify/verify_fold_fit.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "graph/weights.h"

/* What a fit may be off: so much, so many standard errors, and shares of the residual. */
#define TOLERANCE       0.05
#define TOLERANCE_SIGMA 6.0
#define TOLERANCE_SHARE 1.0

/* --- fits ------------------------------------------------------------------------------------- */

void fit_add(struct fit *f, double x, double y) {
    f->xx += x * x;
    f->xy += x * y;
    f->yy += y * y;
    f->xxxx += x * x * x * x;
}

double fit_slope(const struct fit *f) {
    return f->xx > 0 && (f->xy > 0 || f->xy < 0) ? copysign(sqrt(f->yy / f->xx), f->xy) : 0;
}

double fit_tolerance(const struct fit *f) {
    const double count = f->xxxx > 0 ? f->xx * f->xx / f->xxxx : 1;
    const double share = f->xy > 0 ? fmax(f->yy * f->xx / (f->xy * f->xy) - 1, 0) : HUGE_VAL;
    return TOLERANCE + TOLERANCE_SIGMA * sqrt(share / count) + TOLERANCE_SHARE * share;
}

/* --- one linear of both ----------------------------------------------------------------------- */

void pair_free(struct pair *p) {
    free(p->ours);
    free(p->theirs);
    *p = (struct pair){0};
}

static enum llmq_status load(const struct verify *v, struct linear_place at, int64_t n, int64_t k,
                             float **out, llmq_error *err) {
    char module[FAMILY_NAME_MAX], name[FAMILY_NAME_MAX];
    struct qlinear q = {0};
    enum llmq_status status = LLMQ_OK;
    blocks_node_name(v->blocks, at, "", module);
    blocks_node_name(v->blocks, at, ".weight", name);
    const bool turned = blocks_linear_turned(v->blocks, at);
    const struct st_tensor *t = st_find(v->tensors, name);
    const struct st_tensor *stack = t ? NULL : weights_find_stack(v->tensors, v->blocks, at);
    const bool plain = t && t->rank == 2 && t->shape[turned] == (uint64_t)n &&
                       t->shape[!turned] == (uint64_t)k && dtype_is_float(t->dtype);
    const bool packed = !plain && layout_has_module(v->tensors, v->layout, module);
    if (!plain && !packed && !stack)
        return LLMQ_OK;
    if (packed)
        LLMQ_TRY(layout_load(v->tensors, v->layout, &v->layout_config, module, &q, err));
    if (packed && (q.n != n || q.k != k))
        goto cleanup;
    *out = malloc((size_t)n * (size_t)k * sizeof **out);
    if (!*out)
        LLMQ_TRY(error_memory(err, name));
    if (plain && turned)
        LLMQ_TRY(weights_read_turned(v->tensors, t, *out, err));
    else if (plain)
        LLMQ_TRY(st_read_f32(v->tensors, t, *out, err));
    else if (packed)
        qlinear_dequantize(&q, 0, n, *out);
    else
        LLMQ_TRY(weights_read_stacked(v->tensors, stack, v->blocks, at, *out, err));
cleanup:
    qlinear_free(&q);
    return status;
}

enum llmq_status pair_load(const struct verify *v, const struct verify *original,
                           struct linear_place at, struct pair *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *p = (struct pair){0};
    blocks_linear_shape(v->blocks, at, &p->n, &p->k);
    LLMQ_TRY(load(v, at, p->n, p->k, &p->ours, err));
    LLMQ_TRY(load(original, at, p->n, p->k, &p->theirs, err));
    if (!p->ours || !p->theirs)
        pair_free(p);
cleanup:
    if (status != LLMQ_OK)
        pair_free(p);
    return status;
}
