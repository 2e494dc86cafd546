/* SPDX-License-Identifier: Apache-2.0 */
/* Statements executed: see evaluate.h. */
#include "base/error.h"
#include "chat/evaluate.h"
#include "chat/format.h"
#include "chat/operators.h"

/* --- scopes and captures ---------------------------------------------------------------------- */

/* What statements print, as a string. */
static struct jinja_value capture(struct jinja_run *run, const struct jinja_node *statements) {
    struct strbuf b = {0}, *out = run->out;
    run->out = &b;
    (void)jinja_execute(run, statements);
    run->out = out;
    return jinja_take(run, &b);
}

/* A scope in `parent` becomes the innermost; NULL when memory is short. Left by setting run->scope
 * back. It stays as long as the run, for macros in it. */
static struct jinja_scope *open_scope(struct jinja_run *run, struct jinja_scope *parent) {
    struct jinja_scope *scope = jinja_alloc(run, 1, sizeof *scope);
    if (!scope)
        return NULL;
    *scope = (struct jinja_scope){.parent = parent};
    run->scope = scope;
    return scope;
}

/* --- assigning -------------------------------------------------------------------------------- */

static void assign_target(struct jinja_run *run, const struct jinja_node *target,
                          const struct jinja_value *value);

static void assign_member(struct jinja_run *run, const struct jinja_node *target,
                          const struct jinja_value *value) {
    struct jinja_value object = jinja_evaluate(run, target->a);
    if (jinja_failed(run))
        return;
    if (object.type != JINJA_DICT || !object.dict->is_namespace)
        jinja_fail(run, LLMQ_E_INPUT, "'%.*s' is no namespace: its members cannot be set",
                   (int)target->a->name.len, target->a->name.at);
    else
        jinja_put(run, &object, jinja_string(target->name.at, target->name.len), *value);
}

static void assign_items(struct jinja_run *run, const struct jinja_node *target,
                         const struct jinja_value *value) {
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, value, &items);
    const struct jinja_node *name = target->a;
    size_t i = 0;
    for (; name && i < count; name = name->next)
        assign_target(run, name, &items[i++]);
    if (name || i < count)
        jinja_fail(run, LLMQ_E_INPUT, "%zu values for %s names", count, name ? "more" : "fewer");
}

/* Assign to NAME, MEMBER of a namespace, or ITEMS of them. */
static void assign_target(struct jinja_run *run, const struct jinja_node *target,
                          const struct jinja_value *value) {
    if (jinja_failed(run))
        return;
    if (target->kind == JINJA_MEMBER)
        assign_member(run, target, value);
    else if (target->kind == JINJA_ITEMS)
        assign_items(run, target, value);
    else
        jinja_assign(run, target->name, *value);
}

/* What a block printed, through the filters that it is given. */
static struct jinja_value capture_filtered(struct jinja_run *run, const struct jinja_node *node) {
    struct jinja_scope *scope = run->scope;
    if (!open_scope(run, scope))
        return jinja_undefined("");
    const struct jinja_value text = capture(run, node->b);
    jinja_assign(run, jinja_text_of(" held"), text);
    const struct jinja_value value = jinja_evaluate(run, node->a);
    run->scope = scope;
    return value;
}

/* --- loops ------------------------------------------------------------------------------------ */

/* The members of `loop` before pass `i` of `count`. */
static void describe_pass(struct jinja_run *run, struct jinja_value *loop,
                          const struct jinja_list *items, size_t i) {
    const int64_t index = (int64_t)i, count = (int64_t)items->count;
    const bool last = i + 1 == items->count;
    jinja_put_named(run, loop, "index", jinja_int(index + 1));
    jinja_put_named(run, loop, "index0", jinja_int(index));
    jinja_put_named(run, loop, "revindex", jinja_int(count - index));
    jinja_put_named(run, loop, "revindex0", jinja_int(count - index - 1));
    jinja_put_named(run, loop, "first", jinja_bool(i == 0));
    jinja_put_named(run, loop, "last", jinja_bool(last));
    jinja_put_named(run, loop, "length", jinja_int(count));
    jinja_put_named(run, loop, "previtem",
                    i ? items->items[i - 1] : jinja_undefined("loop.previtem"));
    jinja_put_named(run, loop, "nextitem",
                    last ? jinja_undefined("loop.nextitem") : items->items[i + 1]);
}

