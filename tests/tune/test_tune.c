/* SPDX-License-Identifier: Apache-2.0 */
/* Tuned scales: their gradient against differences of the divergence, and runs that tune. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "calib/tiny_mixture.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"
#include "graph/backward.h"
#include "linalg/linalg.h"
#include "pipeline/journal.h"
#include "pipeline/tiny_model.h"
#include "pipeline/tiny_run.h"
#include "support.h"
#include "tune/teacher.h"
#include "tune/tune_held.h"
#include "tune/tune_part.h"

static llmq_error err;

/* Rounded in groups of 32, so coarsely that there is something to learn, and tuned on the windows
 * of the fixture. */
static llmq_quantize_options tuned(void) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.calib = calib;
    o.bits = 2;
    o.format = "gptq";
    o.tune = LLMQ_TUNE_SCALES;
    o.tune_rate = 0.03;
    return o;
}

/* Many windows to learn from. */
static void write_more(void) {
    tiny_windows_write(calib, 180, 24, 2);
}

/* --- gradient --------------------------------------------------------------------------------- */

/* The scales of a linear moved in a direction: exp(size) for groups of even number, exp(-size) for
 * others. */
struct trial {
    struct model original, quantized;
    struct corpus corpus;
    struct teacher teacher;
    struct loss loss;
    struct tune_module module;
    struct tune_part part;
    struct arena *arena;
    struct weight_edit edit;
};

static enum llmq_status move(void *of, struct linear_place at, float *w, llmq_error *error) {
    struct trial *t = of;
    (void)error;
    if (at.block == t->module.at.block && at.node == t->module.at.node)
        tune_part_apply(&t->part, w);
    return LLMQ_OK;
}

static enum llmq_status see(void *of, const struct linear_slope *l, llmq_error *error) {
    struct trial *t = of;
    if (l->block != t->module.at.block || l->node != t->module.at.node)
        return LLMQ_OK;
    float *w = malloc((size_t)(l->n * l->k) * sizeof *w), *dw = malloc((size_t)(l->n * l->k) * 4);
    ck_assert_ok(model_load_weight(&t->quantized, t->module.at, w, error), error);
    linalg_gemm_tn(l->n, l->k, l->rows, 1, l->g, l->n, l->x, l->k, 0, dw, l->k);
    tune_part_see(&t->part, w, dw);
    free(w);
    free(dw);
    return LLMQ_OK;
}

static struct eval_job job_of(const struct model *m, const struct corpus *c) {
    return (struct eval_job){
        .m = m, .corpus = c, .numbers = {LOAD_PLAIN, LLMQ_COMPUTE_F32}, .name = ""};
}

/* Windows of 20 tokens. */
static struct corpus some_windows(int64_t count) {
    struct corpus c = {.count = count, .max_len = 20, .tokens_used = 20 * count};
    c.ids = calloc((size_t)c.tokens_used, sizeof *c.ids);
    c.offsets = calloc((size_t)count + 1, sizeof *c.offsets);
    for (int64_t i = 0; i < c.tokens_used; i++)
        c.ids[i] = (int32_t)((i * i + 7 * i) % TINY_VOCAB);
    for (int64_t i = 0; i <= count; i++)
        c.offsets[i] = 20 * i;
    return c;
}

