/* Runs with AWQ on a tiny model: scales are folded without changing what the model computes, a
 * fold that does is refused, and results are the same however they came about. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "calib/calib.h"
#include "formats/safetensors.h"
#include "graph/model.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "llmq/evaluate.h"
#include "llmq/quantize.h"
#include "models/fold.h"
#include "pipeline/block_fold.h"
#include "support.h"
#include "tiny_model.h"

static char *source, *calib, *out;
static volatile sig_atomic_t interrupt;

/* Give every seventh channel of the norms the weight 8: channels that are worth a scale. */
static void add_salience(void) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    struct file f;
    const uint16_t eight = f32_to_bf16(8);
    char *path = path_join(source, "model.safetensors", NULL), name[96];
    ck_assert_ok(st_open_file(path, &set, &err), &err);
    ck_assert_ok(file_open_update(path, &f, &err), &err);
    for (int block = 0; block < 2; block++)
        for (int norm = 0; norm < 2; norm++) {
            snprintf(name, sizeof name, "model.layers.%d.%s_layernorm.weight", block,
                     norm ? "input" : "post_attention");
            const struct st_tensor *t = st_find(set, name);
            ck_assert_ptr_nonnull(t);
            for (uint64_t i = 0; i < t->shape[0]; i += 7)
                ck_assert_ok(file_pwrite(&f, &eight, 2, t->begin + 2 * i, &err), &err);
        }
    file_close(&f, &err);
    st_close(&set);
    free(path);
}

static void setup(void) {
    scratch_setup();
    source = strdup(scratch_path("source"));
    calib = strdup(scratch_path("calib.json"));
    out = strdup(scratch_path("out"));
    interrupt = 0;
    tiny_model_write(source, 1, 0);
    add_salience();
    tiny_windows_write(calib, 12, 24, 2);
}

static void teardown(void) {
    free(source);
    free(calib);
    free(out);
    scratch_teardown();
}

static llmq_quantize_options options(enum llmq_method method) {
    llmq_quantize_options o;
    llmq_quantize_options_init(&o, method);
    o.model = source;
    o.out = out;
    o.group = 32;
    o.calib = calib;
    return o;
}

static llmq_quantize_report quantize(const llmq_quantize_options *o, const llmq_context *ctx) {
    llmq_error err = {0};
    llmq_quantize_report report;
    ck_assert_ok(llmq_quantize(o, ctx, &report, &err), &err);
    return report;
}

/* --- folding one block ------------------------------------------------------------------------ */

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
    f->tokens = (struct calib_tokens){f->ids, f->offsets, 3};
    ck_assert_ok(arena_create("weights", &f->weights, &err), &err);
    ck_assert_ok(calib_create(&f->m, &f->tokens, NULL, NULL, &f->c, &err), &err);
    ck_assert_ok(calib_keep_start(f->c, NULL, &err), &err);
    ck_assert_ok(model_load_block(&f->m, 0, LOAD_PLAIN, f->weights, &f->block, &err), &err);
    calib_begin_block(f->c, &f->block);
    ck_assert_ok(calib_mark_start(f->c, &err), &err);
    f->count = calib_probe_rows(f->c) * f->m.config.hidden;
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

