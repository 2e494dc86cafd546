/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of what can be iterated. */
#include "chat/builtins.h"
#include "chat/format.h"
#include "chat/literal.h"
#include "chat/operators.h"
#include "chat/text_ops.h"

/* --- attributes ------------------------------------------------------------------------------- */

/* What an attribute ("name", "a.b", a number) of an item gives; NULL: the item. */
static struct jinja_value attribute_of(struct jinja_run *run, const struct jinja_value *item,
                                       const struct jinja_value *attribute) {
    const struct jinja_text dot = {".", 1};
    struct jinja_value v = *item;
    if (!attribute || attribute->type == JINJA_NONE)
        return v;
    if (attribute->type != JINJA_STRING)
        return jinja_at(run, item, attribute);
    const struct jinja_value parts = jinja_split(run, attribute->text, &dot, -1, false);
    for (size_t i = 0; !jinja_failed(run) && i < parts.list->count; i++) {
        const struct jinja_value *part = &parts.list->items[i];
        int64_t index = 0;
        const bool digits =
            jinja_is_digits(part->text) && jinja_text_to_int(part->text, 10, &index);
        const struct jinja_value number = jinja_int(index);
        v = jinja_at(run, &v, digits ? &number : part);
    }
    return v;
}

/* As a key to compare by: strings in small letters unless case counts. */
static struct jinja_value key_of(struct jinja_run *run, const struct jinja_value *item,
                                 const struct jinja_value *attribute, bool sensitive) {
    const struct jinja_value v = attribute_of(run, item, attribute);
    return v.type == JINJA_STRING && !sensitive ? jinja_change_case(run, v.text, JINJA_LOWER) : v;
}

/* The same to sort by: of several attributes with commas between, a list. */
static struct jinja_value sort_key_of(struct jinja_run *run, const struct jinja_value *item,
                                      const struct jinja_value *attribute, bool sensitive) {
    const struct jinja_text comma = {",", 1};
    if (!attribute || attribute->type != JINJA_STRING ||
        jinja_find(attribute->text, comma, 0) == SIZE_MAX)
        return key_of(run, item, attribute, sensitive);
    const struct jinja_value names = jinja_split(run, attribute->text, &comma, -1, false);
    struct jinja_value keys = jinja_new_list(run);
    for (size_t i = 0; !jinja_failed(run) && i < names.list->count; i++)
        jinja_push(run, &keys, key_of(run, item, &names.list->items[i], sensitive));
    return keys;
}

/* --- one item of many ------------------------------------------------------------------------- */

static struct jinja_value filter_first(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    return jinja_items(run, call->self, &items) ? items[0] : jinja_undefined("first item");
}

static struct jinja_value filter_last(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    return count ? items[count - 1] : jinja_undefined("last item");
}

/* The smallest (sign -1) or largest (1), the first of several. */
static struct jinja_value extreme(struct jinja_run *run, const struct jinja_call *call, int sign) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    struct jinja_value best = jinja_undefined("item"), best_key = best;
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++) {
        const struct jinja_value key =
            key_of(run, &items[i], call->args[1], jinja_arg_truth(call, 0));
        if (i == 0 || jinja_order(run, &key, &best_key) == sign) {
            best = items[i];
            best_key = key;
        }
    }
    return best;
}

static struct jinja_value filter_min(struct jinja_run *run, const struct jinja_call *call) {
    return extreme(run, call, -1);
}

static struct jinja_value filter_max(struct jinja_run *run, const struct jinja_call *call) {
    return extreme(run, call, 1);
}

static struct jinja_value filter_sum(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    struct jinja_value sum = call->args[1] ? *call->args[1] : jinja_int(0);
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++) {
        const struct jinja_value v = attribute_of(run, &items[i], call->args[0]);
        sum = jinja_binary(run, jinja_text_of("+"), &sum, &v);
    }
    return sum;
}

