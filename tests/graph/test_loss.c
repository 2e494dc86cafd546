/* SPDX-License-Identifier: Apache-2.0 */
/* Losses of predictions and their gradients towards what the head reads: against evaluation's,
 * against differences, and each other. Models whose heads have a bias, a cap or a factor, and one
 * whose vocabulary takes several panels, are in the shared data. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_case.h"
#include "graph/loss.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "ops_check.h"
#include "support.h"

enum { ROWS = 260 };

struct trial {
    struct model m;
    struct loss loss;
    struct loss_head head;
    float *x, *dx; /* [ROWS, hidden] */
    int32_t label[ROWS];
    double losses[ROWS];
    int64_t rows; /* ROWS, or few where the vocabulary is large */
    bool open;
};

static const char *const models[] = {"golden/gemma2", "golden/phi", "golden/cohere",
                                     "models/stories15M"};
enum { MODELS = 1 + sizeof models / sizeof models[0] };

/* One of the models, with numbers for what its head reads; not open where it is absent. */
static void trial_open(int i, struct loss loss, struct trial *t) {
    llmq_error err = {0};
    char *dir = i == 0 ? source_path("tests/golden/qwen3") : shared_path(models[i - 1]);
    *t = (struct trial){.loss = loss, .open = dir != NULL};
    if (!dir)
        return;
    ck_assert_ok(model_open(dir, &t->m, &err), &err);
    free(dir);
    t->rows = t->m.config.vocab > 1000 ? 20 : ROWS;
    ck_assert_ok(loss_create(&t->m, &t->loss, ROWS, &t->head, &err), &err);
    t->x = grid_row(1, ROWS * t->m.config.hidden, 1);
    t->dx = random_row(2, ROWS * t->m.config.hidden, 1);
    for (int r = 0; r < ROWS; r++)
        t->label[r] = r % 7 == 6 ? -1 : (int32_t)(r * 7919 % t->m.config.vocab);
}

static void trial_close(struct trial *t) {
    free(t->x), free(t->dx);
    loss_free(&t->head);
    model_close(&t->m);
}

static double run(struct trial *t) {
    const struct loss_rows rows = {40, t->rows, t->label, t->x, t->dx, t->losses};
    llmq_error err = {0};
    double sum = 0;
    ck_assert_ok(loss_back(&t->head, &rows, &err), &err);
    for (int64_t r = 0; r < t->rows; r++)
        sum += t->losses[r];
    return sum;
}

/* A teacher that prefers some numbers, to another degree for each token. */
static double teacher_logit(int64_t token, int64_t column) {
    return -(1 + (double)(token % 3)) * (double)(column % 37) / 10;
}

static enum llmq_status teach(void *c, const struct loss_panel *at, float *logprobs,
                              llmq_error *err) {
    const struct model *m = c;
    double sum[3] = {0};
    (void)err;
    for (int64_t k = 0; k < 3; k++)
        for (int64_t i = 0; i < m->config.vocab; i++)
            sum[k] += exp(teacher_logit(k, i));
    for (int64_t r = 0; r < at->rows; r++) {
        const double all = log(sum[(at->begin + r) % 3]);
        for (int64_t i = 0; i < at->columns; i++)
            logprobs[r * at->columns + i] =
                (float)(teacher_logit(at->begin + r, at->first + i) - all);
    }
    return LLMQ_OK;
}

static double loss_at(struct trial *t, float step) {
    const int64_t count = t->rows * t->m.config.hidden;
    for (int64_t i = 0; i < count; i++)
        t->x[i] += i % 3 == 0 ? step : -step;
    const double loss = run(t);
    for (int64_t i = 0; i < count; i++)
        t->x[i] -= i % 3 == 0 ? step : -step;
    return loss;
}

