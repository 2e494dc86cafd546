/* SPDX-License-Identifier: Apache-2.0 */
/* Templates that cannot be read, fail, or would not end. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "chat/rendered.h"
#include "support.h"

static llmq_error err;

static const char variables[] = "{\"messages\": [{\"role\": \"user\", \"content\": null}]}";

static void assert_refused(const char *template, enum llmq_status code, const char *part) {
    char *text = NULL;
    ck_assert_fails(rendered(template, variables, &text, &err), code, part, &err);
    ck_assert_ptr_null(text);
}

START_TEST(test_what_is_no_template_is_refused_with_the_line) {
    static const char *const cases[][2] = {
        {"a\n{% if x %}\nb", "line 2: {% endif %} is missing"},
        {"a\n\n{{ x", "line 3: '{{' is not closed"},
        {"{# x", "line 1: the comment is not closed"},
        {"{% raw %}x", "line 1: {% raw %} is not closed"},
        {"{{ 'x }}", "line 1: the string has no end"},
        {"\n{{ 1 + }}", "line 2: unexpected '}}'"},
        {"{{ (1 }}", "line 1: '}' closes nothing"},
        {"{{ ) }}", "')' closes nothing"},
        {"{{ x.}}", "unexpected '}}'"},
        {"{{ x[] }}", "unexpected ']'"},
        {"{{ 'a\\xg1' }}", "names no character"},
        {"{{ '\\ud800' }}", "names no character"},
        {"{% set x %}", "{% endset %} is missing"},
        {"{% endfor %}", "the tag {% endfor %} is not supported"},
        {"{% for x in y %}{% endif %}", "{% endif %} is not supported"},
        {"{% break %}", "outside of a loop"},
        {"{% for i in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "outside"},
        {"{% call 5 %}{% endcall %}", "needs a call"},
        {"{{ 1 ! 2 }}", "unexpected '! 2 }}'"},
        {"{% if x %}{% else %}{% else %}{% endif %}", "{% else %} is not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = NULL;
        const enum llmq_status status = rendered(cases[i][0], variables, &text, &err);
        ck_assert_msg(status == LLMQ_E_INPUT || status == LLMQ_E_UNSUPPORTED, "%s", cases[i][0]);
        ck_assert_msg(strstr(err.message, cases[i][1]) && !strncmp(err.message, "line ", 5),
                      "%s: %s", cases[i][0], err.message);
    }
}
END_TEST

START_TEST(test_what_is_not_supported_is_named) {
    static const char *const cases[][2] = {
        {"\n{% include 'x' %}", "line 2: the tag {% include %}"},
        {"{% import 'x' as y %}", "{% import %}"},
        {"{% for x in y recursive %}{% endfor %}", "recursive loops"},
        {"{{ f(*x) }}", "arguments from a list"},
        {"{{ '%s' % 1 }}", "formatting with %"},
        {"a\n{{ 1 | urlize }}", "line 2: the filter 'urlize'"},
        {"{{ 1 is escaped }}", "the test 'is escaped'"},
        {"{{ [1] | join(',', 'k', 3) }}", "join: an argument too many"},
        {"{{ 'x' | trim(wrong=1) }}", "of an unknown name"},
        {"{{ 99999999999999999999 }}", "too large"},
        {"{{ 9223372036854775807 + 1 }}", "too large"},
        {"{{ strftime_now('%Q') }}", "%Q is not supported"},
        {"{{ 'a b'.rsplit(none, 1) }}", "rsplit at white space"},
        {"{{ '\\N{DASH}' }}", "characters by name"},
        {"{{ dict([1]) }}", "dict: only a dictionary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i][0], LLMQ_E_UNSUPPORTED, cases[i][1]);
}
END_TEST

START_TEST(test_failures_tell_line_and_cause) {
    static const char *const cases[][2] = {
        {"\n{{ raise_exception('no ' ~ 'way') }}",
         "line 2: the template refuses the conversation: no way"},
        {"{{ missing.x }}", "line 1: 'missing' is undefined"},
        {"{{ messages[0].tool.x }}", "'tool' is undefined"},
        {"{{ messages[0].content + 'x' }}", "None + str"},
        {"{{ 'x' + 1 }}", "str + int"},
        {"{{ missing ~ 'x' + missing }}", "'missing' is undefined"},
        {"{{ missing() }}", "'missing' is undefined: it cannot be called"},
        {"{{ messages.append(1) }}", "'append' is undefined"},
        {"{% for x in 5 %}{% endfor %}", "int cannot be iterated"},
        {"{% for x in none %}{% endfor %}", "None cannot be iterated"},
        {"{% set a, b = [1] %}", "1 values for more names"},
        {"{% set messages.x = 1 %}", "'messages' is no namespace"},
        {"{{ 1 // 0 }}", "division by zero"},
        {"{{ 'x' < 1 }}", "str < int"},
        {"{{ missing | tojson }}", "undefined is no JSON"},
        {"{{ 'a'[::0] }}", "a step of zero"},
        {"{{ none | length }}", "length: not possible with a value of type None"},
        {"{{ 'a' | replace('b') }}", "the argument 'new' is missing"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "m takes fewer arguments"},
        {"{{ 'a'.split('') }}", "an empty separator"},
        {"{{ 5() }}", "int cannot be called"},
        {"{{ range }}", "a function cannot be printed"},
        {"{{ range(1, 2, 0) }}", "range: no step"},
        {"{% for i in [1] %}{{ loop.cycle() }}{% endfor %}", "nothing to choose from"},
        {"{{ [1] | batch(0) }}", "batch: 0 items to a row"},
        {"{{ [1] | map }}", "map: a name is missing"},
        {"{{ [1] | selectattr }}", "selectattr: the attribute is missing"},
        {"{{ [1].index(2) }}", "the list has no such item"},
        {"{{ 'abc'['x':] }}", "a slice from or to str"},
        {"{{ 3 is divisibleby 0 }}", "divisibleby: by zero"},
        {"{{ missing is even }}", "even: 'missing' is undefined"},
        {"{{ 'a' | int(0, 99) }}", "int: a base of 99"},
        {"{{ 2.5 | round(0, 'up') }}", "the method is common, ceil or floor"},
        {"{{ [1] | tojson(separators=1) }}", "separators are two strings"},
        {"{{ {(1,): 2} | tojson }}", "a key is tuple"},
        {"{{ namespace() | tojson }}", "a namespace is no JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i][0], LLMQ_E_INPUT, cases[i][1]);
}
END_TEST

/* Each would take hours, gigabytes or the stack. */
START_TEST(test_a_hostile_template_ends) {
    static const char *const cases[][2] = {
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
         "the template takes more than"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested deeper"},
        {"{{ 'x' * 9999999999 }}", "more than"},
        {"{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(99) %}"
         "{% set ns.s = ns.s + ns.s %}{% endfor %}",
         "of memory"},
        {"{% set s = 'x' * 1000000 %}{% for i in range(999) %}{{ s }}{% endfor %}", "of text"},
        {"{{ range(999999999) }}", "more than 100000 items"},
        {"{% set ns = namespace(l=[]) %}{% for i in range(999) %}{% set ns.l = [ns.l] %}{% endfor "
         "%}"
         "{{ ns.l }}",
         "lists nested deeper"},
        {"{% set ns = namespace(d={}) %}{% for i in range(999) %}{% set ns.d = {'a': ns.d} %}"
         "{% endfor %}{{ ns.d | tojson }}",
         "lists nested deeper"},
        {"{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}", "cannot be printed"},
        {"{% set ns = namespace(l=[1]) %}{% for i in range(30) %}{% set ns.l = [ns.l, ns.l] %}"
         "{% endfor %}{{ ns.l }}",
         "the template takes more than"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i][0], LLMQ_E_INPUT, cases[i][1]);
}
END_TEST