/* A linear of the second block, by its place among the block's. */
static void trial_open(struct trial *t, int linear) {
    struct qlinear q = {0};
    char name[MODEL_NAME_MAX];
    ck_assert_ok(model_open(source, &t->original, &err), &err);
    ck_assert_ok(model_open(out, &t->quantized, &err), &err);
    t->corpus = some_windows(3);
    const struct eval_job job = job_of(&t->original, &t->corpus);
    ck_assert_ok(teacher_create(&job, &t->teacher, &err), &err);
    t->loss = (struct loss){.kind = LOSS_TEACHER, .c = &t->teacher, .teacher = teacher_logprobs};
    const struct blocks *b = t->quantized.blocks;
    t->module.at = blocks_linear_at(b, b->first[1] + linear);
    blocks_linear_shape(b, t->module.at, &t->module.n, &t->module.k);
    ck_assert_ok(model_load_qlinear(&t->quantized, blocks_node_name(b, t->module.at, "", name),
                                    t->module.n, t->module.k, &q, &err),
                 &err);
    t->module.group = q.group;
    t->module.groups = q.groups;
    t->module.scales = q.scales;
    t->module.grid = (struct quant_grid){.storage = SCALE_F16};
    q.scales = NULL;
    qlinear_free(&q);
    ck_assert_ok(arena_create("trial", &t->arena, &err), &err);
    ck_assert_ok(tune_part_create(&t->module, t->arena, &t->part, &err), &err);
    t->edit = (struct weight_edit){.c = t, .apply = move};
    t->quantized.edit = &t->edit;
}

static void trial_close(struct trial *t) {
    free(t->module.scales);
    corpus_free(&t->corpus);
    teacher_free(&t->teacher);
    arena_free(&t->arena);
    model_close(&t->original);
    model_close(&t->quantized);
}

static double direction(int64_t i) {
    return i % 3 == 0 ? 1 : -0.5;
}

static double moved_loss(struct trial *t, double size) {
    const struct eval_job job = job_of(&t->quantized, &t->corpus);
    double loss = 0;
    for (int64_t i = 0; i < t->module.n * t->module.groups; i++)
        t->part.now[i] = t->module.scales[i] * (float)exp(size * direction(i));
    ck_assert_ok(tune_held_loss(&job, &t->loss, &loss, &err), &err);
    return loss * (double)(t->corpus.tokens_used - t->corpus.count);
}

/* One module after the other: attention's, the gate, and what adds to the stream. */
START_TEST(gradient_is_that_of_differences) {
    static const int linears[] = {0, 3, 4, 6};
    struct trial t = {0};
    llmq_quantize_options o = tuned();
    o.tune = LLMQ_TUNE_OFF;
    run_quantize(&o);
    trial_open(&t, linears[_i]);
    const double size = 5e-3, loss = moved_loss(&t, 0);
    const double difference = (moved_loss(&t, size) - moved_loss(&t, -size)) / (2 * size);
    ck_assert_double_eq(loss, moved_loss(&t, 0));
    double losses[60], slope = 0;
    struct backward_result result = {.loss = losses};
    const struct backward_job job = {.m = &t.quantized,
                                     .ids = t.corpus.ids,
                                     .offsets = t.corpus.offsets,
                                     .count = t.corpus.count,
                                     .loss = &t.loss,
                                     .taps = {.c = &t, .linear = see}};
    ck_assert_ok(backward_run(&job, &result, &err), &err);
    for (int64_t i = 0; i < t.module.n * t.module.groups; i++)
        slope += (double)t.part.slope[i] * direction(i);
    ck_assert_msg(fabs(slope - difference) < 1e-3 * fabs(difference) + 1e-5 * loss,
                  "%g, by differences %g", slope, difference);
    trial_close(&t);
}
END_TEST

/* --- runs ------------------------------------------------------------------------------------- */

static void assert_same_tensors(const char *a, const char *b, const char *but) {
    struct st_set *sa = NULL, *sb = NULL;
    ck_assert_ok(st_open_dir(a, &sa, &err), &err);
    ck_assert_ok(st_open_dir(b, &sb, &err), &err);
    ck_assert_uint_eq(st_count(sa), st_count(sb));
    int64_t differ = 0;
    for (size_t i = 0; i < st_count(sa); i++) {
        const struct st_tensor *ta = st_at(sa, i), *tb = st_find(sb, ta->name);
        ck_assert(tb && ta->nbytes == tb->nbytes);
        char *da = malloc(ta->nbytes + 1), *db = malloc(ta->nbytes + 1);
        ck_assert_ok(st_read(sa, ta, 0, ta->nbytes, da, &err), &err);
        ck_assert_ok(st_read(sb, tb, 0, ta->nbytes, db, &err), &err);
        const bool same = memcmp(da, db, ta->nbytes) == 0;
        ck_assert_msg(same || (but && strstr(ta->name, but)), "%s differs", ta->name);
        differ += !same;
        free(da);
        free(db);
    }
    ck_assert(but ? differ > 0 : differ == 0);
    st_close(&sa);
    st_close(&sb);
}

