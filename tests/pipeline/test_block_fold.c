/* SPDX-License-Identifier: Apache-2.0 */
/* Folding scales into one block: it computes the same, and a fold after which it would not is
 * refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/calib.h"
#include "graph/model.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "pipeline/block_fold.h"
#include "support.h"
#include "tiny_model.h"

static char *source;

static void setup(void) {
    scratch_setup();
    source = strdup(scratch_path("source"));
    tiny_model_write(source, 1, 0);
}

static void teardown(void) {
    free(source);
    scratch_teardown();
}

struct fixture {
    struct model m;
    struct arena *weights;
    struct calib *c;
    struct block block;
    int32_t ids[3 * 24];
    int64_t offsets[4];
    struct calib_tokens tokens;
    float *in, *before, *after;
    int64_t count;
};

static void fixture_open(struct fixture *f, const char *dir) {
    llmq_error err = {0};
    uint64_t state = 7;
    ck_assert_ok(model_open(dir, &f->m, &err), &err);
    for (int i = 0; i < 3 * 24; i++)
        f->ids[i] = (int32_t)(random_next(&state) % TINY_VOCAB);
    for (int i = 0; i < 4; i++)
        f->offsets[i] = 24 * i;
    f->tokens = (struct calib_tokens){f->ids, f->offsets, 3, 0};
    ck_assert_ok(arena_create("weights", &f->weights, &err), &err);
    const struct calib_options streams = {0};
    ck_assert_ok(calib_create(&f->m, &f->tokens, &streams, NULL, &f->c, &err), &err);
    ck_assert_ok(calib_keep_start(f->c, NULL, &err), &err);
    ck_assert_ok(block_load(&f->m, 0, LOAD_PLAIN, f->weights, &f->block, &err), &err);
    calib_begin_block(f->c, &f->block, NULL);
    ck_assert_ok(calib_mark_start(f->c, &err), &err);
    f->count = calib_probe_rows(f->c) * f->m.config.stream;
    f->in = calloc((size_t)(3 * f->count), sizeof *f->in);
    f->before = f->in + f->count;
    f->after = f->before + f->count;
    ck_assert_ok(calib_probe(f->c, f->in, f->before, &err), &err);
}

static void fixture_close(struct fixture *f) {
    block_release(&f->block);
    calib_free(&f->c);
    arena_free(&f->weights);
    model_close(&f->m);
    free(f->in);
}

static float *norm_of(struct fixture *f, enum value v) {
    return f->block.node[f->block.graph->producer[v]].weight;
}

static struct linear *linear_of(struct fixture *f, enum value made) {
    return &f->block.node[f->block.graph->producer[made]].linear;
}

static void apply(struct fixture *f, enum value read, const float *scales) {
    llmq_error err = {0};
    const struct graph *g = f->block.graph;
    const struct graph_fold fold = graph_fold_find(g, read);
    struct fold_scales folded = {{NULL}, {NULL}};
    float *columns = malloc((size_t)g->width[read] * sizeof *columns);
    graph_fold_spread(g, &fold, 0, scales, columns);
    folded.channels[read] = scales;
    folded.columns[read] = columns;
    ck_assert_ok(block_fold_apply(&f->m, read, &folded, &f->block, &err), &err);
    free(columns);
}

/* Scales between 1/4 and 4 that the block's norm or bias can take exactly, folded in. */
static float *fold_random(struct fixture *f, enum value read, uint64_t seed) {
    const struct graph *g = f->block.graph;
    const struct graph_fold fold = graph_fold_find(g, read);
    const int64_t channels = fold.channels;
    float *scales = malloc((size_t)channels * sizeof *scales);
    const float *norm = f->block.node[fold.producer].weight; /* NULL: a linear makes it */
    for (int64_t i = 0; i < channels; i++) {
        scales[i] = exp2f((float)(random_next(&seed) % 1000) / 250.0F - 2.0F);
        if (norm)
            scales[i] = norm[i] / bf16_to_f32(f32_to_bf16(norm[i] / scales[i]));
    }
    apply(f, read, scales);
    return scales;
}

static enum llmq_status compare(struct fixture *f, double *difference, llmq_error *err) {
    ck_assert_ok(calib_rewind(f->c, err), err);
    ck_assert_ok(calib_probe(f->c, f->in, f->after, err), err);
    return block_fold_compare(f->in, f->before, f->after, f->count, difference, err);
}

START_TEST(every_fold_leaves_the_block_as_it_was) {
    llmq_error err = {0};
    double difference = 0;
    struct fixture f;
    fixture_open(&f, source);
    for (int t = 0; t < f.block.graph->task_count; t++) {
        free(fold_random(&f, f.block.graph->task[t].source, 1 + (uint64_t)t));
        ck_assert_ok(compare(&f, &difference, &err), &err);
        ck_assert_double_gt(difference, 0); /* something did change */
        ck_assert_double_lt(difference, 5e-6);
    }
    fixture_close(&f);
}
END_TEST

