/* SPDX-License-Identifier: Apache-2.0 */
/* JSON documents as trees. This module is the only user of cJSON. */
#ifndef LLMQ_BASE_JSON_H
#define LLMQ_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/input.h"
#include "llmq/error.h"

/* A node of a document; owned by the document's root. */
struct json;

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* Parse UTF-8 text strictly (json_check.h: a key that an object has twice is refused), but for two
 * things: a byte order mark at the beginning is passed over, and NaN (read as null), Infinity and
 * -Infinity (numbers that are no finite double) are accepted, because Python's json module writes
 * them. A document of more values than settings may have is refused. `what` names it in
 * errors. Free the root with json_free. */
LLMQ_NODISCARD enum llmq_status json_parse(const char *text, size_t len, const char *what,
                                           struct json **out, llmq_error *err);

/* The same with as many values as a purpose allows. */
LLMQ_NODISCARD enum llmq_status json_parse_as(const char *text, size_t len, const char *what,
                                              enum input_purpose purpose, struct json **out,
                                              llmq_error *err);

/* Read and parse a file that is as large as its purpose allows. json_read: settings. */
LLMQ_NODISCARD enum llmq_status json_read_as(const char *path, enum input_purpose purpose,
                                             struct json **out, llmq_error *err);
LLMQ_NODISCARD enum llmq_status json_read(const char *path, struct json **out, llmq_error *err);

void json_free(struct json **root);

/* --- reading: none of these fails; NULL nodes read as absent ---------------------------------- */

enum json_type json_type(const struct json *v); /* NULL reads as JSON_NULL */

/* Member `key` of an object, or NULL. Linear in the number of members: iterate large objects. */
const struct json *json_get(const struct json *object, const char *key);

/* Children of an array or object in order: for (c = json_first(v); c; c = json_next(c)). */
const struct json *json_first(const struct json *v);
const struct json *json_next(const struct json *child);
const char *json_key(const struct json *child); /* of an object's child, else NULL */
size_t json_count(const struct json *v);        /* children; linear */

/* The string's text, or NULL when `v` is not a string. U+0000 in it (and in keys) reads as the two
 * bytes C0 80, which are no UTF-8 and so stand for nothing else. */
const char *json_string(const struct json *v);

/* Put NUL for C0 80 in a copy of such text, in place; the length of the result, which a further NUL
 * ends. */
size_t json_unpack(char *text);

/* True and *out set when `v` is of the type asked for; doubles must be finite, integers exact. */
bool json_as_double(const struct json *v, double *out);
bool json_as_int64(const struct json *v, int64_t *out);
bool json_as_bool(const struct json *v, bool *out);

/* The same for a number that may be infinite, as bounds are: Infinity by itself, or as transformers
 * 5 writes it, {"__float__": "Infinity"}; either may be negative. */
bool json_as_limit(const struct json *v, double *out);

/* --- building: failure is sticky, json_print reports it --------------------------------------- */

struct json *json_new_object(void);
struct json *json_new_array(void);

/* Add to an object (key given) or append to an array (key NULL). The child belongs to `parent`
 * afterwards, also on failure. A NULL parent or child makes the tree fail to print. Numbers that
 * are not finite print as null. */
void json_add(struct json *parent, const char *key, struct json *child);
void json_add_string(struct json *parent, const char *key, const char *text); /* NULL: null */
void json_add_double(struct json *parent, const char *key, double value);
void json_add_int64(struct json *parent, const char *key, int64_t value);
void json_add_bool(struct json *parent, const char *key, bool value);
void json_add_null(struct json *parent, const char *key);

/* Was there memory for all of it? */
bool json_complete(const struct json *v);

/* A tree of its own with the same contents; NULL when memory is short. */
struct json *json_copy(const struct json *v);

/* Text of a tree, the caller frees it; NULL when building or printing ran out of memory. Pretty
 * output has two-space indents and ends in a newline. */
char *json_print(const struct json *v, bool pretty);

/* The pretty text of a tree, which is freed. */
char *json_print_and_free(struct json *v);

/* --- editing text ----------------------------------------------------------------------------- */

/* Set a top-level member of an object given as text, keeping every other byte but a byte order
 * mark: unknown keys, order and the spelling of numbers stay as they are. `value` is JSON text. The
 * result is a fresh string the caller frees. */
LLMQ_NODISCARD enum llmq_status json_text_set(const char *text, size_t len, const char *key,
                                              const char *value, char **out, llmq_error *err);

/* Remove a top-level member, keeping every other byte; a text without it is copied. `text` is
 * NUL-terminated. The result is a fresh string the caller frees. */
LLMQ_NODISCARD enum llmq_status json_text_remove(const char *text, size_t len, const char *key,
                                                 char **out, llmq_error *err);

/* Replace a member of the object that is the top-level member `within`; `value` NULL: remove it. A
 * text without that object, or without the member there, is copied. */
LLMQ_NODISCARD enum llmq_status json_text_edit_within(const char *text, size_t len,
                                                      const char *within, const char *key,
                                                      const char *value, char **out,
                                                      llmq_error *err);

#endif
