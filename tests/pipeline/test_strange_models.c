/* SPDX-License-Identifier: Apache-2.0 */
/* Models that are not plain from their files: a tied config beside a head of its own, names behind
 * another prefix, code of the checkpoint's own, packed weights without settings. What is computed
 * is the plain model's, and results are what every loader reads alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "edit_checkpoint.h"
#include "look.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

#define Q0   "model.layers.0.self_attn.q_proj"
#define HEAD "lm_head.weight"
#define EMBD "model.embed_tokens.weight"

static llmq_error err;

/* --- making them ------------------------------------------------------------------------------ */

static void copy_tensor(const char *dir, const char *from, const char *to) {
    struct edit e;
    size_t bytes = 0;
    edit_read(dir, &e);
    const void *data = edit_data(&e, from, &bytes);
    void *copy = malloc(bytes);
    memcpy(copy, data, bytes);
    edit_put(&e, to, DTYPE_BF16, TINY_VOCAB, 64, copy);
    edit_write(dir, &e, 1u << 30);
    free(copy);
}

/* 1, 0, or -1 when the key is absent. */
static int tied_in(const char *dir) {
    struct json *config = NULL;
    bool tied = false;
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(json_read(path, &config, &err), &err);
    const int found = json_as_bool(json_get(config, "tie_word_embeddings"), &tied) ? tied : -1;
    json_free(&config);
    free(path);
    return found;
}

/* --- the output head -------------------------------------------------------------------------- */

START_TEST(a_stored_head_that_differs_counts_whatever_the_config_says) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors", "gguf", "onnx"};
    const double plain = look_loss(source);
    double packed[5];
    for (size_t i = 0; i < 5; i++) {
        look_quantize(formats[i]);
        packed[i] = look_loss(out);
    }
    edit_tie(source);
    ck_assert_double_eq(look_loss(source), plain);
    look_says("the stored head counts");
    ck_assert(look_finds(source, "tied-head", true));
    for (size_t i = 0; i < 5; i++) {
        look_quantize(formats[i]);
        look_says("tie_word_embeddings false");
        ck_assert(look_stored(out, HEAD));
        ck_assert_int_eq(tied_in(out), 0);
        ck_assert_double_eq(look_loss(out), packed[i]);
        ck_assert(!look_finds(out, "tied-head", true));
    }
}
END_TEST

START_TEST(conversions_untie_what_their_source_ties_wrongly) {
    look_quantize("gptq");
    const double packed = look_loss(out);
    edit_tie(out);
    ck_assert_double_eq(look_loss(out), packed);
    look_convert(out, "awq", scratch_path("awq"));
    ck_assert_int_eq(tied_in(scratch_path("awq")), 0);
    ck_assert_double_eq(look_loss(scratch_path("awq")), packed);
    look_convert(out, "bf16", scratch_path("plain"));
    ck_assert_int_eq(tied_in(scratch_path("plain")), 0);
    ck_assert(look_stored(scratch_path("plain"), HEAD));
}
END_TEST

START_TEST(a_head_that_is_the_embedding_is_no_news) {
    copy_tensor(source, EMBD, HEAD);
    const double plain = look_loss(source);
    edit_tie(source);
    ck_assert_double_eq(look_loss(source), plain);
    look_silent();
    ck_assert(!look_finds(source, "tied-head", true));
    look_quantize("gptq");
    ck_assert_int_eq(tied_in(out), 1);
    look_quantize("gguf");
    ck_assert(!look_stored(out, HEAD));
    edit_take(source, HEAD);
    ck_assert_double_eq(look_loss(source), plain);
}
END_TEST

/* The same values in another dtype are the same head. */
START_TEST(a_head_of_equal_values_in_another_dtype_is_no_news) {
    struct edit e;
    copy_tensor(source, EMBD, HEAD);
    edit_read(source, &e);
    edit_widen(&e, HEAD);
    edit_write(source, &e, 1u << 30);
    edit_tie(source);
    (void)look_loss(source);
    look_silent();
}
END_TEST

START_TEST(a_tied_embedding_that_is_stored_as_the_head_loads) {
    copy_tensor(source, EMBD, HEAD);
    edit_tie(source);
    const double plain = look_loss(source);
    edit_take(source, EMBD);
    ck_assert_double_eq(look_loss(source), plain);
    look_says("stored alone and tied");
    ck_assert(look_finds(source, "tensor-names", true));
    look_quantize("gptq");
    ck_assert(look_stored(out, EMBD) && !look_stored(out, HEAD));
    ck_assert_int_eq(tied_in(out), 1);
    ck_assert(!look_finds(out, "tensor-names", true) && !look_finds(out, "model-tensors", true));
}
END_TEST

START_TEST(a_head_that_is_missing_is_told_with_what_helps) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    edit_take(source, HEAD);
    llmq_error found = run_fails(&o, LLMQ_E_INPUT, "'lm_head.weight' is missing");
    ck_assert_ptr_nonnull(strstr(found.hint, "\"tie_word_embeddings\": true"));
    edit_add(source, "score.weight", DTYPE_BF16, 2, 64, 0);
    found = run_fails(&o, LLMQ_E_INPUT, "'lm_head.weight' is missing");
    ck_assert_ptr_nonnull(strstr(found.hint, "score.weight"));
}
END_TEST

