/* SPDX-License-Identifier: Apache-2.0 */
/* The pair of streams: cross moments against sums in double precision over activations that the
 * forward pass computes by itself, and the windows held back against a run over those alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/calib.h"
#include "graph/pass.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

/* Windows of 64 tokens make three batches: 64, 64 and 2 windows. Of every 16 one is held back: the
 * last four of the first batch and of the second. */
enum { LENGTH = 64, WINDOWS = 130, BATCH = 64, HELD = 4, TOKENS = LENGTH * WINDOWS };

#define GATE 1e-4 /* relative, Frobenius norm */

struct fixture {
    struct model model;
    struct arena *weights;
    struct block block, original;
    int32_t ids[TOKENS];
    int64_t offsets[WINDOWS + 1];
    struct calib_tokens tokens;
};

/* Block 0, and the same with other weights in every linear. */
static void fixture_open(struct fixture *f) {
    llmq_error err = {0};
    uint64_t state = 7;
    char *dir = source_path("tests/golden/llama-base");
    ck_assert_ok(model_open(dir, &f->model, &err), &err);
    ck_assert_ok(arena_create("weights", &f->weights, &err), &err);
    for (int64_t i = 0; i < TOKENS; i++)
        f->ids[i] = (int32_t)(random_next(&state) % (uint64_t)f->model.config.vocab);
    for (int64_t i = 0; i <= WINDOWS; i++)
        f->offsets[i] = i * LENGTH;
    f->tokens = (struct calib_tokens){f->ids, f->offsets, WINDOWS, 0};
    ck_assert_ok(block_load(&f->model, 0, LOAD_PLAIN, f->weights, &f->original, &err), &err);
    ck_assert_ok(block_load(&f->model, 0, LOAD_PLAIN, f->weights, &f->block, &err), &err);
    for (int node = 0; node < f->block.graph->count; node++) {
        const struct linear *l = &f->block.node[node].linear;
        for (int64_t i = 0; i < l->n * l->k; i++)
            l->w[i] *= 0.8F + 0.4F * (float)(random_next(&state) % 1000) / 1000;
    }
    free(dir);
}

static void fixture_close(struct fixture *f) {
    block_release(&f->block);
    block_release(&f->original);
    arena_free(&f->weights);
    model_close(&f->model);
}

static void start_with(struct fixture *f, const struct calib_options *how, struct calib **c) {
    llmq_error err = {0};
    struct calib_options options = *how;
    options.paired = true;
    ck_assert_ok(calib_create(&f->model, &f->tokens, &options, NULL, c, &err), &err);
    calib_begin_block(*c, &f->block, &f->original);
}

static void start(struct fixture *f, struct calib **c) {
    start_with(f, &(struct calib_options){0}, c);
}

/* The next task of the block, which is there. */
static const struct graph_task *next(struct calib *c, struct calib_moments *m) {
    llmq_error err = {0};
    struct calib_task task;
    ck_assert_ok(calib_next(c, &task, &err), &err);
    ck_assert_ptr_nonnull(task.linears);
    *m = task.moments;
    return task.linears;
}

/* What a block makes of all windows: X [T, ..], what the linears of the task read, and S [T,
 * hidden], the stream that they add to, in buffers of the caller. */
static void pass_to(struct fixture *f, const struct block *block, enum value source,
                    enum value stream, float *X, float *S) {
    llmq_error err = {0};
    struct forward forward = {0};
    struct schedule schedule;
    struct homes homes = {.count = 2};
    const struct batch all = {f->offsets, WINDOWS};
    homes.of[V_X] = homes.of[stream] = 1;
    homes.of[source] = 2;
    schedule_make(block->graph, value_set_of(V_X), value_set_with(value_set_of(source), stream),
                  &homes, &schedule);
    const struct forward_size size = {TOKENS, LENGTH, schedule.width, LLMQ_COMPUTE_F32};
    const struct pass pass = {&forward, &schedule, block, &all, {NULL, S, X}};
    ck_assert_ok(forward_create(&f->model.config, f->model.blocks, &size, &forward, &err), &err);
    ck_assert_ok(model_embed(&f->model, f->ids, &all, S, &err), &err);
    ck_assert_ok(pass_run(&pass, &err), &err);
    forward_free(&forward);
}

