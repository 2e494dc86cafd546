/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions evaluated: see evaluate.h. */
#include "chat/evaluate.h"

#include "chat/format.h"
#include "chat/operators.h"

/* --- names ------------------------------------------------------------------------------------ */

static struct jinja_value evaluate_name(struct jinja_run *run, const struct jinja_node *node) {
    const struct jinja_value *found = jinja_lookup(run->scope, node->name);
    if (found)
        return *found;
    const struct jinja_builtin *builtin = jinja_find_in(jinja_functions, node->name);
    return builtin ? jinja_new_function(run, (struct jinja_function){.builtin = builtin})
                   : jinja_absent(node->name);
}

/* --- lists and dictionaries ------------------------------------------------------------------- */

static struct jinja_value evaluate_items(struct jinja_run *run, const struct jinja_node *node) {
    struct jinja_value list = jinja_new_list(run);
    for (const struct jinja_node *item = node->a; item && !jinja_failed(run); item = item->next)
        jinja_push(run, &list, jinja_evaluate(run, item));
    if (!jinja_failed(run))
        list.list->is_tuple = jinja_text_is(node->name, "(");
    return list;
}

static struct jinja_value evaluate_pairs(struct jinja_run *run, const struct jinja_node *node) {
    struct jinja_value dict = jinja_new_dict(run);
    for (const struct jinja_node *pair = node->a; pair && !jinja_failed(run); pair = pair->next) {
        const struct jinja_value key = jinja_evaluate(run, pair->a);
        jinja_put(run, &dict, key, jinja_evaluate(run, pair->b));
    }
    return dict;
}

/* --- calls ------------------------------------------------------------------------------------ */

struct arguments {
    struct jinja_value items, named; /* a list and a dictionary */
    struct jinja_arguments all;
};

static void evaluate_arguments(struct jinja_run *run, const struct jinja_node *node,
                               struct arguments *out) {
    *out = (struct arguments){.items = jinja_new_list(run), .named = jinja_new_dict(run)};
    for (; node && !jinja_failed(run); node = node->next)
        if (node->kind == JINJA_NAMED)
            jinja_put(run, &out->named, jinja_string(node->name.at, node->name.len),
                      jinja_evaluate(run, node->a));
        else
            jinja_push(run, &out->items, jinja_evaluate(run, node));
    if (jinja_failed(run))
        return;
    out->all = (struct jinja_arguments){out->items.list->items, out->items.list->count,
                                        out->named.dict->pairs, out->named.dict->count};
}

struct jinja_value jinja_evaluate_call(struct jinja_run *run, const struct jinja_node *node,
                                       const struct jinja_value *caller) {
    struct arguments arguments;
    const struct jinja_value callee = jinja_evaluate(run, node->a);
    evaluate_arguments(run, node->b, &arguments);
    run->line = node->line;
    if (jinja_failed(run))
        return jinja_undefined("");
    if (callee.type == JINJA_UNDEFINED)
        return jinja_fail(run, LLMQ_E_INPUT, "'%.*s' is undefined: it cannot be called",
                          (int)(callee.text.len < 80 ? callee.text.len : 80), callee.text.at);
    if (callee.type != JINJA_FUNCTION)
        return jinja_fail(run, LLMQ_E_INPUT, "%s cannot be called", jinja_type_name(&callee));
    const struct jinja_function *f = callee.function;
    if (f->builtin)
        return jinja_call_builtin(run, f->builtin, &f->self, &arguments.all);
    return jinja_call_macro(run, f, &arguments.all, caller);
}

static struct jinja_value evaluate_filter(struct jinja_run *run, const struct jinja_node *node) {
    struct arguments arguments;
    const struct jinja_value value = jinja_evaluate(run, node->a);
    evaluate_arguments(run, node->b, &arguments);
    run->line = node->line;
    return jinja_failed(run) ? value : jinja_call_filter(run, node->name, &value, &arguments.all);
}

