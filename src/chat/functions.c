/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that templates have: Jinja's, and those that transformers adds. */
#include <string.h>

#include "chat/builtins.h"
#include "chat/operators.h"

/* --- Jinja's ---------------------------------------------------------------------------------- */

/* Items of a range, or -1 for more than there may be. */
static int64_t range_count(int64_t begin, int64_t end, int64_t step) {
    int64_t span = 0;
    if (step > 0 ? begin >= end : begin <= end)
        return 0;
    if (__builtin_sub_overflow(step > 0 ? end : begin, step > 0 ? begin : end, &span) ||
        step == INT64_MIN)
        return -1;
    const int64_t stride = step > 0 ? step : -step;
    const int64_t count = span / stride + (span % stride != 0);
    return count <= JINJA_MAX_RANGE ? count : -1;
}

static struct jinja_value function_range(struct jinja_run *run, const struct jinja_call *call) {
    const int64_t first = jinja_arg_int(run, call, 0, 0), step = jinja_arg_int(run, call, 2, 1);
    const int64_t begin = call->args[1] ? first : 0;
    const int64_t end = call->args[1] ? jinja_arg_int(run, call, 1, 0) : first;
    struct jinja_value out = jinja_new_list(run);
    const int64_t count = step ? range_count(begin, end, step) : -1;
    if (count < 0)
        return jinja_fail(run, LLMQ_E_INPUT, "range: no step, or more than %d items",
                          JINJA_MAX_RANGE);
    for (int64_t i = 0; i < count; i++)
        jinja_push(run, &out, jinja_int(begin + i * step));
    return out;
}

/* A dictionary of one that is given, if any, and of the arguments by name. */
static struct jinja_value make_dict(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value out = jinja_new_dict(run);
    for (size_t k = 0; k < call->all->count && !jinja_failed(run); k++) {
        const struct jinja_value *v = &call->all->items[k];
        if (k > 0 || v->type != JINJA_DICT)
            return jinja_fail(run, LLMQ_E_UNSUPPORTED,
                              "%s: only a dictionary, and arguments by name", call->builtin->name);
        for (size_t i = 0; i < v->dict->count; i++)
            jinja_put(run, &out, v->dict->pairs[i].key, v->dict->pairs[i].value);
    }
    for (size_t i = 0; i < call->all->named_count; i++)
        jinja_put(run, &out, call->all->named[i].key, call->all->named[i].value);
    return out;
}

static struct jinja_value function_namespace(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value out = make_dict(run, call);
    if (!jinja_failed(run))
        out.dict->is_namespace = true;
    return out;
}

/* --- transformers' ---------------------------------------------------------------------------- */

static struct jinja_value function_raise(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text message = jinja_arg_text(run, call, 0);
    return jinja_fail(run, LLMQ_E_INPUT, "the template refuses the conversation: %.*s",
                      (int)(message.len < 300 ? message.len : 300), message.at);
}

/* The day of a rendering: always the same one, 1 January 2025, at midnight, so that a result does
 * not depend on when it was made. */
static const struct {
    char letter;
    const char *text;
} day[] = {{'Y', "2025"},    {'y', "25"},  {'m', "01"},        {'d', "01"},  {'e', " 1"},
           {'B', "January"}, {'b', "Jan"}, {'A', "Wednesday"}, {'a', "Wed"}, {'j', "001"},
           {'H', "00"},      {'I', "12"},  {'M', "00"},        {'S', "00"},  {'p', "AM"},
           {'f', "000000"},  {'w', "3"},   {'Z', ""},          {'z', ""},    {'%', "%"}};

static const char *part_of_day(char letter) {
    for (size_t i = 0; i < sizeof day / sizeof day[0]; i++)
        if (day[i].letter == letter)
            return day[i].text;
    return NULL;
}

static struct jinja_value function_strftime(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text format = jinja_arg_text(run, call, 0);
    struct strbuf b = {0};
    for (size_t i = 0; i < format.len && !jinja_failed(run); i++) {
        if (format.at[i] != '%' || i + 1 == format.len) {
            jinja_append(run, &b, format.at + i, 1);
            continue;
        }
        const char *part = part_of_day(format.at[++i]);
        if (part)
            jinja_append(run, &b, part, strlen(part));
        else
            jinja_fail(run, LLMQ_E_UNSUPPORTED, "strftime_now: %%%c is not supported",
                       format.at[i]);
    }
    return jinja_take(run, &b);
}

const struct jinja_builtin jinja_functions[] = {
    {"range", "start; stop step", function_range},  {"dict", "*", make_dict},
    {"namespace", "*", function_namespace},         {"raise_exception", "message;", function_raise},
    {"strftime_now", "format;", function_strftime}, {NULL, NULL, NULL},
};

/* --- methods of `loop` ------------------------------------------------------------------------ */

static struct jinja_value loop_cycle(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *index = jinja_dict_get(call->self->dict, "index0");
    if (call->all->count == 0 || !index)
        return jinja_fail(run, LLMQ_E_INPUT, "loop.cycle: nothing to choose from");
    return call->all->items[(size_t)index->integer % call->all->count];
}

/* Are the arguments others than in the last call? */
static struct jinja_value loop_changed(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value now = jinja_new_list(run), loop = *call->self;
    for (size_t i = 0; i < call->all->count; i++)
        jinja_push(run, &now, call->all->items[i]);
    const struct jinja_value *before = jinja_dict_get(loop.dict, " changed");
    const bool same = !jinja_failed(run) && before && jinja_equal(before, &now);
    jinja_put(run, &loop, jinja_string(" changed", sizeof " changed" - 1), now);
    return jinja_bool(!same);
}

const struct jinja_builtin jinja_loop_methods[] = {
    {"cycle", "*", loop_cycle},
    {"changed", "*", loop_changed},
    {NULL, NULL, NULL},
};
