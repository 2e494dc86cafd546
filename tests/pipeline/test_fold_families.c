/* SPDX-License-Identifier: Apache-2.0 */
/* Folding scales into the blocks of every family that there is a case of: they compute the same.
 * The cases are in the shared data. Prints what was folded, and why not. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "calib/calib.h"
#include "graph/model.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "pipeline/block_fold.h"
#include "support.h"

#define UNCHANGED 1e-5

enum { WINDOWS = 3, LENGTH = 16 };

struct fixture {
    struct model m;
    struct arena *weights;
    struct calib *c;
    struct block block;
    int32_t ids[WINDOWS * LENGTH];
    int64_t offsets[WINDOWS + 1];
    struct calib_tokens tokens;
    float *in, *before, *after;
    int64_t count;
    float *columns; /* scales of the columns that were folded last, */
    float *given;   /* and of what experts are given */
};

/* False: llmq has no table for the family yet. */
static bool fixture_open(struct fixture *f, const char *dir) {
    llmq_error err = {0};
    uint64_t state = 7;
    if (model_open(dir, &f->m, &err) != LLMQ_OK)
        return false;
    for (int i = 0; i < WINDOWS * LENGTH; i++)
        f->ids[i] = (int32_t)(random_next(&state) % (uint64_t)f->m.config.vocab);
    for (int i = 0; i <= WINDOWS; i++)
        f->offsets[i] = LENGTH * i;
    f->tokens = (struct calib_tokens){f->ids, f->offsets, WINDOWS, 0};
    const struct calib_options streams = {0};
    ck_assert_ok(arena_create("weights", &f->weights, &err), &err);
    ck_assert_ok(calib_create(&f->m, &f->tokens, &streams, NULL, &f->c, &err), &err);
    ck_assert_ok(calib_keep_start(f->c, NULL, &err), &err);
    f->count = calib_probe_rows(f->c) * f->m.config.stream;
    f->in = calloc((size_t)(3 * f->count), sizeof *f->in);
    f->before = f->in + f->count;
    f->after = f->before + f->count;
    return true;
}

static void fixture_close(struct fixture *f) {
    calib_free(&f->c);
    arena_free(&f->weights);
    model_close(&f->m);
    free(f->in);
    free(f->given);
    free(f->columns);
}

/* Scales between 1/4 and 4 of the channels that linears read, folded in. */
static void fold_random(struct fixture *f, enum value source, uint64_t *state) {
    llmq_error err = {0};
    const struct graph *g = f->block.graph;
    const struct graph_fold fold = graph_fold_find(g, source);
    float *scales = malloc((size_t)fold.channels * sizeof *scales);
    for (int64_t i = 0; i < fold.channels; i++)
        scales[i] = 1;
    for (int64_t i = 0; i < g->width[source]; i++)
        scales[graph_fold_channel(g, &fold, i)] =
            exp2f((float)(random_next(state) % 1000) / 250.0F - 2.0F);
    f->columns = realloc(f->columns, (size_t)g->width[source] * sizeof *f->columns);
    graph_fold_spread(g, &fold, 0, scales, f->columns);
    struct fold_scales folded = {{NULL}, {NULL}};
    folded.channels[source] = scales;
    folded.columns[source] = f->columns;
    ck_assert_ok(block_fold_apply(&f->m, source, &folded, &f->block, &err), &err);
    ck_assert_ok(calib_fold_kept(f->c, &fold, scales, &err), &err);
    if (graph_fold_enters_experts(g, &fold)) {
        f->given = realloc(f->given, (size_t)g->width[source] * sizeof *f->given);
        memcpy(f->given, f->columns, (size_t)g->width[source] * sizeof *f->given);
        calib_scale_experts(f->c, f->given);
    }
    free(scales);
}

/* The first weight of the block's own that a fold multiplies; NAN: only experts read it. */
static float first_weight(const struct fixture *f, const struct graph_fold *fold) {
    for (int i = 0; i < f->block.graph->count; i++)
        if (fold->consumers >> i & 1 && f->block.node[i].linear.w)
            return f->block.node[i].linear.w[0];
    return NAN;
}

/* Fold what one task reads; the block's output must stay. Returns whether there is a fold. */
static bool check_source(struct fixture *f, const char *name, enum value source, uint64_t *state) {
    llmq_error err = {0};
    double difference = 0;
    const struct graph_fold fold = graph_fold_find(f->block.graph, source);
    if (fold.producer < 0) {
        printf("%s: %s: %s\n", name, schema_value_name(source), fold.why);
        return false;
    }
    const float weight = first_weight(f, &fold);
    fold_random(f, source, state);
    ck_assert_msg(isnan(weight) || first_weight(f, &fold) < weight ||
                      first_weight(f, &fold) > weight,
                  "%s: nothing was folded", name);
    ck_assert_ok(calib_rewind(f->c, &err), &err);
    ck_assert_ok(calib_probe(f->c, f->in, f->after, &err), &err);
    enum llmq_status status =
        block_fold_compare(f->in, f->before, f->after, f->count, &difference, &err);
    ck_assert_msg(status == LLMQ_OK && difference < UNCHANGED, "%s, block %lld, %s: %s by %g", name,
                  (long long)f->block.index, schema_value_name(source), err.message, difference);
    return true;
}

