/* SPDX-License-Identifier: Apache-2.0 */
/* What ranks do together, and sums over batches that they share: the same bits as those of one rank
 * that adds all batches up. Runs with any number of ranks, under mpirun too. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "calib/share.h"
#include "linalg/linalg.h"
#include "ranks/ranks.h"
#include "support.h"

enum { WINDOWS = 23, WIDTH = 150, OTHER = 70, HELD_MOST = 700 };

/* Windows of different lengths, one of them longer than what is summed in float32. */
static struct calib_tokens make_tokens(bool longer) {
    static int64_t offsets[WINDOWS + 1];
    static int32_t ids[WINDOWS * 5000];
    for (int w = 0; w < WINDOWS; w++)
        offsets[w + 1] = offsets[w] + (w == 9 && longer ? 4500 : 700 + 37 * (w % 11));
    for (int64_t i = 0; i < offsets[WINDOWS]; i++)
        ids[i] = (int32_t)i;
    return (struct calib_tokens){ids, offsets, WINDOWS, 0};
}

/* Row `token` of what linears read: a number for each token and column. */
static void make_row(int32_t token, int64_t width, float *x) {
    uint32_t state = (uint32_t)token * 2654435761u + (uint32_t)width;
    for (int64_t c = 0; c < width; c++) {
        state = state * 1664525u + 1013904223u;
        x[c] = (float)(state >> 8) / (float)(1 << 20) - 8;
    }
}

static float *make_rows(const struct calib_tokens *t, const struct batch *b, int64_t width) {
    const int64_t rows = batch_rows(b);
    float *x = malloc((size_t)(rows * width) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t r = 0; r < rows; r++)
        make_row(t->ids[b->offsets[0] + r], width, x + r * width);
    return x;
}

/* All batches, one after the other, as one rank adds them. */
static void add_alone(const struct share *s, const struct share_sum *to) {
    const int64_t n = to->shape.n, m = to->shape.m;
    for (int64_t i = 0; i < s->count; i++) {
        const struct batch *b = &s->batch[i].whole;
        const int64_t rows = batch_rows(b) - s->batch[i].held;
        float *X = make_rows(s->all, b, n), *A = make_rows(s->all, b, m);
        if (to->shape.triangle)
            linalg_syrk_accumulate(rows, n, X, n, to->sum, to->scratch);
        else
            linalg_gemm_tn_accumulate(rows, m, n, A, m, X, n, to->sum, to->scratch);
        free(X);
        free(A);
    }
}

static void add_together(const struct share *s, const struct share_sum *to, float *held) {
    const int64_t n = to->shape.n, m = to->shape.m;
    llmq_error err = {0};
    for (int64_t step = 0; step < s->steps; step++) {
        const struct share_batch *b = share_step(s, step);
        float *X = b ? make_rows(&s->own, &b->own, n) : NULL;
        float *A = b ? make_rows(&s->own, &b->own, m) : NULL;
        const int64_t rows = b ? batch_rows(&b->own) : 0, kept = b ? rows - b->held : 0;
        const struct linalg_term term = {kept, to->shape.triangle ? X : A, X,
                                         to->shape.triangle ? n : m, n};
        ck_assert_ok(share_add(s, step, to, &term, NULL, &err), &err);
        if (b && b->held > 0)
            memcpy(held + b->held_begin * n, X + kept * n, (size_t)(b->held * n) * sizeof *held);
        ck_assert_ok(share_held(s, step, n, held, NULL, &err), &err);
        free(X);
        free(A);
    }
}

/* Sums of a shape, both ways: the same bits on every rank. */
static void check_sum(struct linalg_sum shape, bool longer) {
    const struct calib_tokens tokens = make_tokens(longer);
    const int64_t count = shape.triangle ? shape.n * (shape.n + 1) / 2 : shape.m * shape.n;
    const double factor = 2.0 / 12345;
    struct share s;
    struct calib_part part;
    struct ranks_traffic counted = {0};
    llmq_error err = {0};
    double *sums = calloc(2 * (size_t)count, sizeof *sums), left = 0;
    float *tiles = malloc(linalg_accumulate_floats() * sizeof *tiles);
    float *held = calloc((size_t)(HELD_MOST * shape.n), sizeof *held);
    const struct share_sum alone = {shape, sums, tiles}, to = {shape, sums + count, tiles};
    ck_assert(sums && tiles && held);
    ck_assert_ok(share_deal(&tokens, HELD_MOST, &s, &err), &err);
    add_alone(&s, &alone);
    const struct ranks_traffic before = ranks_traffic();
    add_together(&s, &to, held);
    ck_assert_ok(share_finish(&s, &to, factor, &left, NULL, &err), &err);
    const struct ranks_traffic after = ranks_traffic();
    ck_assert_ok(
        calib_part_of(&tokens, HELD_MOST, llmq_ranks_own(), llmq_ranks_count(), &part, &err), &err);
    share_count(&part, &shape, &counted);
    share_count_held(&part, shape.n, &counted);
    ck_assert_uint_eq(after.messages - before.messages, counted.messages);
    ck_assert_uint_eq(after.bytes - before.bytes, counted.bytes);
    for (int64_t i = 0; i < count; i++) {
        const float a = (float)(factor * sums[i]), b = (float)(left * sums[count + i]);
        ck_assert_msg(memcmp(&a, &b, sizeof a) == 0, "entry %lld: %a, alone %a", (long long)i,
                      (double)b, (double)a);
    }
    for (int64_t i = 0; i < s.count; i++) { /* rows that are held back, of all batches */
        float *X = make_rows(&tokens, &s.batch[i].whole, shape.n);
        const int64_t from = batch_rows(&s.batch[i].whole) - s.batch[i].held;
        ck_assert(memcmp(held + s.batch[i].held_begin * shape.n, X + from * shape.n,
                         (size_t)(s.batch[i].held * shape.n) * sizeof *held) == 0);
        free(X);
    }
    share_free(&s);
    free(sums);
    free(tiles);
    free(held);
}

