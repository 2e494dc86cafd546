/* SPDX-License-Identifier: Apache-2.0 */
/* Comparison of two models: against distributions in double precision, by hand, and its refusals.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "eval/divergence.h"
#include "eval/summary.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/evaluate.h"
#include "support.h"

enum { TOKENS = 8 };

static const char windows[] = "[[1,2,3],[5,17,3,99,42,7,64,23],[9,9,9,9,9]]";

/* Two models with one vocabulary whose predictions differ; freed by the fixture. */
static char *model_dir, *reference_dir;

static void setup(void) {
    scratch_setup();
    model_dir = source_path("tests/golden/qwen3");
    reference_dir = source_path("tests/golden/llama-base");
}

static void teardown(void) {
    free(model_dir);
    free(reference_dir);
    scratch_teardown();
}

static llmq_compare_options both_on(const char *text) {
    llmq_compare_options o;
    llmq_compare_options_init(&o);
    o.model = model_dir;
    o.reference = reference_dir;
    o.text = text;
    return o;
}

/* --- against plain double precision ------------------------------------------------------------
 */

/* Logits [TOKENS, vocab] of the tokens; the caller frees. */
static float *read_logits(const char *model, const int32_t *tokens, size_t vocab) {
    llmq_error err = {0};
    struct st_set *set = NULL;
    double scores[TOKENS - 1];
    float *logits = calloc(TOKENS * vocab, sizeof *logits);
    const char *path = scratch_path("logits.safetensors");
    const llmq_score_options options = {.size = sizeof options, .model = model, .logits = path};
    ck_assert_ok(llmq_score(&options, tokens, TOKENS, NULL, scores, &err), &err);
    ck_assert_ok(st_open_file(path, &set, &err), &err);
    size_t bytes = TOKENS * vocab * sizeof *logits;
    ck_assert_ok(st_read(set, st_find(set, "logits"), 0, bytes, logits, &err), &err);
    st_close(&set);
    return logits;
}

/* log softmax of a row; returns the place of its largest entry. */
static size_t log_softmax(const float *row, size_t vocab, double *out) {
    double sum = 0;
    size_t top = 0;
    for (size_t i = 0; i < vocab; i++) {
        sum += exp((double)row[i]);
        if (row[i] > row[top])
            top = i;
    }
    for (size_t i = 0; i < vocab; i++)
        out[i] = (double)row[i] - log(sum);
    return top;
}

