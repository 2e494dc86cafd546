/* SPDX-License-Identifier: Apache-2.0 */
/* One matrix quantized by a program: against the textbook in double precision, errors against
 * double loops, rounding against what a run writes, and what is refused. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "llmq/checkpoint.h"
#include "llmq/matrix.h"
#include "pipeline/tiny_run.h"
#include "quant/problem.h"
#include "quant/textbook.h"
#include "support.h"

enum { ROWS = 24, COLUMNS = 96, INPUTS = 400 };

static llmq_error err;

static llmq_matrix_options options_of(enum llmq_method method) {
    llmq_matrix_options o;
    llmq_matrix_options_init(&o, method);
    o.group = 32;
    return o;
}

static llmq_matrix matrix_of(const struct problem *p) {
    llmq_matrix m;
    llmq_matrix_init(&m);
    m.rows = p->n;
    m.columns = p->k;
    m.weights = p->W;
    m.moment = p->H;
    return m;
}

static llmq_matrix_result quantize_it(const llmq_matrix_options *o, const llmq_matrix *m) {
    llmq_matrix_result r;
    ck_assert_ok(llmq_matrix_quantize(o, m, NULL, &r, &err), &err);
    return r;
}

/* |dW X^T|^2 / |W X^T|^2 by H in double, scales of columns divided out again. */
static double error_of(const struct problem *p, const llmq_matrix_result *r) {
    double error = 0, norm = 0;
    float *w = malloc((size_t)(p->n * p->k) * sizeof *w);
    ck_assert_ok(llmq_codes_decode(&r->codes, 0, p->n, w, &err), &err);
    for (int64_t row = 0; row < p->n; row++)
        for (int64_t i = 0; i < p->k; i++)
            for (int64_t j = 0; j < p->k; j++) {
                const float *W = p->W + row * p->k, *Q = w + row * p->k;
                const double si = r->column_scales ? (double)r->column_scales[i] : 1;
                const double sj = r->column_scales ? (double)r->column_scales[j] : 1;
                const double H = (double)p->H[i * p->k + j];
                error +=
                    ((double)W[i] - (double)Q[i] / si) * H * ((double)W[j] - (double)Q[j] / sj);
                norm += (double)W[i] * H * (double)W[j];
            }
    free(w);
    return error / norm;
}

/* --- against references ------------------------------------------------------------------------
 */

START_TEST(errors_are_those_of_double_loops) {
    static const enum llmq_method methods[] = {LLMQ_METHOD_RTN, LLMQ_METHOD_GPTQ, LLMQ_METHOD_AWQ};
    static const char *const names[] = {"rtn", "gptq", "awq"};
    struct problem p = problem_create(ROWS, COLUMNS);
    const llmq_matrix m = matrix_of(&p);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        const llmq_matrix_options o = options_of(methods[i]);
        llmq_matrix_result r = quantize_it(&o, &m);
        ck_assert_double_eq_tol(r.error, error_of(&p, &r), 1e-4 * r.error);
        ck_assert_str_eq(r.method, names[i]);
        ck_assert(!r.fell_back);
        ck_assert((r.column_scales != NULL) == (methods[i] == LLMQ_METHOD_AWQ));
        ck_assert_int_eq(r.codes.sym, methods[i] != LLMQ_METHOD_AWQ);
        if (methods[i] == LLMQ_METHOD_RTN)
            ck_assert_double_eq_tol(r.error, r.rtn_error, 1e-12);
        else
            ck_assert_double_lt(r.error, r.rtn_error);
        llmq_matrix_result_free(&r);
        llmq_matrix_result_free(&r);
    }
    problem_free(&p);
}
END_TEST

