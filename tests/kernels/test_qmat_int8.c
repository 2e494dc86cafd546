/* SPDX-License-Identifier: Apache-2.0 */
/* The quantized product with activations of 8 bits. Plain C is the truth: every other table must
 * give the same bits, whatever the grid, the shape, the data, the batch and the threads. Plain C
 * itself is held against double precision, within the bound that rounding the activations implies.
 */
#include <check.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_check.h"
#include "kernels/qmat.h"
#include "qmat_problem.h"
#include "support.h"

enum { M_MAX = 17, N_MAX = 67 };

static const struct llmq_kernels *tables[CPU_LEVELS];
static int table_count;

/* Data beyond what kernel_check.h fills in. */
enum extreme { PLAIN, OUTLIER, HUGE_VALUES, TINY_VALUES, DENORMALS, EXTREME_COUNT };

static void make_extreme(struct problem *p, enum extreme kind, uint64_t *state) {
    static const float factors[EXTREME_COUNT] = {1, 1, 1e33F, 1e-27F, 1e-41F};
    if (kind == PLAIN)
        return;
    for (int64_t i = 0; i < p->m * p->desc.k; i++)
        p->x[i] *= factors[kind];
    if (kind == OUTLIER)
        for (int64_t r = 0; r < p->m; r++)
            p->x[r * p->desc.k + (int64_t)(random_next(state) % (uint64_t)p->desc.k)] = -3e4F;
    problem_solve(p);
}

/* The product of the first m activations and q's n rows, between guards. The caller frees. */
static float *product(const struct problem *p, const struct llmq_kernels *table, const llmq_qmat *q,
                      int64_t n, int64_t m) {
    struct guarded x = guarded_create(m * p->desc.k, 1), y = guarded_create(m * n, 3);
    float *copy = must(malloc((size_t)(m * n) * sizeof *copy));
    memcpy(x.data, p->x, (size_t)(m * p->desc.k) * sizeof(float));
    ck_assert_int_eq(qmat_matmul_int8(table, q, x.data, m, y.data, NULL), LLMQ_OK);
    ck_assert_msg(guarded_intact(&x) && guarded_intact(&y), "%s: guards", table->name);
    memcpy(copy, y.data, (size_t)(m * n) * sizeof *copy);
    guarded_free(&x);
    guarded_free(&y);
    return copy;
}

static bool same_bits(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* Fails unless the first m rows and n columns of `all` [.., N_MAX] are what `table` computes. */
static void check_same(const struct problem *p, const struct llmq_kernels *table, const float *all,
                       int64_t n, int64_t m) {
    llmq_qmat_desc desc = p->desc;
    llmq_qmat *q = NULL;
    desc.n = n;
    ck_assert_int_eq(llmq_qmat_create(&desc, &q, NULL), LLMQ_OK);
    float *y = product(p, table, q, n, m);
    for (int64_t i = 0; i < m; i++)
        for (int64_t r = 0; r < n; r++) {
            float want = all[i * p->desc.n + r], got = y[i * n + r];
            if (!same_bits(got, want)) /* a passing ck_assert costs more than the product */
                ck_abort_msg("%s, %d bits, group %lld, %s map, [%lld, %lld], m %lld: "
                             "y[%lld, %lld] = %.9g, plain C %.9g",
                             table->name, p->desc.bits, (long long)p->desc.group,
                             p->group_of ? "with" : "no", (long long)n, (long long)p->desc.k,
                             (long long)m, (long long)i, (long long)r, (double)got, (double)want);
        }
    free(y);
    llmq_qmat_free(&q);
}

/* Largest magnitude of the activations that each column of row i shares its scale with. */
static void column_scales(const struct problem *p, const llmq_qmat *q, int64_t i, double *a) {
    const float *x = p->x + i * p->desc.k;
    int64_t column = 0;
    for (int64_t s = 0; s < q->shape.segment_count; s++) {
        const int64_t end = column + q->shape.segments[s].columns;
        double max = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t c = column; c < end; c++) {
                int64_t from = q->source ? q->source[c] : c;
                if (from >= 0 && pass == 0)
                    max = fmax(max, fabs((double)x[from]));
                else if (from >= 0)
                    a[from] = max;
            }
        column = end;
    }
}

/* Plain C against double. An activation is off by half a step, a / 254, and 2^-22 a of roundings;
 * below QMAT_INT8_MIN by itself. Sums over s segments add (s + 2) 2^-24 of what is summed. */
