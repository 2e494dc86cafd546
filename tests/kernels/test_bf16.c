/* SPDX-License-Identifier: Apache-2.0 */
/* Products in bfloat16. Plain C packs the truth and every other table must pack the same bits; a
 * product is held against double precision on the rounded operands, within the bound of bf16.h. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_check.h"
#include "kernels/bf16.h"
#include "support.h"
#include "tensor/dtype.h"

static const struct llmq_kernels *tables[CPU_LEVELS];
static int table_count; /* of those with products of bfloat16 */

static void find_tables(void) {
    const struct llmq_kernels *all[CPU_LEVELS];
    int count = check_tables(all);
    for (int t = 0; t < count; t++)
        if (bf16_supported(all[t]))
            tables[table_count++] = all[t];
    printf("tables with bfloat16:");
    for (int t = 0; t < table_count; t++)
        printf(" %s", tables[t]->name);
    printf("%s\n", table_count < 2 ? "; this CPU has no AVX512_BF16: its kernels are not run" : "");
    fflush(stdout);
}

/* --- packing ---------------------------------------------------------------------------------- */

static const float specials[] = {0.0F,       -0.0F,      1.0F,        0x1.01p0F,  0x1.03p0F,
                                 0x1.018p0F, -0x1.fep0F, 0x1.ffp127F, FLT_MAX,    INFINITY,
                                 -INFINITY,  FLT_MIN,    -FLT_MIN,    0x1p-127F,  0x1.fffffcp-127F,
                                 -0x1p-149F, 0x1p-126F,  NAN,         0x1.008p5F, -3.0F};

static void fill_specials(float *x, int64_t n, uint64_t *state) {
    for (int64_t i = 0; i < n; i++)
        x[i] = random_next(state) >> 63
                   ? specials[random_next(state) % (sizeof specials / sizeof specials[0])]
                   : random_float(state);
}

/* What bf16.h promises of one element. */
static uint16_t rounded(float x) {
    return f32_to_bf16(fabsf(x) < FLT_MIN ? copysignf(0, x) : x);
}

static void check_packing(const struct llmq_kernels *table, int rows, int64_t columns, int lanes,
                          uint64_t *state) {
    const int64_t ldx = columns + 3, pairs = (columns + 1) / 2;
    struct guarded x = guarded_create(rows * ldx - 3, 1), out = guarded_create(pairs * lanes, 3);
    uint32_t *words = (void *)out.data;
    fill_specials(x.data, x.n, state);
    table->bf16_pack(x.data, ldx, rows, columns, lanes, words);
    ck_assert(guarded_intact(&x) && guarded_intact(&out));
    for (int64_t p = 0; p < pairs; p++)
        for (int r = 0; r < lanes; r++) {
            const float *row = x.data + r * ldx + 2 * p;
            uint32_t want = r < rows ? rounded(row[0]) : 0;
            if (r < rows && 2 * p + 1 < columns)
                want |= (uint32_t)rounded(row[1]) << 16;
            if (words[p * lanes + r] != want)
                ck_abort_msg("%s, %d of %d rows, %lld columns: word [%lld, %d] %08x, expected %08x",
                             table->name, rows, lanes, (long long)columns, (long long)p, r,
                             words[p * lanes + r], want);
        }
    guarded_free(&x);
    guarded_free(&out);
}

START_TEST(packing_rounds_to_nearest_even_and_pads_with_zeros) {
    uint64_t state = check_seed();
    for (int t = 0; t < table_count; t++)
        for (int64_t columns = 1; columns <= 70; columns++) {
            const int lanes[] = {tables[t]->bf16_rows, BF16_LANES};
            for (int l = 0; l < 2; l++)
                for (int rows = 1; rows <= lanes[l]; rows++)
                    check_packing(tables[t], rows, columns, lanes[l], &state);
        }
}
END_TEST

/* --- products --------------------------------------------------------------------------------- */

struct problem {
    int64_t m, n, k;
    struct guarded x, w, y, scratch;
};

