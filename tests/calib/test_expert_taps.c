/* SPDX-License-Identifier: Apache-2.0 */
/* Experts against the reference: where their tokens go and with which weights, and the Hessian of
 * every linear of a block of Mixtral, of DeepSeek V3, of Granite 4, which has Mamba-2, and of
 * Qwen3-Next: its delta rule, its gated attention. The taps are in the shared data. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/calib.h"
#include "expert_taps.h"
#include "graph/pass.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

#define TAP_GATE    1e-5 /* relative, Frobenius norm */
#define WEIGHT_GATE 1e-5

/* A block, and what the taps call the first linears and the last one of its experts; NULL: they say
 * nothing of its experts. */
static const struct scene {
    const char *model;
    int64_t block;
    const char *input, *first, *last;
} scenes[] = {
    {"mixtral", 0, "X.gate", "w1", "w2"},
    {"deepseek-v3", 1, "X.model.layers.1.mlp.gate", "gate_proj", "down_proj"},
    {"granitemoehybrid", 0, "X.model.layers.0.block_sparse_moe.router.layer", "input_linear",
     "output_linear"},
    {"qwen3-next", 0, "X.model.layers.0.mlp.gate", "gate_proj", "down_proj"},
    {"qwen3-next", 1, NULL, NULL, NULL},
};
enum { SCENES = sizeof scenes / sizeof scenes[0] };

struct fixture {
    const struct scene *scene;
    struct expert_taps taps;
    struct model model;
    struct arena *weights;
    int64_t offsets[2];
    struct calib_tokens tokens;
};

/* False: the data is not here. */
static bool fixture_open(const struct scene *scene, struct fixture *f) {
    llmq_error err = {0};
    char path[64];
    snprintf(path, sizeof path, "golden/%s-taps", scene->model);
    char *taps = shared_path(path);
    snprintf(path, sizeof path, "golden/%s", scene->model);
    char *dir = shared_path(path);
    if (taps && dir) {
        *f = (struct fixture){.scene = scene};
        expert_taps_open(taps, &f->taps);
        ck_assert_ok(model_open(dir, &f->model, &err), &err);
        ck_assert_ok(arena_create("weights", &f->weights, &err), &err);
        f->offsets[1] = f->taps.tokens;
        f->tokens = (struct calib_tokens){f->taps.ids, f->offsets, 1, 0};
    }
    const bool here = taps && dir;
    free(taps);
    free(dir);
    return here;
}

static void fixture_close(struct fixture *f) {
    expert_taps_close(&f->taps);
    model_close(&f->model);
    arena_free(&f->weights);
}

/* The scene's block at its beginning. */
static void reach(struct fixture *f, struct calib *c, struct block *block) {
    llmq_error err = {0};
    for (int64_t i = 0; i <= f->scene->block; i++) {
        if (i > 0) {
            ck_assert_ok(calib_end_block(c, &err), &err);
            block_release(block);
            arena_reset(f->weights);
        }
        ck_assert_ok(block_load(&f->model, i, LOAD_PLAIN, f->weights, block, &err), &err);
        calib_begin_block(c, block, NULL);
    }
}

static void start(struct fixture *f, struct calib **c) {
    llmq_error err = {0};
    const struct calib_options options = {.expert_tokens = 1};
    ck_assert_ok(calib_create(&f->model, &f->tokens, &options, NULL, c, &err), &err);
}

/* --- Hessians --------------------------------------------------------------------------------- */

static void check_hessian(const struct fixture *f, const char *tensor,
                          const struct calib_moments *m, int *compared) {
    const double error = expert_taps_error(&f->taps, tensor, m->H, m->k, m->k);
    ck_assert_msg(error <= TAP_GATE, "%s, %s: %g", f->scene->model, tensor, error);
    ++*compared;
}

static void check_expert(const struct fixture *f, const struct calib_task *task, int *compared) {
    char tensor[64];
    int64_t sent = 0;
    if (!f->scene->first)
        return;
    for (int64_t t = 0; t < f->taps.tokens; t++)
        sent += expert_taps_sent(&f->taps, t, task->expert);
    ck_assert_int_eq(task->tokens, sent);
    ck_assert_int_eq(task->borrowed, 0);
    snprintf(tensor, sizeof tensor, "H.%d.%s", (int)task->expert,
             task->linears->source == V_E ? f->scene->first : f->scene->last);
    check_hessian(f, tensor, &task->moments, compared);
}

/* The first linear of the task that the taps have. */
static void check_block(const struct fixture *f, const struct calib_task *task, int *compared) {
    char module[MODEL_NAME_MAX], name[128];
    for (int i = 0; i < task->graph->count; i++) {
        if (!(task->linears->nodes >> i & 1))
            continue;
        const char *tensor = expert_taps_find(
            &f->taps, model_node_name(&f->model, f->scene->block, i, "", module), name);
        if (tensor) {
            check_hessian(f, tensor, &task->moments, compared);
            return;
        }
    }
}

