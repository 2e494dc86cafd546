/* SPDX-License-Identifier: Apache-2.0 */
/* GPTQ against the textbook (textbook.h): every difference must be a rounding tie. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linalg/linalg.h"
#include "problem.h"
#include "quant/quant.h"
#include "support.h"
#include "textbook.h"

#define SEED  22101977U
#define MAX_K 512

/* How far float32 takes updated weights of these problems from the textbook's, relative to the
 * row's largest: a few hundred roundings of 6e-8, amplified by H's condition. */
#define FLOAT_GAP 5e-5

/* Sums over everything that is compared. */
struct comparison {
    int64_t rows;        /* that are GPTQ's */
    int64_t kept_rtn;    /* that are round-to-nearest's */
    int64_t tied_rows;   /* in which a tie was broken the other way */
    int64_t other_codes; /* codes of these ties */
    double log_ratio;    /* sum over rows of log(error / textbook's error) */
};

/* One row: all differences must be ties, and without any the error must be the textbook's. */
static void compare_row(const struct textbook *t, const struct quant_grid *grid, const float *w,
                        const struct qlinear *q, int64_t row, const struct qlinear *rtn,
                        struct comparison *all) {
    struct textbook_trail trail = {0};
    textbook_follow(t, grid, w, q, row, &trail);
    if (fmax(fmax(trail.code_gap, trail.zero_gap), trail.scale_gap) > FLOAT_GAP) {
        ck_assert_msg(same_row(q, rtn, row), "row %lld: code gap %g, zero gap %g, scale gap %g",
                      (long long)row, trail.code_gap, trail.zero_gap, trail.scale_gap);
        all->kept_rtn++;
        return;
    }
    uint8_t codes[MAX_K];
    double theirs = textbook_row(t, grid, w, codes), ours = textbook_error(t, w, q, row);
    if (memcmp(codes, q->codes + row * q->k, (size_t)q->k) == 0)
        ck_assert_msg(fabs(ours - theirs) <= 1e-3 * theirs + 1e-12, "row %lld: %g, textbook %g",
                      (long long)row, ours, theirs);
    else
        all->tied_rows++;
    all->rows++;
    all->log_ratio += log((ours + 1e-9) / (theirs + 1e-9)); /* errors of 0 are errors of 1e-15 */
    all->other_codes += trail.other_codes;
}

static void check_against_textbook(const struct problem *p, const struct quant_grid *grid,
                                   const struct textbook *t, struct comparison *all) {
    struct quant_outcome outcome = {0};
    struct qlinear q = quantize(p, grid, t->order, &outcome), rtn = {0};
    struct comparison before = *all;
    ck_assert_int_eq(rtn_quantize(grid, p->W, NULL, p->n, p->k, &rtn, NULL), LLMQ_OK);
    for (int64_t row = 0; row < p->n; row++)
        compare_row(t, grid, p->W + row * p->k, &q, row, &rtn, all);
    ck_assert_int_le(all->kept_rtn - before.kept_rtn, outcome.rows_kept_rtn);
    /* A symmetric grid ties by construction, once in each group: -amax is half a step beyond. */
    ck_assert_int_le(all->other_codes - before.other_codes,
                     p->n * p->k / 200 + (grid->sym ? p->n * q.groups : 0));
    qlinear_free(&q);
    qlinear_free(&rtn);
}

/* k and the groups tried with it: smaller, larger and coprime to what the code cuts into. */
static const int64_t shapes[][2] = {{96, 16},   {96, 32},  {96, 48},   {96, 96},  {96, -1},
                                    {200, 100}, {200, 8},  {200, 1},   {288, 96}, {288, 48},
                                    {256, 128}, {256, -1}, {254, 127}, {65, -1},  {7, -1}};
#define SHAPES ((int)(sizeof shapes / sizeof *shapes))

static void check_shape(int64_t k, int64_t group, struct comparison *all) {
    static const int bits[] = {2, 3, 4, 8};
    struct problem p = problem_create(16, k);
    for (enum act_order order = ACT_ORDER_NONE; order <= ACT_ORDER_GROUP_AWARE; order++) {
        struct textbook t;
        textbook_init(&t, p.Hd, k, group, order, 0.01);
        for (int b = 0; b < 4; b++)
            for (int sym = 0; sym < 2; sym++) {
                struct quant_grid grid = grid_of(bits[b], group, sym, SCALE_F32);
                check_against_textbook(&p, &grid, &t, all);
            }
        textbook_free(&t);
    }
    problem_free(&p);
}

START_TEST(test_codes_are_the_textbooks_except_at_ties) {
    struct comparison all = {0};
    for (int i = 0; i < SHAPES; i++)
        check_shape(shapes[i][0], shapes[i][1], &all);
    /* A tie broken the other way may help or hurt its row; on average it must do neither. */
    double ratio = exp(all.log_ratio / (double)all.rows);
    printf(
        "gptq: %lld rows, ties broken otherwise in %lld, round-to-nearest in %lld, error %.5f of "
        "the textbook's\n",
        (long long)all.rows, (long long)all.tied_rows, (long long)all.kept_rtn, ratio);
    ck_assert_msg(ratio <= 1.001, "error %.5f of the textbook's", ratio);
    ck_assert_int_gt(all.rows, 10 * (all.kept_rtn + all.tied_rows));
}
END_TEST

int main(void) {
    Suite *s = suite_create("gptq_textbook");
    TCase *tc = tcase_create("gptq_textbook");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, test_codes_are_the_textbooks_except_at_ties);
    suite_add_tcase(s, tc);

    linalg_init();
    problem_seed(SEED);
    printf("gptq_textbook: seed %u\n", SEED);
    return run_suite(s);
}
