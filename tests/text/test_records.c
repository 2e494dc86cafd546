/* SPDX-License-Identifier: Apache-2.0 */
/* Records of data sets as texts: their kinds, the model's chat template, its special tokens. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support.h"
#include "text/corpus.h"
#include "text/record.h"

static const struct reading no_limits;
static llmq_error err;

static void put_text(const char *name, const char *text) {
    put_file(name, text, strlen(text));
}

/* Read a line with the template that the scratch folder has. */
static enum llmq_status read_line(const char *line, const char *field, struct record *out) {
    char path[] = "a.jsonl";
    const struct corpus_file file = {.path = path};
    struct record_reader reader = {.file = &file, .field = field, .field_option = "--calib-field"};
    enum llmq_status status = chat_template_open(scratch, &reader.chat, &err);
    if (status == LLMQ_OK)
        status = record_read(&reader, line, strlen(line), out, &err);
    chat_template_free(&reader.chat);
    return status;
}

static void assert_read(const char *line, const char *field, const char *expected, bool is_chat) {
    struct record record = {0};
    ck_assert_ok(read_line(line, field, &record), &err);
    ck_assert_str_eq(record.text, expected);
    ck_assert_uint_eq(record.len, strlen(expected));
    ck_assert_int_eq(record.is_chat, is_chat);
    free(record.text);
}

static void assert_refused(const char *line, const char *field, enum llmq_status code,
                           const char *part) {
    struct record record = {0};
    ck_assert_fails(read_line(line, field, &record), code, part, &err);
    ck_assert_ptr_null(record.text);
}

#define ECHO "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"

START_TEST(test_conversations_of_the_usual_kinds) {
    static const char *const cases[][2] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"x\",\"content\":null}]}",
         "user:a;x:None;"},
        {"{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"human\",\"value\":"
         "\"a\"},{\"value\":\"b\",\"from\":\"gpt\"}]}",
         "system:s;user:a;assistant:b;"},
        {"{\"conversations\":[{\"role\":\"user\",\"content\":\"a\"}]}", "user:a;"},
        {"{\"instruction\":\"a\",\"input\":\"b\",\"output\":\"c\"}", "user:a\n\nb;assistant:c;"},
        {"{\"instruction\":\"a\",\"input\":\"\",\"output\":\"c\",\"system\":\"s\"}",
         "system:s;user:a;assistant:c;"},
        {"{\"output\":\"c\",\"instruction\":\"a\"}", "user:a;assistant:c;"},
        {"{\"instruction\":\"a\",\"context\":\"b\",\"response\":\"c\"}",
         "user:a\n\nb;assistant:c;"},
        {"{\"prompt\":\"a\",\"completion\":\"b\"}", "user:a;assistant:b;"},
        {"{\"prompt\":[{\"role\":\"user\",\"content\":\"a\"}],\"completion\":[{\"role\":"
         "\"assistant\",\"content\":\"b\"}]}",
         "user:a;assistant:b;"},
        {"{\"system_prompt\":\"s\",\"question\":\"a\",\"response\":\"b\"}",
         "system:s;user:a;assistant:b;"},
        {"{\"id\":1.5,\"question\":\"a\\u00e9\",\"answer\":\"b\"}", "user:aé;assistant:b;"},
    };
    put_text("chat_template.jinja", ECHO);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_read(cases[i][0], NULL, cases[i][1], true);
    assert_read("{\"messages\":[],\"text\":\"t\"}", NULL, "t", false);
}
END_TEST

START_TEST(test_a_member_of_ones_choice_is_read) {
    put_text("chat_template.jinja", ECHO);
    assert_read("{\"text\":\"a\",\"body\":\"b\"}", "body", "b", false);
    assert_read("{\"chosen\":[{\"role\":\"user\",\"content\":\"a\"}]}", "chosen", "user:a;", true);
    assert_refused("{\"text\":\"a\"}", "body", LLMQ_E_INPUT, "no \"body\": expected {\"body\"");
    assert_refused("{\"body\":5}", "body", LLMQ_E_INPUT, "\"body\" is a number");
    assert_refused("{\"body\":[1]}", "body", LLMQ_E_INPUT, "message 1: expected");
    assert_refused("[1]", "body", LLMQ_E_INPUT, "not a JSON object");
}
END_TEST

START_TEST(test_bad_conversations_are_refused) {
    put_text("chat_template.jinja", "\n{{ raise_exception('no!') if messages[0].role == 'x' }}");
    assert_refused("{\"conversations\":[{\"from\":\"martian\",\"value\":\"a\"}]}", NULL,
                   LLMQ_E_INPUT, "nobody is known as \"from\": \"martian\"");
    assert_refused("{\"messages\":[5]}", NULL, LLMQ_E_INPUT, "message 1: expected");
    assert_refused("{\"messages\":[]}", NULL, LLMQ_E_INPUT, "no messages");
    assert_refused("{\"messages\":\"a\"}", NULL, LLMQ_E_INPUT, "no \"text\"");
    assert_refused("{\"messages\":[{\"role\":\"x\"}]}", NULL, LLMQ_E_INPUT,
                   "chat_template.jinja: line 2: the template refuses the conversation: no!");
    put_text("chat_template.jinja", "\n\n{% import 'x' %}");
    assert_refused("{\"prompt\":\"a\",\"completion\":\"b\"}", NULL, LLMQ_E_UNSUPPORTED,
                   "line 3: the tag {% import %}");
}
END_TEST

#define ASK   "{\"prompt\":\"a\",\"completion\":\"b\"}"
#define TOOLS "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{\"name\":\"f\"}]}"

