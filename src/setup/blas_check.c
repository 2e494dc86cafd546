/* SPDX-License-Identifier: Apache-2.0 */
/* Is BLAS right, and how fast is it beside what the processor can do? See blas_check.h.
 *
 * A product C = A B is checked as C v = A (B v) in double precision for a random v, which costs
 * nothing beside the product and misses a wrong entry with probability 0 (Freivalds, 1977). */
#include "setup/blas_check.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/tally.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

enum {
    ODD = 301,    /* more than one block of everything, and no multiple of anything */
    SQUARE = 256, /* of the product that is timed */
    REPEATS = 8,
    ROUNDS = 100000, /* of arithmetic: a quarter of a millisecond */
};

/* Relative to the largest magnitude: far above rounding, far below a wrong kernel's results. */
#define TOLERANCE 1e-4

/* In this process, which has one BLAS. */
static bool found_right;

struct check {
    float *A, *B, *C;      /* [ODD, ODD] each */
    float *tiles;          /* scratch of accumulated products */
    double *S;             /* [ODD, ODD] */
    double *v, *w, *x, *y; /* [ODD] each */
};

enum part { WHOLE, LOWER, UPPER };

/* out = M v or, transposed, M^T v, M being a matrix or a triangle of it. */
static void apply(const float *M, bool transposed, enum part part, const double *v, double *out) {
    for (int i = 0; i < ODD; i++)
        out[i] = 0;
    for (int i = 0; i < ODD; i++)
        for (int j = part == UPPER ? i : 0; j < (part == LOWER ? i + 1 : ODD); j++) {
            double entry = (double)M[i * ODD + j];
            if (transposed)
                out[j] += entry * v[i];
            else
                out[i] += entry * v[j];
        }
}

static bool same(const double *a, const double *b) {
    double largest = 0, off = 0;
    for (int i = 0; i < ODD; i++) {
        largest = fmax(largest, fabs(b[i]));
        off = fmax(off, fabs(a[i] - b[i]));
        if (!isfinite(a[i]) || !isfinite(b[i]))
            return false;
    }
    return off <= TOLERANCE * largest;
}

/* C = op(A) op(B), as it should be? */
static bool product_right(const struct check *c, bool transA, bool transB) {
    if (transA)
        linalg_gemm_tn(ODD, ODD, ODD, 1, c->A, ODD, c->B, ODD, 0, c->C, ODD);
    else if (transB)
        linalg_gemm_nt(ODD, ODD, ODD, 1, c->A, ODD, c->B, ODD, 0, c->C, ODD);
    else
        linalg_gemm_nn(ODD, ODD, ODD, 1, c->A, ODD, c->B, ODD, 0, c->C, ODD);
    apply(c->B, transB, WHOLE, c->v, c->w);
    apply(c->A, transA, WHOLE, c->w, c->x);
    apply(c->C, false, WHOLE, c->v, c->y);
    return same(c->y, c->x);
}

/* C = A op(U), U the upper triangle of B. */
static bool triangle_right(const struct check *c, bool transposed) {
    memcpy(c->C, c->A, sizeof *c->C * ODD * ODD);
    linalg_trmm_upper(ODD, ODD, c->B, ODD, transposed, c->C, ODD);
    apply(c->B, transposed, UPPER, c->v, c->w);
    apply(c->A, false, WHOLE, c->w, c->x);
    apply(c->C, false, WHOLE, c->v, c->y);
    return same(c->y, c->x);
}

/* S = A^T A, of which the upper triangle is formed, packed. */
static bool moment_right(const struct check *c) {
    memset(c->S, 0, sizeof *c->S * ODD * ODD);
    linalg_syrk_accumulate(ODD, ODD, c->A, ODD, c->S, c->tiles);
    for (int i = 0; i < ODD; i++)
        for (int j = 0; j < ODD; j++)
            c->C[i * ODD + j] =
                (float)c->S[i < j ? linalg_upper(ODD, i, j) : linalg_upper(ODD, j, i)];
    apply(c->A, false, WHOLE, c->v, c->w);
    apply(c->A, true, WHOLE, c->w, c->x);
    apply(c->C, false, WHOLE, c->v, c->y);
    return same(c->y, c->x);
}

/* C = A A^T + ODD I, its factor L and the inverse of that: L L^T v = C v, L^-1 L v = v? Fails only
 * where memory is short: a factorisation that BLAS refuses is wrong. */
