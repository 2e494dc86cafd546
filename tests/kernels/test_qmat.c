/* SPDX-License-Identifier: Apache-2.0 */
/* The quantized product against double precision, for every table this machine can run: widths of
 * codes, group sizes that divide nothing, maps of columns to groups, shapes around every tile
 * boundary, extreme data. The bound is 2e-6 of the sum of |w x|. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_check.h"
#include "kernels/qmat.h"
#include "qmat_problem.h"
#include "support.h"

#define BOUND 2e-6

enum { M_MAX = 100, N_MAX = 100 };

static const struct llmq_kernels *tables[CPU_LEVELS];
static int table_count;

/* The first m activations times q, which holds the first n rows of the problem's matrix. */
static void check_product(const struct problem *p, const struct llmq_kernels *table,
                          const llmq_qmat *q, int64_t n, int64_t m) {
    struct guarded x = guarded_create(m * p->desc.k, 1), y = guarded_create(m * n, 3);
    memcpy(x.data, p->x, (size_t)(m * p->desc.k) * sizeof(float));
    ck_assert_int_eq(qmat_matmul_exact(table, q, x.data, m, y.data, NULL), LLMQ_OK);
    for (int64_t i = 0; i < m; i++)
        for (int64_t r = 0; r < n; r++) {
            double want = p->want[i * p->desc.n + r], got = (double)y.data[i * n + r];
            double bound = BOUND * p->magnitude[i * p->desc.n + r];
            if (!(fabs(got - want) <= bound)) /* a passing ck_assert costs more than the product */
                ck_abort_msg(
                    "%s, %d bits, group %lld, %s map, [%lld, %lld], m %lld: y[%lld, %lld] = "
                    "%.9g, expected %.9g +- %g",
                    table->name, p->desc.bits, (long long)p->desc.group,
                    p->group_of ? "with" : "no", (long long)n, (long long)p->desc.k, (long long)m,
                    (long long)i, (long long)r, got, want, bound);
        }
    ck_assert_msg(guarded_intact(&x) && guarded_intact(&y), "%s: guards", table->name);
    guarded_free(&x);
    guarded_free(&y);
}

/* Every shape for the vector tables; a few for plain C, which is slow. */
static void check_shapes(const struct problem *p) {
    static const int64_t rows[] = {1, 15, 16, 17, 48, 100}, ms[] = {1, 2, 3, 7, 8, 16, 33, 100};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        llmq_qmat_desc desc = p->desc;
        llmq_qmat *q = NULL;
        desc.n = rows[i];
        ck_assert_int_eq(llmq_qmat_create(&desc, &q, NULL), LLMQ_OK);
        for (size_t j = 0; j < sizeof ms / sizeof ms[0]; j++)
            for (int t = 0; t < table_count; t++)
                if (t > 0 || (i % 3 == 0 && j % 3 == 0))
                    check_product(p, tables[t], q, rows[i], ms[j]);
        llmq_qmat_free(&q);
        ck_assert_ptr_null(q);
    }
}

START_TEST(product_is_within_2e_6_for_every_grid_and_shape) {
    static const int64_t groups[] = {-1, 8, 32, 48, 64, 96, 100, 128};
    static const int64_t columns[] = {1, 7, 96, 129, 300, 600};
    static const int bits[] = {2, 3, 4, 8};
    uint64_t state = check_seed();
    int index = 0;
    for (size_t b = 0; b < 4; b++)
        for (size_t g = 0; g < 8; g++)
            for (int kind = 0; kind < 4; kind++) {
                struct problem_size size = {.bits = bits[b],
                                            .group = groups[g],
                                            .n = N_MAX,
                                            .k = columns[index * 5 % 7 % 6],
                                            .m = M_MAX,
                                            .sym = kind & 1,
                                            .mapped = kind & 2};
                struct problem p =
                    problem_create(size, (enum fill)(index * 3 % 8 % FILL_COUNT), &state);
                check_shapes(&p);
                problem_free(&p);
                index++;
            }
}
END_TEST

/* Equal products, whose rounding errors all point the same way, over the longest rows in use. */
START_TEST(long_rows_of_equal_products_stay_within_2e_6) {
    uint64_t state = check_seed();
    for (int bits = 4; bits <= 8; bits += 4)
        for (int64_t group = -1; group <= 128; group += 129) {
            struct problem_size size = {
                .bits = bits, .group = group ? group : 32, .n = 17, .k = 28672, .m = 9};
            struct problem p = problem_create(size, FILL_MAX, &state);
            llmq_qmat *q = NULL;
            ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
            for (int t = 0; t < table_count; t++) {
                check_product(&p, tables[t], q, 17, 1);
                check_product(&p, tables[t], q, 17, 8);
                check_product(&p, tables[t], q, 17, 9);
            }
            llmq_qmat_free(&q);
            problem_free(&p);
        }
}
END_TEST