static struct problem problem_create(int64_t m, int64_t n, int64_t k) {
    int64_t words = (int64_t)(bf16_scratch_bytes(m, k) / sizeof(float));
    struct problem p = {.m = m, .n = n, .k = k};
    p.x = guarded_create(m * k, 1);
    p.w = guarded_create(n * k, 3);
    p.y = guarded_create(m * n, 5);
    p.scratch = guarded_create(words, 0);
    return p;
}

static void problem_free(struct problem *p) {
    guarded_free(&p->x);
    guarded_free(&p->w);
    guarded_free(&p->y);
    guarded_free(&p->scratch);
}

static void problem_run(struct problem *p, const struct llmq_kernels *table) {
    for (int64_t i = 0; i < p->m * p->n; i++)
        p->y.data[i] = NAN; /* nothing of it may survive */
    bf16_matmul(table, p->m, p->n, p->k, p->x.data, p->w.data, p->y.data, p->scratch.data);
    ck_assert_msg(guarded_intact(&p->x) && guarded_intact(&p->w) && guarded_intact(&p->y) &&
                      guarded_intact(&p->scratch),
                  "%s [%lld, %lld, %lld]: guards", table->name, (long long)p->m, (long long)p->n,
                  (long long)p->k);
}

static double operand(const struct guarded *g, int64_t at) {
    return (double)bf16_to_f32(rounded(g->data[at]));
}

/* Every output against double, within the bound of bf16.h. */
static void check_product(const struct problem *p, const char *name) {
    const double blocks = (double)((p->k - 1) / BF16_BLOCK + 1);
    const double chain = p->k < BF16_BLOCK ? (double)p->k : BF16_BLOCK;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = 0, size = 0;
            for (int64_t c = 0; c < p->k; c++) {
                double product = operand(&p->x, i * p->k + c) * operand(&p->w, j * p->k + c);
                sum += product;
                size += fabs(product);
            }
            double bound = (chain + blocks) * 0x1p-24 * size + ((double)p->k + blocks) * 0x1p-126;
            double got = (double)p->y.data[i * p->n + j];
            if (!(fabs(got - sum) <= bound))
                ck_abort_msg("%s [%lld, %lld, %lld]: y[%lld, %lld] = %.9g, expected %.9g +- %g",
                             name, (long long)p->m, (long long)p->n, (long long)p->k, (long long)i,
                             (long long)j, got, sum, bound);
        }
}

static void check_shape(int64_t m, int64_t n, int64_t k, uint64_t *state) {
    struct problem p = problem_create(m, n, k);
    for (int t = 0; t < table_count; t++)
        for (enum fill kind = 0; kind < FILL_COUNT; kind++) {
            fill_floats(kind, kind == FILL_WIDE ? 0x1p-60F : 3, state, p.x.data, m * k);
            fill_floats(kind, kind == FILL_WIDE ? 0x1p-60F : 1, state, p.w.data, n * k);
            problem_run(&p, tables[t]);
            check_product(&p, tables[t]->name);
        }
    problem_free(&p);
}

START_TEST(a_product_is_that_of_the_rounded_operands) {
    static const int64_t ms[] = {1, 2, 3, 5, 7, 13, 14, 15, 27, 28, 29, 43};
    static const int64_t ns[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 257, 300};
    static const int64_t ks[] = {1, 2, 3, 31, 32, 33, 64, 97};
    uint64_t state = check_seed();
    for (int i = 0; i < 12; i++)
        for (int j = 0; j < 11; j++)
            check_shape(ms[i], ns[j], ks[(i + j) % 8], &state);
    for (int i = 0; i < 8; i++)
        check_shape(17, 35, ks[i], &state);
}
END_TEST

START_TEST(columns_beyond_a_block_are_added) {
    static const int64_t ks[] = {BF16_BLOCK - 1, BF16_BLOCK, BF16_BLOCK + 1, 2 * BF16_BLOCK + 7};
    uint64_t state = check_seed();
    for (int i = 0; i < 4; i++)
        check_shape(15, 33, ks[i], &state);
}
END_TEST

