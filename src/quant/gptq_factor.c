/* SPDX-License-Identifier: Apache-2.0 */
/* The factor of H that GPTQ walks along: see quant.h.
 *
 *   1. Inputs that were never active (H_kk = 0) get H_kk = 1, so that they neither influence
 *      others nor make H singular.
 *   2. Columns are put in processing order.
 *   3. lambda * mean(diag H) is added to the diagonal.
 *   4. U with U^T U = H^-1: let J reverse the order. J H J = L L^T gives
 *      H^-1 = (J L^-1 J)^T (J L^-1 J), and U = J L^-1 J is upper triangular: one Cholesky factor
 *      and one triangular inverse, half of the usual Cholesky - inverse - Cholesky, and no step of
 *      it squares the condition of H.
 *   5. When H is not positive definite in float32, steps 3 and 4 repeat with more damping.
 *
 * Steps 2 to 4 work in the lower triangle of a square alone, and what U is lies above. So a factor
 * stays where it is while another is made below it, but for the diagonal, which is copied; the
 * reversal at the end of step 4 makes them change places, and a second one puts the first back:
 * whoever looks for a damping need not make the best one's factor again. */
#include "quant/gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/hugemem.h"
#include "linalg/linalg.h"

/* What is tried after the damping asked for, when it is less. */
static const double damp_ladder[] = {0.01, 0.02, 0.05, 0.1, 0.5, 1.0};
#define DAMP_RUNGS (sizeof damp_ladder / sizeof *damp_ladder)

/* --- processing order ------------------------------------------------------------------------- */

struct ranked {
    float key;
    int64_t index;
};

/* Descending keys, ties in their given order. */
static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* NaN has no rank: such an H has no factor either, any order will do. */
static float diagonal(const float *H, int64_t k, int64_t i) {
    float d = H[i * k + i];
    return isnan(d) ? 0 : d;
}

/* column[0..count) = first ... first + count - 1 by descending diagonal. */
static void rank_columns(const float *H, int64_t k, int64_t first, int64_t count,
                         struct ranked *ranked, int64_t *column) {
    for (int64_t i = 0; i < count; i++)
        ranked[i] = (struct ranked){diagonal(H, k, first + i), first + i};
    qsort(ranked, (size_t)count, sizeof *ranked, compare_ranked);
    for (int64_t i = 0; i < count; i++)
        column[i] = ranked[i].index;
}

/* Whole groups by their largest diagonal, columns inside each by their own. */
static void rank_groups(const float *H, int64_t k, int64_t group, struct ranked *ranked,
                        int64_t *column) {
    int64_t groups = k / group;
    struct ranked *columns = ranked + groups;
    for (int64_t g = 0; g < groups; g++) {
        ranked[g] = (struct ranked){diagonal(H, k, g * group), g};
        for (int64_t i = 1; i < group; i++)
            ranked[g].key = fmaxf(ranked[g].key, diagonal(H, k, g * group + i));
    }
    qsort(ranked, (size_t)groups, sizeof *ranked, compare_ranked);
    for (int64_t g = 0; g < groups; g++)
        rank_columns(H, k, ranked[g].index * group, group, columns, column + g * group);
}

static enum llmq_status order_columns(struct gptq_factor *f, const float *H, llmq_error *err) {
    struct ranked *ranked = malloc((size_t)f->k * 2 * sizeof *ranked);
    if (!ranked)
        return error_memory(err, "the order of columns");
    switch (f->options.act_order) {
    case ACT_ORDER_NONE:
        for (int64_t i = 0; i < f->k; i++)
            f->column[i] = i;
        break;
    case ACT_ORDER_STATIC:
        rank_columns(H, f->k, 0, f->k, ranked, f->column);
        break;
    case ACT_ORDER_GROUP_AWARE:
        rank_groups(H, f->k, f->group, ranked, f->column);
        break;
    }
    free(ranked);
    for (int64_t i = 0; i < f->k; i++)
        f->position[f->column[i]] = i;
    return LLMQ_OK;
}

/* --- factorisation ---------------------------------------------------------------------------- */

/* Mean of the diagonal, dead inputs counting as the 1 they become. */
static double mean_diagonal(const struct gptq_factor *f, const float *H) {
    double sum = 0;
    for (int64_t i = 0; i < f->k; i++)
        sum += f->dead[i] ? 1 : (double)H[i * f->k + i];
    return sum / (double)f->k;
}