/* ||M - (2/T) (A - B)^T X|| / ||the same||, A and B [T, width], X [T, k]; a sum of zero counts by
 * itself; B NULL: 0. */
static double moment_error(const float *M, const float *A, const float *B, int64_t width,
                           const float *X, int64_t k, int64_t T) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < width; i++)
        for (int64_t j = 0; j < k; j++) {
            double sum = 0;
            for (int64_t t = 0; t < T; t++)
                sum += ((double)A[t * width + i] - (B ? (double)B[t * width + i] : 0)) *
                       (double)X[t * k + j];
            sum *= 2.0 / (double)T;
            difference += (sum - (double)M[i * k + j]) * (sum - (double)M[i * k + j]);
            norm += sum * sum;
        }
    return sqrt(norm > 0 ? difference / norm : difference);
}

START_TEST(cross_moments_are_sums_over_both_streams) {
    struct fixture f;
    struct calib *c = NULL;
    struct calib_moments m = {0};
    fixture_open(&f);
    int64_t k = model_graph(&f.model, 0)->width[V_CONTEXT];
    int64_t hidden = f.model.config.hidden;
    float *X = calloc((size_t)(TOKENS * k), sizeof *X),
          *Xo = calloc((size_t)(TOKENS * k), sizeof *X);
    float *S = calloc((size_t)(TOKENS * hidden), sizeof *S);
    start(&f, &c);
    ck_assert_int_eq(next(c, &m)->source, V_ATTN_IN);
    for (int64_t i = 0; i < m.k * m.k; i++) /* both streams begin alike */
        ck_assert(m.D[i] == 0);
    ck_assert_ptr_null(m.R);
    ck_assert_int_eq(next(c, &m)->source, V_CONTEXT);
    pass_to(&f, &f.original, V_CONTEXT, V_X, Xo, S);
    pass_to(&f, &f.block, V_CONTEXT, V_X, X, S);
    ck_assert_int_eq(m.k, k);
    ck_assert_double_le(moment_error(m.D, Xo, X, k, X, k, TOKENS), GATE);
    ck_assert_double_le(moment_error(m.R, S, S, hidden, X, k, TOKENS), GATE); /* still alike */
    calib_free(&c);
    fixture_close(&f);
    free(X);
    free(Xo);
    free(S);
}
END_TEST

START_TEST(the_residual_stream_is_repaired_where_it_is_added_to) {
    struct fixture f;
    struct calib *c = NULL;
    struct calib_moments m = {0};
    fixture_open(&f);
    int64_t hidden = f.model.config.hidden, k = f.model.config.facts.dims[DIM_FFN];
    float *S = calloc((size_t)(TOKENS * hidden), sizeof *S);
    float *So = calloc((size_t)(TOKENS * hidden), sizeof *S);
    float *X = calloc((size_t)(TOKENS * k), sizeof *X);
    start(&f, &c);
    for (int s = 0; s < f.model.blocks->kinds[0].task_count; s++)
        (void)next(c, &m);
    ck_assert_int_eq(m.k, k);
    pass_to(&f, &f.original, V_MID, V_Y, X, So);
    pass_to(&f, &f.block, V_MID, V_Y, X, S);
    ck_assert_double_le(moment_error(m.R, So, S, hidden, X, k, TOKENS), GATE);
    calib_free(&c);
    fixture_close(&f);
    free(S);
    free(So);
    free(X);
}
END_TEST

static double distance(const float *a, const float *b, int64_t count) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / norm);
}

static bool is_held(int64_t token) {
    const int64_t window = token / LENGTH;
    return window < 2 * BATCH && window % BATCH >= BATCH - HELD;
}