/* How many Hessians the taps have of the scene's block. */
static int64_t hessians_there(const struct fixture *f) {
    const struct json *list = json_get(f->taps.facts, "taps");
    int64_t count = f->scene->first ? 2 * f->taps.experts : 0, block = 0;
    const char *rest = NULL;
    for (const struct json *tap = json_first(list); tap; tap = json_next(tap))
        count += family_block_of(f->model.config.family, json_key(tap), &block, &rest) &&
                 block == f->scene->block;
    return count;
}

START_TEST(hessians_equal_the_taps) {
    llmq_error err = {0};
    struct fixture f;
    struct calib *c = NULL;
    struct block block;
    int compared = 0;
    if (!fixture_open(&scenes[_i], &f))
        return;
    start(&f, &c);
    reach(&f, c, &block);
    for (struct calib_task task;;) {
        ck_assert_ok(calib_next(c, &task, &err), &err);
        if (!task.linears)
            break;
        if (task.expert < 0)
            check_block(&f, &task, &compared);
        else
            check_expert(&f, &task, &compared);
    }
    ck_assert_int_gt(compared, 0);
    ck_assert_int_eq(compared, hessians_there(&f));
    ck_assert_ok(calib_end_block(c, &err), &err);
    block_release(&block);
    calib_free(&c);
    fixture_close(&f);
}
END_TEST

/* --- routes ----------------------------------------------------------------------------------- */

/* What the experts read, X [T, hidden], and the weights [T, experts] that the router gives. */
static void route(struct fixture *f, const struct block *block, float *x, float *X,
                  float *weights) {
    llmq_error err = {0};
    struct schedule schedule;
    struct forward forward = {0};
    const int64_t T = f->taps.tokens;
    const struct batch all = {f->offsets, 1};
    struct homes homes = {.count = 3};
    homes.of[V_X] = 1;
    homes.of[V_MLP_IN] = 2;
    homes.of[V_ROUTE] = 3;
    schedule_make(block->graph, value_set_of(V_X), value_set_with(value_set_of(V_MLP_IN), V_ROUTE),
                  &homes, &schedule);
    const struct forward_size size = {T, T, schedule.width, LLMQ_COMPUTE_F32};
    const struct pass pass = {&forward, &schedule, block, &all, {NULL, x, X, weights}};
    ck_assert_ok(forward_create(&f->model.config, f->model.blocks, &size, &forward, &err), &err);
    ck_assert_ok(pass_run(&pass, &err), &err);
    forward_free(&forward);
}

static void check_weights(const struct fixture *f, const float *weights) {
    for (int64_t t = 0; t < f->taps.tokens; t++)
        for (int64_t e = 0; e < f->taps.experts; e++) {
            const double found = (double)weights[t * f->taps.experts + e];
            const double expected = expert_taps_weight(&f->taps, t, e);
            ck_assert_msg((found != 0) == expert_taps_sent(&f->taps, t, e),
                          "token %d, expert %d: %g", (int)t, (int)e, found);
            ck_assert_msg(isnan(expected) || fabs(found - expected) <= WEIGHT_GATE,
                          "token %d, expert %d: %g, not %g", (int)t, (int)e, found, expected);
        }
}

/* The residual stream where the scene's block begins. */
static void residual_before(struct fixture *f, struct block *block, float *x) {
    llmq_error err = {0};
    struct calib *c = NULL;
    const struct batch all = {f->offsets, 1};
    start(f, &c);
    reach(f, c, block);
    if (f->scene->block > 0)
        ck_assert_ok(calib_residual(c, x, &err), &err);
    else
        ck_assert_ok(model_embed(&f->model, f->taps.ids, &all, x, &err), &err);
    calib_free(&c);
}

START_TEST(tokens_go_where_the_reference_sends_them) {
    struct fixture f;
    struct block block;
    if (!scenes[_i].input || !fixture_open(&scenes[_i], &f))
        return;
    const int64_t T = f.taps.tokens, hidden = f.model.config.hidden;
    float *x = calloc((size_t)(T * hidden), sizeof *x),
          *X = calloc((size_t)(T * hidden), sizeof *X);
    float *weights = calloc((size_t)(T * f.taps.experts), sizeof *weights);
    residual_before(&f, &block, x);
    route(&f, &block, x, X, weights);
    ck_assert_double_le(expert_taps_error(&f.taps, f.scene->input, X, T, hidden), TAP_GATE);
    check_weights(&f, weights);
    free(x);
    free(X);
    free(weights);
    block_release(&block);
    fixture_close(&f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("expert taps");
    TCase *t = tcase_create("expert taps");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_add_loop_test(t, hessians_equal_the_taps, 0, SCENES);
    tcase_add_loop_test(t, tokens_go_where_the_reference_sends_them, 0, SCENES);
    suite_add_tcase(s, t);
    return run_suite(s);
}