/* Scales between 1/4 and 4 that the block's norm or bias can take exactly, folded in. */
static float *fold_random(struct fixture *f, enum block_stage stage, uint64_t seed) {
    llmq_error err = {0};
    int64_t channels = fold_channels(&f->m.config, stage);
    float *scales = malloc((size_t)channels * sizeof *scales);
    const float *norm = stage == STAGE_ATTENTION_IN ? f->block.attention_norm
                        : stage == STAGE_MLP_IN     ? f->block.mlp_norm
                                                    : NULL;
    for (int64_t i = 0; i < channels; i++) {
        scales[i] = exp2f((float)(random_next(&seed) % 1000) / 250.0F - 2.0F);
        if (norm)
            scales[i] = norm[i] / bf16_to_f32(f32_to_bf16(norm[i] / scales[i]));
    }
    ck_assert_ok(block_fold_apply(&f->m, stage, scales, &f->block, &err), &err);
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
    for (enum block_stage s = 0; s < STAGE_COUNT; s++) {
        free(fold_random(&f, s, 1 + (uint64_t)s));
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
        float *scales = fold_random(&f, mistake == 3 ? STAGE_MLP_OUT : STAGE_ATTENTION_IN, 5);
        struct linear *v = &f.block.linears[LINEAR_V], *down = &f.block.linears[LINEAR_DOWN];
        if (mistake == 0) /* a reader that was forgotten */
            for (int64_t i = 0; i < v->n * v->k; i++)
                v->w[i] /= scales[i % v->k];
        if (mistake == 1) /* one column of one */
            for (int64_t row = 0; row < v->n; row++)
                v->w[row * v->k + 3] *= 1.01F;
        if (mistake == 2) /* a norm rounded after the scale was derived from it */
            f.block.attention_norm[9] *= 1.004F;
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
    struct linear *v = &f.block.linears[LINEAR_V], *o = &f.block.linears[LINEAR_O];
    float v_before = v->w[17 * v->k + 2], o_before[2] = {o->w[17], o->w[33]};
    float *scales = fold_random(&f, STAGE_ATTENTION_OUT, 3);
    /* 4 heads of 16 on 2 key-value heads: columns 17 and 1 read channel 1, column 33 reads 17. */
    ck_assert(v->w[17 * v->k + 2] == v_before / scales[17]);
    ck_assert(o->w[17] == o_before[0] * scales[1]);
    ck_assert(o->w[33] == o_before[1] * scales[17]);
    free(scales);
    fixture_close(&f);
}
END_TEST

/* Biases of v are bfloat16 in the file: the whole run has to find scales they can take. */
START_TEST(biases_are_divided_and_stored) {
    llmq_error err = {0};
    double difference = 0;
    struct fixture f;
    struct model before, after;
    tiny_model_write_biased(source, 3);
    add_salience();
    fixture_open(&f, source);
    struct linear *v = &f.block.linears[LINEAR_V];
    float scales[32], bias = v->bias[5];
    for (int i = 0; i < 32; i++)
        scales[i] = i % 2 ? 0.5F : 4;
    ck_assert_ok(block_fold_apply(&f.m, STAGE_ATTENTION_OUT, scales, &f.block, &err), &err);
    ck_assert(v->bias[5] == bias * 2);
    ck_assert_ok(compare(&f, &difference, &err), &err);
    fixture_close(&f);

    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    llmq_quantize_report r = quantize(&o, NULL);
    ck_assert_str_eq(r.modules[LINEAR_O].method, "awq");
    ck_assert_uint_eq(r.folded_count, 6);
    llmq_quantize_report_free(&r);
    float old[32], new[32];
    const char *name = "model.layers.0.self_attn.v_proj.bias";
    ck_assert_ok(model_open(source, &before, &err), &err);
    ck_assert_ok(model_open(out, &after, &err), &err);
    ck_assert_ok(st_read_f32(before.tensors, st_find(before.tensors, name), old, &err), &err);
    ck_assert_ok(st_read_f32(after.tensors, st_find(after.tensors, name), new, &err), &err);
    ck_assert_mem_ne(old, new, sizeof old);
    model_close(&before);
    model_close(&after);
}
END_TEST

START_TEST(a_rewound_block_gives_the_same_hessians) {
    llmq_error err = {0};
    const float *H = NULL;
    int64_t k = 0;
    float *first = NULL;
    for (int spilled = 0; spilled < 2; spilled++) {
        struct fixture f;
        fixture_open(&f, source);
        if (spilled) { /* the same with every store in a file */
            calib_free(&f.c);
            ck_assert_ok(calib_create(&f.m, &f.tokens, scratch_path(""), NULL, &f.c, &err), &err);
            ck_assert_ok(calib_keep_start(f.c, scratch_path(""), &err), &err);
            calib_begin_block(f.c, &f.block);
            ck_assert_ok(calib_mark_start(f.c, &err), &err);
        }
        for (int pass = 0; pass < 2; pass++) {
            for (enum block_stage s = 0; s < STAGE_COUNT; s++)
                ck_assert_ok(calib_stage(f.c, s, &H, &k, &err), &err);
            size_t bytes = (size_t)(k * k) * sizeof *H;
            if (!first) {
                first = malloc(bytes);
                memcpy(first, H, bytes);
            }
            ck_assert_mem_eq(first, H, bytes);
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

/* --- whole runs ------------------------------------------------------------------------------- */

static void assert_same_folders(const char *a, const char *b) {
    llmq_error err = {0};
    static const char *const names[] = {"model.safetensors", "config.json"};
    for (size_t i = 0; i < 2; i++) {
        char *data[2] = {0},
             *path[2] = {path_join(a, names[i], NULL), path_join(b, names[i], NULL)};
        size_t len[2] = {0};
        for (int side = 0; side < 2; side++)
            ck_assert_ok(file_read(path[side], 1 << 24, &data[side], &len[side], &err), &err);
        ck_assert_msg(len[0] == len[1] && memcmp(data[0], data[1], len[0]) == 0, "%s differs",
                      names[i]);
        for (int side = 0; side < 2; side++) {
            free(data[side]);
            free(path[side]);
        }
    }
}

/* What the stored model computes is what its codes say with the norms that were stored. */
static double nll(const char *model) {
    llmq_error err = {0};
    llmq_eval_options o;
    llmq_eval_result r;
    llmq_eval_options_init(&o);
    o.model = model;
    o.text = calib;
    ck_assert_ok(llmq_eval(&o, NULL, &r, &err), &err);
    return r.nll;
}

START_TEST(eight_bits_with_scales_are_the_same_model) {
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    o.bits = 8;
    o.format = "gptq_v2";
    llmq_quantize_report r = quantize(&o, NULL);
    ck_assert_uint_eq(r.folded_count, 4);
    ck_assert_uint_eq(r.kept_count, 3);
    llmq_quantize_report_free(&r);
    ck_assert_double_eq_tol(nll(out), nll(source), 0.02);
}
END_TEST

START_TEST(report_tells_method_proof_and_errors_of_the_original_function) {
    for (int composed = 0; composed < 2; composed++) {
        llmq_quantize_options o = options(composed ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ);
        o.awq = true;
        o.force = true;
        llmq_quantize_report r = quantize(&o, NULL);
        int scaled = 0;
        ck_assert_str_eq(r.format, composed ? "gptq" : "awq");
        for (size_t i = 0; i < r.module_count; i++) {
            const llmq_module_report *m = &r.modules[i];
            scaled += strncmp(m->method, "awq", 3) == 0;
            if (composed)
                ck_assert_ptr_nonnull(strstr(m->method, "gptq"));
            ck_assert_double_gt(m->fold_error, 0);
            ck_assert_double_lt(m->fold_error, 5e-6);
            ck_assert_double_le(m->error, m->rtn_error * 1.02);
        }
        ck_assert_int_gt(scaled, 4);
        llmq_quantize_report_free(&r);
    }
}
END_TEST

/* The first stage of the first block has the original inputs in both runs, so the error that is
 * reported for rounding alone is the same, fold or no fold. */
START_TEST(rounding_error_does_not_see_the_fold) {
    llmq_quantize_options o = options(LLMQ_METHOD_GPTQ);
    o.sym = false;
    llmq_quantize_report plain = quantize(&o, NULL);
    o.awq = o.force = true;
    llmq_quantize_report scaled = quantize(&o, NULL);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_str_eq(plain.modules[i].method, "gptq");
        ck_assert_str_eq(scaled.modules[i].method, "awq+gptq");
        ck_assert_double_eq_tol(scaled.modules[i].rtn_error / plain.modules[i].rtn_error, 1, 1e-3);
    }
    llmq_quantize_report_free(&plain);
    llmq_quantize_report_free(&scaled);
}
END_TEST

START_TEST(symmetric_codes_go_into_the_awq_format_too) {
    llmq_error err = {0};
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    char *path = strdup(scratch_path("out/config.json")), *text = NULL;
    size_t len = 0;
    o.sym = true;
    llmq_quantize_report r = quantize(&o, NULL);
    ck_assert_str_eq(r.format, "awq");
    llmq_quantize_report_free(&r);
    ck_assert_ok(file_read(path, 1 << 20, &text, &len, &err), &err);
    ck_assert_ptr_nonnull(strstr(text, "\"zero_point\": true"));
    free(text);
    free(path);
}
END_TEST

START_TEST(awq_goes_with_gptq_not_with_rtn) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_quantize_options o = options(LLMQ_METHOD_RTN);
    o.awq = true;
    ck_assert_fails(llmq_quantize(&o, NULL, &r, &err), LLMQ_E_USAGE, "--awq goes with gptq", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "llmq awq"));
    llmq_quantize_report_free(&r);
    ck_assert(!path_is_dir(out));
}
END_TEST

START_TEST(threads_and_spilling_change_nothing) {
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    llmq_context one = {.threads = 1}, three = {.threads = 3};
    llmq_quantize_report r = quantize(&o, &one);
    uint64_t ram = r.plan_ram_bytes;
    llmq_quantize_report_free(&r);
    o.out = scratch_path("three");
    r = quantize(&o, &three);
    llmq_quantize_report_free(&r);
    assert_same_folders(out, scratch_path("three"));
    o.out = scratch_path("spilled");
    o.max_mem = ram - 1;
    r = quantize(&o, NULL);
    ck_assert_uint_gt(r.spill_bytes, 0);
    llmq_quantize_report_free(&r);
    assert_same_folders(out, scratch_path("spilled"));
}
END_TEST

static void stop_in_block_two(void *user, const char *what, int64_t done, int64_t total) {
    (void)user;
    (void)done;
    (void)total;
    if (strncmp(what, "block 2", 7) == 0)
        interrupt = 1;
}

static void interrupt_run(const llmq_quantize_options *o) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_context ctx = {.sink = {.progress = stop_in_block_two}, .interrupt = &interrupt};
    interrupt = 0;
    ck_assert_fails(llmq_quantize(o, &ctx, &r, &err), LLMQ_E_INTERRUPTED, "interrupted", &err);
    llmq_quantize_report_free(&r);
}