START_TEST(test_where_a_template_is_found) {
    assert_refused(ASK, NULL, LLMQ_E_INPUT, "the model has no chat template");
    ck_assert_msg(strstr(err.hint, "chat_template.jinja"), "%s", err.hint);
    put_text("chat_template.json", "{\"chat_template\":\"from json\"}");
    assert_read(ASK, NULL, "from json", true);
    put_text("tokenizer_config.json", "{\"chat_template\":\"from config\"}");
    assert_read(ASK, NULL, "from config", true);
    put_text("tokenizer_config.json",
             "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"{{ tools[0].name }}\"},"
             "{\"name\":\"default\",\"template\":\"default\"}]}");
    assert_read(ASK, NULL, "default", true);
    assert_read(TOOLS, NULL, "f", true);
    put_text("chat_template.jinja", "from file{{ tools }}\n");
    assert_read(ASK, NULL, "from fileNone", true);
}
END_TEST

START_TEST(test_further_templates_have_the_names_of_their_files) {
    ck_assert_int_eq(mkdir(scratch_path("additional_chat_templates"), 0777), 0);
    put_text("additional_chat_templates/tool_use.jinja", "tools: {{ tools | tojson }}");
    assert_read(TOOLS, NULL, "tools: [{\"name\": \"f\"}]", true);
    assert_refused(ASK, NULL, LLMQ_E_INPUT, "no default chat template, only 'tool_use'");
    put_text("chat_template.jinja", "plain");
    assert_read(ASK, NULL, "plain", true);
    assert_read(TOOLS, NULL, "tools: [{\"name\": \"f\"}]", true);
}
END_TEST

START_TEST(test_templates_know_the_special_tokens) {
    put_text("chat_template.jinja", "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ more }}"
                                    "{{ add_generation_prompt }}");
    put_text("tokenizer_config.json",
             "{\"tokenizer_class\":\"LlamaTokenizer\",\"eos_token\":{\"content\":\"<e>\"}}");
    put_text("special_tokens_map.json", "{\"pad_token\":\"<p>\",\"eos_token\":\"<other>\"}");
    assert_read(ASK, NULL, "<s><e><p>False", true);
    assert_read("{\"prompt\":\"a\",\"completion\":\"b\",\"chat_template_kwargs\":{\"more\":7}}",
                NULL, "<s><e><p>7False", true);
}
END_TEST

/* --- as tokens ------------------------------------------------------------------------------- */

/* Letters are the ids 0 to 25; the special token "#" is 26 and goes before every text. */
static void put_tokenizer(void) {
    char letters[512], file[2048];
    size_t len = 0;
    for (int i = 0; i < 26; i++)
        len += (size_t)snprintf(letters + len, sizeof letters - len, "\"%c\":%d,", 'a' + i, i);
    int n =
        snprintf(file, sizeof file,
                 "{\"model\":{\"vocab\":{%s\"#\":26},\"merges\":[]},\"added_tokens\":[{\"id\":26,"
                 "\"content\":\"#\",\"special\":true}],\"post_processor\":"
                 "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"#\"}},"
                 "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"#\":{\"ids\":[26]}}}}",
                 letters);
    put_file("tokenizer.json", file, (size_t)n);
}

static void assert_tokens(enum llmq_special special, const char *expected) {
    const struct corpus_options options = {
        .special = special, .window = 100, .keep_tail = true, .dir = scratch};
    struct tokenizer *tok = NULL;
    struct corpus_file file = {0};
    struct corpus c = {0};
    char found[64] = "";
    ck_assert_ok(tokenizer_open(scratch, &tok, &err), &err);
    ck_assert_ok(corpus_file_open(scratch_path("a.jsonl"), &no_limits, &file, &err), &err);
    ck_assert_ok(corpus_load(&file, tok, 27, &options, &c, &err), &err);
    for (int64_t i = 0; i < c.tokens_used && i < 63; i++)
        found[i] = c.ids[i] == 26 ? '#' : (char)('a' + c.ids[i]);
    ck_assert_str_eq(found, expected);
    ck_assert_int_eq(c.chats, 1);
    ck_assert_int_eq(c.texts, 2);
    ck_assert_int_eq(c.texts_begun, 0);
    corpus_free(&c);
    corpus_file_free(&file);
    tokenizer_free(&tok);
}

START_TEST(test_a_chat_has_the_special_tokens_of_its_template_alone) {
    put_tokenizer();
    put_text("a.jsonl", "{\"text\":\"xyz\"}\n" ASK "\n");
    put_text("chat_template.jinja", "#{{ messages[0].content }}#{{ messages[1].content }}");
    assert_tokens(LLMQ_SPECIAL_MODEL, "#xyz#a#b");
    assert_tokens(LLMQ_SPECIAL_NONE, "xyz#a#b");
    put_text("chat_template.jinja", "{{ messages[0].content }}#{{ messages[1].content }}");
    assert_tokens(LLMQ_SPECIAL_MODEL, "#xyza#b");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("records");
    TCase *tcase = tcase_create("records");
    tcase_add_checked_fixture(tcase, scratch_setup, scratch_teardown);
    tcase_add_test(tcase, test_conversations_of_the_usual_kinds);
    tcase_add_test(tcase, test_a_member_of_ones_choice_is_read);
    tcase_add_test(tcase, test_bad_conversations_are_refused);
    tcase_add_test(tcase, test_where_a_template_is_found);
    tcase_add_test(tcase, test_further_templates_have_the_names_of_their_files);
    tcase_add_test(tcase, test_templates_know_the_special_tokens);
    tcase_add_test(tcase, test_a_chat_has_the_special_tokens_of_its_template_alone);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
