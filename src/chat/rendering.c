/* SPDX-License-Identifier: Apache-2.0 */
/* Renderings: see rendering.h. */
#include "chat/rendering.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "chat/text_ops.h"

struct jinja_value jinja_fail(struct jinja_run *run, enum llmq_status code, const char *fmt, ...) {
    char message[512];
    va_list args;
    if (jinja_failed(run))
        return jinja_undefined("");
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    run->status = run->line ? error_set(run->err, code, "line %d: %s", run->line, message)
                            : error_set(run->err, code, "%s", message);
    return jinja_undefined("");
}

bool jinja_spend(struct jinja_run *run, size_t steps) {
    if (steps > JINJA_MAX_STEPS || run->steps > JINJA_MAX_STEPS - (int64_t)steps)
        jinja_fail(run, LLMQ_E_INPUT, "the template takes more than %d steps", JINJA_MAX_STEPS);
    else
        run->steps += (int64_t)steps;
    return !jinja_failed(run);
}

bool jinja_enter(struct jinja_run *run) {
    if (run->depth >= JINJA_MAX_DEPTH)
        jinja_fail(run, LLMQ_E_INPUT, "nested deeper than %d levels", JINJA_MAX_DEPTH);
    if (jinja_failed(run))
        return false;
    run->depth++;
    return true;
}

void *jinja_alloc(struct jinja_run *run, size_t count, size_t size) {
    if (jinja_failed(run))
        return NULL;
    if (count > JINJA_MAX_MEMORY / size ||
        arena_used(run->arena) > JINJA_MAX_MEMORY - count * size) {
        jinja_fail(run, LLMQ_E_INPUT, "the template takes more than %zu MiB of memory",
                   JINJA_MAX_MEMORY >> 20);
        return NULL;
    }
    void *memory = arena_alloc(run->arena, count, size, run->err);
    if (!memory)
        run->status = LLMQ_E_MEMORY;
    return memory;
}

void *jinja_more_room(struct jinja_run *run, const void *items, size_t count, size_t size,
                      size_t *room) {
    const size_t larger = *room ? *room * 2 : 4;
    void *moved = jinja_alloc(run, larger, size);
    if (moved && count)
        memcpy(moved, items, count * size);
    if (moved)
        *room = larger;
    return moved;
}

struct jinja_value jinja_copy(struct jinja_run *run, const char *at, size_t len) {
    char *copy = jinja_alloc(run, len + 1, 1);
    if (!copy)
        return jinja_undefined("");
    if (len)
        memcpy(copy, at, len);
    copy[len] = '\0';
    return jinja_string(copy, len);
}

struct jinja_value jinja_take(struct jinja_run *run, struct strbuf *b) {
    if (!strbuf_ok(b) && !jinja_failed(run))
        run->status = error_memory(run->err, "what a template gives");
    struct jinja_value v = jinja_copy(run, b->data, b->len);
    strbuf_free(b);
    return v;
}

void jinja_append(struct jinja_run *run, struct strbuf *b, const char *at, size_t len) {
    if (jinja_failed(run))
        return;
    if (len > JINJA_MAX_OUTPUT || b->len > JINJA_MAX_OUTPUT - len)
        jinja_fail(run, LLMQ_E_INPUT, "the template gives more than %zu MiB of text",
                   JINJA_MAX_OUTPUT >> 20);
    else if (len)
        strbuf_append(b, at, len);
}

/* --- lists and dictionaries ------------------------------------------------------------------- */

struct jinja_value jinja_new_list(struct jinja_run *run) {
    struct jinja_list *list = jinja_alloc(run, 1, sizeof *list);
    if (!list)
        return jinja_undefined("");
    *list = (struct jinja_list){0};
    return (struct jinja_value){.type = JINJA_LIST, .list = list};
}

/* Values are walked through by recursion: none may be too deep. What a namespace holds does not
 * count, nothing walks through it. */
static bool note_depth(struct jinja_run *run, int *depth, const struct jinja_value *item) {
    const int inside = item->type == JINJA_LIST                                ? item->list->depth
                       : item->type == JINJA_DICT && !item->dict->is_namespace ? item->dict->depth
                                                                               : -1;
    if (inside >= JINJA_MAX_NESTED)
        jinja_fail(run, LLMQ_E_INPUT, "lists nested deeper than %d levels", JINJA_MAX_NESTED);
    *depth = inside + 1 > *depth ? inside + 1 : *depth;
    return !jinja_failed(run);
}