/* Each seeded mistake is one that a wrong table or a wrong loop would make. */
START_TEST(the_proof_catches_a_wrong_fold) {
    llmq_error err = {0};
    double difference = 0;
    for (int mistake = 0; mistake < 4; mistake++) {
        struct fixture f;
        fixture_open(&f, source);
        float *scales = fold_random(&f, mistake == 3 ? V_MID : V_ATTN_IN, 5);
        struct linear *v = linear_of(&f, V_V), *down = linear_of(&f, V_MLP_OUT);
        if (mistake == 0) /* a reader that was forgotten */
            for (int64_t i = 0; i < v->n * v->k; i++)
                v->w[i] /= scales[i % v->k];
        if (mistake == 1) /* one column of one */
            for (int64_t row = 0; row < v->n; row++)
                v->w[row * v->k + 3] *= 1.01F;
        if (mistake == 2) /* a norm rounded after the scale was derived from it */
            norm_of(&f, V_ATTN_IN)[9] *= 1.004F;
        if (mistake == 3) /* channels one off */
            for (int64_t row = 0; row < down->n; row++)
                for (int64_t i = 0; i < down->k; i++)
                    down->w[row * down->k + i] *= scales[(i + 1) % down->k] / scales[i];
        ck_assert_fails(compare(&f, &difference, &err), LLMQ_E_NUMERIC, "changed the output by",
                        &err);
        ck_assert_double_gt(difference, BLOCK_FOLD_LIMIT);
        free(scales);
        fixture_close(&f);
    }
    float nothing[4] = {0}, bad[4] = {NAN, 0, 0, 0};
    ck_assert_fails(block_fold_compare(nothing, nothing, bad, 4, &difference, &err), LLMQ_E_NUMERIC,
                    "changed the output", &err);
}
END_TEST

START_TEST(query_heads_share_scales) {
    struct fixture f;
    fixture_open(&f, source);
    struct linear *v = linear_of(&f, V_V), *o = linear_of(&f, V_ATTN_OUT);
    float v_before = v->w[17 * v->k + 2], o_before[2] = {o->w[17], o->w[33]};
    float *scales = fold_random(&f, V_CONTEXT, 3);
    /* 4 heads of 16 on 2 key-value heads: columns 17 and 1 read channel 1, column 33 reads 17. */
    ck_assert(v->w[17 * v->k + 2] == v_before / scales[17]);
    ck_assert(o->w[17] == o_before[0] * scales[1]);
    ck_assert(o->w[33] == o_before[1] * scales[17]);
    free(scales);
    fixture_close(&f);
}
END_TEST

START_TEST(biases_are_divided) {
    llmq_error err = {0};
    double difference = 0;
    struct fixture f;
    tiny_model_write_biased(source, 3);
    fixture_open(&f, source);
    struct linear *v = linear_of(&f, V_V);
    float scales[32], bias = v->bias[5];
    for (int i = 0; i < 32; i++)
        scales[i] = i % 2 ? 0.5F : 4;
    apply(&f, V_CONTEXT, scales);
    ck_assert(v->bias[5] == bias * 2);
    ck_assert_ok(compare(&f, &difference, &err), &err);
    fixture_close(&f);
}
END_TEST

START_TEST(a_rewound_block_gives_the_same_hessians) {
    llmq_error err = {0};
    float *first = NULL;
    for (int spilled = 0; spilled < 2; spilled++) {
        struct fixture f;
        fixture_open(&f, source);
        if (spilled) { /* the same with every store in a file */
            calib_free(&f.c);
            const struct calib_options streams = {.spill_dir = scratch_path("")};
            ck_assert_ok(calib_create(&f.m, &f.tokens, &streams, NULL, &f.c, &err), &err);
            ck_assert_ok(calib_keep_start(f.c, scratch_path(""), &err), &err);
            calib_begin_block(f.c, &f.block, NULL);
            ck_assert_ok(calib_mark_start(f.c, &err), &err);
        }
        for (int pass = 0; pass < 2; pass++) {
            struct calib_task task = {0};
            for (int t = 0; t < f.block.graph->task_count; t++)
                ck_assert_ok(calib_next(f.c, &task, &err), &err);
            const struct calib_moments m = task.moments;
            size_t bytes = (size_t)(m.k * m.k) * sizeof *m.H;
            if (!first) {
                first = malloc(bytes);
                memcpy(first, m.H, bytes);
            }
            ck_assert_mem_eq(first, m.H, bytes);
            ck_assert_ok(calib_rewind(f.c, &err), &err);
        }
        ck_assert_ok(calib_probe(f.c, f.in, f.before, &err), &err);
        ck_assert_ok(calib_end_block(f.c, &err), &err);
        ck_assert_ok(calib_residual(f.c, f.after, &err), &err);
        ck_assert_mem_eq(f.before, f.after, (size_t)f.count * sizeof *f.after);
        fixture_close(&f);
    }
    free(first);
}
END_TEST

int main(void) {
    Suite *s = suite_create("block_fold");
    TCase *t = tcase_create("fold");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_fold_leaves_the_block_as_it_was);
    tcase_add_test(t, the_proof_catches_a_wrong_fold);
    tcase_add_test(t, query_heads_share_scales);
    tcase_add_test(t, biases_are_divided);
    tcase_add_test(t, a_rewound_block_gives_the_same_hessians);
    suite_add_tcase(s, t);
    return run_suite(s);
}