/* The same run without tuning, in another folder. */
static const char *untuned(const llmq_quantize_options *o) {
    llmq_quantize_options plain = *o;
    plain.out = scratch_path("untuned");
    plain.tune = LLMQ_TUNE_OFF;
    run_quantize(&plain);
    return plain.out;
}

static const char *const formats[] = {"gptq", "awq", "compressed-tensors", "onnx"};
static const char *const scales[] = {".scales", ".scales", ".weight_scale", ".scales"};

/* Every format that holds them: the divergence falls, and nothing but scales is another. */
START_TEST(scales_alone_change) {
    llmq_quantize_options o = tuned();
    write_more();
    o.format = formats[_i];
    o.bits = _i < 1 ? 2 : 4;
    o.sym = _i != 1;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_int_eq(r.tuning.held, 16);
    ck_assert_int_eq(r.tuning.windows, 180 - 16);
    ck_assert_int_eq(r.tuning.fresh, 180 - 128);
    ck_assert_int_gt(r.tuning.steps, 0);
    ck_assert_msg(r.tuning.after < 0.98 * r.tuning.before, "%s: %g, %g before", o.format,
                  r.tuning.after, r.tuning.before);
    ck_assert(!path_is_file(scratch_path("out/" JOURNAL_UNDO_NAME)));
    assert_same_tensors(out, untuned(&o), scales[_i]);
    llmq_quantize_report_free(&r);
}
END_TEST

/* Every norm of the model has learnt, too, each in its own type. */
START_TEST(norms_change_when_asked) {
    llmq_quantize_options o = tuned();
    struct st_set *was = NULL, *is = NULL;
    int norms = 0;
    write_more();
    o.tune = LLMQ_TUNE_NORMS;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_msg(r.tuning.after < r.tuning.before, "%g, %g", r.tuning.after, r.tuning.before);
    ck_assert_ok(st_open_dir(source, &was, &err), &err);
    ck_assert_ok(st_open_dir(out, &is, &err), &err);
    for (size_t i = 0; i < st_count(was); i++) {
        const struct st_tensor *t = st_at(was, i), *now = st_find(is, t->name);
        char a[4096], b[4096];
        if (!strstr(t->name, "norm"))
            continue;
        ck_assert(now && now->dtype == t->dtype && t->nbytes <= sizeof a);
        ck_assert_ok(st_read(was, t, 0, t->nbytes, a, &err), &err);
        ck_assert_ok(st_read(is, now, 0, t->nbytes, b, &err), &err);
        ck_assert_msg(memcmp(a, b, t->nbytes) != 0, "%s", t->name);
        norms++;
    }
    ck_assert_int_eq(norms, 2 * 2 + 1);
    st_close(&was);
    st_close(&is);
    llmq_quantize_report_free(&r);
}
END_TEST

/* Steps that only lead away: the result is what it was. */
START_TEST(what_does_not_help_is_not_kept) {
    llmq_quantize_options o = tuned();
    write_more();
    o.tune_rate = 1e6;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_int_eq(r.tuning.steps, 0);
    ck_assert_double_eq(r.tuning.before, r.tuning.after);
    assert_same_tensors(out, untuned(&o), NULL);
    llmq_quantize_report_free(&r);
}
END_TEST

