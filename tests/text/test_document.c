/* SPDX-License-Identifier: Apache-2.0 */
/* Special tokens around texts: which ones, where tokenizer_config.json says so, and not twice. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "support.h"
#include "text/document.h"
#include "text/tokenizer.h"

static llmq_error err;
static struct tokenizer *tok;

static void teardown(void) {
    tokenizer_free(&tok);
    scratch_teardown();
}

/* The tokenizer of setup, with "#" and "!" as special tokens; `post` is its post-processor. */
static void use_special_tokens(const char *post, const char *config) {
    char text[1024] = "", file[4096];
    size_t len = 0;
    for (int i = 0; i < 26; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "\"%c\":%d,", 'a' + i, i);
    int n = snprintf(file, sizeof file,
                     "{\"model\":{\"vocab\":{%s\"#\":26},\"merges\":[]},\"added_tokens\":["
                     "{\"id\":26,\"content\":\"#\",\"special\":true},"
                     "{\"id\":27,\"content\":\"!\",\"special\":true}],\"post_processor\":%s}",
                     text, post);
    put_file("tokenizer.json", file, (size_t)n);
    if (config)
        put_file("tokenizer_config.json", config, strlen(config));
    tokenizer_free(&tok);
    ck_assert_ok(tokenizer_open(scratch, &tok, &err), &err);
}

/* The ids of a text, as letters. */
static void assert_read(const char *text, enum llmq_special special, const char *expected) {
    struct document_reader reader = {.tok = tok, .special = special};
    struct id_list ids = {0};
    char found[64] = "";
    ck_assert_ok(document_encode(&reader, text, strlen(text), &ids, &err), &err);
    ck_assert_uint_lt(ids.count, sizeof found);
    for (size_t i = 0; i < ids.count; i++)
        found[i] = ids.ids[i] == 26 ? '#' : ids.ids[i] == 27 ? '!' : (char)('a' + ids.ids[i]);
    ck_assert_str_eq(found, expected);
    id_list_free(&ids);
}

#define BOS_TEMPLATE                                                                               \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"#\"}},"              \
    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"#\":{\"ids\":[26]}}}"
#define CLASS(name, rest) "{\"tokenizer_class\":\"" name "\"" rest "}"
#define BOS               ",\"bos_token\":\"#\""
#define EOS               ",\"eos_token\":{\"content\":\"!\",\"lstrip\":false}"

/* What transformers installs for a class, where tokenizer.json has no template. */
START_TEST(test_flags_count_for_the_classes_that_act_on_them) {
    static const struct {
        const char *config, *expected;
    } cases[] = {
        {CLASS("LlamaTokenizer", BOS ",\"add_bos_token\":true"), "#ab"},
        {CLASS("LlamaTokenizerFast", BOS ",\"add_bos_token\":true"), "#ab"},
        {CLASS("LlamaTokenizer", BOS), "#ab"}, /* the constructor's default */
        {CLASS("LlamaTokenizer", BOS ",\"add_bos_token\":false"), "ab"},
        {CLASS("LlamaTokenizer", BOS ",\"add_bos_token\":null"), "ab"},
        {CLASS("LlamaTokenizer", BOS EOS ",\"add_eos_token\":true"), "#ab!"},
        {CLASS("LlamaTokenizer", EOS ",\"add_bos_token\":false,\"add_eos_token\":true"), "ab!"},
        {CLASS("CodeLlamaTokenizerFast", BOS), "#ab"},
        {CLASS("GemmaTokenizer", BOS), "#ab"},
        {CLASS("CohereTokenizerFast", BOS), "#ab"},
        {CLASS("GPTNeoXTokenizer", BOS), "ab"},
        {CLASS("GPTNeoXTokenizerFast", BOS ",\"add_bos_token\":true"), "#ab"},
        {CLASS("PreTrainedTokenizerFast", BOS EOS ",\"add_bos_token\":true,\"add_eos_token\":true"),
         "ab"},
        {CLASS("Qwen2Tokenizer", BOS ",\"add_bos_token\":true"), "ab"},
        {CLASS("GPT2Tokenizer", BOS ",\"add_bos_token\":true"), "ab"},
        {CLASS("LlamaTokenizerFastFast", BOS), "ab"},
        {"{\"bos_token\":\"#\",\"add_bos_token\":true}", "ab"},
    };
    static const char template[] =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}}],"
        "\"special_tokens\":{}}";
    static const char *const silent[] = {
        "null", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true}",
        template};
    for (size_t p = 0; p < sizeof silent / sizeof silent[0]; p++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            use_special_tokens(silent[p], cases[i].config);
            assert_read("ab", LLMQ_SPECIAL_MODEL, cases[i].expected);
            assert_read("ab", LLMQ_SPECIAL_NONE, "ab");
            assert_read("#ab", LLMQ_SPECIAL_MODEL,
                        cases[i].expected[0] == '#' ? cases[i].expected
                        : cases[i].expected[2]      ? "#ab!"
                                                    : "#ab");
        }
}
END_TEST

START_TEST(test_a_template_is_the_tokenizers_word) {
    use_special_tokens(BOS_TEMPLATE, CLASS("LlamaTokenizer", BOS EOS ",\"add_bos_token\":false"
                                                                     ",\"add_eos_token\":true"));
    assert_read("ab", LLMQ_SPECIAL_MODEL, "#ab");
    assert_read("ab", LLMQ_SPECIAL_BOS, "#ab");
    assert_read("ab", LLMQ_SPECIAL_NONE, "ab");
    assert_read("#ab", LLMQ_SPECIAL_MODEL, "#ab");
    assert_read("##ab", LLMQ_SPECIAL_MODEL, "##ab");
    assert_read("a#b", LLMQ_SPECIAL_MODEL, "#a#b");
    assert_read("#ab", LLMQ_SPECIAL_NONE, "#ab");
}
END_TEST

