/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of strings, lists and dictionaries, as far as they change nothing: transformers runs
 * templates in a sandbox that refuses the others, too. */
#include "chat/builtins.h"
#include "chat/operators.h"
#include "chat/text_ops.h"

/* --- strings ---------------------------------------------------------------------------------- */

static struct jinja_value strip(struct jinja_run *run, const struct jinja_call *call, bool left,
                                bool right) {
    const bool given = jinja_has(call, 0);
    const struct jinja_text chars =
        given ? jinja_arg_text(run, call, 0) : (struct jinja_text){"", 0};
    const struct jinja_text t = jinja_strip(call->self->text, given ? &chars : NULL, left, right);
    return jinja_string(t.at, t.len);
}

static struct jinja_value text_strip(struct jinja_run *run, const struct jinja_call *call) {
    return strip(run, call, true, true);
}

static struct jinja_value text_lstrip(struct jinja_run *run, const struct jinja_call *call) {
    return strip(run, call, true, false);
}

static struct jinja_value text_rstrip(struct jinja_run *run, const struct jinja_call *call) {
    return strip(run, call, false, true);
}

static struct jinja_value split(struct jinja_run *run, const struct jinja_call *call, bool right) {
    const bool given = jinja_has(call, 0);
    const struct jinja_text separator =
        given ? jinja_arg_text(run, call, 0) : (struct jinja_text){"", 0};
    return jinja_split(run, call->self->text, given ? &separator : NULL,
                       jinja_arg_int(run, call, 1, -1), right);
}

static struct jinja_value text_split(struct jinja_run *run, const struct jinja_call *call) {
    return split(run, call, false);
}

static struct jinja_value text_rsplit(struct jinja_run *run, const struct jinja_call *call) {
    return split(run, call, true);
}

static struct jinja_value text_splitlines(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_lines(run, call->self->text);
}

/* At the beginning or end: a string, or one of a tuple. */
static struct jinja_value has_end(struct jinja_run *run, const struct jinja_call *call,
                                  bool (*has)(struct jinja_text, struct jinja_text)) {
    const struct jinja_value *v = call->args[0];
    if (v->type == JINJA_STRING)
        return jinja_bool(has(call->self->text, v->text));
    if (v->type != JINJA_LIST)
        return jinja_refuse(run, call, v);
    for (size_t i = 0; i < v->list->count; i++)
        if (v->list->items[i].type == JINJA_STRING && has(call->self->text, v->list->items[i].text))
            return jinja_bool(true);
    return jinja_bool(false);
}

static struct jinja_value text_startswith(struct jinja_run *run, const struct jinja_call *call) {
    return has_end(run, call, jinja_starts);
}

static struct jinja_value text_endswith(struct jinja_run *run, const struct jinja_call *call) {
    return has_end(run, call, jinja_ends);
}

static struct jinja_value text_removeprefix(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text t = call->self->text, prefix = jinja_arg_text(run, call, 0);
    const size_t cut = jinja_starts(t, prefix) ? prefix.len : 0;
    return jinja_string(t.at + cut, t.len - cut);
}

static struct jinja_value text_removesuffix(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text t = call->self->text, suffix = jinja_arg_text(run, call, 0);
    return jinja_string(t.at, t.len - (jinja_ends(t, suffix) ? suffix.len : 0));
}

static struct jinja_value text_upper(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_change_case(run, call->self->text, JINJA_UPPER);
}

static struct jinja_value text_lower(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_change_case(run, call->self->text, JINJA_LOWER);
}

static struct jinja_value text_title(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_change_case(run, call->self->text, JINJA_TITLE);
}

static struct jinja_value text_capitalize(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_change_case(run, call->self->text, JINJA_CAPITALIZED);
}

static struct jinja_value text_replace(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text old = jinja_arg_text(run, call, 0), new = jinja_arg_text(run, call, 1);
    return jinja_replace(run, call->self->text, old, new, jinja_arg_int(run, call, 2, -1));
}

static struct jinja_value text_find(struct jinja_run *run, const struct jinja_call *call) {
    const size_t at = jinja_find(call->self->text, jinja_arg_text(run, call, 0), 0);
    return jinja_int(
        at == SIZE_MAX ? -1 : (int64_t)jinja_length((struct jinja_text){call->self->text.at, at}));
}

static struct jinja_value text_count(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text t = call->self->text, part = jinja_arg_text(run, call, 0);
    int64_t count = 0;
    if (part.len == 0)
        return jinja_int((int64_t)jinja_length(t) + 1);
    for (size_t at = 0; (at = jinja_find(t, part, at)) != SIZE_MAX; at += part.len)
        count++;
    return jinja_int(count);
}