/* Steps that are much too long lead away at first, and are shorter then. */
START_TEST(long_steps_become_shorter) {
    llmq_quantize_options o = tuned();
    tiny_windows_write(calib, 500, 24, 2);
    o.samples = 12;
    o.tune_rate = 0.7;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_msg(r.tuning.after < r.tuning.before, "%g, %g", r.tuning.after, r.tuning.before);
    llmq_quantize_report_free(&r);
}
END_TEST

/* Modules of several widths, some kept. */
START_TEST(rules_are_minded) {
    llmq_quantize_options o = tuned();
    llmq_recipe *recipe = NULL;
    write_more();
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_add(recipe, "down_proj$:bits=4,group=32", &err), &err);
    ck_assert_ok(llmq_recipe_keep(recipe, "layers\\.0\\..*(q|k|v)_proj$", &err), &err);
    o.recipe = recipe;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_msg(r.tuning.after < r.tuning.before, "%g, %g", r.tuning.after, r.tuning.before);
    assert_same_tensors(out, untuned(&o), ".scales");
    llmq_quantize_report_free(&r);
    llmq_recipe_free(&recipe);
}
END_TEST

/* Experts see what they are sent, one sees nothing. */
START_TEST(experts_are_tuned) {
    llmq_quantize_options o = tuned();
    mixture_write(source, 5);
    write_more();
    o.format = "compressed-tensors";
    o.bits = 4;
    o.group = 8;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_msg(r.tuning.after < r.tuning.before, "%g, %g", r.tuning.after, r.tuning.before);
    assert_same_tensors(out, untuned(&o), ".weight_scale");
    llmq_quantize_report_free(&r);
}
END_TEST

/* Behind correction and AWQ's scaling, whose norms are the result's own. */
START_TEST(scaled_models_are_tuned) {
    llmq_quantize_options o = tuned();
    llmq_quantize_options_init(&o, LLMQ_METHOD_GPTQ);
    o = run_options(LLMQ_METHOD_GPTQ);
    tiny_model_add_salience(source);
    write_more();
    o.bits = 2;
    o.format = "gptq";
    o.awq = true;
    o.tune = LLMQ_TUNE_NORMS; /* which a fold has changed */
    o.tune_rate = 0.01;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_gt(r.folded_count, 0);
    ck_assert_msg(r.tuning.after < r.tuning.before, "%g, %g", r.tuning.after, r.tuning.before);
    llmq_quantize_report_free(&r);
}
END_TEST

START_TEST(any_threads_and_memory) {
    llmq_quantize_options o = tuned();
    o.tune_windows = 50;
    o.tune = LLMQ_TUNE_NORMS;
    run_with_any_threads_and_memory(&o);
}
END_TEST

/* --- interrupted ------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupt;
static int64_t stop_at;

/* While it learns, or when scales are stored and the result is read back. */
static void stop(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    if (strncmp(what, "tuning scales, div", 18) == 0 && done >= (stop_at ? stop_at : total))
        interrupt = 1;
}

static void interrupt_at(llmq_quantize_options *o, int64_t step) {
    llmq_context ctx = {.size = sizeof ctx, .sink = {.progress = stop}, .interrupt = &interrupt};
    llmq_quantize_report r;
    interrupt = 0;
    stop_at = step;
    ck_assert_fails(llmq_quantize(o, &ctx, &r, &err), LLMQ_E_INTERRUPTED, "interrupted", &err);
    llmq_quantize_report_free(&r);
    o->resume = true;
}

START_TEST(resumed_at_any_step) {
    llmq_quantize_options o = tuned(), whole;
    write_more();
    o.tune = LLMQ_TUNE_NORMS;
    whole = o;
    interrupt_at(&o, _i);
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_int_eq(r.blocks_resumed, 2);
    ck_assert(!path_is_file(scratch_path("out/" JOURNAL_UNDO_NAME)));
    whole.out = scratch_path("whole");
    run_quantize(&whole);
    assert_same_tensors(out, whole.out, NULL);
    llmq_quantize_report_free(&r);
}
END_TEST

