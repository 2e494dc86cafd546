/* SPDX-License-Identifier: Apache-2.0 */
/* Fits, and weights to fit: see verify_fold_fit.h.
 *
 * Rounding that adds noise makes the y larger by the noise, rounding to the mean of what is near
 * makes them smaller by it: a^2 = sum yy / sum xx lies between. So much, what the residual leaves
 * uncertain, and a little for what methods do to weights, is the tolerance. */
#include "verify/verify_fold_fit.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "verify/verify_reference.h"

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
                             float **out, int *bits, llmq_error *err) {
    char module[FAMILY_NAME_MAX];
    struct reference r;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(reference_open(v, blocks_node_name(v->blocks, at, "", module), &r, err));
    if (!reference_fits(&r, n, k))
        goto cleanup;
    *out = malloc((size_t)n * (size_t)k * sizeof **out);
    if (!*out)
        LLMQ_TRY(error_memory(err, module));
    LLMQ_TRY(reference_prepare(&r, n, k, err));
    LLMQ_TRY(reference_rows(&r, 0, n, k, *out, err));
    *bits = r.packed.bits;
cleanup:
    reference_close(&r);
    return status;
}

enum llmq_status pair_load(const struct verify *v, const struct verify *original,
                           struct linear_place at, struct pair *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int unused = 0;
    *p = (struct pair){0};
    blocks_linear_shape(v->blocks, at, &p->n, &p->k);
    LLMQ_TRY(load(v, at, p->n, p->k, &p->ours, &p->bits, err));
    LLMQ_TRY(load(original, at, p->n, p->k, &p->theirs, &unused, err));
    if (!p->ours || !p->theirs)
        pair_free(p);
cleanup:
    if (status != LLMQ_OK)
        pair_free(p);
    return status;
}