/* loop.cycle and loop.changed are methods of `loop`. */
static void add_methods(struct jinja_run *run, struct jinja_value *loop) {
    for (const struct jinja_builtin *m = jinja_loop_methods; m->name; m++)
        jinja_put_named(
            run, loop, m->name,
            jinja_new_function(run, (struct jinja_function){.builtin = m, .self = *loop}));
    jinja_put_named(run, loop, "depth", jinja_int(1));
    jinja_put_named(run, loop, "depth0", jinja_int(0));
}

/* The items that a loop passes over: those that its filter takes, if it has one. */
static struct jinja_value choose_items(struct jinja_run *run, const struct jinja_node *node,
                                       const struct jinja_value *iterated) {
    struct jinja_scope *scope = run->scope;
    struct jinja_value chosen = jinja_new_list(run);
    const struct jinja_value *items = NULL;
    const size_t count = jinja_items(run, iterated, &items);
    for (size_t i = 0; i < count && jinja_spend(run, 1); i++) {
        struct jinja_value taken = jinja_bool(true);
        if (node->filter && open_scope(run, scope)) {
            assign_target(run, node->target, &items[i]);
            taken = jinja_evaluate(run, node->filter);
        }
        run->scope = scope;
        if (jinja_truth(&taken))
            jinja_push(run, &chosen, items[i]);
    }
    return chosen;
}

static struct jinja_value new_loop(struct jinja_run *run) {
    struct jinja_value loop = jinja_new_dict(run);
    if (jinja_failed(run))
        return loop;
    loop.dict->is_namespace = true; /* no items, no keys: it is no dictionary */
    add_methods(run, &loop);
    return loop;
}

static void execute_for(struct jinja_run *run, const struct jinja_node *node,
                        enum jinja_flow *flow) {
    struct jinja_scope *scope = run->scope;
    const struct jinja_value iterated = jinja_evaluate(run, node->a);
    const struct jinja_value chosen = choose_items(run, node, &iterated);
    struct jinja_value loop = new_loop(run);
    if (jinja_failed(run))
        return;
    const struct jinja_list *items = chosen.list;
    if (items->count == 0)
        *flow = jinja_execute(run, node->c);
    for (size_t i = 0; i < items->count && open_scope(run, scope); i++) {
        describe_pass(run, &loop, items, i);
        jinja_assign(run, jinja_text_of("loop"), loop);
        assign_target(run, node->target, &items->items[i]);
        if (jinja_execute(run, node->b) == JINJA_FLOW_BREAK)
            break;
    }
    run->scope = scope;
}

/* --- macros ----------------------------------------------------------------------------------- */

static struct jinja_value new_macro(struct jinja_run *run, const struct jinja_node *node) {
    return jinja_new_function(run, (struct jinja_function){.macro = node, .scope = run->scope});
}

static void bind_parameters(struct jinja_run *run, const struct jinja_node *macro,
                            const struct jinja_arguments *all) {
    const struct jinja_node *p = macro->kind == JINJA_MACRO ? macro->a : macro->c;
    size_t used = 0;
    for (size_t index = 0; p && !jinja_failed(run); p = p->next, index++) {
        const struct jinja_value *given = jinja_find_argument(all, index, p->name);
        jinja_assign(run, p->name,
                     given  ? *given
                     : p->a ? jinja_evaluate(run, p->a)
                            : jinja_absent(p->name));
        used += given != NULL;
    }
    if (used < all->count + all->named_count)
        jinja_fail(run, LLMQ_E_INPUT, "%.*s takes fewer arguments, or none of such a name",
                   (int)macro->name.len, macro->name.at);
}