static struct jinja_value filter_join(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    const struct jinja_value empty = jinja_string("", 0);
    const struct jinja_value between = jinja_to_string(run, call->args[0] ? call->args[0] : &empty);
    struct strbuf b = {0};
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++) {
        const struct jinja_value v = attribute_of(run, &items[i], call->args[1]);
        if (i > 0 && !jinja_failed(run))
            jinja_append(run, &b, between.text.at, between.text.len);
        jinja_print(run, &b, &v);
    }
    return jinja_take(run, &b);
}

/* --- other orders ----------------------------------------------------------------------------- */

static struct jinja_value filter_reverse(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value back = jinja_int(-1);
    if (call->self->type == JINJA_STRING || call->self->type == JINJA_LIST)
        return jinja_slice(run, call->self, NULL, NULL, &back);
    const struct jinja_value *items = NULL;
    struct jinja_value out = jinja_new_list(run);
    for (size_t i = jinja_items(run, call->self, &items); i > 0; i--)
        jinja_push(run, &out, items[i - 1]);
    return out;
}

/* By insertion, which keeps the order of equals, backwards too, as Python's sort does. */
static struct jinja_value filter_sort(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    const int sign = jinja_arg_truth(call, 0) ? -1 : 1;
    struct jinja_value out = jinja_new_list(run);
    struct jinja_value *keys = jinja_alloc(run, count + 1, sizeof *keys);
    for (size_t i = 0; keys && i < count && jinja_spend(run, 1); i++) {
        const struct jinja_value key =
            sort_key_of(run, &items[i], call->args[2], jinja_arg_truth(call, 1));
        size_t at = i;
        jinja_push(run, &out, items[i]);
        for (; at > 0 && jinja_spend(run, 1) && jinja_order(run, &key, &keys[at - 1]) == -sign;
             at--) {
            keys[at] = keys[at - 1];
            out.list->items[at] = out.list->items[at - 1];
        }
        if (jinja_failed(run))
            break;
        keys[at] = key;
        out.list->items[at] = items[i];
    }
    return out;
}

static struct jinja_value filter_unique(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    struct jinja_value out = jinja_new_list(run), seen = jinja_new_list(run);
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++) {
        const struct jinja_value key =
            key_of(run, &items[i], call->args[1], jinja_arg_truth(call, 0));
        if (jinja_contains(run, &seen, &key))
            continue;
        jinja_push(run, &seen, key);
        jinja_push(run, &out, items[i]);
    }
    return out;
}

static struct jinja_value filter_batch(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, call->self, &items);
    const int64_t size = jinja_arg_int(run, call, 0, 1);
    struct jinja_value out = jinja_new_list(run), row = jinja_undefined("");
    if (size < 1)
        return jinja_fail(run, LLMQ_E_INPUT, "batch: %lld items to a row", (long long)size);
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++) {
        if (i % (size_t)size == 0)
            row = jinja_new_list(run);
        jinja_push(run, &row, items[i]);
        if ((i + 1) % (size_t)size == 0)
            jinja_push(run, &out, row);
    }
    for (size_t i = count; jinja_has(call, 1) && i % (size_t)size != 0 && jinja_spend(run, 1); i++)
        jinja_push(run, &row, *call->args[1]);
    if (count % (size_t)size != 0)
        jinja_push(run, &out, row);
    return out;
}

/* --- by filters and tests --------------------------------------------------------------------- */

/* The items that map and select pass over: none of what is false, be it None. */
static size_t passed_items(struct jinja_run *run, const struct jinja_call *call,
                           const struct jinja_value **items) {
    return jinja_truth(call->self) ? jinja_items(run, call->self, items) : 0;
}

/* An argument of a filter that takes any, by name, or NULL. */
static const struct jinja_value *named_argument(const struct jinja_call *call, const char *name) {
    return jinja_find_argument(call->all, call->all->count, jinja_text_of(name));
}

/* The arguments behind the first `skip` ones. */
static struct jinja_arguments rest_of(const struct jinja_call *call, size_t skip) {
    struct jinja_arguments rest = *call->all;
    rest.items += skip;
    rest.count -= skip;
    return rest;
}

