/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration against the reference's taps: inputs of a block's linears and their Hessians, for
 * one sequence and for two; spilling to a file changes nothing; overflow is named. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "calib/calib.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

enum { ROUNDS = 4 }; /* of a block */

#define TAP_GATE 1e-5 /* relative, Frobenius norm */

static const char *const tap_modules[ROUNDS] = {"self_attn.q_proj", "self_attn.o_proj",
                                                "mlp.gate_proj", "mlp.down_proj"};

struct fixture {
    struct model model;
    int32_t ids[64];
    int64_t offsets[3];
    struct calib_tokens tokens;
};

static void read_ids(const struct json *array, int32_t *out, int64_t *count) {
    *count = 0;
    for (const struct json *id = json_first(array); id; id = json_next(id)) {
        int64_t value = 0;
        ck_assert(json_as_int64(id, &value));
        out[(*count)++] = (int32_t)value;
    }
}

static void fixture_open(struct fixture *f, int64_t sequences) {
    llmq_error err = {0};
    struct json *taps = NULL;
    int64_t first = 0, second = 0;
    char *dir = source_path("tests/golden/llama-base");
    char *path = source_path("tests/golden/llama-base-taps/taps.json");
    ck_assert_ok(model_open(dir, &f->model, &err), &err);
    ck_assert_ok(json_read(path, &taps, &err), &err);
    read_ids(json_get(taps, "input_ids"), f->ids, &first);
    read_ids(json_get(taps, "input_ids_second"), f->ids + first, &second);
    f->offsets[0] = 0;
    f->offsets[1] = first;
    f->offsets[2] = first + second;
    f->tokens = (struct calib_tokens){f->ids, f->offsets, sequences, 0};
    json_free(&taps);
    free(dir);
    free(path);
}