static void check_bound(const struct problem *p, const llmq_qmat *q, const float *y) {
    const int64_t n = p->desc.n, k = p->desc.k;
    const double steps = (double)q->shape.segment_count + 2;
    double *a = must(malloc((size_t)k * sizeof *a));
    for (int64_t i = 0; i < p->m; i++) {
        column_scales(p, q, i, a);
        for (int64_t r = 0; r < n; r++) {
            double bound = steps * 0x1p-149, got = (double)y[i * n + r];
            for (int64_t c = 0; c < k; c++)
                bound += fabs(problem_weight(p, r, c)) *
                         (a[c] * (1.0 / 254 + 0x1p-22 + steps * 0x1p-24) + (double)QMAT_INT8_MIN);
            if (!(fabs(got - p->want[i * n + r]) <= bound))
                ck_abort_msg("%d bits, group %lld: y[%lld, %lld] = %.9g, expected %.9g +- %g",
                             p->desc.bits, (long long)p->desc.group, (long long)i, (long long)r,
                             got, p->want[i * n + r], bound);
        }
    }
    free(a);
}

static void check_problem(const struct problem *p, int index) {
    static const int64_t ns[] = {1, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 67};
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p->desc, &q, NULL), LLMQ_OK);
    float *all = product(p, tables[0], q, N_MAX, M_MAX);
    check_bound(p, q, all);
    for (int t = 1; t < table_count; t++) {
        for (int64_t m = 1; m <= M_MAX; m++)
            check_same(p, tables[t], all, N_MAX, m);
        for (int i = 0; i < 13; i++)
            check_same(p, tables[t], all, ns[i], 1 + (i + index) % M_MAX);
    }
    free(all);
    llmq_qmat_free(&q);
}

START_TEST(every_table_gives_the_bits_of_plain_c_and_those_are_within_the_bound) {
    static const int64_t groups[] = {-1, 8, 32, 48, 64, 96, 100, 128, 256};
    static const int64_t columns[] = {1, 7, 96, 129, 300, 384, 600};
    static const int bits[] = {2, 3, 4, 8};
    uint64_t state = check_seed();
    int index = 0;
    for (int b = 0; b < 4; b++)
        for (int g = 0; g < 9; g++)
            for (int kind = 0; kind < 4; kind++, index++) {
                struct problem_size size = {.bits = bits[b],
                                            .group = groups[g],
                                            .n = N_MAX,
                                            .k = columns[index * 5 % 7],
                                            .m = M_MAX,
                                            .sym = kind & 1,
                                            .mapped = kind & 2};
                struct problem p =
                    problem_create(size, (enum fill)(index * 3 % 8 % FILL_COUNT), &state);
                make_extreme(&p, (enum extreme)(index * 2 % 7 % EXTREME_COUNT), &state);
                check_problem(&p, index);
                problem_free(&p);
            }
}
END_TEST

/* A problem too large for check_problem: the whole product from every table. */
static void check_whole(struct problem_size size, uint64_t *state) {
    struct problem p = problem_create(size, FILL_WIDE, state);
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    float *all = product(&p, tables[0], q, size.n, size.m);
    check_bound(&p, q, all);
    for (int t = 1; t < table_count; t++)
        check_same(&p, tables[t], all, size.n, size.m);
    free(all);
    llmq_qmat_free(&q);
    problem_free(&p);
}

START_TEST(a_batch_over_many_tiles_gives_the_bits_of_plain_c) {
    static const int64_t ms[] = {128, 600};
    uint64_t state = check_seed();
    for (int i = 0; i < 2; i++)
        check_whole((struct problem_size){.bits = 4, .group = 64, .n = 40, .k = 320, .m = ms[i]},
                    &state);
}
END_TEST

/* Streams of several panels each, then what is left over; zero points alike and not. */
START_TEST(a_row_over_many_panels_gives_the_bits_of_plain_c) {
    uint64_t state = check_seed();
    for (int i = 0; i < 8; i++)
        check_whole((struct problem_size){.bits = i & 1 ? 8 : 4,
                                          .group = 64,
                                          .n = i & 2 ? 300 : 1056,
                                          .k = 320,
                                          .m = 1,
                                          .sym = i & 4},
                    &state);
}
END_TEST

/* Activations that are whole steps, the largest 127 steps in every segment, on scales that are
 * powers of two: nothing is rounded, the product is exact. */
