/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a model's loss against differences of the loss itself, family by family: along
 * random ways in what goes into the first block, in the norms and vectors of all blocks, and in the
 * weights of all linears outside of experts. The loss is that of float32 passes, its sum in double;
 * prints how far each case is off. Most cases are in the shared data. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_case.h"
#include "golden_list.h"
#include "graph/backward.h"
#include "graph/way_back.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

/* What moves: entry i of everything by `step` times a sign of its own, linears by a matrix of rank
 * one of signs. */
enum moved { MOVE_INPUT, MOVE_PARAMS, MOVE_LINEARS, MOVES };
static const char *const moved_names[] = {"input", "parameters", "linears"};

static float sign_of(uint64_t seed, int64_t i) {
    uint64_t state = seed * 1000003 + (uint64_t)i;
    (void)random_next(&state);
    return random_next(&state) >> 63 ? 1 : -1;
}

static void move(uint64_t seed, float step, int64_t count, float *x) {
    for (int64_t i = 0; i < count; i++)
        x[i] += step * sign_of(seed, i);
}

static uint64_t seed_of(int64_t block, int node, int what) {
    return (uint64_t)((block * GRAPH_NODES + node) * 16 + what + 1);
}

/* --- the loss, moved -------------------------------------------------------------------------- */

struct trial {
    const struct golden *g;
    struct way_room room;
    struct loss_head head;
    const struct loss *loss;
};

static void move_linears(struct block *b, float step) {
    for (int i = 0; i < b->graph->count; i++) {
        struct linear *l = &b->node[i].linear;
        if (b->graph->node[i].row->op != OP_LINEAR)
            continue;
        for (int64_t r = 0; r < l->n; r++)
            for (int64_t c = 0; c < l->k; c++)
                l->w[r * l->k + c] += step * sign_of(seed_of(b->index, i, 0), r) *
                                      sign_of(seed_of(b->index, i, 1), c);
    }
}

/* The tensors that way_params_show shows. */
static float *param_of(struct block *b, const struct graph_param *p) {
    struct params *node = &b->node[p->node];
    const enum op op = b->graph->node[p->node].row->op;
    if (op == OP_ATTENTION)
        return node->sinks;
    return p->vector                         ? node->vector[p->vector - 1]
           : strcmp(p->suffix, ".bias") == 0 ? node->bias
                                             : node->weight;
}

static bool is_shown(const struct block *b, const struct graph_param *p) {
    const enum op op = b->graph->node[p->node].row->op;
    return op == OP_NORM || op == OP_CONV || op == OP_SCALE || op == OP_ATTENTION ||
           op == OP_SCAN || op == OP_SELECTIVE || op == OP_DELTA || op == OP_DIFFER;
}

static void move_params(struct block *b, float step) {
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(b->graph, params);
    for (int i = 0; i < count; i++)
        if (is_shown(b, &params[i]))
            move(seed_of(b->index, i, 2), step, graph_param_entries(&params[i]),
                 param_of(b, &params[i]));
}

static double loss_moved(struct trial *t, enum moved what, float step) {
    const struct model *m = &t->g->model;
    const struct batch batch = {t->g->corpus.offsets, 1};
    const int64_t rows = t->g->corpus.tokens_used, stream = m->config.stream;
    llmq_error err = {0};
    struct arena *weights = NULL;
    float *x = malloc((size_t)(rows * stream) * sizeof *x),
          *d = malloc((size_t)(rows * stream) * sizeof *d);
    double *loss = malloc((size_t)rows * sizeof *loss), sum = 0;
    int32_t *label = malloc((size_t)rows * sizeof *label);
    ck_assert_ok(arena_create("a block", &weights, &err), &err);
    ck_assert_ok(model_embed(m, t->g->corpus.ids, &batch, x, &err), &err);
    if (what == MOVE_INPUT)
        move(1, step, rows * stream, x);
    for (int64_t i = 0; i < m->config.blocks; i++) {
        struct block block;
        const struct way w = {.room = &t->room, .block = &block, .batch = &batch};
        ck_assert_ok(block_load(m, i, LOAD_PLAIN, weights, &block, &err), &err);
        if (what == MOVE_PARAMS)
            move_params(&block, step);
        if (what == MOVE_LINEARS)
            move_linears(&block, step);
        ck_assert_ok(way_forth(&w, x, &err), &err);
        block_release(&block);
        arena_reset(weights);
    }
    ck_assert_ok(model_final_norm(m, rows, x, &err), &err);
    for (int64_t i = 0; i < rows; i++)
        label[i] = i + 1 < rows ? t->g->corpus.ids[i + 1] : -1;
    const struct loss_rows tokens = {0, rows, label, x, d, loss};
    ck_assert_ok(loss_back(&t->head, &tokens, &err), &err);
    for (int64_t i = 0; i < rows; i++)
        sum += loss[i];
    arena_free(&weights);
    free(x), free(d), free(loss), free(label);
    return sum;
}

