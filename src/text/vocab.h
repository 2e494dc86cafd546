/* SPDX-License-Identifier: Apache-2.0 */
/* A vocabulary: token text to id and back. */
#ifndef LLMQ_TEXT_VOCAB_H
#define LLMQ_TEXT_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"

/* Immutable after loading. Zero-initialise; release with vocab_free. */
struct vocab {
    char *pool;                 /* all texts, NUL-terminated, one after another */
    struct vocab_text *by_id;   /* [ids] text NULL: no such token */
    struct vocab_slot *by_text; /* hash table, open addressing */
    size_t mask;                /* slots - 1 */
    int32_t ids;                /* one more than the largest id */
    int32_t count;              /* tokens */
};

struct vocab_text {
    const char *text;
    size_t len;
};

/* Read an object of token: id. LLMQ_E_INPUT for ids that are not integers, out of range or given
 * twice, and for texts given twice. */
LLMQ_NODISCARD enum llmq_status vocab_parse(const struct json *object, struct vocab *v,
                                            llmq_error *err);
void vocab_free(struct vocab *v);

/* Id of a token, or -1. */
int32_t vocab_find(const struct vocab *v, const char *text, size_t len);

/* Text of an id, or NULL; its length, 0 where there is none. */
const char *vocab_token(const struct vocab *v, int32_t id);
size_t vocab_length(const struct vocab *v, int32_t id);

#endif