/* a - b [TOKENS, width] of the tokens that are held back, or of the others; the caller frees. */
static float *difference_of(bool held, const float *a, const float *b, int64_t width) {
    float *out = calloc((size_t)(TOKENS * width), sizeof *out), *row = out;
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t i = 0; is_held(t) == held && i < width; i++)
            *row++ = a[t * width + i] - (b ? b[t * width + i] : 0);
    return out;
}

/* What is handed out of A - B, [TOKENS, width]: the rows held back, and the moment with the X [, k]
 * of the others. */
static void check_parts(const float *rows, const float *M, const float *A, const float *B,
                        int64_t width, const float *X, int64_t k) {
    enum { HELD_ROWS = 2 * HELD * LENGTH, OTHERS = TOKENS - HELD_ROWS };
    float *held = difference_of(true, A, B, width), *others = difference_of(false, A, B, width);
    float *inputs = difference_of(false, X, NULL, k);
    ck_assert_double_le(distance(rows, held, HELD_ROWS * width), 1e-4);
    if (M)
        ck_assert_double_le(moment_error(M, others, NULL, width, inputs, k, OTHERS), GATE);
    free(held);
    free(others);
    free(inputs);
}

/* X^T X of the rows held back, where it is made. */
static void check_square(const struct calib_held *held, int64_t k) {
    double wrong = 0, norm = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) {
            double sum = 0;
            for (int64_t r = 0; r < held->count; r++)
                sum += (double)held->X[r * k + i] * (double)held->X[r * k + j];
            wrong += pow((double)held->square[i * k + j] - sum, 2);
            norm += sum * sum;
        }
    ck_assert_double_le(sqrt(wrong / norm), 1e-6);
}

START_TEST(rows_held_back_are_handed_out_and_leave_the_moments) {
    struct fixture f;
    struct calib *c = NULL;
    struct calib_moments m = {0};
    const struct graph_task *t = NULL;
    fixture_open(&f);
    const int64_t hidden = f.model.config.hidden, k = f.model.config.facts.dims[DIM_FFN];
    float *S = calloc((size_t)(TOKENS * hidden), sizeof *S);
    float *So = calloc((size_t)(TOKENS * hidden), sizeof *S);
    float *X = calloc((size_t)(TOKENS * k), sizeof *X);
    float *Xo = calloc((size_t)(TOKENS * k), sizeof *X);
    start_with(&f, &(struct calib_options){.hold_back = true}, &c);
    for (int s = 0; s < f.model.blocks->kinds[0].task_count; s++) {
        t = next(c, &m);
        ck_assert(!m.held.square == (m.WD != NULL)); /* which has the room, and no use for it */
        if (m.held.square)
            check_square(&m.held, m.k);
    }
    pass_to(&f, &f.original, t->source, t->stream, Xo, So);
    pass_to(&f, &f.block, t->source, t->stream, X, S);
    ck_assert_int_eq(m.held.count, 2 * HELD * LENGTH);
    check_parts(m.held.X, m.H, X, NULL, k, X, k);
    check_parts(m.held.lack, NULL, Xo, X, k, X, k);
    check_parts(m.held.stream_lack, m.R, So, S, hidden, X, k);
    free(S);
    free(So);
    free(X);
    free(Xo);
    calib_free(&c);
    fixture_close(&f);
}
END_TEST

/* A scale per channel, folded into the quantized side only. */
static void fold_mlp_input(struct fixture *f, const float *scales) {
    for (int64_t i = 0; i < f->model.config.hidden; i++)
        f->block.node[f->block.graph->producer[V_MLP_IN]].weight[i] /= scales[i];
    const enum value readers[] = {V_GATE, V_UP};
    for (int reader = 0; reader < 2; reader++) {
        const struct linear *l = &f->block.node[f->block.graph->producer[readers[reader]]].linear;
        for (int64_t i = 0; i < l->n * l->k; i++)
            l->w[i] *= scales[i % l->k];
    }
}