START_TEST(code_of_the_checkpoints_own_is_told) {
    const double plain = look_loss(source);
    look_silent();
    edit_text(source, "config.json", "\"my_key\": 1.50",
              "\"my_key\": 1.50, \"auto_map\": {\"AutoModelForCausalLM\": \"m.Mine\"}");
    ck_assert_double_eq(look_loss(source), plain);
    look_says("auto_map names code of the checkpoint's own");
    look_quantize("gptq");
    look_says("it computes LlamaForCausalLM");
}
END_TEST

/* --- names ------------------------------------------------------------------------------------ */

static void reads_as(const char *trunk, const char *head) {
    const double plain = look_loss(source);
    char packed[64];
    look_quantize("gptq");
    const double expected = look_loss(out);
    edit_rename(source, "model.", trunk);
    edit_rename(source, "lm_head.", head);
    ck_assert_double_eq(look_loss(source), plain);
    look_says("are read as those of a llama model");
    ck_assert(look_finds(source, *trunk ? "tensor-prefix" : "tensor-names", true));
    look_quantize("gptq");
    (void)snprintf(packed, sizeof packed, "%s.qweight", Q0);
    ck_assert(look_stored(out, packed) && look_stored(out, EMBD) && look_stored(out, HEAD));
    ck_assert_double_eq(look_loss(out), expected);
    ck_assert(!look_finds(out, "tensor-names", true) && !look_finds(out, "tensor-prefix", true));
}

START_TEST(names_of_the_model_without_its_head) {
    reads_as("", "lm_head.");
}
END_TEST

START_TEST(names_of_a_model_inside_of_another) {
    reads_as("language_model.model.", "language_model.lm_head.");
}
END_TEST

START_TEST(names_of_a_model_inside_of_another_as_of_late) {
    reads_as("model.language_model.", "lm_head.");
}
END_TEST

START_TEST(names_of_a_wrapper) {
    reads_as("module.model.", "module.lm_head.");
}
END_TEST

START_TEST(two_models_in_one_are_refused) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    edit_add(source, "language_model.model.layers.0.input_layernorm.weight", DTYPE_BF16, 0, 64, 0);
    (void)run_fails(&o, LLMQ_E_INPUT, "two models");
    ck_assert(look_finds(source, "tensor-prefix", true));
}
END_TEST

START_TEST(packed_models_are_read_under_other_names_too) {
    look_quantize("gptq");
    const double packed = look_loss(out);
    edit_rename(out, "model.", "language_model.model.");
    edit_rename(out, "lm_head.", "language_model.lm_head.");
    ck_assert_double_eq(look_loss(out), packed);
    look_convert(out, "awq", scratch_path("awq"));
    ck_assert(look_stored(scratch_path("awq"), Q0 ".qweight"));
    ck_assert_double_eq(look_loss(scratch_path("awq")), packed);
}
END_TEST

/* --- what has lost its settings --------------------------------------------------------------- */

START_TEST(packed_weights_without_settings_are_recognised) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors"};
    for (size_t i = 0; i < 3; i++) {
        llmq_eval_result r;
        look_quantize(formats[i]);
        edit_move_config(out, NULL);
        char *beside = path_join(out, "quantize_config.json", &err);
        (void)remove(beside);
        free(beside);
        beside = path_join(out, "quant_config.json", &err);
        (void)remove(beside);
        free(beside);
        llmq_eval_options o = run_eval_options(out);
        err = (llmq_error){0};
        ck_assert_fails(llmq_eval(&o, NULL, &r, &err), LLMQ_E_INPUT, "q_proj.weight' is missing",
                        &err);
        ck_assert_msg(strstr(err.hint, "the weights are quantized, and no config says how") != NULL,
                      "%s", err.hint);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("strange models");
    TCase *t = tcase_create("models");
    tcase_set_timeout(t, 600);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, a_stored_head_that_differs_counts_whatever_the_config_says);
    tcase_add_test(t, conversions_untie_what_their_source_ties_wrongly);
    tcase_add_test(t, a_head_that_is_the_embedding_is_no_news);
    tcase_add_test(t, a_head_of_equal_values_in_another_dtype_is_no_news);
    tcase_add_test(t, a_tied_embedding_that_is_stored_as_the_head_loads);
    tcase_add_test(t, a_head_that_is_missing_is_told_with_what_helps);
    tcase_add_test(t, code_of_the_checkpoints_own_is_told);
    tcase_add_test(t, names_of_the_model_without_its_head);
    tcase_add_test(t, names_of_a_model_inside_of_another);
    tcase_add_test(t, names_of_a_model_inside_of_another_as_of_late);
    tcase_add_test(t, names_of_a_wrapper);
    tcase_add_test(t, two_models_in_one_are_refused);
    tcase_add_test(t, packed_models_are_read_under_other_names_too);
    tcase_add_test(t, packed_weights_without_settings_are_recognised);
    suite_add_tcase(s, t);
    return run_suite(s);
}
