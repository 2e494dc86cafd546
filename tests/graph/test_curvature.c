/* SPDX-License-Identifier: Apache-2.0 */
/* Curvatures as they are read back, against sums over what the gradient's taps show: of linears,
 * and of experts, which share theirs, kept as second moments and as gradients. The mixture is in
 * the shared data. */
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

enum { MOST = 128, TOKENS = 128, TIMES = 8 };

/* A case's tokens, in two windows, several times; 0: a quarter of them, once. */
struct windows {
    int32_t ids[TIMES * TOKENS];
    int64_t offsets[2 * TIMES + 1], count, tokens;
};

/* The sums of one linear, or of one that all experts have. */
struct wanted {
    struct linear_place at;
    double B[MOST * MOST], weights[TIMES * TOKENS];
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

static struct windows cut(const struct golden *g, int times) {
    const int64_t all = g->corpus.tokens_used / (times ? 1 : 4);
    times = times ? times : 1;
    struct windows w = {.count = 2 * times, .tokens = times * all};
    ck_assert(all <= TOKENS && times <= TIMES);
    for (int i = 0; i < times; i++) {
        memcpy(w.ids + i * all, g->corpus.ids, (size_t)all * sizeof *w.ids);
        w.offsets[2 * i + 1] = i * all + all / 2;
        w.offsets[2 * i + 2] = i * all + all;
    }
    return w;
}

static void find_wanted(const struct golden *g, const struct windows *windows, struct wanted *w) {
    const struct loss loss = {.kind = LOSS_DRAWN, .seed = 9};
    double losses[TIMES * TOKENS];
    struct backward_result out = {.loss = losses};
    llmq_error err = {0};
    const struct backward_job job = {.m = &g->model,
                                     .ids = windows->ids,
                                     .offsets = windows->offsets,
                                     .count = windows->count,
                                     .loss = &loss,
                                     .taps = {.c = w, .linear = see}};
    ck_assert_ok(backward_run(&job, &out, &err), &err);
}

/* All but those of block 0's first linear. */
static bool wants(const void *c, struct linear_place at) {
    const struct golden *g = c;
    return at.block > 0 || at.node != model_graph(&g->model, 0)->linear[0];
}

static void collect(const struct golden *g, const struct windows *windows, const char *dir) {
    llmq_error err = {0};
    const struct curvature_job job = {.m = &g->model,
                                      .ids = windows->ids,
                                      .offsets = windows->offsets,
                                      .count = windows->count,
                                      .seed = 9,
                                      .wants = wants,
                                      .c = g,
                                      .dir = dir};
    ck_assert_ok(dir_make(dir, false, &err), &err);
    ck_assert_ok(curvature_collect(&job, &err), &err);
}

static bool any_ends(const struct st_set *set, const char *suffix) {
    bool any = false;
    for (size_t i = 0; i < st_count(set); i++) {
        const char *name = st_at(set, i)->name;
        any = any || strcmp(name + strlen(name) - strlen(suffix), suffix) == 0;
    }
    return any;
}

/* A gradient in bfloat16 has 8 bits. */
static void check_linear(const struct golden *g, const struct windows *windows,
                         const struct st_set *set, struct linear_place at) {
    static float B[MOST * MOST], weights[TIMES * TOKENS];
    struct wanted *w = calloc(1, sizeof *w);
    llmq_error err = {0};
    double most = 0;
    w->at = at;
    find_wanted(g, windows, w);
    const struct curvature_out out = {B, weights, windows->tokens};
    ck_assert_ok(curvature_read(set, &g->model, at, &out, &err), &err);
    ck_assert(w->rows > 0);
    const double bits = w->rows < 2 * w->n ? 1. / 128 : 1e-6;
    for (int64_t i = 0; i < w->n; i++)
        most = fmax(most, w->B[i * w->n + i] / (double)w->rows);
    for (int64_t i = 0; i < w->n * w->n; i++)
        ck_assert_near(B[i], w->B[i] / (double)w->rows, bits * most);
    for (int64_t i = 0; i < w->n * w->n; i++)
        ck_assert(B[i] == B[i % w->n * w->n + i / w->n]);
    for (int64_t t = 0; t < windows->tokens; t++)
        ck_assert_near(weights[t], w->weights[t], 1e-5 * w->weights[t]);
    free(w);
}

static void check_case(const char *dir, int times) {
    struct golden g = {0};
    struct st_set *set = NULL;
    llmq_error err = {0};
    char *folder = path_join(scratch_path(""), "curvatures", NULL);
    ck_assert_ok(golden_open(dir, "config.json", &g, &err), &err);
    const struct windows windows = cut(&g, times);
    collect(&g, &windows, folder);
    ck_assert_ok(st_open_dir(folder, &set, &err), &err);
    ck_assert(any_ends(set, ".output_gradients") == (times <= 1));
    ck_assert(any_ends(set, ".output_curvature") || times <= 1);
    const struct graph *block = model_graph(&g.model, 1);
    check_linear(&g, &windows, set, (struct linear_place){1, block->linear[0], -1});
    check_linear(&g, &windows, set,
                 (struct linear_place){0, model_graph(&g.model, 0)->linear[2], -1});
    if (block->body)
        check_linear(&g, &windows, set, (struct linear_place){1, block->body->linear[1], 2});
    float B[1];
    const struct curvature_out unasked = {B, NULL, 0};
    ck_assert_fails(
        curvature_read(set, &g.model,
                       (struct linear_place){0, model_graph(&g.model, 0)->linear[0], -1}, &unasked,
                       &err),
        LLMQ_E_INPUT, "found none", &err);
    const struct curvature_out wrong = {NULL, NULL, 1};
    float one = 0;
    struct curvature_out short_of = wrong;
    short_of.weights = &one;
    ck_assert_fails(curvature_read(set, &g.model, (struct linear_place){1, block->linear[0], -1},
                                   &short_of, &err),
                    LLMQ_E_INPUT, "token_weights", &err);
    st_close(&set);
    golden_close(&g);
    free(folder);
}

START_TEST(curvatures_are_moments_of_gradients) {
    char *dir = _i < 2 ? source_path("tests/golden/qwen3") : shared_path("golden/mixtral");
    if (dir)
        check_case(dir, _i == 4 ? 0 : _i % 2 ? TIMES : 1);
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
    const struct windows windows = cut(&g, 1);
    for (int i = 0; i < 2; i++) {
        char *folder = path_join(scratch_path(""), i ? "three" : "one", NULL);
        char *file = path_join(folder, "model.safetensors", NULL);
        omp_set_num_threads(i ? 3 : 1);
        collect(&g, &windows, folder);
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
    tcase_add_loop_test(t, curvatures_are_moments_of_gradients, 0, 5);
    tcase_add_test(t, threads_change_no_byte);
    suite_add_tcase(s, t);
    return run_suite(s);
}
