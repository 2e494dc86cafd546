/* SPDX-License-Identifier: Apache-2.0 */
/* What Debian does not have for musl: the functions of OpenBLAS and of libgomp that llmq calls, one
 * element after the other and with a single thread. To run the suites with, not models. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cblas.h>
#include <lapacke.h>

/* --- OpenBLAS --------------------------------------------------------------------------------- */

char *openblas_get_config(void) {
    static char text[] = "OpenBLAS as plain loops";
    return text;
}

void openblas_set_num_threads(int count) {
    (void)count;
}

/* Element (i, j) of op(A), A in rows of `ld`. */
static double at(const float *A, size_t ld, bool transposed, size_t i, size_t j) {
    return transposed ? A[j * ld + i] : A[i * ld + j];
}

void cblas_sgemm(CBLAS_ORDER order, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n,
                 blasint k, float alpha, const float *A, blasint lda, const float *B, blasint ldb,
                 float beta, float *C, blasint ldc) {
    (void)order; /* by rows */
    for (size_t i = 0; i < (size_t)m; i++)
        for (size_t j = 0; j < (size_t)n; j++) {
            double sum = 0;
            for (size_t p = 0; p < (size_t)k; p++)
                sum += at(A, (size_t)lda, ta == CblasTrans, i, p) *
                       at(B, (size_t)ldb, tb == CblasTrans, p, j);
            float *c = &C[i * (size_t)ldc + j];
            *c = (float)(alpha * sum + (beta == 0 ? 0 : (double)beta * *c));
        }
}

void cblas_ssyrk(CBLAS_ORDER order, CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans, blasint n, blasint k,
                 float alpha, const float *A, blasint lda, float beta, float *C, blasint ldc) {
    const bool t = trans == CblasTrans;
    (void)order;
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t j = uplo == CblasUpper ? i : 0; j < (uplo == CblasUpper ? (size_t)n : i + 1);
             j++) {
            double sum = 0;
            for (size_t p = 0; p < (size_t)k; p++)
                sum += at(A, (size_t)lda, t, i, p) * at(A, (size_t)lda, t, j, p);
            float *c = &C[i * (size_t)ldc + j];
            *c = (float)(alpha * sum + (beta == 0 ? 0 : (double)beta * *c));
        }
}

/* A triangle of order n as its transpose says. */
struct triangle {
    const float *A;
    size_t ld, n;
    bool transposed, upper, unit;
};

static struct triangle triangle(const float *A, blasint ld, blasint n, CBLAS_UPLO uplo,
                                CBLAS_TRANSPOSE trans, CBLAS_DIAG diag) {
    const bool t = trans == CblasTrans;
    return (struct triangle){
        A, (size_t)ld, (size_t)n, t, (uplo == CblasUpper) != t, diag == CblasUnit};
}

static double element(const struct triangle *t, size_t i, size_t j) {
    if (i == j && t->unit)
        return 1;
    return t->upper ? (i <= j ? at(t->A, t->ld, t->transposed, i, j) : 0)
                    : (i >= j ? at(t->A, t->ld, t->transposed, i, j) : 0);
}

/* x := T x (left), or x := x T as T' x', for one vector of stride `step`. */
static void multiply(const struct triangle *t, bool left, double alpha, float *x, size_t step) {
    const bool forward = left == t->upper; /* what is read later is not yet written */
    for (size_t s = 0; s < t->n; s++) {
        const size_t i = forward ? s : t->n - 1 - s;
        double sum = 0;
        for (size_t j = 0; j < t->n; j++)
            sum += (left ? element(t, i, j) : element(t, j, i)) * (double)x[j * step];
        x[i * step] = (float)(alpha * sum);
    }
}

static void solve(const struct triangle *t, bool left, double alpha, float *x, size_t step) {
    const bool forward = left != t->upper;
    for (size_t s = 0; s < t->n; s++) {
        const size_t i = forward ? s : t->n - 1 - s;
        double sum = alpha * (double)x[i * step];
        for (size_t done = 0; done < s; done++) {
            const size_t j = forward ? done : t->n - 1 - done;
            sum -= (left ? element(t, i, j) : element(t, j, i)) * (double)x[j * step];
        }
        x[i * step] = (float)(sum / element(t, i, i));
    }
}