/* --- the gradient along the same ways --------------------------------------------------------- */

static enum llmq_status see_linear(void *c, const struct linear_slope *s, llmq_error *err) {
    double *along = c;
    (void)err;
    for (int64_t r = 0; s->expert < 0 && r < s->rows; r++) {
        double g = 0, x = 0;
        for (int64_t i = 0; i < s->n; i++)
            g += (double)s->g[r * s->n + i] * (double)sign_of(seed_of(s->block, s->node, 0), i);
        for (int64_t i = 0; i < s->k; i++)
            x += (double)s->x[r * s->k + i] * (double)sign_of(seed_of(s->block, s->node, 1), i);
        along[MOVE_LINEARS] += g * x;
    }
    return LLMQ_OK;
}

/* Which of the block's tensors it is. */
struct seen {
    double along[MOVES];
    const struct model *m;
};

static enum llmq_status see_param(void *c, const struct param_slope *s, llmq_error *err) {
    struct seen *seen = c;
    struct graph_param params[GRAPH_PARAMS];
    const int count = graph_params(model_graph(seen->m, s->block), params);
    (void)err;
    for (int i = 0; i < count; i++) {
        if (params[i].node != s->param->node || strcmp(params[i].suffix, s->param->suffix) != 0)
            continue;
        for (int64_t e = 0; e < graph_param_entries(s->param); e++)
            seen->along[MOVE_PARAMS] += s->sum[e] * (double)sign_of(seed_of(s->block, i, 2), e);
    }
    return LLMQ_OK;
}

static struct backward_job job_of(const struct golden *g, const struct loss *loss,
                                  struct seen *seen) {
    return (struct backward_job){.m = &g->model,
                                 .ids = g->corpus.ids,
                                 .offsets = g->corpus.offsets,
                                 .count = g->corpus.count,
                                 .loss = loss,
                                 .taps = {seen, see_linear, see_param}};
}

static void find_slopes(const struct golden *g, const struct loss *loss, struct seen *seen) {
    const int64_t rows = g->corpus.tokens_used, stream = g->model.config.stream;
    const struct backward_job job = job_of(g, loss, seen);
    llmq_error err = {0};
    struct backward_result out = {.loss = calloc((size_t)rows, sizeof *out.loss),
                                  .embedding = calloc((size_t)(rows * stream), sizeof(float))};
    *seen = (struct seen){.m = &g->model};
    ck_assert_ok(backward_run(&job, &out, &err), &err);
    for (int64_t i = 0; i < rows * stream; i++)
        seen->along[MOVE_INPUT] += (double)out.embedding[i] * (double)sign_of(1, i);
    free(out.loss);
    free(out.embedding);
}

/* --- cases ------------------------------------------------------------------------------------ */

/* Of fourth order in the step. */
static double difference(struct trial *t, enum moved what, float h) {
    const double wide = loss_moved(t, what, 2 * h) - loss_moved(t, what, -2 * h);
    const double near = loss_moved(t, what, h) - loss_moved(t, what, -h);
    return (8 * near - wide) / (12 * (double)h);
}

/* Along a way from every key to every choice of keys there is nothing but jumps. */
static bool is_smooth(const struct golden *g, enum moved what) {
    bool indexed = false;
    for (int k = 0; k < g->model.blocks->kind_count; k++)
        indexed |= (g->model.blocks->kinds[k].traits & T_INDEXED) != 0;
    return !indexed || what != MOVE_INPUT;
}

static void check_slope(struct trial *t, const char *name, enum moved what, double slope) {
    double off = 0, bound = 0;
    for (float h = 1e-3F; h > 3e-6F; h /= 4) {
        off = fabs(slope - difference(t, what, h));
        bound = 2e-3 * fabs(slope) + 3e-5 / (double)h;
        if (off <= bound) {
            printf("  %s %.6g off by %.1e", moved_names[what], slope, off);
            return;
        }
    }
    ck_abort_msg("%s, %s: %g is off by %g, not %g", name, moved_names[what], slope, off, bound);
}

static void check_case(const char *name, const struct golden *g) {
    const struct loss loss = {.kind = LOSS_LABELS};
    const struct way_size size = {g->corpus.tokens_used, g->corpus.tokens_used};
    struct trial t = {.g = g, .loss = &loss};
    struct seen seen;
    llmq_error err = {0};
    ck_assert_ok(way_room_create(&g->model, &size, &t.room, &err), &err);
    t.room.forward.ids = g->corpus.ids;
    ck_assert_ok(loss_create(&g->model, &loss, size.max_rows, &t.head, &err), &err);
    find_slopes(g, &loss, &seen);
    printf("%-25s", name);
    for (int what = 0; what < MOVES; what++) {
        if (is_smooth(g, (enum moved)what))
            check_slope(&t, name, (enum moved)what, seen.along[what]);
    }
    printf("\n");
    way_room_free(&t.room);
    loss_free(&t.head);
}