/* The name of a filter or test among the arguments. */
static struct jinja_text name_at(struct jinja_run *run, const struct jinja_call *call,
                                 size_t index) {
    if (call->all->count > index && call->all->items[index].type == JINJA_STRING)
        return call->all->items[index].text;
    jinja_fail(run, LLMQ_E_INPUT, "%s: a name is missing", call->builtin->name);
    return (struct jinja_text){"", 0};
}

static struct jinja_value map_one(struct jinja_run *run, const struct jinja_call *call,
                                  const struct jinja_value *item) {
    const struct jinja_value *attribute = named_argument(call, "attribute"),
                             *absent = named_argument(call, "default");
    if (call->all->count == 0 && attribute) {
        const struct jinja_value v = attribute_of(run, item, attribute);
        return v.type == JINJA_UNDEFINED && absent ? *absent : v;
    }
    const struct jinja_text name = name_at(run, call, 0);
    if (jinja_failed(run))
        return jinja_undefined("");
    const struct jinja_arguments rest = rest_of(call, 1);
    return jinja_call_filter(run, name, item, &rest);
}

static struct jinja_value filter_map(struct jinja_run *run, const struct jinja_call *call) {
    const struct jinja_value *items = NULL;
    const size_t count = passed_items(run, call, &items);
    struct jinja_value out = jinja_new_list(run);
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++)
        jinja_push(run, &out, map_one(run, call, &items[i]));
    return out;
}

/* Does the test among the arguments, behind `skip` others, hold? None: is the value true? */
static bool holds(struct jinja_run *run, const struct jinja_call *call, size_t skip,
                  const struct jinja_value *v) {
    if (call->all->count <= skip)
        return jinja_truth(v);
    const struct jinja_arguments rest = rest_of(call, skip + 1);
    return jinja_call_test(run, name_at(run, call, skip), v, &rest);
}

/* The items for which the test gives `wanted`; `by_attribute`: of the attribute named first. */
static struct jinja_value choose(struct jinja_run *run, const struct jinja_call *call,
                                 bool by_attribute, bool wanted) {
    const struct jinja_value *items = NULL;
    const size_t count = passed_items(run, call, &items);
    struct jinja_value out = jinja_new_list(run);
    if (by_attribute && call->all->count == 0)
        return jinja_fail(run, LLMQ_E_INPUT, "%s: the attribute is missing", call->builtin->name);
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++) {
        const struct jinja_value v =
            attribute_of(run, &items[i], by_attribute ? &call->all->items[0] : NULL);
        if (holds(run, call, by_attribute, &v) == wanted)
            jinja_push(run, &out, items[i]);
    }
    return out;
}

static struct jinja_value filter_select(struct jinja_run *run, const struct jinja_call *call) {
    return choose(run, call, false, true);
}

static struct jinja_value filter_reject(struct jinja_run *run, const struct jinja_call *call) {
    return choose(run, call, false, false);
}

static struct jinja_value filter_selectattr(struct jinja_run *run, const struct jinja_call *call) {
    return choose(run, call, true, true);
}

static struct jinja_value filter_rejectattr(struct jinja_run *run, const struct jinja_call *call) {
    return choose(run, call, true, false);
}

const struct jinja_builtin jinja_filters_of_lists[] = {
    /* clang-format off */
    {"first",      "",                                 filter_first},
    {"last",       "",                                 filter_last},
    {"min",        "case_sensitive attribute",         filter_min},
    {"max",        "case_sensitive attribute",         filter_max},
    {"sum",        "attribute start",                  filter_sum},
    {"join",       "d attribute",                      filter_join},
    {"reverse",    "",                                 filter_reverse},
    {"sort",       "reverse case_sensitive attribute", filter_sort},
    {"unique",     "case_sensitive attribute",         filter_unique},
    {"batch",      "linecount; fill_with",             filter_batch},
    {"map",        "*",                                filter_map},
    {"select",     "*",                                filter_select},
    {"reject",     "*",                                filter_reject},
    {"selectattr", "*",                                filter_selectattr},
    {"rejectattr", "*",                                filter_rejectattr},
    {NULL, NULL, NULL},
    /* clang-format on */
};
