/* SPDX-License-Identifier: Apache-2.0 */
/* Tests: what stands behind "is". */
#include "chat/builtins.h"
#include "chat/operators.h"
#include "chat/text_ops.h"

static struct jinja_value test_defined(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type != JINJA_UNDEFINED);
}

static struct jinja_value test_undefined(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_UNDEFINED);
}

static struct jinja_value test_none(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_NONE);
}

static struct jinja_value test_boolean(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_BOOL);
}

static struct jinja_value test_true(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_BOOL && call->self->truth);
}

static struct jinja_value test_false(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_BOOL && !call->self->truth);
}

static struct jinja_value test_integer(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_INT);
}

static struct jinja_value test_float(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_FLOAT);
}

static struct jinja_value test_number(struct jinja_run *run, const struct jinja_call *call) {
    double x = 0;
    (void)run;
    return jinja_bool(jinja_as_float(call->self, &x)); /* True is a number to Python */
}

static struct jinja_value test_string(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_STRING);
}

static bool is_mapping(const struct jinja_value *v) {
    return v->type == JINJA_DICT && !v->dict->is_namespace;
}

static struct jinja_value test_mapping(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(is_mapping(call->self));
}

/* Whatever has items and a length: what is undefined has, too. */
static struct jinja_value test_sequence(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_STRING || call->self->type == JINJA_LIST ||
                      call->self->type == JINJA_UNDEFINED || is_mapping(call->self));
}

static struct jinja_value test_callable(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == JINJA_FUNCTION);
}

/* --- numbers ---------------------------------------------------------------------------------- */

static struct jinja_value divisible(struct jinja_run *run, const struct jinja_call *call,
                                    int64_t by, int64_t rest) {
    int64_t number = 0;
    if (!jinja_as_int(call->self, &number))
        return jinja_refuse(run, call, call->self);
    if (by == 0)
        return jinja_fail(run, LLMQ_E_INPUT, "%s: by zero", call->builtin->name);
    if (by == -1)
        return jinja_bool(true); /* and INT64_MIN is not divided by it */
    const int64_t found = number % by;
    return jinja_bool((found < 0 ? -found : found) == rest);
}

static struct jinja_value test_even(struct jinja_run *run, const struct jinja_call *call) {
    return divisible(run, call, 2, 0);
}

static struct jinja_value test_odd(struct jinja_run *run, const struct jinja_call *call) {
    return divisible(run, call, 2, 1);
}

static struct jinja_value test_divisible(struct jinja_run *run, const struct jinja_call *call) {
    return divisible(run, call, jinja_arg_int(run, call, 0, 0), 0);
}

/* --- comparing -------------------------------------------------------------------------------- */

static struct jinja_value compare(struct jinja_run *run, const struct jinja_call *call,
                                  const char *op) {
    return jinja_bool(jinja_compare(run, jinja_text_of(op), call->self, call->args[0]));
}

static struct jinja_value test_equal(struct jinja_run *run, const struct jinja_call *call) {
    return compare(run, call, "==");
}

static struct jinja_value test_unequal(struct jinja_run *run, const struct jinja_call *call) {
    return compare(run, call, "!=");
}

static struct jinja_value test_less(struct jinja_run *run, const struct jinja_call *call) {
    return compare(run, call, "<");
}

static struct jinja_value test_at_most(struct jinja_run *run, const struct jinja_call *call) {
    return compare(run, call, "<=");
}

static struct jinja_value test_more(struct jinja_run *run, const struct jinja_call *call) {
    return compare(run, call, ">");
}

static struct jinja_value test_at_least(struct jinja_run *run, const struct jinja_call *call) {
    return compare(run, call, ">=");
}

static struct jinja_value test_in(struct jinja_run *run, const struct jinja_call *call) {
    return compare(run, call, "in");
}

/* Of singletons, which is what it is used for; other values are the same when they are equal. */
static struct jinja_value test_same(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(call->self->type == call->args[0]->type &&
                      jinja_equal(call->self, call->args[0]));
}

/* --- strings and names ------------------------------------------------------------------------ */

static struct jinja_value test_lower(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_bool(jinja_is_case(jinja_self_text(run, call), JINJA_LOWER));
}

static struct jinja_value test_upper(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_bool(jinja_is_case(jinja_self_text(run, call), JINJA_UPPER));
}

static struct jinja_value test_filter(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_bool(jinja_find_filter(jinja_self_text(run, call)) != NULL);
}

static struct jinja_value test_test(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_bool(jinja_find_in(jinja_tests, jinja_self_text(run, call)) != NULL);
}

const struct jinja_builtin jinja_tests[] = {
    /* clang-format off */
    {"defined",     "",       test_defined},   {"undefined",   "",       test_undefined},
    {"none",        "",       test_none},      {"boolean",     "",       test_boolean},
    {"true",        "",       test_true},      {"false",       "",       test_false},
    {"integer",     "",       test_integer},   {"float",       "",       test_float},
    {"number",      "",       test_number},    {"string",      "",       test_string},
    {"mapping",     "",       test_mapping},   {"sequence",    "",       test_sequence},
    {"iterable",    "",       test_sequence},  {"callable",    "",       test_callable},
    {"even",        "",       test_even},      {"odd",         "",       test_odd},
    {"divisibleby", "num;",   test_divisible}, {"in",          "seq;",   test_in},
    {"eq",          "other;", test_equal},     {"equalto",     "other;", test_equal},
    {"==",          "other;", test_equal},     {"ne",          "other;", test_unequal},
    {"!=",          "other;", test_unequal},   {"lt",          "other;", test_less},
    {"lessthan",    "other;", test_less},      {"<",           "other;", test_less},
    {"le",          "other;", test_at_most},   {"<=",          "other;", test_at_most},
    {"gt",          "other;", test_more},      {"greaterthan", "other;", test_more},
    {">",           "other;", test_more},      {"ge",          "other;", test_at_least},
    {">=",          "other;", test_at_least},  {"sameas",      "other;", test_same},
    {"lower",       "",       test_lower},     {"upper",       "",       test_upper},
    {"filter",      "",       test_filter},    {"test",        "",       test_test},
    {NULL, NULL, NULL},
    /* clang-format on */
};