static llmq_compare_result compare_window(const llmq_compare_options *o, const int32_t *tokens) {
    llmq_error err = {0};
    llmq_compare_options options = *o;
    llmq_compare_result r;
    char text[128];
    size_t len = 0;
    for (int t = 0; t < TOKENS; t++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d", t ? "," : "[[", tokens[t]);
    len += (size_t)snprintf(text + len, sizeof text - len, "]]");
    put_file("window.json", text, len);
    options.text = scratch_path("window.json");
    ck_assert_ok(llmq_compare(&options, NULL, &r, &err), &err);
    return r;
}

/* The comparison of two models on one window equals the one from their logits. */
static void check_against_logits(const llmq_compare_options *o, const int32_t *tokens,
                                 size_t vocab) {
    float *a = read_logits(o->reference, tokens, vocab);
    float *b = read_logits(o->model, tokens, vocab);
    double *p = calloc(vocab, sizeof *p), *q = calloc(vocab, sizeof *q);
    double kl_sum = 0, delta = 0, worst = 0;
    int agree = 0, worst_at = 0;
    for (size_t t = 0; t + 1 < TOKENS; t++) {
        double kl = 0;
        agree += log_softmax(a + t * vocab, vocab, p) == log_softmax(b + t * vocab, vocab, q);
        for (size_t i = 0; i < vocab; i++)
            kl += exp(p[i]) * (p[i] - q[i]);
        kl_sum += kl;
        delta += p[tokens[t + 1]] - q[tokens[t + 1]];
        if (kl > worst) {
            worst = kl;
            worst_at = (int)t + 1;
        }
    }
    llmq_compare_result r = compare_window(o, tokens);
    ck_assert_double_gt(r.kl_mean, 0.01);
    ck_assert_double_eq_tol(r.kl_mean, kl_sum / 7, 1e-6);
    ck_assert_double_eq_tol(r.delta_nll, delta / 7, 1e-6);
    ck_assert_double_eq_tol(r.top1_agreement, agree / 7.0, 1e-15);
    ck_assert_uint_eq(r.worst_count, LLMQ_COMPARE_WORST);
    ck_assert_double_eq_tol(r.worst[0].kl, worst, 1e-6);
    ck_assert_int_eq(r.worst[0].window, 0);
    ck_assert_int_eq(r.worst[0].position, worst_at);
    ck_assert_int_eq(r.worst[0].token, tokens[worst_at]);
    llmq_compare_result_free(&r);
    free(a);
    free(b);
    free(p);
    free(q);
}

START_TEST(divergence_equals_plain_double_precision) {
    static const int32_t tokens[TOKENS] = {5, 17, 3, 99, 42, 7, 64, 23};
    llmq_compare_options o = both_on(NULL);
    check_against_logits(&o, tokens, 128);
}
END_TEST

/* A model of one block of 8 x 8 matrices whose vocabulary does not fit one slice of the head. */
enum { WIDE_VOCAB = 9000, WIDE_HIDDEN = 8 };

static void wide_model_write(const char *dir, uint64_t seed) {
    static const char config[] =
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\","
        " \"hidden_size\": 8, \"intermediate_size\": 8, \"num_attention_heads\": 2,"
        " \"num_key_value_heads\": 2, \"num_hidden_layers\": 1, \"vocab_size\": 9000,"
        " \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-05}";
#define BLOCK "model.layers.0."
    struct st_spec specs[] = {
        {BLOCK "input_layernorm.weight", DTYPE_F32, 1, {WIDE_HIDDEN}},
        {BLOCK "post_attention_layernorm.weight", DTYPE_F32, 1, {WIDE_HIDDEN}},
        {"model.norm.weight", DTYPE_F32, 1, {WIDE_HIDDEN}},
        {BLOCK "self_attn.q_proj.weight", DTYPE_F32, 2, {WIDE_HIDDEN, WIDE_HIDDEN}},
        {BLOCK "self_attn.k_proj.weight", DTYPE_F32, 2, {WIDE_HIDDEN, WIDE_HIDDEN}},
        {BLOCK "self_attn.v_proj.weight", DTYPE_F32, 2, {WIDE_HIDDEN, WIDE_HIDDEN}},
        {BLOCK "self_attn.o_proj.weight", DTYPE_F32, 2, {WIDE_HIDDEN, WIDE_HIDDEN}},
        {BLOCK "mlp.gate_proj.weight", DTYPE_F32, 2, {WIDE_HIDDEN, WIDE_HIDDEN}},
        {BLOCK "mlp.up_proj.weight", DTYPE_F32, 2, {WIDE_HIDDEN, WIDE_HIDDEN}},
        {BLOCK "mlp.down_proj.weight", DTYPE_F32, 2, {WIDE_HIDDEN, WIDE_HIDDEN}},
        {"model.embed_tokens.weight", DTYPE_F32, 2, {WIDE_VOCAB, WIDE_HIDDEN}},
        {"lm_head.weight", DTYPE_F32, 2, {WIDE_VOCAB, WIDE_HIDDEN}},
    };
#undef BLOCK
    static float values[WIDE_VOCAB * WIDE_HIDDEN];
    llmq_error err = {0};
    struct st_writer *w = NULL;
    size_t count = sizeof specs / sizeof *specs;
    ck_assert_ok(dir_make(scratch_path(dir), false, &err), &err);
    ck_assert_ok(st_writer_create(scratch_path(dir), specs, count, UINT64_MAX, &w, &err), &err);
    for (size_t i = 0; i < count; i++) {
        size_t n = (size_t)(specs[i].shape[0] * (specs[i].rank > 1 ? specs[i].shape[1] : 1));
        for (size_t j = 0; j < n; j++)
            values[j] = (float)((double)(random_next(&seed) >> 40) * 0x1p-23 - 1.0);
        ck_assert_ok(st_writer_put(w, specs[i].name, values, n * sizeof *values, &err), &err);
    }
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    char name[64];
    snprintf(name, sizeof name, "%s/config.json", dir);
    put_file(name, config, sizeof config - 1);
}

START_TEST(slices_of_a_large_vocabulary_add_up) {
    static const int32_t tokens[TOKENS] = {5, 8999, 8192, 8191, 0, 4000, 8500, 23};
    char model[512], reference[512];
    wide_model_write("wide", 1);
    wide_model_write("other", 2);
    snprintf(model, sizeof model, "%s", scratch_path("wide"));
    snprintf(reference, sizeof reference, "%s", scratch_path("other"));
    llmq_compare_options o = both_on(NULL);
    o.model = model;
    o.reference = reference;
    check_against_logits(&o, tokens, WIDE_VOCAB);
}
END_TEST

START_TEST(equal_models_do_not_diverge) {
    llmq_error err = {0};
    put_file("w.json", windows, sizeof windows - 1);
    llmq_compare_options o = both_on(scratch_path("w.json"));
    o.model = reference_dir;
    llmq_compare_result r;
    ck_assert_ok(llmq_compare(&o, NULL, &r, &err), &err);
    ck_assert_double_eq(r.kl_mean, 0);
    ck_assert_double_eq(r.kl_stderr, 0);
    ck_assert_double_eq(r.kl_p99, 0);
    ck_assert_double_eq(r.top1_agreement, 1);
    ck_assert_double_eq(r.delta_nll, 0);
    ck_assert_double_eq(r.delta_nll_stderr, 0);
    ck_assert_double_eq(r.ppl, r.ppl_reference);
    ck_assert_int_eq(r.worst[0].position, 1);
    ck_assert_int_gt(r.block_count, 0);
    for (int64_t i = 0; i < r.block_count; i++)
        ck_assert_double_eq(r.blocks[i].error, 0);
    llmq_compare_result_free(&r);
}
END_TEST

static llmq_eval_result evaluate(const char *model, const llmq_compare_options *compared) {
    llmq_error err = {0};
    llmq_eval_options o;
    llmq_eval_result r;
    llmq_eval_options_init(&o);
    o.model = model;
    o.text = compared->text;
    o.convention = compared->convention;
    ck_assert_ok(llmq_eval(&o, NULL, &r, &err), &err);
    return r;
}

START_TEST(delta_is_the_difference_of_two_evaluations) {
    llmq_error err = {0};
    static const enum llmq_convention conventions[] = {LLMQ_CONVENTION_GPTQ,
                                                       LLMQ_CONVENTION_LLAMACPP};
    put_file("w.json", windows, sizeof windows - 1);
    for (int i = 0; i < 2; i++) {
        llmq_compare_options o = both_on(scratch_path("w.json"));
        o.convention = conventions[i];
        llmq_compare_result r;
        ck_assert_ok(llmq_compare(&o, NULL, &r, &err), &err);
        llmq_eval_result model = evaluate(model_dir, &o), reference = evaluate(reference_dir, &o);
        ck_assert_double_eq(r.ppl, model.ppl);
        ck_assert_double_eq(r.ppl_reference, reference.ppl);
        ck_assert_double_eq_tol(r.delta_nll, model.nll - reference.nll, 1e-12);
        ck_assert_int_eq(r.tokens, model.tokens);
        ck_assert_int_eq(r.windows, 3);
        ck_assert_int_eq(r.ctx, TOKENS);
        ck_assert(r.convention == conventions[i]);
        llmq_compare_result_free(&r);
    }
}
END_TEST

/* --- summary by hand ---------------------------------------------------------------------------
 */

/* Windows of 4 and 3 tokens: five of the entries count. */
static int64_t offsets[] = {0, 4, 7};
static int32_t hand_ids[] = {10, 11, 12, 13, 20, 21, 22};
static const struct corpus hand = {
    .ids = hand_ids, .offsets = offsets, .count = 2, .max_len = 4, .tokens_used = 7};
static double kl[] = {0.5, 0.1, 0.3, 0, 0.1, 0.9, 0};
static bool agree[] = {false, true, true, false, true, false, false};
static double logprobs[] = {-2, -1, -3, 0, -1, -4, 0};
static double reference_logprobs[] = {-1, -1, -2, 0, -2, -2, 0};
static const struct divergence by_hand = {
    .kl = kl, .agree = agree, .logprobs = logprobs, .reference_logprobs = reference_logprobs};

START_TEST(summary_by_hand) {
    llmq_error err = {0};
    struct divergence_summary s;
    ck_assert_ok(divergence_summarize(&hand, &by_hand, EVAL_GPTQ, &s, &err), &err);
    ck_assert_int_eq(s.kl.tokens, 5);
    ck_assert_double_eq_tol(s.kl.nll, 1.9 / 5, 1e-15);
    /* in order: 0.1 0.1 0.3 0.5 0.9; the 99th percentile lies at 0.99 * 4 = 3.96 */
    ck_assert_double_eq_tol(s.kl_median, 0.3, 1e-15);
    ck_assert_double_eq_tol(s.kl_p99, 0.5 + 0.96 * 0.4, 1e-15);
    ck_assert_double_eq_tol(s.top1_agreement, 3.0 / 5, 1e-15);
    /* differences of nll: 1 0 1 | -1 2; mean 0.6; deviations 2 - 1.8 and 1 - 1.2 */
    ck_assert_double_eq_tol(s.delta.nll, 3.0 / 5, 1e-15);
    ck_assert_double_eq_tol(s.delta.standard_error, sqrt(2 * 0.04 * 2 / 1) / 5, 1e-15);
    static const int64_t positions[] = {2, 1, 3, 2, 1}, in[] = {1, 0, 0, 0, 1};
    static const int32_t tokens[] = {22, 11, 13, 12, 21};
    ck_assert_uint_eq(s.worst_count, 5);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(s.worst[i].window, in[i]);
        ck_assert_int_eq(s.worst[i].position, positions[i]);
        ck_assert_int_eq(s.worst[i].token, tokens[i]);
    }
}
END_TEST

START_TEST(llamacpp_counts_the_second_half) {
    llmq_error err = {0};
    struct divergence_summary s;
    ck_assert_ok(divergence_summarize(&hand, &by_hand, EVAL_LLAMACPP, &s, &err), &err);
    /* entry 2 of the first window, entry 1 of the second */
    ck_assert_int_eq(s.kl.tokens, 2);
    ck_assert_double_eq_tol(s.kl_median, (0.3 + 0.9) / 2, 1e-15);
    ck_assert_double_eq_tol(s.top1_agreement, 0.5, 1e-15);
    ck_assert_uint_eq(s.worst_count, 2);
    ck_assert_double_eq(s.worst[0].kl, 0.9);
}
END_TEST

START_TEST(nothing_that_counts_is_refused) {
    llmq_error err = {0};
    struct divergence_summary s;
    static int64_t pair_offsets[] = {0, 2};
    struct corpus pair = {
        .ids = hand_ids, .offsets = pair_offsets, .count = 1, .max_len = 2, .tokens_used = 2};
    ck_assert_fails(divergence_summarize(&pair, &by_hand, EVAL_LLAMACPP, &s, &err), LLMQ_E_USAGE,
                    "no token counts", &err);
}
END_TEST

/* --- refusals ----------------------------------------------------------------------------------
 */

/* The comparison is wrong usage, and the message holds `part`. */
static void ck_refused(const char *model, const char *reference, const char *text,
                       const char *part) {
    llmq_error err = {0};
    llmq_compare_options o = both_on(text);
    o.model = model;
    o.reference = reference;
    llmq_compare_result r;
    ck_assert_fails(llmq_compare(&o, NULL, &r, &err), LLMQ_E_USAGE, part, &err);
    llmq_compare_result_free(&r);
}

START_TEST(different_vocabularies_are_refused_by_name) {
    char *demo = source_path("models/demo"), part[64];
    llmq_error err = {0};
    struct json *config = NULL;
    char *path = path_join(demo, "config.json", &err);
    int64_t vocab = 0;
    ck_assert_ok(json_read(path, &config, &err), &err);
    ck_assert(json_as_int64(json_get(config, "vocab_size"), &vocab));
    snprintf(part, sizeof part, "has %lld tokens in its vocabulary", (long long)vocab);
    ck_refused(demo, reference_dir, NULL, part);
    ck_refused(demo, reference_dir, NULL, reference_dir);
    ck_refused(model_dir, demo, NULL, model_dir);
    json_free(&config);
    free(path);
    free(demo);
}
END_TEST

START_TEST(text_without_a_tokenizer_is_refused_with_both_names) {
    put_file("t.txt", "no tokenizer here", 17);
    ck_refused(model_dir, reference_dir, scratch_path("t.txt"), "t.txt is text");
    ck_refused(model_dir, reference_dir, scratch_path("t.txt"), reference_dir);
}
END_TEST

START_TEST(ids_that_stand_for_different_texts_are_refused) {
    static const char plain[] = "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1},"
                                " \"merges\": []}}";
    static const char swapped[] = "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"c\": 1},"
                                  " \"merges\": []}}";
    char model[512], reference[512];
    wide_model_write("wide", 1);
    wide_model_write("other", 2);
    put_file("wide/tokenizer.json", plain, sizeof plain - 1);
    put_file("other/tokenizer.json", swapped, sizeof swapped - 1);
    put_file("t.txt", "a", 1);
    snprintf(model, sizeof model, "%s", scratch_path("wide"));
    snprintf(reference, sizeof reference, "%s", scratch_path("other"));
    ck_refused(model, reference, scratch_path("t.txt"), "token 1 is not the same text");
    /* behind U+0000 too */
    static const char nul[] = "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, "
                              "\"b\\u0000c\": 1}, \"merges\": []}}";
    put_file("other/tokenizer.json", nul, sizeof nul - 1);
    ck_refused(model, reference, scratch_path("t.txt"), "token 1 is not the same text");
}
END_TEST

START_TEST(windows_too_long_for_either_model_are_refused) {
    static char text[1 << 16];
    size_t len = 0;
    text[len++] = '[';
    text[len++] = '[';
    for (int i = 0; i < 20000; i++) {
        text[len++] = '1';
        text[len++] = ',';
    }
    memcpy(text + len - 1, "]]", 2);
    put_file("long.json", text, len + 1);
    ck_refused(model_dir, reference_dir, scratch_path("long.json"), "windows of 20000 tokens");
}
END_TEST

/* --- JSON --------------------------------------------------------------------------------------
 */

START_TEST(json_has_the_keys_that_scripts_rely_on) {
    llmq_error err = {0};
    static const char *const keys[] = {
        "schema",         "kl_mean", "kl_median",     "kl_p99", "delta_nll", "delta_nll_stderr",
        "top1_agreement", "ppl",     "ppl_reference", "tokens", "worst",     "blocks"};
    llmq_block_drift drift = {.model = {.nan = 2}, .reference = {.most = 3}, .error = 0.125};
    llmq_compare_result r = {.kl_mean = 0.25,
                             .top1_agreement = 0.5,
                             .tokens = 7,
                             .worst = {{.window = 3, .position = 4, .token = 5, .kl = 6}},
                             .worst_count = 1,
                             .blocks = &drift,
                             .block_count = 1};
    struct json *o = NULL;
    char *text = llmq_compare_json(&r);
    ck_assert_ptr_nonnull(text);
    ck_assert_ok(json_parse(text, strlen(text), "result", &o, &err), &err);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        ck_assert_msg(json_get(o, keys[i]) != NULL, "%s is missing", keys[i]);
    double kl_mean = 0;
    int64_t position = 0;
    ck_assert(json_as_double(json_get(o, "kl_mean"), &kl_mean) && kl_mean == 0.25);
    const struct json *worst = json_get(o, "worst");
    ck_assert_uint_eq(json_count(worst), 1);
    ck_assert(json_as_int64(json_get(json_first(worst), "position"), &position) && position == 4);
    const struct json *block = json_first(json_get(o, "blocks"));
    double error = 0, most = 0;
    int64_t nan = 0;
    ck_assert(json_as_double(json_get(block, "error"), &error) && error == 0.125);
    ck_assert(json_as_int64(json_get(json_get(block, "model"), "nan"), &nan) && nan == 2);
    ck_assert(json_as_double(json_get(json_get(block, "reference"), "max"), &most) && most == 3);
    json_free(&o);
    free(text);
}
END_TEST

int main(void) {
    Suite *s = suite_create("compare");
    TCase *t = tcase_create("compare");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, divergence_equals_plain_double_precision);
    tcase_add_test(t, slices_of_a_large_vocabulary_add_up);
    tcase_add_test(t, equal_models_do_not_diverge);
    tcase_add_test(t, delta_is_the_difference_of_two_evaluations);
    tcase_add_test(t, summary_by_hand);
    tcase_add_test(t, llamacpp_counts_the_second_half);
    tcase_add_test(t, nothing_that_counts_is_refused);
    tcase_add_test(t, different_vocabularies_are_refused_by_name);
    tcase_add_test(t, text_without_a_tokenizer_is_refused_with_both_names);
    tcase_add_test(t, ids_that_stand_for_different_texts_are_refused);
    tcase_add_test(t, windows_too_long_for_either_model_are_refused);
    tcase_add_test(t, json_has_the_keys_that_scripts_rely_on);
    suite_add_tcase(s, t);
    return run_suite(s);
}
