/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of values of any kind. */
#include <math.h>

#include "chat/builtins.h"
#include "chat/format.h"
#include "chat/literal.h"
#include "chat/operators.h"
#include "chat/text_ops.h"

static struct jinja_value filter_default(struct jinja_run *run, const struct jinja_call *call) {
    (void)run;
    if (call->self->type == JINJA_UNDEFINED ||
        (jinja_arg_truth(call, 1) && !jinja_truth(call->self)))
        return call->args[0] ? *call->args[0] : jinja_string("", 0);
    return *call->self;
}

static struct jinja_value filter_string(struct jinja_run *run, const struct jinja_call *call) {
    return jinja_to_string(run, call->self);
}

static struct jinja_value filter_safe(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value v = jinja_to_string(run, call->self);
    v.is_markup = true;
    return v;
}

static struct jinja_value filter_length(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *v = call->self;
    if (v->type == JINJA_STRING)
        return jinja_int((int64_t)jinja_length(v->text));
    if (v->type == JINJA_LIST)
        return jinja_int((int64_t)v->list->count);
    if (v->type == JINJA_DICT && !v->dict->is_namespace)
        return jinja_int((int64_t)v->dict->count);
    return v->type == JINJA_UNDEFINED ? jinja_int(0) : jinja_refuse(run, call, v);
}

static struct jinja_value filter_list(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value out = jinja_new_list(run);
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    for (size_t i = 0; i < count; i++)
        jinja_push(run, &out, items[i]);
    return out;
}

/* A float cut to a whole number, if it fits one. */
static bool whole(double x, int64_t *out) {
    if (!(x > -9.2e18 && x < 9.2e18))
        return false;
    *out = (int64_t)x;
    return true;
}

static struct jinja_value filter_int(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *v = call->self;
    const int64_t base = jinja_arg_int(run, call, 1, 10);
    int64_t out = 0;
    double x = 0;
    if (base < 2 || base > 36)
        return jinja_fail(run, LLMQ_E_INPUT, "int: a base of %lld", (long long)base);
    if (jinja_as_int(v, &out) ||
        (v->type == JINJA_STRING && jinja_text_to_int(v->text, (int)base, &out)))
        return jinja_int(out);
    if ((v->type == JINJA_FLOAT || (v->type == JINJA_STRING && jinja_text_to_float(v->text, &x))) &&
        whole(v->type == JINJA_FLOAT ? v->real : x, &out))
        return jinja_int(out);
    return call->args[0] ? *call->args[0] : jinja_int(0);
}

static struct jinja_value filter_float(struct jinja_run *run, const struct jinja_call *call) {
    double x = 0;
    (void)run;
    if (jinja_as_float(call->self, &x) ||
        (call->self->type == JINJA_STRING && jinja_text_to_float(call->self->text, &x)))
        return jinja_float(x);
    return call->args[0] ? *call->args[0] : jinja_float(0);
}

static struct jinja_value filter_abs(struct jinja_run *run, const struct jinja_call *call) {
    double x = 0;
    if (!jinja_as_float(call->self, &x))
        return jinja_refuse(run, call, call->self);
    return jinja_sign(run, x < 0, call->self);
}

/* To `precision` decimals: halves to even, or by the method. Python rounds the decimal expansion;
 * this rounds the product, which differs where the half is not exact. */
static struct jinja_value filter_round(struct jinja_run *run, const struct jinja_call *call) {
    const int64_t precision = jinja_arg_int(run, call, 0, 0);
    const struct jinja_text method =
        call->args[1] ? jinja_arg_text(run, call, 1) : jinja_text_of("common");
    double x = 0;
    if (!jinja_as_float(call->self, &x))
        return jinja_refuse(run, call, call->self);
    if (call->self->type != JINJA_FLOAT && jinja_text_is(method, "common"))
        return *call->self;
    const double scale = pow(10, (double)precision);
    if (jinja_text_is(method, "common"))
        return jinja_float(nearbyint(x * scale) / scale);
    if (jinja_text_is(method, "ceil"))
        return jinja_float(ceil(x * scale) / scale);
    if (jinja_text_is(method, "floor"))
        return jinja_float(floor(x * scale) / scale);
    return jinja_fail(run, LLMQ_E_INPUT, "round: the method is common, ceil or floor");
}