/* Small integers are exact in every order: not one lane may be confused with another. */
START_TEST(products_of_integers_are_exact) {
    const int64_t m = 45, n = 70, k = 131;
    struct problem p = problem_create(m, n, k);
    for (int64_t i = 0; i < m * k; i++)
        p.x.data[i] = (float)(i * 7 % 31 - 15);
    for (int64_t i = 0; i < n * k; i++)
        p.w.data[i] = (float)(i * 11 % 23 - 11);
    for (int t = 0; t < table_count; t++) {
        problem_run(&p, tables[t]);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                int64_t sum = 0;
                for (int64_t c = 0; c < k; c++)
                    sum += (int64_t)p.x.data[i * k + c] * (int64_t)p.w.data[j * k + c];
                ck_assert(p.y.data[i * n + j] == (float)sum);
            }
    }
    problem_free(&p);
}
END_TEST

START_TEST(a_nan_or_an_infinity_stays_in_its_row) {
    const int64_t m = 16, n = 40, k = 37;
    uint64_t state = check_seed();
    struct problem p = problem_create(m, n, k);
    fill_floats(FILL_RANDOM, 1, &state, p.x.data, m * k);
    for (int64_t i = 0; i < n * k; i++)
        p.w.data[i] = 0.5F;
    p.x.data[3 * k + 36] = NAN;
    p.x.data[15 * k] = INFINITY;
    for (int t = 0; t < table_count; t++) {
        problem_run(&p, tables[t]);
        for (int64_t i = 0; i < m * n; i++)
            ck_assert(i / n == 3    ? isnan(p.y.data[i])
                      : i / n == 15 ? isinf(p.y.data[i])
                                    : isfinite(p.y.data[i]));
    }
    problem_free(&p);
}
END_TEST

/* Enough rows and outputs that the division into strips and pieces differs from number to number.
 */
START_TEST(the_number_of_threads_does_not_show) {
    const int64_t m = 1200, n = 300, k = BF16_BLOCK + 40;
    const int most = omp_get_max_threads();
    uint64_t state = check_seed();
    omp_set_num_threads(7);
    struct problem p = problem_create(m, n, k);
    const struct llmq_kernels *table = tables[table_count - 1];
    float *one = malloc((size_t)(m * n) * sizeof *one);
    ck_assert_ptr_nonnull(one);
    fill_floats(FILL_RANDOM, 1, &state, p.x.data, m * k);
    fill_floats(FILL_RANDOM, 1, &state, p.w.data, n * k);
    omp_set_num_threads(1);
    problem_run(&p, table);
    memcpy(one, p.y.data, (size_t)(m * n) * sizeof *one);
    for (int threads = 2; threads <= 7; threads++) {
        omp_set_num_threads(threads);
        problem_run(&p, table);
        ck_assert_mem_eq(one, p.y.data, (size_t)(m * n) * sizeof *one);
    }
    omp_set_num_threads(most);
    free(one);
    problem_free(&p);
}
END_TEST

START_TEST(nothing_times_anything_touches_nothing) {
    for (int t = 0; t < table_count; t++) {
        struct problem p = problem_create(0, 5, 3), q = problem_create(5, 0, 3);
        problem_run(&p, tables[t]);
        problem_run(&q, tables[t]);
        problem_free(&p);
        problem_free(&q);
    }
}
END_TEST

int main(void) {
    find_tables();
    Suite *suite = suite_create("bf16");
    TCase *tc = tcase_create("bf16");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, packing_rounds_to_nearest_even_and_pads_with_zeros);
    tcase_add_test(tc, a_product_is_that_of_the_rounded_operands);
    tcase_add_test(tc, columns_beyond_a_block_are_added);
    tcase_add_test(tc, products_of_integers_are_exact);
    tcase_add_test(tc, a_nan_or_an_infinity_stays_in_its_row);
    tcase_add_test(tc, the_number_of_threads_does_not_show);
    tcase_add_test(tc, nothing_times_anything_touches_nothing);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