START_TEST(slopes_of_the_case) {
    llmq_error err = {0};
    struct golden g = {0};
    char *dir = golden_dir(_i);
    if (!dir)
        return;
    ck_assert_ok(golden_open(dir, "config.json", &g, &err), &err);
    check_case(golden_cases[_i].name, &g);
    golden_close(&g);
    free(dir);
}
END_TEST

/* --- windows, threads, files ------------------------------------------------------------------ */

/* Everything that the taps see, in order. */
struct record {
    int64_t count, most;
    double *x;
};

static enum llmq_status record_linear(void *c, const struct linear_slope *s, llmq_error *err) {
    struct record *r = c;
    (void)err;
    ck_assert(r->count + s->rows * s->n <= r->most);
    for (int64_t i = 0; i < s->rows * s->n; i++)
        r->x[r->count++] = (double)s->g[i];
    return LLMQ_OK;
}

static enum llmq_status record_param(void *c, const struct param_slope *s, llmq_error *err) {
    struct record *r = c;
    const int64_t count = graph_param_entries(s->param);
    (void)err;
    ck_assert(r->count + count <= r->most);
    memcpy(r->x + r->count, s->sum, (size_t)count * sizeof *r->x);
    r->count += count;
    return LLMQ_OK;
}

enum { MOST = 4000000 };

static struct record record_run(const struct golden *g, const struct loss *loss,
                                const int64_t *offsets, const char *spill_dir) {
    struct record r = {.most = MOST, .x = malloc(MOST * sizeof *r.x)};
    llmq_error err = {0};
    double losses[512];
    struct backward_result out = {.loss = losses};
    const struct backward_job job = {.m = &g->model,
                                     .ids = g->corpus.ids,
                                     .offsets = offsets,
                                     .count = 2,
                                     .loss = loss,
                                     .taps = {&r, record_linear, record_param},
                                     .spill_dir = spill_dir};
    ck_assert_ok(backward_run(&job, &out, &err), &err);
    return r;
}

/* The case with its window cut in two. */
static void check_ways_to_run(const char *dir) {
    const struct loss loss = {.kind = LOSS_DRAWN, .seed = 5};
    struct golden g = {0};
    llmq_error err = {0};
    ck_assert_ok(golden_open(dir, "config.json", &g, &err), &err);
    const int64_t offsets[] = {0, g.corpus.tokens_used / 3, g.corpus.tokens_used};
    const int before = omp_get_max_threads();
    struct record runs[3];
    for (int i = 0; i < 3; i++) {
        omp_set_num_threads(i == 0 ? 1 : 3);
        runs[i] = record_run(&g, &loss, offsets, i == 2 ? scratch_path("") : NULL);
    }
    omp_set_num_threads(before);
    ck_assert(runs[0].count > 0);
    for (int i = 1; i < 3; i++) {
        ck_assert(runs[i].count == runs[0].count);
        ck_assert(memcmp(runs[i].x, runs[0].x, (size_t)runs[0].count * sizeof(double)) == 0);
    }
    for (int i = 0; i < 3; i++)
        free(runs[i].x);
    golden_close(&g);
}

START_TEST(neither_threads_nor_files_change_a_bit) {
    static const char *const cases[] = {"golden/qwen3-next", "golden/granitemoehybrid",
                                        "golden/gpt-oss", "golden/jamba"};
    char *dir = _i == 0 ? source_path("tests/golden/qwen3") : shared_path(cases[_i - 1]);
    if (dir)
        check_ways_to_run(dir);
    free(dir);
}
END_TEST

/* What is planned is what is taken, beside an expert's weights, lists of rows and rotary tables. */
START_TEST(room_is_as_planned) {
    static const char *const cases[] = {"golden/mixtral", "golden/qwen3-next", "golden/jamba"};
    char *dir = _i == 0 ? source_path("tests/golden/qwen3") : shared_path(cases[_i - 1]);
    const struct way_size size = {1000, 300};
    struct way_room room;
    struct model m = {0};
    llmq_error err = {0};
    if (!dir)
        return;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    ck_assert_ok(way_room_create(&m, &size, &room, &err), &err);
    const uint64_t taken = arena_used(room.arena) + arena_used(room.forward.arena);
    const uint64_t planned = way_room_bytes(&m, &size);
    ck_assert_msg(taken <= planned + 4096 && planned <= taken + taken / 20,
                  "%llu bytes planned, %llu taken", (unsigned long long)planned,
                  (unsigned long long)taken);
    way_room_free(&room);
    model_close(&m);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("backward");
    TCase *t = tcase_create("backward");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, slopes_of_the_case, 0, GOLDEN_CASES);
    tcase_add_loop_test(t, neither_threads_nor_files_change_a_bit, 0, 5);
    tcase_add_loop_test(t, room_is_as_planned, 0, 4);
    suite_add_tcase(s, t);
    return run_suite(s);
}
