/* SPDX-License-Identifier: Apache-2.0 */
/* The model card of a result: what it takes over of the model's, and what it says itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/strbuf.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "pipeline/front_matter.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

static llmq_error err;
static char *card;
static size_t card_len;
static struct front_matter f;

static void put_card(const char *content) {
    char *path = path_join(source, "README.md", &err);
    ck_assert_ok(file_write_atomic(path, content, strlen(content), &err), &err);
    free(path);
}

static void read_card(const char *dir) {
    char *path = path_join(dir, "README.md", &err);
    front_matter_free(&f);
    free(card);
    ck_assert_ok(file_read(path, 1 << 20, &card, &card_len, &err), &err);
    ck_assert_ok(front_matter_read(card, card_len, &f, &err), &err);
    ck_assert_int_eq(f.form, FRONT_READ);
    free(path);
}

static void make(enum llmq_method method) {
    llmq_quantize_options o = run_options(method);
    o.force = true;
    run_quantize(&o);
    read_card(out);
}

static void assert_value(const char *key, const char *expected) {
    const struct front_value *v = front_matter_find(&f, key);
    ck_assert_msg(expected ? v && strcmp(v->items[0], expected) == 0 : !v, "%s: %s", key,
                  v ? v->items[0] : "-");
}

static void assert_says(const char *part) {
    ck_assert_msg(strstr(card, part), "no '%s' in:\n%s", part, card);
}

static void teardown(void) {
    front_matter_free(&f);
    free(card);
    card = NULL;
    run_teardown();
}

START_TEST(a_model_without_a_card_has_a_result_with_one) {
    make(LLMQ_METHOD_GPTQ);
    assert_value("base_model", "source");
    assert_value("base_model_relation", "quantized");
    assert_value("library_name", "transformers");
    assert_value("pipeline_tag", "text-generation");
    assert_value("license", NULL);
    assert_says("# source: GPTQ, 4 bits");
    assert_says("| self\\_attn.q\\_proj | 2 | 4 | ");
    assert_says("vllm serve .");
    assert_says("calib.json (SHA-256 ");
    ck_assert(!strstr(card, "original's card"));
    ck_assert(!strstr(card, "llmq-test")); /* of the folder that all of this lies in */
}
END_TEST

START_TEST(the_models_card_is_kept_whole_below) {
    static const char body[] = "# Mine\n\n---\n```yaml\nlicense: x\n```\n<!-- unclosed\n\xff end";
    struct strbuf own = {0};
    strbuf_printf(
        &own,
        "---\nlicense: apache-2.0\nlanguage:\n- de\ntags:\n- chat\n- gptq\nbase_model: org/big\n"
        "pipeline_tag: text2text-generation\nlibrary_name: peft\nwidget:\n- text: hi\n---\n%s",
        body);
    put_card(own.data);
    make(LLMQ_METHOD_RTN);
    assert_value("base_model", "source"); /* what it was made of, and not what that was made of */
    assert_value("license", "apache-2.0");
    assert_value("language", "de");
    assert_value("pipeline_tag", "text2text-generation");
    assert_value("library_name", "peft");
    const struct front_value *tags = front_matter_find(&f, "tags");
    ck_assert_uint_eq(tags->count, 5); /* chat, gptq, llmq, rtn, 4-bit */
    assert_says("Left out of its front matter: `widget`.");
    ck_assert_uint_gt(card_len, sizeof body);
    ck_assert(memcmp(card + card_len - (sizeof body - 1), body, sizeof body - 1) == 0);
    strbuf_free(&own);
}
END_TEST

START_TEST(a_strange_block_is_left_out_and_said) {
    put_card("---\nlicense: mit\nlicense: gpl\n---\nbody\n");
    make(LLMQ_METHOD_RTN);
    assert_value("license", NULL);
    assert_says("was not of a form that llmq reads");
    assert_says("\nbody\n");
    ck_assert(!strstr(card, "license"));
}
END_TEST

/* Converting is no other quantization: the base stays. */
START_TEST(a_conversion_has_the_same_base) {
    llmq_convert_options o;
    llmq_convert_report r;
    char *made = strdup(scratch_path("made"));
    make(LLMQ_METHOD_RTN);
    llmq_convert_options_init(&o);
    o.model = out;
    o.out = made;
    o.format = "gptq_v2";
    ck_assert_ok(llmq_convert(&o, NULL, &r, &err), &err);
    llmq_convert_report_free(&r);
    read_card(made);
    assert_value("base_model", "source");
    assert_value("base_model_relation", "quantized");
    assert_says("# out: gptq to gptq\\_v2");
    assert_says("# The original's card: out");
    assert_says("# source: rounding to nearest, 4 bits");
    free(made);
}
END_TEST

START_TEST(the_hubs_cache_names_the_repository) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    char *snapshot = strdup(scratch_path("models--org--my-model/snapshots/0123abcd"));
    ck_assert_ok(dir_make(scratch_path("models--org--my-model"), false, &err), &err);
    ck_assert_ok(dir_make(scratch_path("models--org--my-model/snapshots"), false, &err), &err);
    tiny_model_write(snapshot, 1, 0);
    o.model = snapshot;
    run_quantize(&o);
    read_card(out);
    assert_value("base_model", "org/my-model");
    assert_says("Made of org/my-model at 0123abcd");
    free(snapshot);
}
END_TEST

/* A folder of that name is the model's, and stays. */
START_TEST(a_folder_in_the_cards_place_stays) {
    char *folder = path_join(source, "README.md", &err), *file = path_join(folder, "a", &err);
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    ck_assert_ok(dir_make(folder, false, &err), &err);
    ck_assert_ok(file_write_atomic(file, "x", 1, &err), &err);
    run_quantize(&o);
    ck_assert(path_is_file(scratch_path("out/README.md/a")));
    free(folder);
    free(file);
}
END_TEST

int main(void) {
    Suite *s = suite_create("card");
    TCase *t = tcase_create("card");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, run_setup, teardown);
    tcase_add_test(t, a_model_without_a_card_has_a_result_with_one);
    tcase_add_test(t, the_models_card_is_kept_whole_below);
    tcase_add_test(t, a_strange_block_is_left_out_and_said);
    tcase_add_test(t, a_conversion_has_the_same_base);
    tcase_add_test(t, the_hubs_cache_names_the_repository);
    tcase_add_test(t, a_folder_in_the_cards_place_stays);
    suite_add_tcase(s, t);
    return run_suite(s);
}
