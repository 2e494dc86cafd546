/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions over names: what Python's re.match and re.search say, and expressions that
 * are made to take forever. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/regex.h"

static llmq_error err;

static bool matches(const char *expression, enum regex_start start, const char *name) {
    struct regex *r = NULL;
    bool found = false;
    ck_assert_ok(regex_compile(expression, start, &r, &err), &err);
    ck_assert_ok(regex_matches(r, name, &found, &err), &err);
    regex_free(&r);
    ck_assert_ptr_null(r);
    return found;
}

START_TEST(names_match_as_in_python) {
    static const struct {
        const char *expression, *name;
        bool at_start, anywhere;
    } cases[] = {
        {".*down_proj", "model.layers.0.mlp.down_proj", true, true},
        {"down_proj", "model.layers.0.mlp.down_proj", false, true},
        {"model.layers.1", "model.layers.10.mlp", true, true}, /* the end is open */
        {"model\\.layers\\.1\\.", "model.layers.10.mlp", false, false},
        {"model.layers.1$", "model.layers.10", false, false},
        {"^lm_head$", "lm_head", true, true},
        {".*layers\\.(0|1|2[0-9])\\..*proj", "model.layers.25.mlp.up_proj", true, true},
        {".*layers\\.(0|1|2[0-9])\\..*proj", "model.layers.3.mlp.up_proj", false, false},
        {".*(?<!shared_)expert", "mlp.shared_expert", false, false},
        {"(?!.*gate)model", "model.mlp.gate", false, false},
        {"(?P<block>model)\\.", "model.norm", true, true},
        {"(?i)MODEL", "model", true, true},
        {"a|b", "cb", false, true},
        {"", "anything", true, true},
        {"\\w+\\.\\d+", "layers.12", true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert(matches(cases[i].expression, REGEX_AT_START, cases[i].name) == cases[i].at_start);
        ck_assert(matches(cases[i].expression, REGEX_ANYWHERE, cases[i].name) == cases[i].anywhere);
    }
}
END_TEST

START_TEST(errors_name_the_expression_and_the_place) {
    struct regex *r = NULL;
    ck_assert_fails(regex_compile("model.(", REGEX_AT_START, &r, &err), LLMQ_E_INPUT,
                    "regular expression 'model.(': missing closing parenthesis (at byte 7)", &err);
    ck_assert_ptr_null(r);
    ck_assert_fails(regex_compile("*", REGEX_ANYWHERE, &r, &err), LLMQ_E_INPUT, "'*'", &err);
    ck_assert_fails(regex_compile("[z-a]", REGEX_ANYWHERE, &r, &err), LLMQ_E_INPUT, "'[z-a]'",
                    &err);
}
END_TEST

START_TEST(expressions_that_take_forever_end_in_an_error) {
    static const char *const expressions[] = {"(a+)+$", "(a|a)*$", "(.*a){12}$", "((a*)*)*$"};
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        struct regex *r = NULL;
        bool found = false;
        ck_assert_ok(regex_compile(expressions[i], REGEX_ANYWHERE, &r, &err), &err);
        ck_assert_fails(
            regex_matches(r, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", &found, &err),
            LLMQ_E_UNSUPPORTED, "gives up on the name 'aaaa", &err);
        regex_free(&r);
    }
}
END_TEST

START_TEST(expressions_are_neither_cut_nor_without_end) {
    struct regex *r = NULL;
    char *text = malloc((1 << 16) + 2);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', (1 << 16) + 1);
    text[(1 << 16) + 1] = '\0';
    ck_assert_fails(regex_compile(text, REGEX_ANYWHERE, &r, &err), LLMQ_E_INPUT,
                    "expected at most 65536 bytes, found 65537", &err);
    free(text);
    /* U+0000 as json.h has it */
    ck_assert_fails(regex_compile("lm\xc0\x80_head", REGEX_ANYWHERE, &r, &err), LLMQ_E_INPUT,
                    "U+0000", &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("regex");
    TCase *tests = tcase_create("regex");
    tcase_set_timeout(tests, 20);
    tcase_add_test(tests, names_match_as_in_python);
    tcase_add_test(tests, errors_name_the_expression_and_the_place);
    tcase_add_test(tests, expressions_that_take_forever_end_in_an_error);
    tcase_add_test(tests, expressions_are_neither_cut_nor_without_end);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