START_TEST(test_flags_that_contradict_a_template_are_known) {
    static const struct {
        const char *config;
        bool differ;
    } cases[] = {
        {CLASS("LlamaTokenizer", BOS), false},
        {CLASS("LlamaTokenizer", BOS ",\"add_bos_token\":true,\"add_eos_token\":false"), false},
        {CLASS("LlamaTokenizer", BOS ",\"add_bos_token\":false"), true},
        {CLASS("GemmaTokenizerFast", BOS EOS ",\"add_eos_token\":true"), true},
        {CLASS("PreTrainedTokenizerFast", BOS ",\"add_bos_token\":false"), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        use_special_tokens(BOS_TEMPLATE, cases[i].config);
        ck_assert_int_eq(tokenizer_flags_differ(tok), cases[i].differ);
        assert_read("ab", LLMQ_SPECIAL_MODEL, "#ab");
    }
    use_special_tokens("null", CLASS("LlamaTokenizer", BOS ",\"add_bos_token\":true"));
    ck_assert(!tokenizer_flags_differ(tok));
}
END_TEST

START_TEST(test_bos_is_put_where_the_tokenizer_does_not) {
    use_special_tokens("null", CLASS("PreTrainedTokenizerFast", BOS));
    assert_read("ab", LLMQ_SPECIAL_MODEL, "ab");
    assert_read("ab", LLMQ_SPECIAL_BOS, "#ab");
    assert_read("#ab", LLMQ_SPECIAL_BOS, "#ab");
    use_special_tokens("null", CLASS("Qwen2Tokenizer", ",\"bos_token\":null"));
    struct id_list ids = {0};
    ck_assert_fails(tokenizer_encode(tok, "ab", 2, LLMQ_SPECIAL_BOS, &ids, &err), LLMQ_E_USAGE,
                    "no begin-of-text token", &err);
    id_list_free(&ids);
}
END_TEST

START_TEST(test_tokens_that_the_vocabulary_lacks_are_an_error_where_they_are_wanted) {
    struct id_list ids = {0};
    use_special_tokens("null", CLASS("LlamaTokenizer", ""));
    ck_assert_fails(tokenizer_encode(tok, "ab", 2, LLMQ_SPECIAL_MODEL, &ids, &err), LLMQ_E_INPUT,
                    "the bos_token '<s>'", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "--no-special"));
    ck_assert_ptr_nonnull(strstr(err.hint, "set add_bos_token to false"));
    ck_assert_ok(tokenizer_encode(tok, "ab", 2, LLMQ_SPECIAL_NONE, &ids, &err), &err);
    ck_assert_uint_eq(ids.count, 2);
    id_list_free(&ids);
    static const char wrong[] = CLASS("LlamaTokenizer", ",\"add_bos_token\":1");
    put_file("tokenizer_config.json", wrong, sizeof wrong - 1);
    tokenizer_free(&tok);
    ck_assert_fails(tokenizer_open(scratch, &tok, &err), LLMQ_E_INPUT,
                    "tokenizer_config.json: 'add_bos_token' must be true or false", &err);
}
END_TEST

START_TEST(test_texts_are_counted_and_empty_ones_left_out) {
    static const char *const texts[] = {"", "#ab", "#", "cd", "!#", "#!a"};
    use_special_tokens(BOS_TEMPLATE, NULL);
    struct document_reader reader = {.tok = tok, .special = LLMQ_SPECIAL_MODEL};
    struct id_list ids = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_ok(document_encode(&reader, texts[i], strlen(texts[i]), &ids, &err), &err);
    static const int32_t expected[] = {26, 0, 1, 26, 2, 3, 26, 27, 0};
    ck_assert_uint_eq(ids.count, sizeof expected / sizeof expected[0]);
    ck_assert_mem_eq(ids.ids, expected, sizeof expected);
    ck_assert_int_eq(reader.texts, 6);
    ck_assert_int_eq(reader.empty, 3);
    ck_assert_int_eq(reader.begun, 2);
    id_list_free(&ids);
}
END_TEST

/* What the command `tokenize` prints is what the reference gives. */
START_TEST(test_encoding_itself_adds_a_second_one) {
    struct id_list ids = {0};
    use_special_tokens(BOS_TEMPLATE, NULL);
    ck_assert_ok(tokenizer_encode(tok, "#a", 2, LLMQ_SPECIAL_MODEL, &ids, &err), &err);
    ck_assert_ok(tokenizer_encode(tok, "", 0, LLMQ_SPECIAL_MODEL, &ids, &err), &err);
    static const int32_t expected[] = {26, 26, 0, 26};
    ck_assert_uint_eq(ids.count, 4);
    ck_assert_mem_eq(ids.ids, expected, sizeof expected);
    id_list_free(&ids);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("document");
    TCase *tcase = tcase_create("document");
    tcase_add_checked_fixture(tcase, scratch_setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_flags_count_for_the_classes_that_act_on_them);
    tcase_add_test(tcase, test_a_template_is_the_tokenizers_word);
    tcase_add_test(tcase, test_flags_that_contradict_a_template_are_known);
    tcase_add_test(tcase, test_bos_is_put_where_the_tokenizer_does_not);
    tcase_add_test(tcase, test_tokens_that_the_vocabulary_lacks_are_an_error_where_they_are_wanted);
    tcase_add_test(tcase, test_texts_are_counted_and_empty_ones_left_out);
    tcase_add_test(tcase, test_encoding_itself_adds_a_second_one);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