/* Does one block decode to the integers code - zero, and write nothing else? */
static bool block_is_exact(const struct problem *p, const struct llmq_kernels *table,
                           const llmq_qmat *q, int64_t b) {
    const struct qmat_block *block = &q->shape.blocks[b];
    const struct qmat_panel panel = qmat_panel_at(q, 0);
    const int64_t stride = 17;
    struct guarded out = guarded_create(block->columns * stride, 1);
    bool exact = true;
    table->qmat_decode(&q->shape, &panel, b, out.data, stride);
    for (int64_t c = 0; c < block->columns; c++) {
        int64_t from = q->source ? q->source[block->column + c] : block->column + c;
        for (int64_t lane = 0; lane < QMAT_LANES && from >= 0; lane++) {
            int want = p->codes[lane * p->desc.k + from];
            want -= p->zeros[lane * p->groups + problem_group(p, from)];
            exact = exact && out.data[c * stride + lane] == (float)want;
        }
        exact = exact && out.data[c * stride + QMAT_LANES] == 0;
    }
    exact = exact && guarded_intact(&out);
    guarded_free(&out);
    return exact;
}

START_TEST(decoded_weights_are_exact) {
    static const int bits[] = {2, 3, 4, 8};
    uint64_t state = check_seed();
    for (size_t i = 0; i < 4; i++) {
        struct problem_size size = {.bits = bits[i], .group = 48, .n = 16, .k = 700, .m = 1};
        struct problem p = problem_create(size, FILL_RANDOM, &state);
        llmq_qmat *q = NULL;
        ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
        for (int t = 0; t < table_count; t++)
            for (int64_t b = 0; b < q->shape.block_count; b++)
                ck_assert_msg(block_is_exact(&p, tables[t], q, b), "%s, %d bits, block %lld",
                              tables[t]->name, bits[i], (long long)b);
        llmq_qmat_free(&q);
        problem_free(&p);
    }
}
END_TEST

/* y of the first m activations with a number of threads; the caller frees it. */
static float *product_with_threads(const struct problem *p, const struct llmq_kernels *table,
                                   const llmq_qmat *q, int64_t m, int threads) {
    const int before = omp_get_max_threads();
    float *y = must(malloc((size_t)(m * p->desc.n) * sizeof *y));
    omp_set_num_threads(threads);
    ck_assert_int_eq(qmat_matmul_exact(table, q, p->x, m, y, NULL), LLMQ_OK);
    omp_set_num_threads(before);
    return y;
}

START_TEST(threads_do_not_show_in_the_result) {
    static const int64_t ms[] = {1, 3, 8, 33, 100};
    uint64_t state = check_seed();
    struct problem_size size = {.bits = 4, .group = 128, .n = 1001, .k = 1100, .m = 100};
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    for (int t = 1; t < table_count; t++)
        for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
            float *one = product_with_threads(&p, tables[t], q, ms[i], 1);
            for (int threads = 2; threads <= 3; threads++) {
                float *more = product_with_threads(&p, tables[t], q, ms[i], threads);
                ck_assert_msg(memcmp(one, more, (size_t)(ms[i] * size.n) * sizeof *one) == 0,
                              "%s, m %lld, %d threads", tables[t]->name, (long long)ms[i], threads);
                free(more);
            }
            free(one);
        }
    llmq_qmat_free(&q);
    problem_free(&p);
}
END_TEST

/* Activations are laid out in batches: of so many rows, or of so many bytes where rows are long. */
START_TEST(a_row_of_a_large_batch_does_not_depend_on_the_batch) {
    static const struct problem_size sizes[] = {
        {.bits = 4, .group = 64, .n = 50, .k = 320, .m = 1300},
        {.bits = 4, .group = 128, .n = 20, .k = 30000, .m = 150},
    };
    const struct problem_size size = sizes[_i];
    uint64_t state = check_seed();
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    for (int t = 1; t < table_count; t++) {
        float *all = product_with_threads(&p, tables[t], q, size.m, 1);
        for (int64_t m = QMAT_FEW + 1; m < size.m; m += size.m / 11) {
            float *part = product_with_threads(&p, tables[t], q, m, 1);
            ck_assert_msg(memcmp(all, part, (size_t)(m * size.n) * sizeof *all) == 0, "%s, m %lld",
                          tables[t]->name, (long long)m);
            free(part);
        }
        free(all);
    }
    llmq_qmat_free(&q);
    problem_free(&p);
}
END_TEST