/* U = lower triangle of J H J + damping, H in processing order. */
static void load_reversed(const struct gptq_factor *f, const float *H, double damping) {
    int64_t k = f->k;
    const int64_t *column = f->column;
    const uint8_t *dead = f->dead;
    float *U = f->U;
#pragma omp parallel for default(none) shared(k, column, dead, U, H, damping) schedule(dynamic, 16)
    for (int64_t i = 0; i < k; i++) {
        int64_t c = column[k - 1 - i];
        const float *from = H + c * k;
        float *to = U + i * k;
        for (int64_t j = 0; j < i; j++)
            to[j] = from[column[k - 1 - j]];
        to[i] = (float)((dead[c] ? 1 : (double)from[c]) + damping);
    }
}

/* U = J U J: both orders reversed, which reverses the elements as they lie in memory. */
static void reverse(const struct gptq_factor *f) {
    int64_t count = f->k * f->k;
    float *U = f->U;
#pragma omp parallel for default(none) shared(U, count) schedule(static)
    for (int64_t i = 0; i < count / 2; i++) {
        float low = U[i];
        U[i] = U[count - 1 - i];
        U[count - 1 - i] = low;
    }
}

/* Every diagonal element usable as a divisor? Guards against overflow that no step reports. */
static bool diagonal_usable(const struct gptq_factor *f) {
    for (int64_t i = 0; i < f->k; i++)
        if (!isfinite(f->U[i * f->k + i]) || f->U[i * f->k + i] <= 0)
            return false;
    return true;
}

/* GPTQ's loss is the sum over columns of (w_i - quantized w_i)^2 / U_ii^2. */
static void set_loss(const struct gptq_factor *f) {
    for (int64_t i = 0; i < f->k; i++) {
        double u = (double)f->U[i * f->k + i];
        f->loss[f->column[i]] = (float)(1 / (u * u));
    }
}

/* *usable says whether this lambda led to a factor; a status other than LLMQ_OK is not about
 * numbers. */
static enum llmq_status try_damping(const struct gptq_factor *f, const float *H, double lambda,
                                    bool *usable, llmq_error *err) {
    llmq_error why = {0};
    load_reversed(f, H, lambda * mean_diagonal(f, H));
    enum llmq_status status = linalg_potrf_lower(f->k, f->U, f->k, &why);
    if (status == LLMQ_OK)
        status = linalg_trtri_lower(f->k, f->U, f->k, &why);
    *usable = status == LLMQ_OK && diagonal_usable(f);
    if (*usable)
        reverse(f);
    if (status == LLMQ_OK || status == LLMQ_E_NUMERIC)
        return LLMQ_OK;
    return error_set(err, status, "%s", why.message);
}

/* There is no factor. */
static void give_up(struct gptq_factor *f) {
    if (f->aside.kept)
        f->aside.square = f->U;
    else
        free(f->U);
    f->U = NULL;
    f->damp = 0;
}

/* Climb the ladder from `lambda`. */
static enum llmq_status factorise(struct gptq_factor *f, const float *H, double lambda,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool usable = false;
    f->damp = lambda;
    f->damp_retries = 0;
    LLMQ_TRY(try_damping(f, H, f->damp, &usable, err));
    for (size_t rung = 0; rung < DAMP_RUNGS && !usable; rung++) {
        if (damp_ladder[rung] <= f->damp)
            continue;
        f->damp = damp_ladder[rung];
        f->damp_retries++;
        LLMQ_TRY(try_damping(f, H, f->damp, &usable, err));
    }
    if (!usable) {
        give_up(f);
    } else {
        f->damping = f->damp * mean_diagonal(f, H);
        set_loss(f);
    }
cleanup:
    return status;
}

/* --- interface -------------------------------------------------------------------------------- */

static enum llmq_status factor_alloc(struct gptq_factor *f, llmq_error *err) {
    size_t k = (size_t)f->k, square = 0, bytes = 0;
    if (!checked_mul_size(k, k, &square) || !checked_mul_size(square, sizeof *f->U, &bytes))
        return error_set(err, LLMQ_E_MEMORY, "a factor of order %zu does not fit the address space",
                         k);
    f->column = malloc(k * sizeof *f->column);
    f->position = malloc(k * sizeof *f->position);
    f->importance = malloc(k * sizeof *f->importance);
    f->loss = malloc(k * sizeof *f->loss);
    f->dead = malloc(k * sizeof *f->dead);
    f->U = huge_malloc(bytes);
    f->aside.diagonal = malloc(k * sizeof *f->aside.diagonal);
    f->aside.loss = malloc(k * sizeof *f->aside.loss);
    if (!f->column || !f->position || !f->importance || !f->loss || !f->dead || !f->U ||
        !f->aside.diagonal || !f->aside.loss)
        return error_memory(err, "the factor of a Hessian");
    return LLMQ_OK;
}