void jinja_push(struct jinja_run *run, struct jinja_value *v, struct jinja_value item) {
    if (jinja_failed(run) || !note_depth(run, &v->list->depth, &item))
        return;
    struct jinja_list *list = v->list;
    if (list->count == list->room) {
        void *moved =
            jinja_more_room(run, list->items, list->count, sizeof *list->items, &list->room);
        if (!moved)
            return;
        list->items = moved;
    }
    list->items[list->count++] = item;
}

struct jinja_value jinja_new_dict(struct jinja_run *run) {
    struct jinja_dict *dict = jinja_alloc(run, 1, sizeof *dict);
    if (!dict)
        return jinja_undefined("");
    *dict = (struct jinja_dict){0};
    return (struct jinja_value){.type = JINJA_DICT, .dict = dict};
}

void jinja_put(struct jinja_run *run, struct jinja_value *v, struct jinja_value key,
               struct jinja_value value) {
    if (jinja_failed(run) || !note_depth(run, &v->dict->depth, &value))
        return;
    struct jinja_dict *dict = v->dict;
    struct jinja_value *old = jinja_dict_find(dict, &key);
    if (!jinja_spend(run, dict->count / 8 + 1))
        return;
    if (old) {
        *old = value;
        return;
    }
    if (dict->count == dict->room) {
        void *moved =
            jinja_more_room(run, dict->pairs, dict->count, sizeof *dict->pairs, &dict->room);
        if (!moved)
            return;
        dict->pairs = moved;
    }
    dict->pairs[dict->count++] = (struct jinja_pair){key, value};
}

void jinja_put_named(struct jinja_run *run, struct jinja_value *dict, const char *name,
                     struct jinja_value value) {
    jinja_put(run, dict, jinja_string(name, strlen(name)), value);
}

struct jinja_value jinja_new_function(struct jinja_run *run, struct jinja_function function) {
    struct jinja_function *f = jinja_alloc(run, 1, sizeof *f);
    if (!f)
        return jinja_undefined("");
    *f = function;
    return (struct jinja_value){.type = JINJA_FUNCTION, .function = f};
}

/* --- variables -------------------------------------------------------------------------------- */

static struct jinja_value *find_variable(const struct jinja_scope *scope, struct jinja_text name) {
    for (struct jinja_variable *v = scope->variables; v; v = v->next)
        if (jinja_text_equal(v->name, name))
            return &v->value;
    return NULL;
}

struct jinja_value *jinja_lookup(const struct jinja_scope *scope, struct jinja_text name) {
    struct jinja_value *found = NULL;
    for (; scope && !found; scope = scope->parent)
        found = find_variable(scope, name);
    return found;
}

void jinja_assign(struct jinja_run *run, struct jinja_text name, struct jinja_value value) {
    struct jinja_value *old = find_variable(run->scope, name);
    if (jinja_failed(run))
        return;
    if (old) {
        *old = value;
        return;
    }
    struct jinja_variable *v = jinja_alloc(run, 1, sizeof *v);
    if (!v)
        return;
    *v = (struct jinja_variable){name, value, run->scope->variables};
    run->scope->variables = v;
}

/* --- iterating -------------------------------------------------------------------------------- */

static size_t characters(struct jinja_run *run, struct jinja_text text,
                         const struct jinja_value **items) {
    struct jinja_value *all = jinja_alloc(run, text.len + 1, sizeof *all);
    size_t count = 0;
    int32_t cp = 0;
    for (size_t at = 0, len = 0; all && at < text.len; at += len) {
        len = jinja_decode(text, at, &cp);
        all[count++] = jinja_string(text.at + at, len);
    }
    *items = all;
    return count;
}

static size_t keys(struct jinja_run *run, const struct jinja_dict *dict,
                   const struct jinja_value **items) {
    struct jinja_value *all = jinja_alloc(run, dict->count + 1, sizeof *all);
    for (size_t i = 0; all && i < dict->count; i++)
        all[i] = dict->pairs[i].key;
    *items = all;
    return all ? dict->count : 0;
}

size_t jinja_items(struct jinja_run *run, const struct jinja_value *v,
                   const struct jinja_value **items) {
    *items = NULL;
    if (jinja_failed(run))
        return 0;
    if (v->type == JINJA_LIST) {
        *items = v->list->items;
        return v->list->count;
    }
    if (v->type == JINJA_STRING)
        return characters(run, v->text, items);
    if (v->type == JINJA_DICT && !v->dict->is_namespace)
        return keys(run, v->dict, items);
    if (v->type != JINJA_UNDEFINED)
        jinja_fail(run, LLMQ_E_INPUT, "%s cannot be iterated", jinja_type_name(v));
    return 0;
}