START_TEST(packed_size_is_codes_and_scales_and_little_more) {
    uint64_t state = check_seed();
    struct problem_size size = {.bits = 4, .group = 128, .n = 256, .k = 1024, .m = 1};
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    llmq_qmat *q = NULL;
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, NULL), LLMQ_OK);
    size_t payload = 256 * 1024 / 2 + 256 * 8 * 5;
    ck_assert_uint_ge(llmq_qmat_bytes(q), payload);
    ck_assert_uint_le(llmq_qmat_bytes(q), payload + 256 / QMAT_LANES * 64 + 1024);
    llmq_qmat_free(&q);
    llmq_qmat_free(&q); /* NULL is fine */
    problem_free(&p);
}
END_TEST

/* Creation must refuse `desc` with LLMQ_E_USAGE and words that contain `text`. */
static void check_refused(llmq_qmat_desc desc, const char *text) {
    llmq_error err = {0};
    llmq_qmat *q = (llmq_qmat *)(void *)&err; /* anything but NULL */
    ck_assert_int_eq(llmq_qmat_create(&desc, &q, &err), LLMQ_E_USAGE);
    ck_assert_ptr_null(q);
    ck_assert_int_eq(err.code, LLMQ_E_USAGE);
    ck_assert_msg(strstr(err.message, text), "'%s' lacks '%s'", err.message, text);
}

START_TEST(impossible_matrices_are_refused_with_a_reason) {
    uint64_t state = check_seed();
    struct problem_size size = {.bits = 4, .group = 32, .n = 20, .k = 100, .m = 1};
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    int32_t map[100] = {0};
    llmq_qmat_desc d = p.desc;
    d.n = 0;
    check_refused(d, "[0, 100]");
    d.n = INT64_MAX;
    check_refused(d, "100]");
    d = p.desc;
    d.k = -5;
    check_refused(d, "[20, -5]");
    d = p.desc;
    d.bits = 5;
    check_refused(d, "5 bits");
    d = p.desc;
    d.group = 0;
    check_refused(d, "groups of 0");
    d.group = -2;
    check_refused(d, "groups of -2");
    d = p.desc;
    d.group_of = map;
    map[99] = 4;
    check_refused(d, "column 99 is in group 4 of 4");
    map[99] = -1;
    check_refused(d, "column 99 is in group -1");
    p.codes[19 * 100 + 99] = 16;
    check_refused(p.desc, "row 19, column 99: code 16");
    problem_free(&p);
}
END_TEST

START_TEST(no_rows_is_no_work_and_a_negative_count_is_refused) {
    uint64_t state = check_seed();
    struct problem_size size = {.bits = 4, .group = 32, .n = 20, .k = 100, .m = 1};
    struct problem p = problem_create(size, FILL_RANDOM, &state);
    llmq_qmat *q = NULL;
    llmq_error err = {0};
    ck_assert_int_eq(llmq_qmat_create(&p.desc, &q, &err), LLMQ_OK);
    ck_assert_int_eq(llmq_qmat_matmul(q, NULL, 0, LLMQ_ACTIVATIONS_EXACT, NULL, &err), LLMQ_OK);
    ck_assert_int_eq(llmq_qmat_matmul(q, p.x, -1, LLMQ_ACTIVATIONS_EXACT, p.x, &err), LLMQ_E_USAGE);
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
    Suite *suite = suite_create("qmat");
    TCase *product = tcase_create("product"), *contract = tcase_create("contract");
    tcase_set_timeout(product, 300);
    tcase_add_test(product, product_is_within_2e_6_for_every_grid_and_shape);
    tcase_add_test(product, long_rows_of_equal_products_stay_within_2e_6);
    tcase_add_test(product, decoded_weights_are_exact);
    tcase_add_test(product, threads_do_not_show_in_the_result);
    tcase_add_loop_test(product, a_row_of_a_large_batch_does_not_depend_on_the_batch, 0, 2);
    tcase_add_test(contract, packed_size_is_codes_and_scales_and_little_more);
    tcase_add_test(contract, impossible_matrices_are_refused_with_a_reason);
    tcase_add_test(contract, no_rows_is_no_work_and_a_negative_count_is_refused);
    suite_add_tcase(suite, product);
    suite_add_tcase(suite, contract);
    return run_suite(suite);
}