/* ||H - tap|| / ||tap|| */
static double tap_error(const struct st_set *taps, int round, const float *H, int64_t k) {
    char name[96];
    llmq_error err = {0};
    snprintf(name, sizeof name, "H.model.layers.0.%s", tap_modules[round]);
    const struct st_tensor *t = st_find(taps, name);
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->shape[0], (uint64_t)k);
    double *expected = malloc(t->nbytes), difference = 0, norm = 0;
    ck_assert_ok(st_read(taps, t, 0, t->nbytes, expected, &err), &err);
    for (int64_t i = 0; i < k * k; i++) {
        difference += ((double)H[i] - expected[i]) * ((double)H[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    free(expected);
    return sqrt(difference / norm);
}

/* One stream, in memory. */
static const struct calib_options single = {0};

static void check_taps(const char *file, int64_t sequences) {
    llmq_error err = {0};
    struct fixture f;
    struct st_set *taps = NULL;
    struct calib *c = NULL;
    struct arena *weights = NULL;
    struct block block;
    char *path = source_path(file);
    fixture_open(&f, sequences);
    ck_assert_ok(st_open_file(path, &taps, &err), &err);
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    ck_assert_ok(calib_create(&f.model, &f.tokens, &single, NULL, &c, &err), &err);
    ck_assert_ok(block_load(&f.model, 0, LOAD_PLAIN, weights, &block, &err), &err);
    calib_begin_block(c, &block, NULL);
    for (int s = 0; s < ROUNDS; s++) {
        struct calib_task task;
        ck_assert_ok(calib_next(c, &task, &err), &err);
        const struct calib_moments m = task.moments;
        ck_assert(task.expert == -1 && task.tokens == 32 * sequences && task.borrowed == 0);
        ck_assert(!m.D && !m.WD && !m.R && m.held.count == 0);
        ck_assert_double_le(tap_error(taps, s, m.H, m.k), TAP_GATE);
    }
    ck_assert_ok(calib_end_block(c, &err), &err);
    block_release(&block);
    calib_free(&c);
    arena_free(&weights);
    st_close(&taps);
    model_close(&f.model);
    free(path);
}

START_TEST(hessians_equal_the_taps) {
    check_taps("tests/golden/llama-base-taps/taps.safetensors", 1);
    check_taps("tests/golden/llama-base-taps/taps_both.safetensors", 2);
}
END_TEST

/* --- windows that are held back --------------------------------------------------------------- */

/* The trace of the second window's moment, from those of both windows and of the first. */
static double second_trace(const struct fixture *f, int round, int64_t k) {
    static const char *const files[] = {"tests/golden/llama-base-taps/taps.safetensors",
                                        "tests/golden/llama-base-taps/taps_both.safetensors"};
    double trace[2] = {0};
    char name[96];
    snprintf(name, sizeof name, "H.model.layers.0.%s", tap_modules[round]);
    for (int i = 0; i < 2; i++) {
        llmq_error err = {0};
        struct st_set *taps = NULL;
        char *path = source_path(files[i]);
        ck_assert_ok(st_open_file(path, &taps, &err), &err);
        const struct st_tensor *t = st_find(taps, name);
        double *H = malloc(t->nbytes);
        ck_assert_ok(st_read(taps, t, 0, t->nbytes, H, &err), &err);
        for (int64_t d = 0; d < k; d++)
            trace[i] += H[d * k + d];
        free(H);
        free(path);
        st_close(&taps);
    }
    ck_assert_int_eq(f->tokens.count, 2);
    return 2 * trace[1] - trace[0];
}

static void check_held_rows(const struct fixture *f, int round, const struct calib_moments *m) {
    double trace = 0;
    for (int64_t i = 0; i < m->held.count * m->k; i++)
        trace += 2.0 / (double)m->held.count * pow((double)m->held.X[i], 2);
    const double wanted = second_trace(f, round, m->k);
    ck_assert_double_eq_tol(trace, wanted, 1e-5 * wanted);
}

/* A window that is held back is in no moment, and all of it is handed out: its own moment is the
 * one that it would have given. */
START_TEST(windows_that_are_held_back_are_not_fitted_to) {
    llmq_error err = {0};
    struct fixture f;
    struct calib *c = NULL;
    struct arena *weights = NULL;
    struct block block;
    const struct calib_options options = {.hold_back = true};
    struct st_set *taps = NULL;
    char *path = source_path("tests/golden/llama-base-taps/taps.safetensors");
    fixture_open(&f, 2);
    f.tokens.held = 1;
    ck_assert_ok(st_open_file(path, &taps, &err), &err);
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    ck_assert_ok(calib_create(&f.model, &f.tokens, &options, NULL, &c, &err), &err);
    ck_assert_ok(block_load(&f.model, 0, LOAD_PLAIN, weights, &block, &err), &err);
    calib_begin_block(c, &block, NULL);
    for (int s = 0; s < ROUNDS; s++) {
        struct calib_task task;
        ck_assert_ok(calib_next(c, &task, &err), &err);
        const struct calib_moments m = task.moments;
        ck_assert(task.tokens == 32 && m.held.count == 32);
        ck_assert_double_le(tap_error(taps, s, m.H, m.k), TAP_GATE);
        check_held_rows(&f, s, &m);
    }
    block_release(&block);
    calib_free(&c);
    arena_free(&weights);
    st_close(&taps);
    model_close(&f.model);
    free(path);
}
END_TEST

/* --- tokens that count more or less ------------------------------------------------------------
 */

/* Weights of the tasks' linears in block 0, in a folder of the scratch: those given, times what
 * depends on the linear and says nothing of tokens. */
static struct st_set *write_weights(const float *given, int count) {
    static const char *const modules[] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    enum { COUNT = sizeof modules / sizeof *modules };
    char names[COUNT][96];
    struct st_spec specs[COUNT];
    struct st_writer *writer = NULL;
    struct st_set *set = NULL;
    llmq_error err = {0};
    float weights[64];
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "model.layers.0.%s.token_weights", modules[i]);
        specs[i] = (struct st_spec){
            .name = names[i], .dtype = DTYPE_F32, .rank = 1, .shape = {(uint64_t)count}};
    }
    ck_assert_ok(st_writer_create(scratch_path(""), specs, COUNT, UINT64_C(1) << 30, &writer, &err),
                 &err);
    for (int i = 0; i < COUNT; i++) {
        for (int t = 0; t < count; t++)
            weights[t] = (float)(i + 1) * given[t];
        ck_assert_ok(
            st_writer_put(writer, names[i], weights, (size_t)count * sizeof *weights, &err), &err);
    }
    ck_assert_ok(st_writer_finish(&writer, &err), &err);
    ck_assert_ok(st_open_dir(scratch_path(""), &set, &err), &err);
    return set;
}

