/* SPDX-License-Identifier: Apache-2.0 */
/* Values that templates compute with: what JSON has, with Python's meaning, and functions. */
#ifndef LLMQ_CHAT_VALUE_H
#define LLMQ_CHAT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jinja_type {
    JINJA_UNDEFINED, /* what a name or a member that is not there gives */
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STRING,
    JINJA_LIST, /* and tuples */
    JINJA_DICT, /* and namespaces */
    JINJA_FUNCTION,
};

/* UTF-8, which may hold NUL. */
struct jinja_text {
    const char *at;
    size_t len;
};

struct jinja_value {
    enum jinja_type type;
    bool is_markup; /* a string by the filter `safe`: what is joined to it is escaped for HTML */
    union {
        struct jinja_text text; /* of a string; of what is undefined, the name that was asked for */
        bool truth;
        int64_t integer;
        double real;
        struct jinja_list *list;
        struct jinja_dict *dict;
        const struct jinja_function *function;
    };
};

/* Lists and dictionaries do not change once they are made, but for namespaces. */
struct jinja_list {
    struct jinja_value *items;
    size_t count, room;
    int depth; /* of lists and dictionaries in it */
    bool is_tuple;
};

struct jinja_pair {
    struct jinja_value key, value;
};

struct jinja_dict {
    struct jinja_pair *pairs; /* in the order in which the keys came */
    size_t count, room;
    int depth;
    bool is_namespace;
};

struct jinja_run;
struct jinja_node;
struct jinja_scope;
struct jinja_builtin;

/* A function, a method of `self`, or a macro. */
struct jinja_function {
    const struct jinja_builtin *builtin; /* NULL: a macro */
    struct jinja_value self;             /* of a method */
    const struct jinja_node *macro;
    struct jinja_scope *scope; /* where the macro stands */
};

/* --- making, from static or arena memory ------------------------------------------------------ */

struct jinja_value jinja_none(void);
struct jinja_value jinja_bool(bool truth);
struct jinja_value jinja_int(int64_t integer);
struct jinja_value jinja_float(double real);
struct jinja_value jinja_string(const char *at, size_t len);
struct jinja_value jinja_undefined(const char *name); /* `name` outlives it */
struct jinja_value jinja_absent(struct jinja_text name);

struct jinja_text jinja_text_of(const char *text);

/* --- looking; none of these fails ------------------------------------------------------------- */

bool jinja_text_is(struct jinja_text text, const char *word);
bool jinja_text_equal(struct jinja_text a, struct jinja_text b);

/* Python's bool(): empty, zero, None and undefined are false. */
bool jinja_truth(const struct jinja_value *v);

/* Python's ==: numbers and booleans by value, lists and tuples apart. */
bool jinja_equal(const struct jinja_value *a, const struct jinja_value *b);

/* An int or a bool as a number; false for others. */
bool jinja_as_int(const struct jinja_value *v, int64_t *out);

/* Any number. */
bool jinja_as_float(const struct jinja_value *v, double *out);

/* The value at `key`, or NULL. */
struct jinja_value *jinja_dict_find(const struct jinja_dict *dict, const struct jinja_value *key);
struct jinja_value *jinja_dict_get(const struct jinja_dict *dict, const char *key);

/* What kind of value it is, for messages, as Python calls it. */
const char *jinja_type_name(const struct jinja_value *v);

#endif
