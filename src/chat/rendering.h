/* SPDX-License-Identifier: Apache-2.0 */
/* One rendering of a template: its memory, its limits, its failure. Failure is sticky: functions
 * return a value whatever happens, loops stop at jinja_failed, and the first failure stays. */
#ifndef LLMQ_CHAT_RENDERING_H
#define LLMQ_CHAT_RENDERING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "chat/value.h"
#include "llmq/error.h"

/* What a template may take before it is stopped. */
#define JINJA_MAX_STEPS  10000000
#define JINJA_MAX_DEPTH  500 /* of expressions, blocks and calls */
#define JINJA_MAX_NESTED 200 /* of lists and dictionaries in each other */
#define JINJA_MAX_MEMORY ((size_t)256 << 20)
#define JINJA_MAX_OUTPUT ((size_t)64 << 20)
#define JINJA_MAX_RANGE  100000 /* as in Jinja's sandbox */

struct jinja_variable {
    struct jinja_text name;
    struct jinja_value value;
    struct jinja_variable *next;
};

struct jinja_scope {
    struct jinja_scope *parent; /* NULL: the outermost */
    struct jinja_variable *variables;
};

struct jinja_run {
    struct arena *arena;
    llmq_error *err;
    enum llmq_status status;
    int64_t steps; /* spent */
    int depth;     /* of expressions, blocks and calls that are being evaluated */
    int line;      /* of what is being evaluated, for messages */
    struct strbuf *out;
    struct jinja_scope globals; /* the variables that the template is given */
    struct jinja_scope *scope;  /* the innermost */
};

static inline bool jinja_failed(const struct jinja_run *run) {
    return run->status != LLMQ_OK;
}

/* Fail at the current line (0: in no template yet), unless something failed before. The value is
 * undefined. */
struct jinja_value jinja_fail(struct jinja_run *run, enum llmq_status code, const char *fmt, ...)
    LLMQ_PRINTF(3, 4);

/* Count `steps` of work; false when that is too much. */
bool jinja_spend(struct jinja_run *run, size_t steps);

/* Go one level deeper; false when that is too deep. Each that is true is left by run->depth--. */
bool jinja_enter(struct jinja_run *run);

/* Memory until the run ends; NULL when there is none or the template takes too much. */
void *jinja_alloc(struct jinja_run *run, size_t count, size_t size);

/* A copy of an array with more room, which then is *room; NULL as of jinja_alloc. */
void *jinja_more_room(struct jinja_run *run, const void *items, size_t count, size_t size,
                      size_t *room);

/* A string with a copy of the text. */
struct jinja_value jinja_copy(struct jinja_run *run, const char *at, size_t len);

/* The string that a buffer holds; the buffer is freed. */
struct jinja_value jinja_take(struct jinja_run *run, struct strbuf *b);

/* Append, but for text beyond JINJA_MAX_OUTPUT, which fails. */
void jinja_append(struct jinja_run *run, struct strbuf *b, const char *at, size_t len);

/* An empty list, and one more item of a list that is being made. */
struct jinja_value jinja_new_list(struct jinja_run *run);
void jinja_push(struct jinja_run *run, struct jinja_value *list, struct jinja_value item);

/* An empty dictionary; set a key of one. `name` outlives it. */
struct jinja_value jinja_new_dict(struct jinja_run *run);
void jinja_put(struct jinja_run *run, struct jinja_value *dict, struct jinja_value key,
               struct jinja_value value);
void jinja_put_named(struct jinja_run *run, struct jinja_value *dict, const char *name,
                     struct jinja_value value);

struct jinja_value jinja_new_function(struct jinja_run *run, struct jinja_function function);

/* The value of a variable, looked up outwards, or NULL; set one in the innermost scope. */
struct jinja_value *jinja_lookup(const struct jinja_scope *scope, struct jinja_text name);
void jinja_assign(struct jinja_run *run, struct jinja_text name, struct jinja_value value);

/* The items of what can be iterated: of a list itself, the keys of a dictionary, the characters of
 * a string, nothing of what is undefined. The count; *items is valid as long as the run. */
size_t jinja_items(struct jinja_run *run, const struct jinja_value *v,
                   const struct jinja_value **items);

#endif