/* H of block 0's tasks, one below the other in `out`; entries of one in `count`. */
static void find_moments(const struct fixture *f, const struct calib_options *options, float *out,
                         int64_t count[ROUNDS]) {
    llmq_error err = {0};
    struct calib *c = NULL;
    struct arena *weights = NULL;
    struct block block;
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    ck_assert_ok(calib_create(&f->model, &f->tokens, options, NULL, &c, &err), &err);
    ck_assert_ok(block_load(&f->model, 0, LOAD_PLAIN, weights, &block, &err), &err);
    calib_begin_block(c, &block, NULL);
    for (int s = 0; s < ROUNDS; s++) {
        struct calib_task task;
        ck_assert_ok(calib_next(c, &task, &err), &err);
        count[s] = task.moments.k * task.moments.k;
        memcpy(out, task.moments.H, (size_t)count[s] * sizeof *out);
        out += count[s];
    }
    block_release(&block);
    calib_free(&c);
    arena_free(&weights);
}

/* Moments of both windows, tokens weighed by `given` of `count`, against their parts: of those of
 * `part`, which are a window or the first token of each, `own`, of the others `other`. */
static void check_weighed(const float *given, int count, const struct token_weighing *weighing,
                          const int64_t part[3], double own, double other) {
    enum { MOST = ROUNDS * 512 * 512 };
    struct fixture f;
    struct st_set *set = write_weights(given, count);
    int64_t entries[ROUNDS], at = 0;
    float *some = malloc(MOST * sizeof *some), *both = malloc(MOST * sizeof *both);
    float *weighed = malloc(MOST * sizeof *weighed);
    struct calib_options options = {.weighing = *weighing};
    options.weighing.curvature = set;
    fixture_open(&f, 2);
    const double all = (double)f.offsets[2];
    find_moments(&f, &single, both, entries);
    find_moments(&f, &options, weighed, entries);
    int32_t ids[64];
    const int64_t windows = part[2] > part[1] ? 2 : 1;
    for (int64_t i = 0; i < windows; i++)
        memcpy(ids + part[i], f.ids + f.offsets[i], (size_t)(part[i + 1] - part[i]) * sizeof *ids);
    f.tokens = (struct calib_tokens){ids, part, windows, 0};
    find_moments(&f, &single, some, entries);
    const double share = (double)part[windows] / all;
    for (int s = 0; s < ROUNDS; s++) {
        double difference = 0, norm = 0;
        for (int64_t i = at; i < at + entries[s]; i++) {
            const double one = share * (double)some[i], rest = (double)both[i] - one;
            const double wanted = own * one + other * rest;
            difference += pow((double)weighed[i] - wanted, 2);
            norm += wanted * wanted;
        }
        ck_assert_double_le(sqrt(difference / norm), 1e-5);
        at += entries[s];
    }
    free(some);
    free(both);
    free(weighed);
    st_close(&set);
    model_close(&f.model);
}

/* The root of 1 and 9 is 1 and 3, of mean 1 these are 1/2 and 3/2. */
START_TEST(tokens_count_by_their_weights) {
    static const int64_t first[] = {0, 32, 32};
    float given[64];
    for (int i = 0; i < 64; i++)
        given[i] = i < 32 ? 1 : 9;
    check_weighed(given, 64, &(struct token_weighing){.power = 0.5}, first, 0.5, 1.5);
}
END_TEST

/* Gradients are of the first four tokens of a window: 49 of the first, 1 of those behind it, to the
 * end of both windows. The mean of 7 and 31 times 1 is 38/32. */
START_TEST(tokens_count_by_their_places) {
    static const int64_t seen[] = {0, 4}, first[] = {0, 1, 2};
    static const float given[] = {49, 1, 1, 1};
    check_weighed(given, 4, &(struct token_weighing){.power = 0.5, .offsets = seen, .count = 1},
                  first, 7.0 * 32 / 38, 32.0 / 38);
}
END_TEST