START_TEST(gptq_is_the_textbook) {
    struct problem p = problem_create(ROWS, COLUMNS);
    const struct quant_grid grid = grid_of(4, 32, true, SCALE_F32);
    const llmq_matrix m = matrix_of(&p);
    llmq_matrix_options o = options_of(LLMQ_METHOD_GPTQ);
    struct textbook t;
    double ours = 0, theirs = 0;
    o.act_order = LLMQ_ACT_ORDER_NONE;
    o.search = LLMQ_RANGE_MINMAX;
    o.descent = 0;
    llmq_matrix_result r = quantize_it(&o, &m);
    textbook_init(&t, p.Hd, p.k, 32, ACT_ORDER_NONE, o.damp);
    for (int64_t row = 0; row < p.n; row++) {
        uint8_t codes[COLUMNS];
        theirs += textbook_row(&t, &grid, p.W + row * p.k, codes);
        const struct qlinear q = {.n = p.n,
                                  .k = p.k,
                                  .bits = 4,
                                  .group = 32,
                                  .groups = r.codes.groups,
                                  .sym = true,
                                  .codes = r.codes.codes,
                                  .scales = r.codes.scales,
                                  .zeros = r.codes.zeros};
        ours += textbook_error(&t, p.W + row * p.k, &q, row);
    }
    /* Scales are rounded to float16 here and rows may be those of rounding: a few per cent. */
    ck_assert_double_lt(fabs(ours / theirs - 1), 0.05);
    ck_assert_double_eq(r.damp, o.damp);
    textbook_free(&t);
    llmq_matrix_result_free(&r);
    problem_free(&p);
}
END_TEST

/* Inputs instead of their moment, and any multiple of it: the same but for roundings. */
START_TEST(inputs_and_their_moment_are_one) {
    struct problem p = problem_create(ROWS, COLUMNS);
    float *X = malloc((size_t)INPUTS * COLUMNS * sizeof *X);
    float *H = malloc((size_t)COLUMNS * COLUMNS * sizeof *H);
    for (int i = 0; i < INPUTS * COLUMNS; i++)
        X[i] = normal() * (float)(1 + i % COLUMNS % 7);
    for (int i = 0; i < COLUMNS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            double sum = 0;
            for (int t = 0; t < INPUTS; t++)
                sum += (double)X[t * COLUMNS + i] * (double)X[t * COLUMNS + j];
            H[i * COLUMNS + j] = (float)(8 * sum);
        }
    llmq_matrix m = matrix_of(&p);
    const llmq_matrix_options o = options_of(LLMQ_METHOD_GPTQ);
    m.moment = H;
    llmq_matrix_result by_moment = quantize_it(&o, &m);
    m.moment = NULL;
    m.inputs = X;
    m.input_count = INPUTS;
    llmq_matrix_result by_inputs = quantize_it(&o, &m);
    ck_assert_double_eq_tol(by_moment.error, by_inputs.error, 0.02 * by_moment.error);
    ck_assert_double_eq_tol(by_moment.rtn_error, by_inputs.rtn_error, 1e-4 * by_moment.rtn_error);
    int64_t other = 0;
    for (int i = 0; i < ROWS * COLUMNS; i++)
        other += by_moment.codes.codes[i] != by_inputs.codes.codes[i];
    ck_assert_int_le(other, ROWS * COLUMNS / 50);
    llmq_matrix_result_free(&by_moment);
    llmq_matrix_result_free(&by_inputs);
    free(X);
    free(H);
    problem_free(&p);
}
END_TEST

START_TEST(threads_do_not_show) {
    struct problem p = problem_create(ROWS, COLUMNS);
    const llmq_matrix m = matrix_of(&p);
    const llmq_matrix_options o = options_of(LLMQ_METHOD_GPTQ);
    llmq_context ctx;
    llmq_context_init(&ctx);
    ctx.threads = 1;
    llmq_matrix_result one, three;
    ck_assert_ok(llmq_matrix_quantize(&o, &m, &ctx, &one, &err), &err);
    ctx.threads = 3;
    ck_assert_ok(llmq_matrix_quantize(&o, &m, &ctx, &three, &err), &err);
    ck_assert_mem_eq(one.codes.codes, three.codes.codes, ROWS * COLUMNS);
    ck_assert_mem_eq(one.codes.scales, three.codes.scales,
                     ROWS * (size_t)one.codes.groups * sizeof(float));
    llmq_matrix_result_free(&one);
    llmq_matrix_result_free(&three);
    problem_free(&p);
}
END_TEST

/* --- against a run -----------------------------------------------------------------------------
 */

