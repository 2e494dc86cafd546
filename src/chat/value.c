/* SPDX-License-Identifier: Apache-2.0 */
/* Values of templates: see value.h. */
#include "chat/value.h"

#include <string.h>

struct jinja_value jinja_none(void) {
    return (struct jinja_value){.type = JINJA_NONE};
}

struct jinja_value jinja_bool(bool truth) {
    return (struct jinja_value){.type = JINJA_BOOL, .truth = truth};
}

struct jinja_value jinja_int(int64_t integer) {
    return (struct jinja_value){.type = JINJA_INT, .integer = integer};
}

struct jinja_value jinja_float(double real) {
    return (struct jinja_value){.type = JINJA_FLOAT, .real = real};
}

struct jinja_value jinja_string(const char *at, size_t len) {
    return (struct jinja_value){.type = JINJA_STRING, .text = {at, len}};
}

struct jinja_value jinja_undefined(const char *name) {
    return jinja_absent(jinja_text_of(name));
}

struct jinja_value jinja_absent(struct jinja_text name) {
    return (struct jinja_value){.type = JINJA_UNDEFINED, .text = name};
}

struct jinja_text jinja_text_of(const char *text) {
    return (struct jinja_text){text, strlen(text)};
}

bool jinja_text_equal(struct jinja_text a, struct jinja_text b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool jinja_text_is(struct jinja_text text, const char *word) {
    return jinja_text_equal(text, jinja_text_of(word));
}

bool jinja_truth(const struct jinja_value *v) {
    switch (v->type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        return false;
    case JINJA_BOOL:
        return v->truth;
    case JINJA_INT:
        return v->integer != 0;
    case JINJA_FLOAT:
        return !(v->real >= 0 && v->real <= 0);
    case JINJA_STRING:
        return v->text.len > 0;
    case JINJA_LIST:
        return v->list->count > 0;
    case JINJA_DICT:
        return v->dict->is_namespace || v->dict->count > 0;
    case JINJA_FUNCTION:
        return true;
    }
    return false;
}

bool jinja_as_int(const struct jinja_value *v, int64_t *out) {
    if (v->type == JINJA_BOOL)
        *out = v->truth;
    else if (v->type == JINJA_INT)
        *out = v->integer;
    else
        return false;
    return true;
}

bool jinja_as_float(const struct jinja_value *v, double *out) {
    int64_t integer = 0;
    if (v->type == JINJA_FLOAT)
        *out = v->real;
    else if (jinja_as_int(v, &integer))
        *out = (double)integer;
    else
        return false;
    return true;
}

static bool equal_numbers(const struct jinja_value *a, const struct jinja_value *b) {
    int64_t m = 0, n = 0;
    double x = 0, y = 0;
    if (jinja_as_int(a, &m) && jinja_as_int(b, &n))
        return m == n;
    return jinja_as_float(a, &x) && jinja_as_float(b, &y) && x >= y && x <= y;
}

static bool equal_lists(const struct jinja_list *a, const struct jinja_list *b) {
    if (a->count != b->count || a->is_tuple != b->is_tuple)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!jinja_equal(&a->items[i], &b->items[i]))
            return false;
    return true;
}

static bool equal_dicts(const struct jinja_dict *a, const struct jinja_dict *b) {
    if (a->is_namespace || b->is_namespace)
        return a == b;
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct jinja_value *other = jinja_dict_find(b, &a->pairs[i].key);
        if (!other || !jinja_equal(&a->pairs[i].value, other))
            return false;
    }
    return true;
}

bool jinja_equal(const struct jinja_value *a, const struct jinja_value *b) {
    double number = 0;
    if (jinja_as_float(a, &number))
        return equal_numbers(a, b);
    if (a->type != b->type)
        return false;
    if (a->type == JINJA_STRING)
        return jinja_text_equal(a->text, b->text);
    if (a->type == JINJA_LIST)
        return equal_lists(a->list, b->list);
    if (a->type == JINJA_DICT)
        return equal_dicts(a->dict, b->dict);
    return a->type != JINJA_FUNCTION || a->function == b->function;
}

struct jinja_value *jinja_dict_find(const struct jinja_dict *dict, const struct jinja_value *key) {
    for (size_t i = 0; i < dict->count; i++)
        if (jinja_equal(&dict->pairs[i].key, key))
            return &dict->pairs[i].value;
    return NULL;
}

struct jinja_value *jinja_dict_get(const struct jinja_dict *dict, const char *key) {
    const struct jinja_value name = jinja_string(key, strlen(key));
    return jinja_dict_find(dict, &name);
}

const char *jinja_type_name(const struct jinja_value *v) {
    static const char *const names[] = {"undefined", "None", "bool", "int",     "float",
                                        "str",       "list", "dict", "function"};
    if (v->type == JINJA_LIST && v->list->is_tuple)
        return "tuple";
    return v->type == JINJA_DICT && v->dict->is_namespace ? "namespace" : names[v->type];
}