/* Run all blocks; with `stages` ask for Hessians. The final residual stream in out [64, hidden]. */
static void run_blocks(struct fixture *f, const char *spill_dir, bool stages, float *out,
                       float *last_H) {
    llmq_error err = {0};
    struct calib *c = NULL;
    struct arena *weights = NULL;
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    const struct calib_options options = {.spill_dir = spill_dir};
    ck_assert_ok(calib_create(&f->model, &f->tokens, &options, NULL, &c, &err), &err);
    for (int64_t i = 0; i < f->model.config.blocks; i++) {
        struct block block;
        ck_assert_ok(block_load(&f->model, i, LOAD_PLAIN, weights, &block, &err), &err);
        calib_begin_block(c, &block, NULL);
        for (int s = 0; stages && s < ROUNDS; s++) {
            struct calib_task task;
            ck_assert_ok(calib_next(c, &task, &err), &err);
            const struct calib_moments m = task.moments;
            memcpy(last_H, m.H, (size_t)(m.k * m.k) * sizeof *last_H);
        }
        ck_assert_ok(calib_end_block(c, &err), &err);
        block_release(&block);
        arena_reset(weights);
    }
    ck_assert_ok(calib_residual(c, out, &err), &err);
    calib_free(&c);
    arena_free(&weights);
}

START_TEST(spilling_and_replaying_change_no_bit) {
    struct fixture f;
    fixture_open(&f, 2);
    size_t count = (size_t)(64 * f.model.config.hidden);
    size_t square =
        (size_t)(f.model.config.facts.dims[DIM_FFN] * f.model.config.facts.dims[DIM_FFN]);
    float *x = calloc(count, sizeof *x), *spilled = calloc(count, sizeof *x);
    float *replayed = calloc(count, sizeof *x);
    float *H = calloc(square, sizeof *H), *H_spilled = calloc(square, sizeof *H);
    run_blocks(&f, NULL, true, x, H);
    run_blocks(&f, scratch_path(""), true, spilled, H_spilled);
    run_blocks(&f, NULL, false, replayed, NULL);
    ck_assert_int_eq(memcmp(x, spilled, count * sizeof *x), 0);
    ck_assert_int_eq(memcmp(x, replayed, count * sizeof *x), 0);
    ck_assert_int_eq(memcmp(H, H_spilled, square * sizeof *H), 0);
    free(x);
    free(spilled);
    free(replayed);
    free(H);
    free(H_spilled);
    model_close(&f.model);
}
END_TEST

START_TEST(overflow_names_block_module_and_window) {
    llmq_error err = {0};
    struct fixture f;
    struct calib *c = NULL;
    struct arena *weights = NULL;
    struct block block;
    struct calib_task task;
    fixture_open(&f, 2);
    ck_assert_ok(arena_create("weights", &weights, &err), &err);
    ck_assert_ok(calib_create(&f.model, &f.tokens, &single, NULL, &c, &err), &err);
    ck_assert_ok(block_load(&f.model, 1, LOAD_PLAIN, weights, &block, &err), &err);
    calib_begin_block(c, &block, NULL);
    ck_assert_ok(calib_next(c, &task, &err), &err);
    block.node[block.graph->producer[V_V]].linear.w[0] = INFINITY;
    ck_assert_fails(calib_next(c, &task, &err), LLMQ_E_NUMERIC,
                    "block 1, input of self_attn.o_proj: non-finite activation in calibration "
                    "window 0",
                    &err);
    block_release(&block);
    calib_free(&c);
    arena_free(&weights);
    model_close(&f.model);
}
END_TEST

int main(void) {
    Suite *s = suite_create("calib");
    TCase *t = tcase_create("calib");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, hessians_equal_the_taps);
    tcase_add_test(t, windows_that_are_held_back_are_not_fitted_to);
    tcase_add_test(t, tokens_count_by_their_weights);
    tcase_add_test(t, tokens_count_by_their_places);
    tcase_add_test(t, spilling_and_replaying_change_no_bit);
    tcase_add_test(t, overflow_names_block_module_and_window);
    suite_add_tcase(s, t);
    return run_suite(s);
}