/* Unlike the filter, of strings alone. */
static struct jinja_value text_join(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->args[0], &items);
    struct strbuf b = {0};
    for (size_t i = 0; i < count && !jinja_failed(run); i++) {
        if (items[i].type != JINJA_STRING)
            jinja_refuse(run, call, &items[i]);
        if (i > 0)
            jinja_append(run, &b, call->self->text.at, call->self->text.len);
        jinja_append(run, &b, items[i].text.at, items[i].text.len);
    }
    return jinja_take(run, &b);
}

static struct jinja_value text_isdigit(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(jinja_is_digits(call->self->text));
}

static struct jinja_value text_isalpha(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(jinja_is_letters(call->self->text));
}

static struct jinja_value text_isupper(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(jinja_is_case(call->self->text, JINJA_UPPER));
}

static struct jinja_value text_islower(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    return jinja_bool(jinja_is_case(call->self->text, JINJA_LOWER));
}

static struct jinja_value text_isspace(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text t = call->self->text;
    (void)run;
    return jinja_bool(t.len > 0 && jinja_leading_space(t) == t.len);
}

const struct jinja_builtin jinja_text_methods[] = {
    /* clang-format off */
    {"strip",        "chars",          text_strip},
    {"lstrip",       "chars",          text_lstrip},
    {"rstrip",       "chars",          text_rstrip},
    {"split",        "sep maxsplit",   text_split},
    {"rsplit",       "sep maxsplit",   text_rsplit},
    {"splitlines",   "",               text_splitlines},
    {"startswith",   "prefix;",        text_startswith},
    {"endswith",     "suffix;",        text_endswith},
    {"removeprefix", "prefix;",        text_removeprefix},
    {"removesuffix", "suffix;",        text_removesuffix},
    {"upper",        "",               text_upper},
    {"lower",        "",               text_lower},
    {"title",        "",               text_title},
    {"capitalize",   "",               text_capitalize},
    {"replace",      "old new; count", text_replace},
    {"find",         "sub;",           text_find},
    {"count",        "sub;",           text_count},
    {"join",         "iterable;",      text_join},
    {"isdigit",      "",               text_isdigit},
    {"isalpha",      "",               text_isalpha},
    {"isupper",      "",               text_isupper},
    {"islower",      "",               text_islower},
    {"isspace",      "",               text_isspace},
    {NULL, NULL, NULL},
    /* clang-format on */
};

/* --- lists ------------------------------------------------------------------------------------ */

static struct jinja_value list_index(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_list *list = call->self->list;
    for (size_t i = 0; i < list->count; i++)
        if (jinja_equal(&list->items[i], call->args[0]))
            return jinja_int((int64_t)i);
    return jinja_fail(run, LLMQ_E_INPUT, "index: the list has no such item");
}

static struct jinja_value list_count(struct jinja_run *run, const struct jinja_call *call) {
    int64_t count = 0;
    (void)run;
    for (size_t i = 0; i < call->self->list->count; i++)
        count += jinja_equal(&call->self->list->items[i], call->args[0]);
    return jinja_int(count);
}

const struct jinja_builtin jinja_list_methods[] = {
    {"index", "value;", list_index},
    {"count", "value;", list_count},
    {NULL, NULL, NULL},
};

/* --- dictionaries ----------------------------------------------------------------------------- */

static struct jinja_value dict_items(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_arguments none = {0};
    return jinja_call_filter(run, jinja_text_of("items"), call->self, &none);
}

static struct jinja_value dict_keys(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value out = jinja_new_list(run);
    for (size_t i = 0; i < call->self->dict->count; i++)
        jinja_push(run, &out, call->self->dict->pairs[i].key);
    return out;
}

static struct jinja_value dict_values(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value out = jinja_new_list(run);
    for (size_t i = 0; i < call->self->dict->count; i++)
        jinja_push(run, &out, call->self->dict->pairs[i].value);
    return out;
}

static struct jinja_value dict_get(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *found = jinja_dict_find(call->self->dict, call->args[0]);
    (void)run;
    return found ? *found : call->args[1] ? *call->args[1] : jinja_none();
}

const struct jinja_builtin jinja_dict_methods[] = {
    {"items", "", dict_items},         {"keys", "", dict_keys}, {"values", "", dict_values},
    {"get", "key; default", dict_get}, {NULL, NULL, NULL},
};
