/* SPDX-License-Identifier: Apache-2.0 */
/* Step by step and all at once are the same: for every case of the reference, logits of a generator
 * that is given the first tokens together, then single ones, then the rest, beside those of a pass
 * over the whole window; but for those of lengths with other rotary frequencies than the window's,
 * which are read again when they change. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/generator.h"
#include "eval/logprobs.h"
#include "graph/golden_case.h"
#include "graph/golden_list.h"
#include "graph/rope.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

static llmq_error err;

/* Largest difference over the largest logit. */
static double difference(const float *a, const float *b, int64_t count) {
    double most = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        const double off = fabs((double)a[i] - (double)b[i]);
        most = fmax(most, fabs((double)b[i]));
        worst = off > worst || isnan(off) ? off : worst;
    }
    return worst / most;
}

/* Tokens of the call that begins at token `at`. */
static int64_t step_at(int64_t at, int64_t count) {
    enum { TOGETHER = 5, SINGLE = 12 };
    if (at == 0)
        return TOGETHER < count ? TOGETHER : count;
    return at < SINGLE ? 1 : count - at;
}

/* Have sequences of the two lengths the same rotary frequencies? */
static bool turned_alike(const struct golden *g, int64_t a, int64_t b) {
    const struct rope rope = rope_of(&g->model.config, false);
    return rope_regime(&rope, a) == rope_regime(&rope, b);
}

static double decode(const struct golden *g, const float *expected, int64_t *repeated) {
    const int64_t count = g->corpus.tokens_used, vocab = g->model.config.vocab;
    const struct generator_options o = {.m = &g->model, .mode = LOAD_PLAIN, .capacity = count};
    struct generator *d = NULL;
    const float *logits = NULL;
    double worst = 0;
    ck_assert_ok(generator_create(&o, &d, &err), &err);
    for (int64_t at = 0, n = 0; at < count; at += n) {
        n = step_at(at, count);
        ck_assert_ok(generator_read(d, g->corpus.ids + at, n, &logits, &err), &err);
        if (!turned_alike(g, at + n, count))
            continue;
        const double off = difference(logits, expected + (at + n - 1) * vocab, vocab);
        worst = off > worst || isnan(off) ? off : worst;
    }
    *repeated = generator_repeated(d);
    generator_free(&d);
    return worst;
}

static void check_case(int index, const char *dir) {
    const char *name = golden_cases[index].name;
    struct golden g = {0};
    int64_t repeated = 0;
    ck_assert_ok(golden_open(dir, golden_configs[0], &g, &err), &err);
    struct golden_scores s = golden_score(&g);
    const double off = decode(&g, s.logits, &repeated);
    printf("%-25s off %.1e, %d tokens read again\n", name, off, (int)repeated);
    ck_assert_msg((repeated > 0) == !turned_alike(&g, 5, g.corpus.tokens_used), "%s", name);
    ck_assert_msg(off <= 1e-4, "%s: step by step logits are off by %g", name, off);
    free(s.logits);
    free(s.logprobs);
    golden_close(&g);
}

START_TEST(step_by_step_is_all_at_once) {
    char *dir = golden_dir(_i);
    if (dir)
        check_case(_i, dir);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("families_decode");
    TCase *t = tcase_create("families_decode");
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, step_by_step_is_all_at_once, 0, GOLDEN_CASES);
    suite_add_tcase(s, t);
    return run_suite(s);
}