START_TEST(whole_steps_give_the_exact_product) {
    uint64_t state = check_seed();
    for (int bits = 4; bits <= 8; bits += 4) {
        struct problem_size size = {.bits = bits, .group = 32, .n = 20, .k = 320, .m = 9};
        struct problem p = problem_create(size, FILL_RANDOM, &state);
        for (int64_t i = 0; i < size.m * size.k; i++)
            p.x[i] = i % 32 == 5 ? 127 : (float)((int)(random_next(&state) >> 40) % 127);
        for (int64_t i = 0; i < size.n * p.groups; i++)
            p.scales[i] = 0.25F;
        problem_solve(&p);
        llmq_qmat *q = NULL;
        ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
        for (int t = 0; t < table_count; t++) {
            float *y = product(&p, tables[t], q, size.n, size.m);
            for (int64_t i = 0; i < size.m * size.n; i++)
                ck_assert_msg((double)y[i] == p.want[i], "%s: %g, expected %g", tables[t]->name,
                              (double)y[i], p.want[i]);
            free(y);
        }
        llmq_qmat_free(&q);
        problem_free(&p);
    }
}
END_TEST

/* Rows of activations that rounding could get wrong. */
enum rounded_row { WIDE, TIES, SMALLEST, LARGEST, NOT_FINITE, ROW_COUNT };
enum { ROW_GROUP = 40, ROW_COLUMNS = 10 * ROW_GROUP };

static void fill_row(enum rounded_row kind, uint64_t *state, float *x) {
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    fill_floats(FILL_WIDE, 1, state, x, ROW_COLUMNS);
    for (int i = 0; i < ROW_COLUMNS; i++) {
        const int group = i / ROW_GROUP, at = i % ROW_GROUP;
        if (kind == TIES) /* the step is 1 */
            x[i] = at == 7 * group % 8 ? 127 : (float)(int)(random_next(state) % 253) - 126.5F;
        if (kind == SMALLEST) /* just above and below what survives */
            x[i] = copysignf(group % 2 ? QMAT_INT8_MIN : nextafterf(QMAT_INT8_MIN, 0), x[i]);
        if (kind == LARGEST)
            x[i] = copysignf(FLT_MAX, x[i]);
        if (kind == NOT_FINITE && group % 2 && at == group * 4 + group % 3)
            x[i] = bad[group / 2 % 4];
    }
}

/* Codes, scales and sums of one row, between guards. */
struct rounded {
    struct guarded array[3];
};

static struct rounded round_row(const struct llmq_kernels *table, const struct qmat_shape *shape,
                                const float *x, int64_t stride) {
    const int64_t words = (shape->columns / 4 - 1) * stride + 1;
    const int64_t params = (shape->segment_count - 1) * stride + 1;
    struct rounded r;
    for (int i = 0; i < 3; i++)
        r.array[i] = guarded_create(i ? params : words, i + 1);
    int8_t *codes = (int8_t *)(void *)r.array[0].data;
    for (int64_t s = 0, column = 0; s < shape->segment_count; s++) {
        table->qmat_quantize(shape, s, x + column, stride, codes + column * stride,
                             r.array[1].data + s * stride,
                             (int32_t *)(void *)r.array[2].data + s * stride);
        column += shape->segments[s].columns;
    }
    return r;
}

static void rounded_free(struct rounded *r) {
    for (int i = 0; i < 3; i++)
        guarded_free(&r->array[i]);
}

static void check_rounded(const llmq_qmat *q, const float *x, int kind, int64_t stride) {
    struct rounded want = round_row(tables[0], &q->shape, x, stride);
    for (int t = 1; t < table_count; t++) {
        struct rounded got = round_row(tables[t], &q->shape, x, stride);
        for (int i = 0; i < 3; i++)
            ck_assert_msg(guarded_intact(&got.array[i]) &&
                              memcmp(got.array[i].data, want.array[i].data,
                                     (size_t)want.array[i].n * sizeof(float)) == 0,
                          "%s, %d bits, stride %lld, row %d: array %d", tables[t]->name,
                          q->shape.width, (long long)stride, kind, i);
        rounded_free(&got);
    }
    rounded_free(&want);
}

/* A matrix of one row, which says how a row of activations is cut. The caller frees. */
static llmq_qmat *row_shape(int bits, uint64_t *state) {
    struct problem_size size = {.bits = bits, .group = ROW_GROUP, .n = 1, .k = ROW_COLUMNS, .m = 1};
    struct problem p = problem_create(size, FILL_RANDOM, state);
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    problem_free(&p);
    return q;
}

START_TEST(quantized_activations_are_the_same_from_every_table) {
    static const int64_t strides[] = {1, 3, 12};
    uint64_t state = check_seed();
    float x[ROW_COLUMNS];
    for (int bits = 4; bits <= 8; bits += 4) {
        llmq_qmat *q = row_shape(bits, &state);
        for (int kind = 0; kind < ROW_COUNT; kind++) {
            fill_row((enum rounded_row)kind, &state, x);
            for (int i = 0; i < 3; i++)
                check_rounded(q, x, kind, strides[i]);
        }
        llmq_qmat_free(&q);
    }
}
END_TEST