/* _i: which. Every module of a run by rounding, from its numbers in the source. */
START_TEST(rounding_is_what_a_run_writes) {
    static const struct {
        int bits;
        bool sym;
        enum llmq_range_search search;
        const char *format;
    } runs[] = {{4, true, LLMQ_RANGE_MINMAX, "gptq"},
                {3, true, LLMQ_RANGE_PLAIN, "gptq"},
                {8, false, LLMQ_RANGE_PERCENTILE, "gptq_v2"}};
    llmq_quantize_options run = run_options(LLMQ_METHOD_RTN);
    llmq_matrix_options o = options_of(LLMQ_METHOD_RTN);
    llmq_checkpoint *from = NULL, *to = NULL;
    run.bits = o.bits = runs[_i].bits;
    run.sym = o.sym = runs[_i].sym;
    run.search = o.search = runs[_i].search;
    run.format = runs[_i].format;
    run_quantize(&run);
    ck_assert_ok(llmq_checkpoint_open(source, NULL, &from, &err), &err);
    ck_assert_ok(llmq_checkpoint_open(out, NULL, &to, &err), &err);
    const llmq_module *module = NULL;
    size_t i = 0;
    for (; (module = llmq_checkpoint_module(from, i)) && module->block >= 0; i++) {
        const size_t weights = (size_t)(module->rows * module->columns);
        float *w = malloc(weights * sizeof *w);
        llmq_codes written;
        ck_assert_ok(llmq_checkpoint_decode(from, module, w, &err), &err);
        ck_assert_ok(llmq_checkpoint_codes(to, llmq_checkpoint_module(to, i), &written, &err),
                     &err);
        llmq_matrix m;
        llmq_matrix_init(&m);
        m.rows = module->rows;
        m.columns = module->columns;
        m.weights = w;
        llmq_matrix_result r = quantize_it(&o, &m);
        ck_assert_mem_eq(r.codes.codes, written.codes, weights);
        ck_assert_mem_eq(r.codes.zeros, written.zeros, (size_t)(m.rows * r.codes.groups));
        ck_assert_mem_eq(r.codes.scales, written.scales,
                         (size_t)(m.rows * r.codes.groups) * sizeof(float));
        llmq_matrix_result_free(&r);
        llmq_codes_free(&written);
        free(w);
    }
    ck_assert_uint_eq(i, 14);
    llmq_checkpoint_close(&from);
    llmq_checkpoint_close(&to);
}
END_TEST

/* --- what is refused ---------------------------------------------------------------------------
 */

static void refuses(const llmq_matrix_options *o, const llmq_matrix *m, enum llmq_status code,
                    const char *part) {
    llmq_matrix_result r;
    ck_assert_fails(llmq_matrix_quantize(o, m, NULL, &r, &err), code, part, &err);
    ck_assert_ptr_null(r.codes.codes);
    llmq_matrix_result_free(&r);
}

START_TEST(wrong_options_are_refused) {
    struct problem p = problem_create(ROWS, COLUMNS);
    const llmq_matrix m = matrix_of(&p);
    const llmq_matrix_options usual = options_of(LLMQ_METHOD_GPTQ);
    llmq_matrix_options o = usual;
    o.bits = 5;
    refuses(&o, &m, LLMQ_E_USAGE, "5 bits");
    o.bits = -2147483647;
    refuses(&o, &m, LLMQ_E_USAGE, "bits: expected");
    o = usual;
    o.group = 36;
    refuses(&o, &m, LLMQ_E_USAGE, "group size 36 does not divide 96");
    o.group = 0;
    refuses(&o, &m, LLMQ_E_USAGE, "group size 0");
    o = usual;
    o.method = (enum llmq_method)9;
    refuses(&o, &m, LLMQ_E_USAGE, "method: there is no value 9");
    o = usual;
    o.search = (enum llmq_range_search)77;
    refuses(&o, &m, LLMQ_E_USAGE, "search");
    o = usual;
    o.damp = (double)NAN;
    refuses(&o, &m, LLMQ_E_USAGE, "damp");
    o = usual;
    o.descent = -1;
    refuses(&o, &m, LLMQ_E_USAGE, "-1 passes");
    o = options_of(LLMQ_METHOD_RTN);
    o.awq = true;
    refuses(&o, &m, LLMQ_E_USAGE, "awq with rtn");
    problem_free(&p);
}
END_TEST