void cblas_strmm(CBLAS_ORDER order, CBLAS_SIDE side, CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans,
                 CBLAS_DIAG diag, blasint m, blasint n, float alpha, const float *A, blasint lda,
                 float *B, blasint ldb) {
    const bool left = side == CblasLeft;
    const struct triangle t = triangle(A, lda, left ? m : n, uplo, trans, diag);
    (void)order;
    for (size_t v = 0; v < (size_t)(left ? n : m); v++)
        multiply(&t, left, (double)alpha, left ? B + v : B + v * (size_t)ldb,
                 left ? (size_t)ldb : 1);
}

void cblas_strsm(CBLAS_ORDER order, CBLAS_SIDE side, CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans,
                 CBLAS_DIAG diag, blasint m, blasint n, float alpha, const float *A, blasint lda,
                 float *B, blasint ldb) {
    const bool left = side == CblasLeft;
    const struct triangle t = triangle(A, lda, left ? m : n, uplo, trans, diag);
    (void)order;
    for (size_t v = 0; v < (size_t)(left ? n : m); v++)
        solve(&t, left, (double)alpha, left ? B + v : B + v * (size_t)ldb, left ? (size_t)ldb : 1);
}

/* Upper triangle by columns: A = U' U. */
lapack_int LAPACKE_spotrf_work(int layout, char uplo, lapack_int order, float *A, lapack_int ld) {
    (void)layout;
    (void)uplo;
    for (size_t j = 0; j < (size_t)order; j++) {
        float *column = A + j * (size_t)ld;
        for (size_t i = 0; i <= j; i++) {
            const float *other = A + i * (size_t)ld;
            double sum = (double)column[i];
            for (size_t p = 0; p < i; p++)
                sum -= (double)other[p] * (double)column[p];
            if (i == j && !(sum > 0))
                return (lapack_int)j + 1;
            column[i] = (float)(i == j ? __builtin_sqrt(sum) : sum / (double)other[i]);
        }
    }
    return 0;
}

/* The inverse of an upper triangle by columns, in its place. */
lapack_int LAPACKE_strtri_work(int layout, char uplo, char diag, lapack_int order, float *A,
                               lapack_int ld) {
    (void)layout;
    (void)uplo;
    (void)diag;
    for (size_t j = 0; j < (size_t)order; j++) {
        float *column = A + j * (size_t)ld;
        if (column[j] == 0)
            return (lapack_int)j + 1;
        const double inverse = 1 / (double)column[j];
        for (size_t i = 0; i < j; i++) { /* of the inverse so far, times this column */
            double sum = 0;
            for (size_t p = i; p < j; p++)
                sum += (double)A[p * (size_t)ld + i] * (double)column[p];
            column[i] = (float)(-inverse * sum);
        }
        column[j] = (float)inverse;
    }
    return 0;
}

/* --- libgomp: a team of one ------------------------------------------------------------------- */

void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags) {
    (void)threads;
    (void)flags;
    body(data);
}

bool GOMP_loop_nonmonotonic_dynamic_start(long begin, long end, long step, long chunk, long *from,
                                          long *to) {
    (void)chunk;
    *from = begin;
    *to = end;
    return step > 0 ? begin < end : begin > end;
}

bool GOMP_loop_nonmonotonic_dynamic_next(long *from, long *to) {
    (void)from;
    (void)to;
    return false;
}

bool GOMP_loop_ull_nonmonotonic_dynamic_start(bool up, unsigned long long begin,
                                              unsigned long long end, unsigned long long step,
                                              unsigned long long chunk, unsigned long long *from,
                                              unsigned long long *to) {
    (void)step;
    (void)chunk;
    *from = begin;
    *to = end;
    return up ? begin < end : begin > end;
}

bool GOMP_loop_ull_nonmonotonic_dynamic_next(unsigned long long *from, unsigned long long *to) {
    (void)from;
    (void)to;
    return false;
}

bool GOMP_single_start(void) {
    return true;
}

void GOMP_loop_end(void) {}
void GOMP_loop_end_nowait(void) {}
void GOMP_barrier(void) {}
void GOMP_atomic_start(void) {}
void GOMP_atomic_end(void) {}

void GOMP_critical_name_start(void **name) {
    (void)name;
}

void GOMP_critical_name_end(void **name) {
    (void)name;
}

int omp_get_level(void) {
    return 0;
}

int omp_get_max_threads(void) {
    return 1;
}

int omp_get_num_threads(void) {
    return 1;
}

int omp_get_thread_num(void) {
    return 0;
}

void omp_set_max_active_levels(int levels) {
    (void)levels;
}

void omp_set_num_threads(int threads) {
    (void)threads;
}

double omp_get_wtime(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