enum llmq_status gptq_factor_create(const float *H, int64_t k, int64_t group,
                                    const struct quant_options *options, struct gptq_factor **out,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct gptq_factor *f = NULL;
    if (group == -1)
        group = k;
    const bool whole = options->act_order == ACT_ORDER_GROUP_AWARE; /* groups are moved */
    if (k <= 0 || group <= 0 || (whole && k % group != 0))
        return error_set(err, LLMQ_E_USAGE, "group size %lld does not divide %lld inputs",
                         (long long)group, (long long)k);
    if (!isfinite(options->damp) || options->damp < 0)
        return error_set(err, LLMQ_E_USAGE, "damping %g: expected a number from 0", options->damp);
    if (options->descent_passes < 0 || options->rounds < 0)
        return error_set(err, LLMQ_E_USAGE, "%d descent passes, %d rounds: expected counts from 0",
                         options->descent_passes, options->rounds);
    f = calloc(1, sizeof *f);
    if (!f)
        return error_memory(err, "the factor of a Hessian");
    f->k = k;
    f->group = group;
    f->options = *options;
    LLMQ_TRY(factor_alloc(f, err));
    for (int64_t i = 0; i < k; i++) {
        f->dead[i] = H[i * k + i] == 0;
        f->dead_columns += f->dead[i];
    }
    quant_importance(H, k, f->importance);
    LLMQ_TRY(order_columns(f, H, err));
    LLMQ_TRY(factorise(f, H, options->damp, err));
    *out = f;
    f = NULL;
cleanup:
    gptq_factor_free(&f);
    return status;
}

static void keep_aside(struct gptq_factor *f) {
    struct factor_aside *a = &f->aside;
    a->kept = true;
    a->damp = f->damp;
    a->damping = f->damping;
    a->damp_retries = f->damp_retries;
    for (int64_t i = 0; i < f->k; i++)
        a->diagonal[i] = f->U[i * f->k + i];
    memcpy(a->loss, f->loss, (size_t)f->k * sizeof *a->loss);
}

void gptq_factor_take_back(struct gptq_factor *f) {
    struct factor_aside *a = &f->aside;
    if (!a->kept)
        return;
    a->kept = false;
    if (f->U)
        reverse(f);
    else
        f->U = a->square;
    a->square = NULL;
    f->damp = a->damp;
    f->damping = a->damping;
    f->damp_retries = a->damp_retries;
    for (int64_t i = 0; i < f->k; i++)
        f->U[i * f->k + i] = a->diagonal[i];
    memcpy(f->loss, a->loss, (size_t)f->k * sizeof *f->loss);
}

enum llmq_status gptq_factor_redamp(struct gptq_factor *f, const float *H, double lambda,
                                    llmq_error *err) {
    f->aside.kept = false;
    free(f->aside.square);
    f->aside.square = NULL;
    if (f->U && fabs(f->damp - lambda) <= 0)
        return LLMQ_OK;
    if (f->U)
        keep_aside(f);
    else if (!(f->U = huge_malloc((size_t)(f->k * f->k) * sizeof *f->U)))
        return error_memory(err, "the factor of a Hessian");
    return factorise(f, H, lambda, err);
}

void gptq_factor_free(struct gptq_factor **factor) {
    if (!*factor)
        return;
    free((*factor)->column);
    free((*factor)->position);
    free((*factor)->importance);
    free((*factor)->loss);
    free((*factor)->dead);
    free((*factor)->U);
    free((*factor)->aside.diagonal);
    free((*factor)->aside.loss);
    free((*factor)->aside.square);
    free(*factor);
    *factor = NULL;
}

double gptq_factor_damp(const struct gptq_factor *factor) {
    return factor->damp;
}

bool gptq_factor_usable(const struct gptq_factor *factor) {
    return factor->U != NULL;
}

uint64_t gptq_factor_bytes(int64_t k) {
    /* U, a block row of 256 in the inverse, and per column its place both ways, its rank twice, its
     * importance and loss, what is kept aside of another, its flag. */
    uint64_t n = (uint64_t)k;
    return n * n * sizeof(float) +
           n * (260 * sizeof(float) + 2 * sizeof(int64_t) + 2 * sizeof(struct ranked) + 1);
}
