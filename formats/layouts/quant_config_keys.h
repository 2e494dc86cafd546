/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a quantization config, as tables: what a reader honours, what is harmless, and what
 * it must refuse because it changes what the model computes. A key that no table has is refused
 * unless it says nothing, so that a rotation of next year does not pass for a comment. */
#ifndef LLMQ_FORMATS_LAYOUTS_QUANT_CONFIG_KEYS_H
#define LLMQ_FORMATS_LAYOUTS_QUANT_CONFIG_KEYS_H

#include "base/json.h"
#include "llmq/error.h"

/* Types that a value may have; null is always one. */
enum {
    KEY_BOOL = 1 << JSON_BOOL,
    KEY_NUMBER = 1 << JSON_NUMBER,
    KEY_TEXT = 1 << JSON_STRING,
    KEY_LIST = 1 << JSON_ARRAY,
    KEY_OBJECT = 1 << JSON_OBJECT,
    KEY_ANY = KEY_BOOL | KEY_NUMBER | KEY_TEXT | KEY_LIST | KEY_OBJECT,
    KEY_EMPTY = 0,      /* it must say nothing: see config_value_is_empty */
    KEY_NULL = 1 << 9,  /* null and nothing else: an empty object has defaults that count */
    KEY_WHOLE = 1 << 8, /* a number of bits that leaves values as they are: 16 or more */
};

/* Bits from which on a weight or an activation is not quantized. */
enum { CONFIG_WHOLE_BITS = 16 };

struct config_key {
    const char *name;
    unsigned types;
    const char *texts; /* the texts that a KEY_TEXT may be, a space after each; NULL: any */
    const char *why;   /* what another value does to the model, for the message; NULL: unsaid */
};

/* Does a value say nothing: absent, null, false, 0, "", [], {}? */
bool config_value_is_empty(const struct json *value);

/* Every member of `object` against `rows` (ended by a NULL name), else against what every reader
 * knows: what tools note about their runs, and what changes the model wherever it stands. `where`
 * names the object in messages.
 * LLMQ_E_UNSUPPORTED: an unknown key that says something, or a value that llmq cannot honour;
 * LLMQ_E_INPUT: a value of the wrong type. Both name the key and the value. */
LLMQ_NODISCARD enum llmq_status config_keys_check(const struct json *object, const char *where,
                                                  const struct config_key *rows, llmq_error *err);

/* The same for an object that tools write notes into: only what changes the model is refused. */
LLMQ_NODISCARD enum llmq_status config_notes_check(const struct json *object, const char *where,
                                                   llmq_error *err);

/* The error for a member whose value llmq cannot honour: "where: key: expected ..., found VALUE",
 * and what the value does (NULL: unsaid). */
enum llmq_status config_key_refuse(const struct json *value, const char *where,
                                   const char *expected, const char *why, llmq_error *err);

#endif