/* Along a way on which all entries move, by differences of fourth order; the logits are float32. */
static void check_slope(struct trial *t) {
    const float h = 1.0F / 256;
    double along = 0;
    const double near = loss_at(t, h) - loss_at(t, -h),
                 wide = loss_at(t, 2 * h) - loss_at(t, -2 * h);
    (void)run(t);
    for (int64_t i = 0; i < t->rows * t->m.config.hidden; i++)
        along += i % 3 == 0 ? (double)t->dx[i] : -(double)t->dx[i];
    ck_assert_near((8 * near - wide) / (12 * (double)h), along, 1e-3 * fabs(along) + 0.02);
}

START_TEST(gradients_of_labels_and_of_a_teacher) {
    for (int kind = 0; kind < 2; kind++) {
        struct trial t;
        trial_open(_i, (struct loss){.kind = kind ? LOSS_TEACHER : LOSS_LABELS, .teacher = teach},
                   &t);
        if (!t.open)
            return;
        t.loss.c = &t.m;
        check_slope(&t);
        for (int64_t i = 0; i < t.m.config.hidden; i++) /* a token without a label */
            ck_assert_near(t.dx[6 * t.m.config.hidden + i], 0, 0);
        ck_assert_near(t.losses[6], 0, 0);
        trial_close(&t);
    }
}
END_TEST

/* Labels that were drawn, given as labels, are the same loss; others come with another seed. */
START_TEST(drawn_labels_are_labels) {
    struct trial drawn, same;
    int64_t differ = 0;
    trial_open(_i, (struct loss){.kind = LOSS_DRAWN, .seed = 3}, &drawn);
    if (!drawn.open)
        return;
    trial_open(_i, (struct loss){.kind = LOSS_LABELS}, &same);
    (void)run(&drawn);
    for (int64_t r = 0; r < drawn.rows; r++)
        same.label[r] = same.label[r] < 0 ? -1 : drawn.head.drawn[r];
    (void)run(&same);
    ck_assert_same(drawn.dx, same.dx, drawn.rows * drawn.m.config.hidden);
    ck_assert(memcmp(drawn.losses, same.losses, (size_t)drawn.rows * sizeof(double)) == 0);
    drawn.loss.seed = 4;
    (void)run(&drawn);
    for (int64_t r = 0; r < drawn.rows; r++)
        differ += drawn.head.drawn[r] != same.label[r];
    ck_assert(differ > drawn.rows / 4);
    trial_close(&drawn);
    trial_close(&same);
}
END_TEST

/* What a token's loss is on average when its label is drawn is the entropy of its predictions: that
 * of the teacher they are, whose divergence is 0. Labels come as often as they are probable. */
START_TEST(labels_are_drawn_as_often_as_they_are_probable) {
    struct trial t;
    enum { RUNS = 30 };
    double mean = 0, square = 0, entropy = 0;
    trial_open(0, (struct loss){.kind = LOSS_DRAWN}, &t);
    for (int r = 1; r < ROWS; r++)
        memcpy(t.x + r * t.m.config.hidden, t.x, (size_t)t.m.config.hidden * sizeof *t.x);
    for (int r = 0; r < ROWS; r++)
        t.label[r] = 0;
    for (int i = 0; i < RUNS; i++) {
        t.loss.seed = (uint64_t)i;
        (void)run(&t);
        for (int r = 0; r < ROWS; r++) {
            mean += t.losses[r] / (RUNS * ROWS);
            square += t.losses[r] * t.losses[r] / (RUNS * ROWS);
        }
    }
    t.loss.kind = LOSS_LABELS;
    for (int32_t v = 0; v < t.m.config.vocab; v++) {
        t.label[0] = v;
        (void)run(&t);
        entropy += exp(-t.losses[0]) * t.losses[0];
    }
    ck_assert_near(mean, entropy, 4 * sqrt((square - mean * mean) / (RUNS * ROWS)));
    trial_close(&t);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("loss");
    TCase *t = tcase_create("loss");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_add_loop_test(t, gradients_of_labels_and_of_a_teacher, 0, MODELS);
    tcase_add_loop_test(t, drawn_labels_are_labels, 0, MODELS);
    tcase_add_test(t, labels_are_drawn_as_often_as_they_are_probable);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