static struct jinja_value evaluate_test(struct jinja_run *run, const struct jinja_node *node) {
    struct arguments arguments;
    const struct jinja_value value = jinja_evaluate(run, node->a);
    evaluate_arguments(run, node->b, &arguments);
    run->line = node->line;
    return jinja_bool(!jinja_failed(run) &&
                      jinja_call_test(run, node->name, &value, &arguments.all));
}

/* --- operators -------------------------------------------------------------------------------- */

static struct jinja_value evaluate_slice(struct jinja_run *run, const struct jinja_node *node) {
    const struct jinja_value object = jinja_evaluate(run, node->a);
    const struct jinja_value begin = jinja_evaluate(run, node->b),
                             end = jinja_evaluate(run, node->c),
                             step = jinja_evaluate(run, node->target);
    return jinja_slice(run, &object, node->b ? &begin : NULL, node->c ? &end : NULL,
                       node->target ? &step : NULL);
}

static struct jinja_value evaluate_compare(struct jinja_run *run, const struct jinja_node *node) {
    struct jinja_value left = jinja_evaluate(run, node->a);
    bool holds = true;
    for (const struct jinja_node *other = node->b; other && holds && !jinja_failed(run);
         other = other->next) {
        const struct jinja_value right = jinja_evaluate(run, other->a);
        run->line = other->line;
        holds = jinja_compare(run, other->name, &left, &right);
        left = right;
    }
    return jinja_bool(holds);
}

/* Python's and/or: the operand that decides. */
static struct jinja_value evaluate_logic(struct jinja_run *run, const struct jinja_node *node) {
    const struct jinja_value left = jinja_evaluate(run, node->a);
    if (jinja_failed(run) || jinja_truth(&left) == (node->kind == JINJA_OR))
        return left;
    return jinja_evaluate(run, node->b);
}

static struct jinja_value evaluate_two(struct jinja_run *run, const struct jinja_node *node) {
    const struct jinja_value a = jinja_evaluate(run, node->a);
    if (node->kind == JINJA_NOT)
        return jinja_bool(!jinja_truth(&a));
    if (node->kind == JINJA_SIGN)
        return jinja_sign(run, jinja_text_is(node->name, "-"), &a);
    if (node->kind == JINJA_MEMBER)
        return jinja_failed(run) ? a : jinja_member(run, &a, node->name);
    if (node->kind == JINJA_CHOICE)
        return jinja_evaluate(run, jinja_truth(&a) ? node->b : node->c);
    const struct jinja_value b = jinja_evaluate(run, node->b);
    run->line = node->line;
    return node->kind == JINJA_AT ? jinja_at(run, &a, &b) : jinja_binary(run, node->name, &a, &b);
}

static struct jinja_value evaluate_held(struct jinja_run *run) {
    const struct jinja_value *held = jinja_lookup(run->scope, jinja_text_of(" held"));
    return held ? *held : jinja_undefined("block");
}

static struct jinja_value evaluate_one(struct jinja_run *run, const struct jinja_node *node) {
    switch ((int)node->kind) {
    case JINJA_CONSTANT:
        return node->value;
    case JINJA_NAME:
        return evaluate_name(run, node);
    case JINJA_HELD:
        return evaluate_held(run);
    case JINJA_ITEMS:
        return evaluate_items(run, node);
    case JINJA_PAIRS:
        return evaluate_pairs(run, node);
    case JINJA_SLICE:
        return evaluate_slice(run, node);
    case JINJA_CALL:
        return jinja_evaluate_call(run, node, NULL);
    case JINJA_FILTER:
        return evaluate_filter(run, node);
    case JINJA_TEST:
        return evaluate_test(run, node);
    case JINJA_AND:
    case JINJA_OR:
        return evaluate_logic(run, node);
    case JINJA_COMPARE:
        return evaluate_compare(run, node);
    default:
        return evaluate_two(run, node);
    }
}

struct jinja_value jinja_evaluate(struct jinja_run *run, const struct jinja_node *node) {
    if (!node || !jinja_spend(run, 1) || !jinja_enter(run))
        return jinja_undefined("");
    run->line = node->line;
    const struct jinja_value value = evaluate_one(run, node);
    run->depth--;
    return value;
}