START_TEST(ties_go_to_the_even_code) {
    uint64_t state = check_seed();
    float x[ROW_COLUMNS];
    llmq_qmat *q = row_shape(8, &state);
    fill_row(TIES, &state, x);
    for (int t = 0; t < table_count; t++) {
        struct rounded r = round_row(tables[t], &q->shape, x, 1);
        const int8_t *codes = (const int8_t *)(void *)r.array[0].data;
        for (int i = 0; i < ROW_COLUMNS; i++)
            ck_assert_msg(codes[i] == (x[i] == 127 ? 127 : 2 * lrintf(x[i] / 2)), "%s: %g -> %d",
                          tables[t]->name, (double)x[i], codes[i]);
        rounded_free(&r);
    }
    llmq_qmat_free(&q);
}
END_TEST

START_TEST(what_is_not_finite_makes_its_row_nan_and_no_other) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    uint64_t state = check_seed();
    struct problem_size size = {.bits = 4, .group = 32, .n = 33, .k = 200, .m = 3};
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    for (int i = 0; i < 3; i++) {
        p.x[size.k + 77] = bad[i];
        for (int t = 0; t < table_count; t++) {
            float *y = product(&p, tables[t], q, size.n, size.m);
            for (int64_t j = 0; j < size.m * size.n; j++)
                ck_assert_msg(isnan(y[j]) == (j / size.n == 1), "%s: y[%lld] = %g", tables[t]->name,
                              (long long)j, (double)y[j]);
            free(y);
        }
    }
    llmq_qmat_free(&q);
    problem_free(&p);
}
END_TEST

START_TEST(threads_do_not_show_in_the_result) {
    static const int64_t ms[] = {1, 3, 13, 100};
    uint64_t state = check_seed();
    struct problem_size size = {.bits = 4, .group = 128, .n = 1001, .k = 1100, .m = 100};
    size.mapped = true;
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    const int before = omp_get_max_threads();
    for (int t = 1; t < table_count; t++)
        for (int i = 0; i < 4; i++) {
            float *one = product(&p, tables[t], q, size.n, ms[i]);
            omp_set_num_threads(3);
            float *more = product(&p, tables[t], q, size.n, ms[i]);
            omp_set_num_threads(before);
            ck_assert_msg(memcmp(one, more, (size_t)(ms[i] * size.n) * sizeof *one) == 0,
                          "%s, m %lld", tables[t]->name, (long long)ms[i]);
            free(one);
            free(more);
        }
    llmq_qmat_free(&q);
    problem_free(&p);
}
END_TEST

START_TEST(the_call_says_what_becomes_of_the_activations) {
    uint64_t state = check_seed();
    struct problem_size size = {.bits = 4, .group = 32, .n = 16, .k = 64, .m = 1};
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    llmq_qmat *q = NULL;
    float exact[16], rounded[16];
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    ck_assert_int_eq(llmq_qmat_matmul(q, p.x, 1, LLMQ_ACTIVATIONS_EXACT, exact, NULL), LLMQ_OK);
    ck_assert_int_eq(llmq_qmat_matmul(q, p.x, 1, LLMQ_ACTIVATIONS_INT8, rounded, NULL), LLMQ_OK);
    float *want = product(&p, tables[0], q, size.n, 1);
    ck_assert(memcmp(rounded, want, sizeof rounded) == 0);
    ck_assert(memcmp(exact, rounded, sizeof exact) != 0);
    free(want);
    llmq_qmat_free(&q);
    problem_free(&p);
}
END_TEST

int main(void) {
    omp_set_num_threads(1); /* the matrices are small; one test asks for more itself */
    table_count = check_tables(tables);
    for (int t = 0; t < table_count; t++)
        printf("checking %s\n", tables[t]->name);
    fflush(stdout);
    Suite *suite = suite_create("qmat_int8");
    TCase *tc = tcase_create("int8");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, every_table_gives_the_bits_of_plain_c_and_those_are_within_the_bound);
    tcase_add_test(tc, a_batch_over_many_tiles_gives_the_bits_of_plain_c);
    tcase_add_test(tc, a_row_over_many_panels_gives_the_bits_of_plain_c);
    tcase_add_test(tc, whole_steps_give_the_exact_product);
    tcase_add_test(tc, quantized_activations_are_the_same_from_every_table);
    tcase_add_test(tc, ties_go_to_the_even_code);
    tcase_add_test(tc, what_is_not_finite_makes_its_row_nan_and_no_other);
    tcase_add_test(tc, threads_do_not_show_in_the_result);
    tcase_add_test(tc, the_call_says_what_becomes_of_the_activations);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
