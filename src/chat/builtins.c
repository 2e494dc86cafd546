/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of filters, tests, methods and functions: see builtins.h. */
#include "chat/builtins.h"

#include <string.h>

#include "chat/format.h"

const struct jinja_builtin *jinja_find_in(const struct jinja_builtin *table,
                                          struct jinja_text name) {
    for (; table->name; table++)
        if (jinja_text_is(name, table->name))
            return table;
    return NULL;
}

const struct jinja_builtin *jinja_find_filter(struct jinja_text name) {
    const struct jinja_builtin *const tables[] = {jinja_filters_of_values, jinja_filters_of_texts,
                                                  jinja_filters_of_lists};
    const struct jinja_builtin *found = NULL;
    for (size_t i = 0; !found && i < sizeof tables / sizeof tables[0]; i++)
        found = jinja_find_in(tables[i], name);
    return found;
}

/* --- arguments to parameters ------------------------------------------------------------------ */

const struct jinja_value *jinja_find_argument(const struct jinja_arguments *all, size_t index,
                                              struct jinja_text name) {
    if (index < all->count)
        return &all->items[index];
    for (size_t i = 0; i < all->named_count; i++)
        if (jinja_text_equal(all->named[i].key.text, name))
            return &all->named[i].value;
    return NULL;
}

/* The word at `p`, without a ";" at its end, which *last tells of; the next word. */
static const char *next_word(const char *p, struct jinja_text *word, bool *last) {
    const size_t len = strcspn(p, " ");
    *last = len > 0 && p[len - 1] == ';';
    *word = (struct jinja_text){p, len - *last};
    return p + len + (p[len] == ' ');
}

/* False, failed, for arguments that do not fit the parameters. */
static bool bind(struct jinja_run *run, struct jinja_call *call) {
    const char *p = call->builtin->parameters;
    bool required = strchr(p, ';') != NULL;
    size_t used = 0;
    for (size_t index = 0; *p; index++) {
        struct jinja_text word;
        bool last = false;
        p = next_word(p, &word, &last);
        call->args[index] = jinja_find_argument(call->all, index, word);
        used += call->args[index] != NULL;
        if (required && !call->args[index])
            jinja_fail(run, LLMQ_E_INPUT, "%s: the argument '%.*s' is missing", call->builtin->name,
                       (int)word.len, word.at);
        required = required && !last;
    }
    if (used < call->all->count + call->all->named_count)
        jinja_fail(run, LLMQ_E_UNSUPPORTED, "%s: an argument too many, or of an unknown name",
                   call->builtin->name);
    return !jinja_failed(run);
}

struct jinja_value jinja_call_builtin(struct jinja_run *run, const struct jinja_builtin *builtin,
                                      const struct jinja_value *self,
                                      const struct jinja_arguments *all) {
    struct jinja_call call = {.builtin = builtin, .self = self, .all = all};
    const size_t bytes = self->type == JINJA_STRING ? self->text.len : 0;
    if (!jinja_spend(run, 1 + bytes / 64))
        return jinja_undefined("");
    if (strcmp(builtin->parameters, "*") != 0 && !bind(run, &call))
        return jinja_undefined("");
    return builtin->run(run, &call);
}

struct jinja_value jinja_call_filter(struct jinja_run *run, struct jinja_text name,
                                     const struct jinja_value *self,
                                     const struct jinja_arguments *all) {
    const struct jinja_builtin *filter = jinja_find_filter(name);
    if (!filter)
        return jinja_fail(run, LLMQ_E_UNSUPPORTED, "the filter '%.*s' is not supported",
                          (int)(name.len < 80 ? name.len : 80), name.at);
    return jinja_call_builtin(run, filter, self, all);
}

bool jinja_call_test(struct jinja_run *run, struct jinja_text name, const struct jinja_value *self,
                     const struct jinja_arguments *all) {
    const struct jinja_builtin *test = jinja_find_in(jinja_tests, name);
    if (!test) {
        jinja_fail(run, LLMQ_E_UNSUPPORTED, "the test 'is %.*s' is not supported",
                   (int)(name.len < 80 ? name.len : 80), name.at);
        return false;
    }
    const struct jinja_value result = jinja_call_builtin(run, test, self, all);
    return !jinja_failed(run) && jinja_truth(&result);
}

/* --- arguments by their types ----------------------------------------------------------------- */

struct jinja_value jinja_refuse(struct jinja_run *run, const struct jinja_call *call,
                                const struct jinja_value *v) {
    if (v->type == JINJA_UNDEFINED)
        return jinja_fail(run, LLMQ_E_INPUT, "%s: '%.*s' is undefined", call->builtin->name,
                          (int)(v->text.len < 80 ? v->text.len : 80), v->text.at);
    return jinja_fail(run, LLMQ_E_INPUT, "%s: not possible with a value of type %s",
                      call->builtin->name, jinja_type_name(v));
}

struct jinja_text jinja_self_text(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value text = jinja_to_string(run, call->self);
    return jinja_failed(run) ? (struct jinja_text){"", 0} : text.text;
}

struct jinja_text jinja_arg_text(struct jinja_run *run, const struct jinja_call *call, int index) {
    const struct jinja_value *v = call->args[index];
    if (v && v->type == JINJA_STRING)
        return v->text;
    if (v)
        jinja_refuse(run, call, v);
    return (struct jinja_text){"", 0};
}

int64_t jinja_arg_int(struct jinja_run *run, const struct jinja_call *call, int index,
                      int64_t absent) {
    int64_t value = absent;
    if (jinja_has(call, index) && !jinja_as_int(call->args[index], &value))
        jinja_refuse(run, call, call->args[index]);
    return value;
}

struct jinja_text jinja_arg_indent(struct jinja_run *run, const struct jinja_call *call, int index,
                                   int64_t absent) {
    struct strbuf b = {0};
    if (call->args[index] && call->args[index]->type == JINJA_STRING)
        return call->args[index]->text;
    const int64_t width = jinja_arg_int(run, call, index, absent);
    for (int64_t i = 0; i < width && jinja_spend(run, 1); i++)
        jinja_append(run, &b, " ", 1);
    return jinja_take(run, &b).text;
}

bool jinja_arg_truth(const struct jinja_call *call, int index) {
    return call->args[index] && jinja_truth(call->args[index]);
}

bool jinja_has(const struct jinja_call *call, int index) {
    return call->args[index] && call->args[index]->type != JINJA_NONE;
}