START_TEST(a_fold_divides_the_cross_moment_by_its_scales) {
    struct fixture f;
    struct calib *c = NULL, *folded = NULL;
    struct calib_moments m = {0}, n = {0};
    fixture_open(&f);
    int64_t k = f.model.config.hidden;
    float *scales = calloc((size_t)k, sizeof *scales), *expected = calloc((size_t)(k * k), 4);
    for (int64_t i = 0; i < k; i++)
        scales[i] = i % 3 ? 2.0F : 0.25F;
    start(&f, &c);
    for (int s = 0; s < 3; s++) /* to the input of gate and up */
        (void)next(c, &m);
    for (int64_t i = 0; i < k * k; i++)
        expected[i] = m.D[i] / (scales[i / k] * scales[i % k]);
    fold_mlp_input(&f, scales);
    start(&f, &folded);
    calib_scale_original(folded, V_MLP_IN, scales);
    for (int s = 0; s < 3; s++) /* to the input of gate and up */
        (void)next(folded, &n);
    ck_assert_double_le(distance(n.D, expected, k * k), 1e-5);
    calib_free(&c);
    calib_free(&folded);
    fixture_close(&f);
    free(scales);
    free(expected);
}
END_TEST

/* H, and D or what stands for it, bit by bit. */
static bool same_moments(const struct fixture *f, const struct calib_moments *a,
                         const struct calib_moments *b) {
    const size_t row = (size_t)a->k * sizeof *a->H, square = (size_t)a->k * row;
    const size_t multiplied = (size_t)f->model.config.hidden * row;
    if (a->k != b->k || !a->D != !b->D || memcmp(a->H, b->H, square) != 0)
        return false;
    return a->D ? memcmp(a->D, b->D, square) == 0 : memcmp(a->WD, b->WD, multiplied) == 0;
}

/* A pass that only looks forms the Hessian of one stream and leaves both where they were. */
START_TEST(looking_ahead_leaves_the_pair_alone) {
    llmq_error err = {0};
    struct fixture f;
    struct calib *c = NULL, *looked = NULL;
    struct calib_moments m = {0}, n = {0};
    fixture_open(&f);
    start(&f, &c);
    start(&f, &looked);
    ck_assert_ok(calib_keep_start(looked, NULL, &err), &err);
    ck_assert_ok(calib_mark_start(looked, &err), &err);
    for (int s = 0; s < f.model.blocks->kinds[0].task_count; s++) {
        (void)next(looked, &n);
        ck_assert(!n.D && !n.WD && !n.R && n.held.count == 0);
    }
    ck_assert_ok(calib_rewind(looked, &err), &err);
    for (int s = 0; s < f.model.blocks->kinds[0].task_count; s++) {
        (void)next(c, &m);
        (void)next(looked, &n);
        ck_assert(same_moments(&f, &m, &n));
    }
    calib_free(&c);
    calib_free(&looked);
    fixture_close(&f);
}
END_TEST

START_TEST(spilling_changes_no_bit) {
    struct fixture f;
    struct calib *c = NULL, *spilled = NULL;
    struct calib_moments a = {0}, b = {0};
    fixture_open(&f);
    start(&f, &c);
    start_with(&f, &(struct calib_options){.spill_dir = scratch_path("")}, &spilled);
    for (int s = 0; s < f.model.blocks->kinds[0].task_count; s++) {
        (void)next(c, &a);
        (void)next(spilled, &b);
        ck_assert(same_moments(&f, &a, &b));
    }
    calib_free(&c);
    calib_free(&spilled);
    fixture_close(&f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("pair");
    TCase *t = tcase_create("pair");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, cross_moments_are_sums_over_both_streams);
    tcase_add_test(t, the_residual_stream_is_repaired_where_it_is_added_to);
    tcase_add_test(t, rows_held_back_are_handed_out_and_leave_the_moments);
    tcase_add_test(t, a_fold_divides_the_cross_moment_by_its_scales);
    tcase_add_test(t, looking_ahead_leaves_the_pair_alone);
    tcase_add_test(t, spilling_changes_no_bit);
    suite_add_tcase(s, t);
    return run_suite(s);
}