START_TEST(test_nesting_is_bounded) {
    static const char *const parts[][2] = {
        {"{{ ", "("},       {"{{ ", "["},   {"{{ ", "- "},  {"{{ ", "not "},
        {"", "{% if x %}"}, {"{{ 1", "+1"}, {"{{ x", ".x"}, {"{{ 1", " if 1 else 1"},
        {"{% set ", "("}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct strbuf b = {0};
        char *text = NULL;
        strbuf_puts(&b, parts[i][0]);
        for (int k = 0; k < 20000; k++)
            strbuf_puts(&b, parts[i][1]);
        strbuf_puts(&b, " }}");
        const enum llmq_status status = rendered(b.data, variables, &text, &err);
        ck_assert_msg(status == LLMQ_E_INPUT, "%s: %s", parts[i][1], err.message);
        free(text);
        strbuf_free(&b);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("chat_errors");
    TCase *tcase = tcase_create("chat_errors");
    tcase_add_test(tcase, test_what_is_no_template_is_refused_with_the_line);
    tcase_add_test(tcase, test_what_is_not_supported_is_named);
    tcase_add_test(tcase, test_failures_tell_line_and_cause);
    tcase_add_test(tcase, test_a_hostile_template_ends);
    tcase_add_test(tcase, test_nesting_is_bounded);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
