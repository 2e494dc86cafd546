/* SPDX-License-Identifier: Apache-2.0 */
/* Curvatures as they are read back, against sums over what the gradient's taps show: of linears,
 * and of experts, which share theirs. The mixture is in the shared data. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/loaders/model_folder.h"
#include "golden_case.h"
#include "graph/backward.h"
#include "graph/curvature.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "ops_check.h"
#include "support.h"

enum { MOST = 128, TOKENS = 128 };

/* The sums of one linear, or of one that all experts have. */
struct wanted {
    struct linear_place at;
    double B[MOST * MOST], weights[TOKENS];
    int64_t n, rows;
};

static enum llmq_status see(void *c, const struct linear_slope *s, llmq_error *err) {
    struct wanted *w = c;
    (void)err;
    if (s->block != w->at.block || s->node != w->at.node || (s->expert < 0) != (w->at.expert < 0))
        return LLMQ_OK;
    ck_assert(s->n <= MOST);
    w->n = s->n;
    w->rows += s->rows;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t i = 0; i < s->n; i++) {
            const double g = (double)s->g[r * s->n + i];
            w->weights[s->begin + (s->row ? s->row[r] : r)] += g * g;
            for (int64_t j = 0; j < s->n; j++)
                w->B[i * s->n + j] += g * (double)s->g[r * s->n + j];
        }
    return LLMQ_OK;
}

static const int64_t *cut(const struct golden *g) {
    static int64_t offsets[3];
    offsets[1] = g->corpus.tokens_used / 2;
    offsets[2] = g->corpus.tokens_used;
    return offsets;
}

static void find_wanted(const struct golden *g, struct wanted *w) {
    const struct loss loss = {.kind = LOSS_DRAWN, .seed = 9};
    double losses[TOKENS];
    struct backward_result out = {.loss = losses};
    llmq_error err = {0};
    const struct backward_job job = {.m = &g->model,
                                     .ids = g->corpus.ids,
                                     .offsets = cut(g),
                                     .count = 2,
                                     .loss = &loss,
                                     .taps = {.c = w, .linear = see}};
    ck_assert_ok(backward_run(&job, &out, &err), &err);
}

static void collect(const struct golden *g, const char *dir) {
    llmq_error err = {0};
    const struct curvature_job job = {
        .m = &g->model, .ids = g->corpus.ids, .offsets = cut(g), .count = 2, .seed = 9, .dir = dir};
    ck_assert_ok(dir_make(dir, false, &err), &err);
    ck_assert_ok(curvature_collect(&job, &err), &err);
}

static void check_linear(const struct golden *g, const struct st_set *set, struct linear_place at) {
    static float B[MOST * MOST], weights[TOKENS];
    struct wanted *w = calloc(1, sizeof *w);
    llmq_error err = {0};
    double most = 0;
    w->at = at;
    find_wanted(g, w);
    const struct curvature_out out = {B, weights, g->corpus.tokens_used};
    ck_assert_ok(curvature_read(set, &g->model, at, &out, &err), &err);
    ck_assert(w->rows > 0);
    for (int64_t i = 0; i < w->n; i++)
        most = fmax(most, w->B[i * w->n + i] / (double)w->rows);
    for (int64_t i = 0; i < w->n * w->n; i++)
        ck_assert_near(B[i], w->B[i] / (double)w->rows, 1e-6 * most);
    for (int64_t t = 0; t < g->corpus.tokens_used; t++)
        ck_assert_near(weights[t], w->weights[t], 1e-5 * w->weights[t]);
    free(w);
}

static void check_case(const char *dir) {
    struct golden g = {0};
    struct st_set *set = NULL;
    llmq_error err = {0};
    char *folder = path_join(scratch_path(""), "curvatures", NULL);
    ck_assert_ok(golden_open(dir, "config.json", &g, &err), &err);
    ck_assert(g.corpus.tokens_used <= TOKENS);
    collect(&g, folder);
    ck_assert_ok(st_open_dir(folder, &set, &err), &err);
    const struct graph *block = model_graph(&g.model, 1);
    check_linear(&g, set, (struct linear_place){1, block->linear[0], -1});
    check_linear(&g, set, (struct linear_place){0, model_graph(&g.model, 0)->linear[2], -1});
    if (block->body)
        check_linear(&g, set, (struct linear_place){1, block->body->linear[1], 2});
    const struct curvature_out wrong = {NULL, NULL, 1};
    float one = 0;
    struct curvature_out short_of = wrong;
    short_of.weights = &one;
    ck_assert_fails(curvature_read(set, &g.model, (struct linear_place){0, block->linear[0], -1},
                                   &short_of, &err),
                    LLMQ_E_INPUT, "token_weights", &err);
    st_close(&set);
    golden_close(&g);
    free(folder);
}

START_TEST(curvatures_are_moments_of_gradients) {
    char *dir = _i == 0 ? source_path("tests/golden/qwen3") : shared_path("golden/mixtral");
    if (dir)
        check_case(dir);
    free(dir);
}
END_TEST

START_TEST(threads_change_no_byte) {
    struct golden g = {0};
    llmq_error err = {0};
    char *dir = source_path("tests/golden/qwen3"), *data[2];
    size_t len[2];
    const int before = omp_get_max_threads();
    ck_assert_ok(golden_open(dir, "config.json", &g, &err), &err);
    for (int i = 0; i < 2; i++) {
        char *folder = path_join(scratch_path(""), i ? "three" : "one", NULL);
        char *file = path_join(folder, "model.safetensors", NULL);
        omp_set_num_threads(i ? 3 : 1);
        collect(&g, folder);
        ck_assert_ok(file_read(file, 100000000, &data[i], &len[i], &err), &err);
        free(folder), free(file);
    }
    omp_set_num_threads(before);
    ck_assert_uint_eq(len[0], len[1]);
    ck_assert(memcmp(data[0], data[1], len[0]) == 0);
    free(data[0]), free(data[1]), free(dir);
    golden_close(&g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("curvature");
    TCase *t = tcase_create("curvature");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, curvatures_are_moments_of_gradients, 0, 2);
    tcase_add_test(t, threads_change_no_byte);
    suite_add_tcase(s, t);
    return run_suite(s);
}
