/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of strings; what is no string is taken as str() has it. */
#include "chat/builtins.h"
#include "chat/text_ops.h"

static struct jinja_value change(struct jinja_run *run, const struct jinja_call *call,
                                 enum jinja_case to) {
    return jinja_change_case(run, jinja_self_text(run, call), to);
}

static struct jinja_value filter_upper(struct jinja_run *run, const struct jinja_call *call) {
    return change(run, call, JINJA_UPPER);
}

static struct jinja_value filter_lower(struct jinja_run *run, const struct jinja_call *call) {
    return change(run, call, JINJA_LOWER);
}

static struct jinja_value filter_title(struct jinja_run *run, const struct jinja_call *call) {
    return change(run, call, JINJA_HEADLINE);
}

static struct jinja_value filter_capitalize(struct jinja_run *run, const struct jinja_call *call) {
    return change(run, call, JINJA_CAPITALIZED);
}

static struct jinja_value filter_trim(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text chars =
        jinja_has(call, 0) ? jinja_arg_text(run, call, 0) : (struct jinja_text){"", 0};
    const struct jinja_text t =
        jinja_strip(jinja_self_text(run, call), jinja_has(call, 0) ? &chars : NULL, true, true);
    return jinja_string(t.at, t.len);
}

static struct jinja_value filter_replace(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_text old = jinja_arg_text(run, call, 0), new = jinja_arg_text(run, call, 1);
    return jinja_replace(run, jinja_self_text(run, call), old, new,
                         jinja_arg_int(run, call, 2, -1));
}

/* The first line as it is unless `first`, empty ones unless `blank`. A newline at the end stays. */
static struct jinja_value filter_indent(struct jinja_run *run, const struct jinja_call *call) {
    const bool first = jinja_arg_truth(call, 1), blank = jinja_arg_truth(call, 2);
    const struct jinja_text t = jinja_self_text(run, call);
    const struct jinja_text before = jinja_arg_indent(run, call, 0, 4);
    const struct jinja_value lines = jinja_lines(run, t);
    struct strbuf b = {0};
    if (jinja_failed(run))
        return lines;
    for (size_t i = 0; i < lines.list->count; i++) {
        const struct jinja_text line = lines.list->items[i].text;
        jinja_append(run, &b, "\n", i > 0);
        if (i == 0 ? first : blank || line.len > 0)
            jinja_append(run, &b, before.at, before.len);
        jinja_append(run, &b, line.at, line.len);
    }
    if (jinja_ends(t, jinja_text_of("\n")))
        jinja_append(run, &b, "\n", 1);
    return jinja_take(run, &b);
}

static struct jinja_value filter_wordcount(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value words = jinja_split(run, jinja_self_text(run, call), NULL, -1, false);
    return jinja_failed(run) ? words : jinja_int((int64_t)words.list->count);
}

const struct jinja_builtin jinja_filters_of_texts[] = {
    /* clang-format off */
    {"upper",      "",                  filter_upper},
    {"lower",      "",                  filter_lower},
    {"title",      "",                  filter_title},
    {"capitalize", "",                  filter_capitalize},
    {"trim",       "chars",             filter_trim},
    {"replace",    "old new; count",    filter_replace},
    {"indent",     "width first blank", filter_indent},
    {"wordcount",  "",                  filter_wordcount},
    {NULL, NULL, NULL},
    /* clang-format on */
};
