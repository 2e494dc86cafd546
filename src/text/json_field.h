/* SPDX-License-Identifier: Apache-2.0 */
/* Members of the component objects in tokenizer.json, with errors that name component and member.
 */
#ifndef LLMQ_TEXT_JSON_FIELD_H
#define LLMQ_TEXT_JSON_FIELD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"

/* Ids above this are refused: the table of tokens by id is an array. */
#define TOKEN_ID_MAX 0xffffff

/* A required string. *out points into the document. */
LLMQ_NODISCARD enum llmq_status field_string(const struct json *object, const char *key,
                                             const char **out, llmq_error *err);

/* A copy of a string that may hold U+0000, ended by a further NUL; the caller frees it. */
LLMQ_NODISCARD enum llmq_status text_copy(const char *string, char **out, size_t *len,
                                          llmq_error *err);

/* The same of a required member. */
LLMQ_NODISCARD enum llmq_status field_text(const struct json *object, const char *key, char **out,
                                           size_t *len, llmq_error *err);

/* An optional boolean: `fallback` when absent or null. */
LLMQ_NODISCARD enum llmq_status field_bool(const struct json *object, const char *key,
                                           bool fallback, bool *out, llmq_error *err);

/* A required array. */
LLMQ_NODISCARD enum llmq_status field_array(const struct json *object, const char *key,
                                            const struct json **out, llmq_error *err);

/* A token id: an integer in [0, TOKEN_ID_MAX]. `what` names it in the error. */
LLMQ_NODISCARD enum llmq_status json_token_id(const struct json *value, const char *what,
                                              int32_t *out, llmq_error *err);

#endif