struct jinja_value jinja_call_macro(struct jinja_run *run, const struct jinja_function *function,
                                    const struct jinja_arguments *all,
                                    const struct jinja_value *caller) {
    struct jinja_scope *scope = run->scope;
    struct jinja_value value = jinja_undefined("");
    if (!jinja_enter(run))
        return value;
    if (open_scope(run, function->scope)) {
        bind_parameters(run, function->macro, all);
        if (caller)
            jinja_assign(run, jinja_text_of("caller"), *caller);
        value = capture(run, function->macro->b);
    }
    run->scope = scope;
    run->depth--;
    return value;
}

/* --- statements ------------------------------------------------------------------------------- */

static void print(struct jinja_run *run, const struct jinja_value *v) {
    jinja_print(run, run->out, v);
}

static void execute_print(struct jinja_run *run, const struct jinja_node *node) {
    const struct jinja_value v = jinja_evaluate(run, node->a);
    print(run, &v);
}

static void execute_calling(struct jinja_run *run, const struct jinja_node *node) {
    const struct jinja_value caller = new_macro(run, node);
    const struct jinja_value v = jinja_evaluate_call(run, node->a, &caller);
    print(run, &v);
}

static void execute_set(struct jinja_run *run, const struct jinja_node *node) {
    const struct jinja_value v = jinja_evaluate(run, node->a);
    assign_target(run, node->target, &v);
}

static void execute_with(struct jinja_run *run, const struct jinja_node *node,
                         enum jinja_flow *flow) {
    struct jinja_scope *scope = run->scope;
    if (open_scope(run, scope)) {
        for (const struct jinja_node *set = node->a; set; set = set->next)
            execute_set(run, set);
        *flow = jinja_execute(run, node->b);
    }
    run->scope = scope;
}

static enum jinja_flow execute_nested(struct jinja_run *run, const struct jinja_node *node) {
    enum jinja_flow flow = JINJA_FLOW_ON;
    if (node->kind == JINJA_FOR) {
        execute_for(run, node, &flow);
    } else if (node->kind == JINJA_WITH) {
        execute_with(run, node, &flow);
    } else if (node->kind == JINJA_IF) {
        const struct jinja_value condition = jinja_evaluate(run, node->a);
        flow = jinja_execute(run, jinja_truth(&condition) ? node->b : node->c);
    } else {
        flow = jinja_execute(run, node->b); /* JINJA_BODY */
    }
    return flow;
}

static enum jinja_flow execute_one(struct jinja_run *run, const struct jinja_node *node) {
    struct jinja_value v;
    switch ((int)node->kind) {
    case JINJA_DATA:
        print(run, &node->value);
        break;
    case JINJA_PRINT:
        execute_print(run, node);
        break;
    case JINJA_SET:
        execute_set(run, node);
        break;
    case JINJA_SET_BLOCK:
        v = capture_filtered(run, node);
        assign_target(run, node->target, &v);
        break;
    case JINJA_FILTERED:
        v = capture_filtered(run, node);
        print(run, &v);
        break;
    case JINJA_MACRO:
        jinja_assign(run, node->name, new_macro(run, node));
        break;
    case JINJA_CALLING:
        execute_calling(run, node);
        break;
    case JINJA_BREAK:
        return JINJA_FLOW_BREAK;
    case JINJA_CONTINUE:
        return JINJA_FLOW_CONTINUE;
    default:
        return execute_nested(run, node);
    }
    return JINJA_FLOW_ON;
}

enum jinja_flow jinja_execute(struct jinja_run *run, const struct jinja_node *statements) {
    enum jinja_flow flow = JINJA_FLOW_ON;
    if (!jinja_enter(run))
        return flow;
    for (const struct jinja_node *s = statements; s && flow == JINJA_FLOW_ON && jinja_spend(run, 1);
         s = s->next) {
        run->line = s->line;
        flow = execute_one(run, s);
    }
    run->depth--;
    return flow;
}