/* What is stored is not what the journal says, and nothing tells what was before. */
START_TEST(resumed_without_the_file) {
    llmq_quantize_options o = tuned();
    write_more();
    interrupt_at(&o, 0);
    ck_assert_int_eq(unlink(scratch_path("out.partial/" JOURNAL_UNDO_NAME)), 0);
    run_fails(&o, LLMQ_E_CHECK, "");
}
END_TEST

START_TEST(resumed_with_a_damaged_file) {
    llmq_quantize_options o = tuned();
    write_more();
    interrupt_at(&o, 2);
    put_file("out.partial/" JOURNAL_UNDO_NAME, "12345678", 8);
    run_fails(&o, LLMQ_E_INPUT, "not the scales of this run");
}
END_TEST

/* --- left to the plan --------------------------------------------------------------------------*/

/* Scales, as if that had been asked for. */
START_TEST(auto_tunes_scales) {
    llmq_quantize_options o = tuned();
    write_more();
    o.tune = LLMQ_TUNE_AUTO;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_int_gt(r.tuning.steps, 0);
    assert_same_tensors(out, untuned(&o), ".scales");
    llmq_quantize_report_free(&r);
}
END_TEST

/* A format that does not hold them is written without. */
START_TEST(auto_leaves_out_what_does_not_go) {
    llmq_quantize_options o = tuned();
    o.bits = 4;
    o.format = "mxfp4-pack-quantized";
    o.tune = LLMQ_TUNE_AUTO;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_int_eq(r.tuning.windows, 0);
    ck_assert_double_eq(r.plan_tune_passes, 0);
    llmq_quantize_report_free(&r);
}
END_TEST

/* --- refused ---------------------------------------------------------------------------------- */

START_TEST(refusals) {
    llmq_quantize_options o = tuned();
    o.tune_rate = 0;
    run_refused(&o, LLMQ_E_USAGE, "--tune-rate 0");
    o = tuned();
    o.tune_windows = -1;
    run_refused(&o, LLMQ_E_USAGE, "--tune-windows -1");
    o = tuned();
    o.calib = NULL;
    run_refused(&o, LLMQ_E_USAGE, "rtn with --tune needs text");
    o = tuned();
    o.bits = 4;
    o.format = "gguf";
    o.recipe = run_keep_ends();
    err = run_refused(&o, LLMQ_E_UNSUPPORTED, "gguf");
    ck_assert_ptr_nonnull(strstr(err.hint, "--tune off"));
    o = tuned();
    o.bits = 4;
    o.format = "mxfp4-pack-quantized";
    run_refused(&o, LLMQ_E_UNSUPPORTED, "mxfp4");
    o = tuned();
    tiny_windows_write(calib, 1, 24, 2);
    run_fails(&o, LLMQ_E_USAGE, "one window to learn from");
}
END_TEST

int main(void) {
    Suite *s = suite_create("tune");
    TCase *t = tcase_create("runs");
    linalg_init();
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, gradient_is_that_of_differences, 0, 4);
    tcase_add_loop_test(t, scales_alone_change, 0, 4);
    tcase_add_test(t, norms_change_when_asked);
    tcase_add_test(t, what_does_not_help_is_not_kept);
    tcase_add_test(t, long_steps_become_shorter);
    tcase_add_test(t, rules_are_minded);
    tcase_add_test(t, experts_are_tuned);
    tcase_add_test(t, scaled_models_are_tuned);
    tcase_add_test(t, any_threads_and_memory);
    tcase_add_loop_test(t, resumed_at_any_step, 0, 3);
    tcase_add_test(t, resumed_without_the_file);
    tcase_add_test(t, resumed_with_a_damaged_file);
    tcase_add_test(t, auto_tunes_scales);
    tcase_add_test(t, auto_leaves_out_what_does_not_go);
    tcase_add_test(t, refusals);
    suite_add_tcase(s, t);
    return run_suite(s);
}