/* How many sources were folded. */
static int check_block(struct fixture *f, const char *name, int64_t index, uint64_t *state) {
    llmq_error err = {0};
    int folded = 0;
    ck_assert_ok(block_load(&f->m, index, LOAD_PLAIN, f->weights, &f->block, &err), &err);
    calib_begin_block(f->c, &f->block, NULL);
    ck_assert_ok(calib_mark_start(f->c, &err), &err);
    ck_assert_ok(calib_probe(f->c, f->in, f->before, &err), &err);
    for (int t = 0; t < f->block.graph->task_count; t++) {
        bool first = true;
        for (int s = 0; s < t; s++)
            first = first && f->block.graph->task[s].source != f->block.graph->task[t].source;
        folded += first && check_source(f, name, f->block.graph->task[t].source, state);
    }
    ck_assert_ok(calib_rewind(f->c, &err), &err);
    ck_assert_ok(calib_end_block(f->c, &err), &err);
    block_release(&f->block);
    arena_reset(f->weights);
    return folded;
}

/* What the tasks of a block read: sums of squares, of each column over the square of its scale. */
struct seen {
    double sum[GRAPH_TASKS];
    int count;
};

/* Look at the block, task by task; with `state` what can be folded is folded at its first task. */
static void look(struct fixture *f, uint64_t *state, struct seen *seen) {
    llmq_error err = {0};
    bool folded[V_COUNT] = {false};
    struct calib_task task;
    seen->count = 0;
    ck_assert_ok(calib_mark_start(f->c, &err), &err);
    for (;;) {
        ck_assert_ok(calib_next(f->c, &task, &err), &err);
        if (!task.linears)
            return;
        const enum value source = task.linears->source;
        const bool folds =
            state && !folded[source] && graph_fold_find(f->block.graph, source).producer >= 0;
        double sum = 0;
        if (folds)
            fold_random(f, source, state);
        for (int64_t i = 0; i < task.moments.k; i++)
            sum += (double)task.moments.H[i * task.moments.k + i] /
                   (folds ? pow((double)f->columns[i], 2) : 1);
        seen->sum[seen->count++] = sum;
        folded[source] = true;
    }
}

/* Folds of what was looked at before do not change what is seen then. */
static void check_look(struct fixture *f, const char *name, int64_t index, uint64_t *state) {
    llmq_error err = {0};
    struct seen first, second;
    ck_assert_ok(block_load(&f->m, index, LOAD_PLAIN, f->weights, &f->block, &err), &err);
    calib_begin_block(f->c, &f->block, NULL);
    look(f, state, &first);
    ck_assert_ok(calib_rewind(f->c, &err), &err);
    look(f, NULL, &second);
    ck_assert_int_eq(first.count, second.count);
    for (int t = 0; t < first.count; t++)
        ck_assert_msg(fabs(first.sum[t] / second.sum[t] - 1) < 1e-4,
                      "%s, block %lld, task %d: %.9g while folding, then %.9g", name,
                      (long long)index, t, first.sum[t], second.sum[t]);
    ck_assert_ok(calib_rewind(f->c, &err), &err);
    ck_assert_ok(calib_end_block(f->c, &err), &err);
    block_release(&f->block);
    arena_reset(f->weights);
}

/* Norms of 16 bits take the scales that the search finds for them, not any. */
static bool is_full_precision(const struct model *m) {
    return st_at(m->tensors, 0)->dtype == DTYPE_F32;
}

/* -1: it does not open. */
static int check_case(const char *dir, const char *name) {
    struct fixture f = {0};
    uint64_t state = 11;
    int folded = 0;
    if (!fixture_open(&f, dir))
        return -1;
    for (int64_t b = 0; is_full_precision(&f.m) && b < f.m.config.blocks; b++)
        folded += check_block(&f, name, b, &state);
    fixture_close(&f);
    f = (struct fixture){0};
    (void)fixture_open(&f, dir);
    for (int64_t b = 0; is_full_precision(&f.m) && b < f.m.config.blocks; b++)
        check_look(&f, name, b, &state);
    printf("%s: %d folds\n", name, folded);
    fixture_close(&f);
    return folded;
}

START_TEST(no_fold_changes_what_a_block_computes) {
    llmq_error err = {0};
    struct dir_list cases = {0};
    int opened = 0, folded = 0;
    char *golden = shared_path("golden");
    if (!golden)
        return;
    ck_assert_ok(dir_list_read(golden, &cases, &err), &err);
    for (size_t i = 0; i < cases.count; i++) {
        char *dir = path_join(golden, cases.names[i], &err);
        const int count = check_case(dir, cases.names[i]);
        opened += count >= 0;
        folded += count > 0 ? count : 0;
        free(dir);
    }
    printf("%d cases, %d folds\n", opened, folded);
    ck_assert_int_ge(opened, 40);
    ck_assert_int_ge(folded, 4 * opened);
    dir_list_free(&cases);
    free(golden);
}
END_TEST

int main(void) {
    Suite *s = suite_create("fold_families");
    TCase *t = tcase_create("fold_families");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, no_fold_changes_what_a_block_computes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