START_TEST(shared_sums_are_those_of_one_rank) {
    check_sum((struct linalg_sum){WIDTH, WIDTH, true}, false);
    check_sum((struct linalg_sum){OTHER, WIDTH, false}, false);
    check_sum((struct linalg_sum){3, WIDTH, false}, false); /* fewer tiles than ranks */
}
END_TEST

START_TEST(a_window_longer_than_a_term_is_added_in_its_order) {
    check_sum((struct linalg_sum){WIDTH, WIDTH, true}, true);
}
END_TEST

START_TEST(all_batches_are_dealt_once) {
    const struct calib_tokens tokens = make_tokens(false);
    llmq_error err = {0};
    struct share s;
    ck_assert_ok(share_deal(&tokens, 0, &s, &err), &err);
    int64_t own = 0;
    for (int64_t i = 0; i < s.count; i++) {
        const struct share_batch *b = &s.batch[i];
        const bool mine = i % llmq_ranks_count() == llmq_ranks_own();
        ck_assert_int_eq(b->own.sequences, mine ? b->whole.sequences : 0);
        for (int64_t w = 0; mine && w < b->own.sequences; w++)
            ck_assert_int_eq(s.own.ids[b->own.offsets[w]], tokens.ids[b->whole.offsets[w]]);
        own += mine ? batch_rows(&b->whole) : 0;
    }
    ck_assert_int_eq(s.own.offsets[s.own.count], own);
    ck_assert_int_ge(share_most_tokens(&tokens, llmq_ranks_count()), own);
    share_free(&s);
}
END_TEST

START_TEST(everyone_gets_everything) {
    const int own = llmq_ranks_own(), count = llmq_ranks_count();
    size_t *begin = calloc((size_t)count + 1, sizeof *begin);
    llmq_error err = {0};
    ck_assert_ptr_nonnull(begin);
    for (int r = 0; r < count; r++) /* pieces of 0, 3, 6 ... bytes */
        begin[r + 1] = begin[r] + 3 * (size_t)r;
    char *all = calloc(begin[count] + 1, 1);
    ck_assert_ptr_nonnull(all);
    memset(all + begin[own], 'a' + own, begin[own + 1] - begin[own]);
    ck_assert_ok(ranks_gather(all, begin, NULL, &err), &err);
    for (int r = 0; r < count; r++)
        for (size_t i = begin[r]; i < begin[r + 1]; i++)
            ck_assert_int_eq(all[i], 'a' + r);
    int32_t told = own == count - 1 ? 77 : 0;
    ck_assert_ok(ranks_broadcast(count - 1, &told, sizeof told, NULL, &err), &err);
    ck_assert_int_eq(told, 77);
    free(all);
    free(begin);
}
END_TEST

START_TEST(differences_and_failures_are_seen_by_all) {
    const int own = llmq_ranks_own(), count = llmq_ranks_count();
    llmq_error err = {0};
    int odd = 5;
    ck_assert_ok(ranks_compare("same", &odd, NULL, &err), &err);
    ck_assert_int_eq(odd, -1);
    ck_assert_ok(ranks_compare(own == count - 1 ? "last" : "same", &odd, NULL, &err), &err);
    ck_assert_int_eq(odd, count > 1 ? count - 1 : -1);
    ck_assert_ok(ranks_agree(LLMQ_OK, NULL, &err), &err);
    ck_assert(!ranks_failed_elsewhere());
    const enum llmq_status status =
        ranks_agree(own == count - 1 ? LLMQ_E_INPUT : LLMQ_OK, NULL, &err);
    ck_assert_int_eq(status, LLMQ_E_INPUT);
    ck_assert(ranks_failed_elsewhere() == (own != count - 1));
}
END_TEST

START_TEST(shares_cover_all_units) {
    for (int64_t units = 0; units < 40; units += 13)
        for (int r = 0; r < llmq_ranks_count(); r++)
            ck_assert_int_le(ranks_share(units, r), ranks_share(units, r + 1));
    ck_assert_int_eq(ranks_share(13, 0), 0);
    ck_assert_int_eq(ranks_share(13, llmq_ranks_count()), 13);
}
END_TEST

int main(void) {
    llmq_error err = {0};
    bool speaks = true;
    Suite *s = suite_create("ranks");
    TCase *t = tcase_create("ranks");
    (void)setenv("CK_FORK", "no", 1); /* MPI stays in one process */
    linalg_init();
    if (llmq_ranks_begin(&err) != LLMQ_OK)
        return EXIT_FAILURE;
    tcase_set_timeout(t, 120);
    tcase_add_test(t, all_batches_are_dealt_once);
    tcase_add_test(t, shares_cover_all_units);
    tcase_add_test(t, everyone_gets_everything);
    tcase_add_test(t, shared_sums_are_those_of_one_rank);
    tcase_add_test(t, a_window_longer_than_a_term_is_added_in_its_order);
    tcase_add_test(t, differences_and_failures_are_seen_by_all);
    suite_add_tcase(s, t);
    const int result = run_suite(s);
    if (llmq_ranks_meet(LLMQ_OK, &speaks))
        llmq_ranks_end();
    return result;
}