START_TEST(wrong_matrices_are_refused) {
    struct problem p = problem_create(ROWS, COLUMNS);
    const llmq_matrix usual = matrix_of(&p);
    const llmq_matrix_options o = options_of(LLMQ_METHOD_GPTQ);
    llmq_matrix m = usual;
    m.rows = 0;
    refuses(&o, &m, LLMQ_E_USAGE, "cannot be [0, 96]");
    m.rows = INT64_MAX;
    refuses(&o, &m, LLMQ_E_USAGE, "cannot be [9223372036854775807, 96]");
    m = usual;
    m.weights = NULL;
    refuses(&o, &m, LLMQ_E_USAGE, "without weights");
    m = usual;
    m.moment = NULL;
    refuses(&o, &m, LLMQ_E_USAGE, "inputs or their moment");
    m.inputs = p.W;
    m.input_count = -3;
    refuses(&o, &m, LLMQ_E_USAGE, "-3 inputs");
    m = usual;
    m.inputs = p.W;
    m.input_count = ROWS;
    refuses(&o, &m, LLMQ_E_USAGE, "one of the two");
    const float kept = p.W[5 * COLUMNS + 7], h = p.H[3 * COLUMNS + 2];
    p.W[5 * COLUMNS + 7] = NAN;
    refuses(&o, &usual, LLMQ_E_NUMERIC, "row 5, column 7 is nan");
    m = usual;
    m.moment = NULL;
    m.weights = p.H;
    m.rows = COLUMNS;
    m.inputs = p.W;
    m.input_count = ROWS;
    refuses(&o, &m, LLMQ_E_NUMERIC, "the input at row 5, column 7");
    p.W[5 * COLUMNS + 7] = kept;
    p.H[3 * COLUMNS + 2] = INFINITY;
    refuses(&o, &usual, LLMQ_E_NUMERIC, "the moment at row 3, column 2");
    p.H[3 * COLUMNS + 2] = h + 10 * fabsf(p.H[3 * COLUMNS + 3]) + 10 * fabsf(p.H[2 * COLUMNS + 2]);
    refuses(&o, &usual, LLMQ_E_USAGE, "not symmetric");
    p.H[3 * COLUMNS + 2] = h;
    p.H[0] = -1;
    refuses(&o, &usual, LLMQ_E_USAGE, "row and column 0 is -1");
    problem_free(&p);
}
END_TEST

START_TEST(it_stops_when_asked_to) {
    static const volatile sig_atomic_t stop = 1;
    struct problem p = problem_create(ROWS, COLUMNS);
    const llmq_matrix m = matrix_of(&p);
    const llmq_matrix_options o = options_of(LLMQ_METHOD_GPTQ);
    llmq_context ctx;
    llmq_matrix_result r;
    llmq_context_init(&ctx);
    ctx.interrupt = &stop;
    ck_assert_fails(llmq_matrix_quantize(&o, &m, &ctx, &r, &err), LLMQ_E_INTERRUPTED, "", &err);
    llmq_matrix_result_free(&r);
    problem_free(&p);
}
END_TEST

/* Inputs that are all zero leave nothing to fit to: rounding. */
START_TEST(dead_inputs_are_no_error) {
    struct problem p = problem_create(ROWS, COLUMNS);
    const llmq_matrix m = matrix_of(&p);
    const llmq_matrix_options o = options_of(LLMQ_METHOD_GPTQ);
    memset(p.H, 0, (size_t)COLUMNS * COLUMNS * sizeof *p.H);
    llmq_matrix_result r = quantize_it(&o, &m);
    ck_assert_double_eq(r.error, 0);
    llmq_matrix_result_free(&r);
    problem_free(&p);
}
END_TEST

int main(void) {
    Suite *s = suite_create("api_matrix");
    TCase *t = tcase_create("matrix"), *run = tcase_create("run");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, errors_are_those_of_double_loops);
    tcase_add_test(t, gptq_is_the_textbook);
    tcase_add_test(t, inputs_and_their_moment_are_one);
    tcase_add_test(t, threads_do_not_show);
    tcase_add_test(t, wrong_options_are_refused);
    tcase_add_test(t, wrong_matrices_are_refused);
    tcase_add_test(t, it_stops_when_asked_to);
    tcase_add_test(t, dead_inputs_are_no_error);
    suite_add_tcase(s, t);
    tcase_set_timeout(run, 120);
    tcase_add_checked_fixture(run, run_setup, run_teardown);
    tcase_add_loop_test(run, rounding_is_what_a_run_writes, 0, 3);
    suite_add_tcase(s, run);
    problem_seed(20261129);
    return run_suite(s);
}