/* --- dictionaries ----------------------------------------------------------------------------- */

static struct jinja_value pair_of(struct jinja_run *run, const struct jinja_pair *pair) {
    struct jinja_value out = jinja_new_list(run);
    jinja_push(run, &out, pair->key);
    jinja_push(run, &out, pair->value);
    if (!jinja_failed(run))
        out.list->is_tuple = true;
    return out;
}

static struct jinja_value filter_items(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value out = jinja_new_list(run);
    if (call->self->type == JINJA_UNDEFINED)
        return out;
    if (call->self->type != JINJA_DICT || call->self->dict->is_namespace)
        return jinja_refuse(run, call, call->self);
    for (size_t i = 0; i < call->self->dict->count && jinja_spend(run, 1); i++)
        jinja_push(run, &out, pair_of(run, &call->self->dict->pairs[i]));
    return out;
}

static struct jinja_value filter_dictsort(struct jinja_run *run, const struct jinja_call *call) {
    struct jinja_value pairs = filter_items(run, call);
    const bool by_value = call->args[1] && jinja_text_is(jinja_arg_text(run, call, 1), "value");
    const struct jinja_value index = jinja_int(by_value);
    const struct jinja_value sensitive = jinja_bool(jinja_arg_truth(call, 0)),
                             backwards = jinja_bool(jinja_arg_truth(call, 2));
    const struct jinja_value args[] = {backwards, sensitive, index};
    const struct jinja_arguments all = {args, 3, NULL, 0};
    return jinja_failed(run) ? pairs : jinja_call_filter(run, jinja_text_of("sort"), &pairs, &all);
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* separators=(between items, behind keys). */
static void read_separators(struct jinja_run *run, const struct jinja_call *call,
                            struct jinja_json_style *style) {
    const struct jinja_value *v = call->args[2];
    if (v->type == JINJA_LIST && v->list->count == 2 && v->list->items[0].type == JINJA_STRING &&
        v->list->items[1].type == JINJA_STRING) {
        style->between_items = v->list->items[0].text;
        style->behind_keys = v->list->items[1].text;
    } else {
        jinja_fail(run, LLMQ_E_INPUT, "tojson: separators are two strings");
    }
}

/* As transformers has it, not Jinja: nothing is escaped for HTML, and letters stay letters. */
static struct jinja_value filter_tojson(struct jinja_run *run, const struct jinja_call *call) {
    struct strbuf b = {0};
    struct jinja_json_style style = {.ascii = jinja_arg_truth(call, 0),
                                     .sorted = jinja_arg_truth(call, 3),
                                     .breaks = jinja_has(call, 1),
                                     .between_items = jinja_text_of(", "),
                                     .behind_keys = jinja_text_of(": ")};
    if (style.breaks) {
        style.between_items = jinja_text_of(",");
        style.indent = jinja_arg_indent(run, call, 1, 0);
    }
    if (jinja_has(call, 2))
        read_separators(run, call, &style);
    jinja_write_json(run, &b, call->self, &style);
    return jinja_take(run, &b);
}

const struct jinja_builtin jinja_filters_of_values[] = {
    /* clang-format off */
    {"default",  "default_value boolean",                   filter_default},
    {"d",        "default_value boolean",                   filter_default},
    {"string",   "",                                        filter_string},
    {"safe",     "",                                        filter_safe},
    {"length",   "",                                        filter_length},
    {"count",    "",                                        filter_length},
    {"list",     "",                                        filter_list},
    {"int",      "default base",                            filter_int},
    {"float",    "default",                                 filter_float},
    {"abs",      "",                                        filter_abs},
    {"round",    "precision method",                        filter_round},
    {"items",    "",                                        filter_items},
    {"dictsort", "case_sensitive by reverse",               filter_dictsort},
    {"tojson",   "ensure_ascii indent separators sort_keys", filter_tojson},
    {NULL, NULL, NULL},
    /* clang-format on */
};
