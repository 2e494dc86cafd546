/* SPDX-License-Identifier: Apache-2.0 */
/* Templates: what they give, beside what Jinja 3.1.6 gives in the environment that transformers
 * makes for chat templates. The right values are what that gave, not what llmq
 * did. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/rendered.h"
#include "support.h"

static llmq_error err;

static void assert_renders(const char *template, const char *variables, const char *expected) {
    char *text = NULL;
    const enum llmq_status status = rendered(template, variables, &text, &err);
    ck_assert_msg(status == LLMQ_OK, "%s: %s", template, err.message);
    ck_assert_msg(strcmp(text, expected) == 0, "%s\ngives    |%s|\nexpected |%s|", template, text,
                  expected);
    free(text);
}

/* The variables of all that follows. */
static const char given[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"use"
    "r\", \"content\": \" Hi\\n\"}, {\"role\": \"assistant\", \"content\": \"Hello <b>\"}"
    "], \"n\": 7, \"x\": 2.5, \"s\": \"  Straße & Co. \", \"list\": [3, 1, 2], \"words\":"
    " [\"b\", \"A\", \"c\", \"B\"], \"d\": {\"b\": 1, \"a\": [1, 2, {\"k\": null}], \"c\""
    ": \"é\\\"\\n\"}, \"none\": null, \"yes\": true, \"rows\": [{\"k\": \"x\", \"v\": 1},"
    " {\"k\": \"y\", \"v\": 2}, {\"k\": \"x\", \"v\": 3}, {\"v\": 4}], \"empty\": []}";

struct rendering {
    const char *template, *text;
};

/* clang-format off */
static const struct rendering literals[] = {
    {("{{ 1 }} {{ -2 }} {{ 1.5 }} {{ 1e3 }} {{ 1_000 }} {{ 'a' 'b' }} {{ true }} {{ None }}"
         " {{ [1, 'x'] }} {{ (1,) }} {{ {'k': 1.0} }}"),
     "1 -2 1.5 1000.0 1000 ab True None [1, 'x'] (1,) {'k': 1.0}"},
    {"{{ 'a\\n\\t\\\\\\'\\\"\\u00e9\\x41\\101' }}",
     "a\n\t\\'\"éAA"},
    {("{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1/3 }} {{ 100.0 }} {{ 123456789."
         "125 }}"),
     "1e+16 1000000000000000.0 0.0001 1e-05 0.3333333333333333 100.0 123456789.125"},
    {"{{ ['it\\'s', 'say \"hi\"', 'a\\nb', none, undefined_name is defined] }}",
     "[\"it's\", 'say \"hi\"', 'a\\nb', None, False]"},
    {"{{ 0x1f }} {{ 0b101 }} {{ 0o17 }} {{ 1_0.5 }}",
     "31 5 15 10.5"},
};

static const struct rendering operators[] = {
    {("{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 2 *"
         " 'ab' }} {{ [1] * 2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}"),
     "3 -4 1 2 1024 3.5 abab [1, 1] 3.0 0.5"},
    {("{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 1 ~ 'a' ~ none ~ 2.0 }} {{ 'a' + 'b' }} {{ "
         "[1] + [2] }} {{ -n ** 2 }} {{ 2 ** 3 ** 2 }}"),
     "3 9 1aNone2.0 ab [1, 2] 49 64"},
    {("{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }} {{ [1, 2] < ["
         "1, 3] }} {{ 'x' in 'axb' }} {{ 2 in list }} {{ 'b' in d }} {{ 5 not in list }} {{ [1"
         "] == (1,) }}"),
     "True False True True True True True True True False"},
    {("{{ not none }} {{ 0 or 'x' }} {{ 1 and '' }}| {{ empty or none }} {{ 'a' if yes else"
         " 'b' }} {{ 'a' if not yes }}| {{ 1 if 0 else 2 if 0 else 3 }}"),
     "True x | None a | 3"},
    {("{{ n is defined and n is not none and n is number }} {{ missing is defined }} {{ 'a'"
         " if missing is defined else 'c' }} {{ not missing is defined }} {{ missing }}|"),
     "True False c True |"},
};

static const struct rendering members[] = {
    {("{{ d.b }} {{ d['b'] }} {{ d.nothing }}| {{ messages[0].role }} {{ messages[-1]['role"
         "'] }} {{ messages[9] }}| {{ 'abc'[1] }} {{ 'äöü'[-1] }} {{ messages.0.role }} {{ d.a"
         "[2].k }}"),
     "1 1 | system assistant | b ü system None"},
    {("{{ 'abcdef'[1:4] }} {{ 'äöü'[::-1] }} {{ list[::-1] }} {{ list[1:] }} {{ list[:-1] }"
         "} {{ list[5:] }} {{ list[-5:2] }} {{ 'abcdef'[::2] }} {{ 'abcdef'[4:1:-1] }} {{ list"
         "[-1:0:-2] }} {{ (1, 2, 3)[1:] }}"),
     "bcd üöä [2, 1, 3] [1, 2] [3, 1] [] [3, 1] ace edc [2] (2, 3)"},
};

static const struct rendering statements[] = {
    {("{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ m.role }}{% if not loop."
         "last %},{% endif %}{% endfor %}"),
     "1/3system,2/3user,3/3assistant"},
    {("{% for i in [] %}x{% else %}none{% endfor %} {% for k, v in d.items() %}{{ k }}{{ lo"
         "op.first }}{% endfor %} {% for c in 'äb' %}{{ c }}.{% endfor %} {% for k in d %}{{ k"
         " }}{% endfor %}"),
     "none bTrueaFalsecFalse ä.b. bac"},
    {("{% for m in messages if m.role != 'user' %}{{ loop.index0 }}{{ loop.revindex }}{{ m."
         "role }} {{ loop.previtem.role if loop.previtem is defined }}|{{ loop.nextitem.role i"
         "f not loop.last }};{% endfor %}"),
     "02system |assistant;11assistant system|;"},
    {("{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% bre"
         "ak %}{% endif %}{{ i }}{{ loop.cycle('a', 'b') }}{{ loop.changed(i // 2) }} {% endfo"
         "r %}"),
     "0aTrue 2aTrue "},
    {("{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% set t %} in {{ a }} {% endset %}[{{ t }}]{% "
         "set u | trim | upper %} in {% endset %}[{{ u }}]"),
     "1x[ in 1 ][IN]"},
    {("{% set v = 1 %}{% for i in [1] %}{% set v = 2 %}{{ v }}{% endfor %}{{ v }}{% if yes "
         "%}{% set v = 3 %}{% endif %}{{ v }}"),
     "213"},
    {("{% set ns = namespace(n=0, found=false) %}{% for i in list %}{% set ns.n = ns.n + i "
         "%}{% endfor %}{{ ns.n }}{{ ns.found }}{{ ns.missing is defined }}"),
     "6FalseFalse"},
    {("{% macro m(a, b=2, c='z') %}[{{ a }}{{ b }}{{ c }}{{ n }}]{% endmacro %}{{ m(1) }}{{"
         " m(1, c=3) }}{{ m() }}{{ m(1, 2, 3) | length }}"),
     "[12z7][1237][2z7]6"},
    {("{% macro f(k) %}{{ k }}{% if k > 0 %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(3) "
         "}}"),
     "3210"},
    {("{% macro box() %}<{{ caller('in') }}>{% endmacro %}{% call(w) box() %}{{ w }} {{ n }"
         "}{% endcall %}"),
     "<in 7>"},
    {("{% filter upper %}a{{ n }}b{% endfilter %}{% with q = 5, r = n %}{{ q }}{{ r }}{% en"
         "dwith %}{{ q }}|"),
     "A7B57|"},
    {("{% generation %}x{% endgeneration %}{% raw %}{{ not }} {% this %}{% endraw %}{# no #"
         "}{% if false %}a{% elif n == 7 %}b{% else %}c{% endif %}"),
     "x{{ not }} {% this %}b"},
    {("{% for a in [1, 2] %}{% for b in [1, 2] %}{% if b == 2 %}{% break %}{% endif %}{{ a "
         "}}{{ b }}{{ loop.index }} {% endfor %}{{ loop.index }};{% endfor %}"),
     "111 1;211 2;"},
    {("{% for i in [1, 2] %}{{ loop.depth }}{{ loop.depth0 }}{{ loop.revindex0 }} {% endfor"
         " %}"),
     "101 100 "},
};

static const struct rendering space[] = {
    {"a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
     "a\n  b\nc"},
    {"a {%- if true -%} b {%- endif -%} c",
     "abc"},
    {"  {{ 1 }}\n{{ 2 -}}\n x\n\n",
     "  1\n2x\n"},
    {"  {# c #}\nx {# d #} y\n{#- e -#}  z",
     "x  yz"},
    {"{%+ if true %} a{% endif +%}\nb",
     " a\nb"},
    {" \t{% raw %}\n {{ x }}\n  {% endraw %}\nz",
     "\n {{ x }}\nz"},
    {"x\r\n{% if true %}\r\ny\r\n{% endif %}\r\n",
     "x\ny\n"},
    {"{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a':{}} }}",
     "1{'a': {}}"},
    {"\n  {%- for i in [1,2] %}\n  {{ i }}\n  {%- endfor %}\n",
     "  1  2"},
};

static const struct rendering texts[] = {
    {("{{ '<b>' | safe + ' & ' + d.c }} {{ '<b>' ~ ('<i>' | safe) ~ s }} {{ '<i>' | safe }}"
         " {{ ('a' | safe) == 'a' }}"),
     "<b> &amp; é&#34;\n <b><i>  Straße & Co.  <i> True"},
    {("{{ s | trim }}|{{ s | upper }}|{{ s | lower }}|{{ s | title }}|{{ 'hELLO wORLD' | ca"
         "pitalize }}|{{ 'xxaxx' | trim('x') }}|{{ 'a-b c' | title }}|{{ 'a-b c'.title() }}"),
     ("Straße & Co.|  STRASSE & CO. |  straße & co. |  Straße & Co. |Hello world|a|A-B C|A-"
         "B C")},
    {("{{ s.strip() }}|{{ s.lstrip() }}|{{ 'xyaxy'.strip('xy') }}|{{ 'xya'.lstrip('x') }}|{"
         "{ 'abb'.rstrip('b') }}|{{ ' 　a '.strip() }}"),
     "Straße & Co.|Straße & Co. |a|ya|a|a"},
    {("{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b"
         ",c'.rsplit(',', 1) }} {{ 'a b c'.split(None, 1) }} {{ 'a\\nb\\r\\nc'.splitlines() }}"
         " {{ 'x</think>y'.split('</think>')[-1] }}"),
     ("['a', 'b', '', 'c'] ['a', 'b'] ['a', 'b,c'] ['a,b', 'c'] ['a', 'b c'] ['a', 'b', 'c'"
         "] y")},
    {("{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} "
         "{{ 'abc'.find('z') }} {{ 'banana'.count('an') }} {{ 'aXb'.replace('X', '--') }} {{ '"
         "aaa' | replace('a', 'b', 2) }} {{ 'ab'.replace('', '.') }}"),
     "True True 2 -1 2 a--b bba .a.b."},
    {("{{ ', '.join(words) }} {{ 'ABC'.lower() }} {{ 'abc'.upper() }} {{ 'x1'.isdigit() }} "
         "{{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'AB'.isupper() }} {{ ' '.isspace() }} {"
         "{ 'prefix'.removeprefix('pre') }}"),
     "b, A, c, B abc ABC False True True True True fix"},
    {("{{ 'a\\n b\\n\\nc\\n' | indent }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'a\\n\\nb' | in"
         "dent('> ', blank=true) }}|{{ 'one two' | wordcount }}"),
     "a\n     b\n\n    c\n|  a\n  b|a\n> \n> b|2"},
    {("{{ 'a.b'.removesuffix('.b') }} {{ 'ab'.islower() }} {{ 'aB'.islower() }} {{ 'a'.ends"
         "with('bca') }} {{ 'A b'.capitalize() }}"),
     "a True False False A b"},
};

static const struct rendering lists[] = {
    {("{{ list | join(', ') }} {{ rows[:3] | join('-', attribute='k') }} {{ list | sort }} "
         "{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ list | sort(reverse=tr"
         "ue) }} {{ list | reverse | list }} {{ 'abc' | reverse }} {{ words | unique | list }}"),
     ("3, 1, 2 x-y-x [1, 2, 3] ['A', 'b', 'B', 'c'] ['A', 'B', 'b', 'c'] [3, 2, 1] [2, 1, 3"
         "] cba ['b', 'A', 'c']")},
    {("{{ rows | selectattr('k', 'equalto', 'x') | list }} {{ rows | rejectattr('k') | map("
         "attribute='v') | list }} {{ rows | map(attribute='k', default='-') | join }} {{ word"
         "s | map('upper') | list }} {{ list | select('odd') | list }} {{ list | reject('in', "
         "[1]) | list }} {{ rows | selectattr('k', 'defined') | list | length }}"),
     ("[{'k': 'x', 'v': 1}, {'k': 'x', 'v': 3}] [4] xyx- ['B', 'A', 'C', 'B'] [3, 1] [3, 2]"
         " 3")},
    {("{{ list | first }} {{ list | last }} {{ list | min }} {{ list | max }} {{ list | sum"
         " }} {{ rows | sum(attribute='v') }} {{ empty | first is defined }} {{ list | length "
         "}} {{ 'äö' | length }} {{ d | length }} {{ [1, 2, 3, 4, 5] | batch(2, 0) | list }} {"
         "{ words | max }} {{ none | map('upper') | list }}"),
     "3 2 1 3 6 10 False 3 2 3 [[1, 2], [3, 4], [5, 0]] c []"},
    {("{{ d | items | list }} {{ d | dictsort }} {{ d.keys() | list }} {{ d.values() | list"
         " }} {{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ {'B': 1, 'a': 2} | dict"
         "sort }} {{ {'x': 2, 'y': 1} | dictsort(by='value') }} {{ list.index(2) }} {{ list.co"
         "unt(1) }} {{ rows[:3] | sort(attribute='k,v') is defined }}"),
     ("[('b', 1), ('a', [1, 2, {'k': None}]), ('c', 'é\"\\n')] [('a', [1, 2, {'k': None}]),"
         " ('b', 1), ('c', 'é\"\\n')] ['b', 'a', 'c'] [1, [1, 2, {'k': None}], 'é\"\\n'] 1 Non"
         "e 5 [('a', 2), ('B', 1)] [('y', 1), ('x', 2)] 2 1 True")},
};

static const struct rendering values[] = {
    {("{{ missing | default('x') }} {{ none | default('x') }} {{ none | default('x', true) "
         "}} {{ '' | d('y', boolean=true) }} {{ missing | default }}| {{ '42' | int }} {{ '4.9"
         "' | int }} {{ 'x' | int(3) }} {{ '1f' | int(base=16) }} {{ 3.99 | int }} {{ '2.5' | "
         "float }} {{ -3 | abs }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 2.1 | round(0, '"
         "ceil') }} {{ 12 | string }} {{ 'ab' | list }}"),
     "x None x y | 42 4 3 31 3 2.5 3 2.57 2.0 3.0 12 ['a', 'b']"},
    {"{{ 2.7 | round(0, 'floor') }} {{ 25 | round(-1, 'floor') }} {{ [1, 2, 3] | count }}",
     "2.0 20.0 3"},
    {("{{ d | tojson }} {{ s | tojson }} {{ [] | tojson }} {{ {} | tojson(indent=2) }} {{ n"
         "one | tojson }} {{ 1.0 | tojson }} {{ '\177\\x01/</' | tojson }} {{ 'é😀' | tojson(en"
         "sure_ascii=true) }} {{ (1, 2) | tojson }} {{ {1: 2, true: none} | tojson }}"),
     ("{\"b\": 1, \"a\": [1, 2, {\"k\": null}], \"c\": \"é\\\"\\n\"} \"  Straße & Co. \" []"
         " {} null 1.0 \"\177\\u0001/</\" \"\\u00e9\\ud83d\\ude00\" [1, 2] {\"1\": null}")},
    {("{{ d | tojson(indent=4) }}\n{{ [[], [1, {'a': 2}]] | tojson(indent=1) }}\n{{ d | toj"
         "son(separators=(',', ':')) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1]"
         " | tojson(indent='--') }}"),
     ("{\n    \"b\": 1,\n    \"a\": [\n        1,\n        2,\n        {\n            \"k\""
         ": null\n        }\n    ],\n    \"c\": \"é\\\"\\n\"\n}\n[\n [],\n [\n  1,\n  {\n   \""
         "a\": 2\n  }\n ]\n]\n{\"b\":1,\"a\":[1,2,{\"k\":null}],\"c\":\"é\\\"\\n\"} {\"a\": 2,"
         " \"b\": 1} [\n--1\n]")},
};

static const struct rendering tests[] = {
    {("{{ 1 is number }} {{ true is number }} {{ 1.0 is float }} {{ 1 is integer }} {{ true"
         " is integer }} {{ 'a' is string }} {{ d is mapping }} {{ d is iterable }} {{ list is"
         " sequence }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ none is none }} {{ missing"
         " is undefined }} {{ missing is sequence }}"),
     "True True True True False True True True True True False True True True"},
    {("{{ true is true }} {{ 1 is true }} {{ false is false }} {{ true is boolean }} {{ 1 i"
         "s sameas 1 }} {{ 4 is even }} {{ 3 is odd }} {{ 9 is divisibleby 3 }} {{ 1 is eq(1) "
         "}} {{ 'a' is in ['a'] }} {{ 2 is gt 1 }} {{ 'AB' is upper }} {{ range is callable }}"
         " {{ 'trim' is filter }} {{ 1 is not none }} {{ 2 is ne 2 }}"),
     "True False True True True True True True True True True True True True True False"},
    {("{{ 2 is lt 3 }} {{ 2 is lessthan 2 }} {{ 2 is le 2 }} {{ 2 is ge 3 }} {{ 3 is greate"
         "rthan 2 }} {{ 'a' is lower }} {{ 'odd' is test }} {{ 'no' is filter }} {{ list | sele"
         "ct('<=', 2) | list }} {{ list | select('>=', 2) | list }}"),
     "True False True False True True True False [1, 2] [3, 2]"},
};

static const struct rendering functions[] = {
    {("{{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ range(3, 0, -1) | list }} {{ di"
         "ct(a=1, b='x') }} {{ strftime_now('%d %b %Y|%A %B %H:%M') }}"),
     "[0, 1, 2] [1, 3, 5] [3, 2, 1] {'a': 1, 'b': 'x'} 01 Jan 2025|Wednesday January 00:00"},
    {"{{ strftime_now('%y %j %I %p %e %w %f %S%%') }}",
     "25 001 12 AM  1 3 000000 00%"},
    {("{% set day = strftime_now('%Y-%m-%d') if strftime_now is defined else 'x' %}{{ day }"
         "} {{ namespace(a=1).a }} {% for m in messages[::-1] %}{{ m.role[0] }}{% endfor %}"),
     "2025-01-01 1 aus"},
};
/* clang-format on */

static const struct {
    const struct rendering *rows;
    size_t count;
} all[] = {
    {literals, sizeof literals / sizeof literals[0]},
    {operators, sizeof operators / sizeof operators[0]},
    {members, sizeof members / sizeof members[0]},
    {statements, sizeof statements / sizeof statements[0]},
    {space, sizeof space / sizeof space[0]},
    {texts, sizeof texts / sizeof texts[0]},
    {lists, sizeof lists / sizeof lists[0]},
    {values, sizeof values / sizeof values[0]},
    {tests, sizeof tests / sizeof tests[0]},
    {functions, sizeof functions / sizeof functions[0]},
};

START_TEST(test_renderings) {
    for (size_t i = 0; i < all[_i].count; i++)
        assert_renders(all[_i].rows[i].template, given, all[_i].rows[i].text);
}
END_TEST

/* --- whole chat templates, in the manner of real ones ----------------------------------------- */

/* clang-format off */
static const char chatml[] =
    "{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_"
    "end|>\\n' }}{% endif %}\n{%- for message in messages %}\n    {{- '<|im_start|>' + me"
    "ssage.role + '\\n' + message.content | trim + '<|im_end|>' + '\\n' }}\n{%- endfor %}"
    "\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif "
    "%}\n";

static const char inst[] =
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set"
    " system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages"
    " %}{% set system_message = false %}{% endif %}{{ bos_token }}{% for message in loop_"
    "messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_ex"
    "ception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system_messa"
    "ge != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' +"
    " message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% "
    "if message['role'] == 'user' %}{{ '[INST] ' + content.strip() + ' [/INST]' }}{% elif"
    " message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% en"
    "dif %}{% endfor %}";

static const char tools[] =
    "{%- macro kind(p) -%}\n{%- if p.type is string -%}{{ p.type }}{%- elif p.type is ite"
    "rable -%}{{ p.type | join(' | ') }}{%- else -%}any{%- endif -%}\n{%- endmacro -%}\n{"
    "%- if tools is defined and tools %}\n# Tools\n{% for tool in tools %}\n{%- set f = t"
    "ool.function if tool.function is defined else tool %}\n- {{ f.name }}({% for key, p "
    "in f.parameters.properties.items() %}{{ key }}: {{ kind(p) }}{% if key not in f.para"
    "meters.get('required', []) %}?{% endif %}{{ ', ' if not loop.last }}{% endfor %}): {"
    "{ f | tojson }}\n{% endfor %}\n{% endif %}\n{%- set ns = namespace(last=-1) %}\n{%- "
    "for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif"
    " %}{% endfor %}\n{%- for m in messages %}\n{%- if m.content is string %}{% set conte"
    "nt = m.content %}{% else %}{% set content = m.content | selectattr('type', 'equalto'"
    ", 'text') | map(attribute='text') | join('') %}{% endif %}\n{%- if m.role == 'assist"
    "ant' and '</think>' in content and loop.index0 < ns.last %}{% set content = content."
    "split('</think>')[-1].lstrip('\\n') %}{% endif %}\n<|{{ m.role }}|>{{ content }}\n{%"
    "- for call in m.tool_calls or [] %}\n<call>{{ call.function.name }} {{ call.function"
    ".arguments | tojson }}</call>\n{%- endfor %}\n{%- endfor %}\n{%- if add_generation_p"
    "rompt %}\n<|assistant|>\n{% endif %}";

static const char conversation_0[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}, {\"role\": \"assistant"
    "\", \"content\": \" Hi! \"}, {\"role\": \"user\", \"content\": \"Bye\\n\"}], \"add_g"
    "eneration_prompt\": true}";

static const char conversation_1[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Zürich 東京 😀\"}, {\"role\": \"u"
    "ser\", \"content\": \"<think> & \\\"q\\\"\"}, {\"role\": \"assistant\", \"content\":"
    " \"<think>a</think>\\n\\nb\"}, {\"role\": \"user\", \"content\": \"\"}], \"add_gener"
    "ation_prompt\": false}";

static const char conversation_2[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \""
    "Look\"}, {\"type\": \"image\"}, {\"type\": \"text\", \"text\": \"here\"}]}, {\"role"
    "\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"function\": {\"name\": \"f"
    "\", \"arguments\": {\"x\": [1, 2.5, null, true]}}}]}], \"tools\": [{\"type\": \"func"
    "tion\", \"function\": {\"name\": \"f\", \"description\": \"Gets é\", \"parameters\":"
    " {\"properties\": {\"x\": {\"type\": \"array\"}, \"y\": {\"type\": [\"string\", \"nu"
    "ll\"]}, \"z\": {}}, \"required\": [\"x\"]}}}]}";

static const struct {
    const char *template, *variables, *text;
} chats[] = {
    {chatml, conversation_0,
     ("<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<"
         "|im_start|>assistant\nHi!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>as"
         "sistant\n")},
    {chatml, conversation_1,
     ("<|im_start|>system\nZürich 東京 😀<|im_end|>\n<|im_start|>user\n<think> & \"q\"<|im_end"
         "|>\n<|im_start|>assistant\n<think>a</think>\n\nb<|im_end|>\n<|im_start|>user\n<|im_e"
         "nd|>\n")},
    {chatml, conversation_2,
     ("<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n[{'type': 'text', "
         "'text': 'Look'}, {'type': 'image'}, {'type': 'text', 'text': 'here'}]<|im_end|>\n<|i"
         "m_start|>assistant\n<|im_end|>\n")},
    {inst, conversation_0,
     "<s>[INST] Hello [/INST] Hi! </s>[INST] Bye [/INST]"},
    {inst, conversation_1,
     ("<s>[INST] <<SYS>>\nZürich 東京 😀\n<</SYS>>\n\n<think> & \"q\" [/INST] <think>a</think>"
         "\n\nb </s>[INST]  [/INST]")},
    {tools, conversation_0,
     "<|user|>Hello<|assistant|> Hi! <|user|>Bye\n<|assistant|>\n"},
    {tools, conversation_1,
     "<|system|>Zürich 東京 😀<|user|><think> & \"q\"<|assistant|>b<|user|>"},
    {tools, conversation_2,
     ("# Tools\n- f(x: array, y: string | null?, z: ?): {\"name\": \"f\", \"description\": "
         "\"Gets é\", \"parameters\": {\"properties\": {\"x\": {\"type\": \"array\"}, \"y\": {"
         "\"type\": [\"string\", \"null\"]}, \"z\": {}}, \"required\": [\"x\"]}}\n<|user|>Look"
         "here<|assistant|><call>f {\"x\": [1, 2.5, null, true]}</call>")},
};
/* clang-format on */

START_TEST(test_chats) {
    for (size_t i = 0; i < sizeof chats / sizeof chats[0]; i++)
        assert_renders(chats[i].template, chats[i].variables, chats[i].text);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("chat_templates");
    TCase *tcase = tcase_create("chat_templates");
    tcase_add_loop_test(tcase, test_renderings, 0, sizeof all / sizeof all[0]);
    tcase_add_test(tcase, test_chats);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