static enum llmq_status factor_right(const struct check *c, bool *right, llmq_error *err) {
    *right = false;
    linalg_gemm_nt(ODD, ODD, ODD, 1, c->A, ODD, c->A, ODD, 0, c->C, ODD);
    for (int i = 0; i < ODD; i++)
        c->C[i * ODD + i] += ODD;
    apply(c->C, false, WHOLE, c->v, c->x);
    enum llmq_status status = linalg_potrf_lower(ODD, c->C, ODD, err);
    if (status != LLMQ_OK)
        return status == LLMQ_E_MEMORY ? status : LLMQ_OK;
    apply(c->C, true, LOWER, c->v, c->w);
    apply(c->C, false, LOWER, c->w, c->y);
    if (!same(c->y, c->x))
        return LLMQ_OK;
    apply(c->C, false, LOWER, c->v, c->w);
    status = linalg_trtri_lower(ODD, c->C, ODD, err);
    if (status != LLMQ_OK)
        return status == LLMQ_E_MEMORY ? status : LLMQ_OK;
    apply(c->C, false, LOWER, c->w, c->y);
    *right = same(c->y, c->v);
    return LLMQ_OK;
}

/* Both rates are taken in turns and by the time that this thread had the processor: the kernels
 * that are chosen by their quotient, and with them the bytes of a result, must not depend on what
 * else the machine is doing. */

/* Operations a second of a product, on this thread. */
static double product_rate(const struct check *c) {
    const double start = tally_thread_now();
    linalg_gemm_nt(SQUARE, SQUARE, SQUARE, 1, c->A, SQUARE, c->B, SQUARE, 0, c->C, SQUARE);
    return 2.0 * SQUARE * SQUARE * SQUARE / (tally_thread_now() - start);
}

/* Of multiplications with additions on registers, on this thread. */
static double fma_rate(void) {
    float sink = 0.25F;
    const double start = tally_thread_now();
    const double count = (double)kernels_get()->peak_fma(ROUNDS, &sink);
    return count / (tally_thread_now() - start);
}

/* Numbers from -1 to 1 without a pattern: xorshift64 (Marsaglia, Journal of Statistical Software
 * 8(14), 2003). */
static void fill(uint64_t seed, float *M) {
    uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
    for (int i = 0; i < ODD * ODD; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        M[i] = (float)(int32_t)(state >> 40) * 0x1p-23F - 1;
    }
}

/* 0: BLAS is wrong. */
static enum llmq_status efficiency(const struct check *c, double *out, llmq_error *err) {
    double rate = 0, fma = 0;
    bool right = false;
    fill(1, c->A);
    fill(2, c->B);
    for (int i = 0; i < ODD; i++)
        c->v[i] = (double)c->A[i] + 0.5;
    for (int i = 0; i < REPEATS; i++) {
        rate = fmax(rate, product_rate(c));
        fma = fmax(fma, fma_rate());
    }
    *out = 0;
    enum llmq_status status = factor_right(c, &right, err);
    if (status != LLMQ_OK)
        return status;
    right = right && product_right(c, false, false) && product_right(c, false, true) &&
            product_right(c, true, false) && triangle_right(c, false) && triangle_right(c, true) &&
            moment_right(c);
    *out = right ? rate / fma : 0;
    return LLMQ_OK;
}

enum llmq_status blas_efficiency(double *out, llmq_error *err) {
    const size_t square = (size_t)ODD * ODD;
    const int threads = omp_get_max_threads();
    float *matrices = malloc((3 * square + linalg_accumulate_floats()) * sizeof *matrices);
    double *vectors = malloc((square + (size_t)4 * ODD) * sizeof *vectors);
    enum llmq_status status = LLMQ_OK;
    if (!matrices || !vectors)
        status = error_memory(err, "a check of BLAS");
    else
        status = linalg_reserve(1, err);
    if (status == LLMQ_OK) {
        double *v = vectors + square;
        const struct check c = {.A = matrices,
                                .B = matrices + square,
                                .C = matrices + 2 * square,
                                .tiles = matrices + 3 * square,
                                .S = vectors,
                                .v = v,
                                .w = v + ODD,
                                .x = v + 2 * ODD,
                                .y = v + 3 * ODD};
        linalg_init();
        omp_set_num_threads(1);
        status = efficiency(&c, out, err);
        omp_set_num_threads(threads);
    }
    free(matrices);
    free(vectors);
    if (status == LLMQ_OK)
        found_right = *out > 0;
    return status;
}

enum llmq_status blas_require(llmq_error *err) {
    double found = 0;
    if (found_right)
        return LLMQ_OK;
    enum llmq_status status = blas_efficiency(&found, err);
    return status == LLMQ_OK && !found_right ? blas_refuse(err) : status;
}