START_TEST(interrupted_and_resumed_equals_uninterrupted) {
    llmq_error err = {0};
    for (int composed = 0; composed < 2; composed++) {
        llmq_quantize_options o = options(composed ? LLMQ_METHOD_GPTQ : LLMQ_METHOD_AWQ);
        o.awq = o.force = true;
        interrupt_run(&o);
        o.force = false;
        o.resume = true;
        llmq_quantize_report r;
        if (composed) { /* the same run without the scales is another run */
            o.awq = false;
            o.force = true;
            ck_assert_fails(llmq_quantize(&o, NULL, &r, &err), LLMQ_E_INPUT,
                            "other inputs or options", &err);
            llmq_quantize_report_free(&r);
            o.awq = true;
        }
        r = quantize(&o, NULL);
        ck_assert_int_eq(r.blocks_resumed, 1);
        ck_assert_double_gt(r.modules[0].fold_error, 0);
        llmq_quantize_report_free(&r);
        o.resume = false;
        o.force = true;
        o.out = scratch_path("whole");
        r = quantize(&o, NULL);
        llmq_quantize_report_free(&r);
        assert_same_folders(out, o.out);
    }
}
END_TEST

START_TEST(damage_to_a_scaled_norm_is_noticed) {
    llmq_error err = {0};
    llmq_quantize_report r;
    llmq_quantize_options o = options(LLMQ_METHOD_AWQ);
    struct st_set *set = NULL;
    struct file f;
    unsigned char byte = 0;
    interrupt_run(&o);
    char *path = strdup(scratch_path("out.partial/model.safetensors"));
    ck_assert_ok(st_open_file(path, &set, &err), &err);
    uint64_t at = st_find(set, "model.layers.0.post_attention_layernorm.weight")->begin;
    st_close(&set);
    ck_assert_ok(file_open_update(path, &f, &err), &err);
    ck_assert_ok(file_pread(&f, &byte, 1, at, &err), &err);
    byte ^= 1;
    ck_assert_ok(file_pwrite(&f, &byte, 1, at, &err), &err);
    file_close(&f, &err);
    o.resume = true;
    ck_assert_fails(llmq_quantize(&o, NULL, &r, &err), LLMQ_E_CHECK,
                    "norms of block 0: what was read back differs", &err);
    llmq_quantize_report_free(&r);
    free(path);
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline_awq");
    TCase *t = tcase_create("awq");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_fold_leaves_the_block_as_it_was);
    tcase_add_test(t, the_proof_catches_a_wrong_fold);
    tcase_add_test(t, query_heads_share_scales);
    tcase_add_test(t, biases_are_divided_and_stored);
    tcase_add_test(t, a_rewound_block_gives_the_same_hessians);
    tcase_add_test(t, eight_bits_with_scales_are_the_same_model);
    tcase_add_test(t, report_tells_method_proof_and_errors_of_the_original_function);
    tcase_add_test(t, rounding_error_does_not_see_the_fold);
    tcase_add_test(t, symmetric_codes_go_into_the_awq_format_too);
    tcase_add_test(t, awq_goes_with_gptq_not_with_rtn);
    tcase_add_test(t, threads_and_spilling_change_nothing);
    tcase_add_test(t, interrupted_and_resumed_equals_uninterrupted);
    tcase_add_test(t, damage_to_a_scaled_norm_is_noticed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
