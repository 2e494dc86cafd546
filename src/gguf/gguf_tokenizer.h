/* SPDX-License-Identifier: Apache-2.0 */
/* What the two kinds of tokenizers of GGUF files share. Not for use outside
 * src/gguf/. */
#ifndef LLMQ_GGUF_GGUF_TOKENIZER_H
#define LLMQ_GGUF_GGUF_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "formats/gguf/gguf_file.h"
#include "llmq/error.h"
#include "text/tokenizer.h"

/* Kinds of tokens, by llama.cpp's numbers. */
enum token_kind {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

struct gguf_tokenizer {
    struct tokenizer *tokenizer;
    struct json *json;         /* tokenizer.json */
    struct json *settings;     /* tokenizer_config.json, or NULL */
    const struct json *config; /* config.json */
    int64_t count;             /* tokens of the model */
    const char **texts;        /* [count] */
    char (*unused)[24];        /* [count] names of ids that the tokenizer has no token for */
    int32_t *kinds;            /* [count] */
    float *scores;             /* [count], of a SentencePiece tokenizer */
    int32_t *by_text;          /* [count] ids sorted by text */
    struct gguf_metadata *out;
};

/* Id of the token with this text of `len` bytes, or of a string or an object with "content"; -1:
 * there is none. */
int32_t gguf_token_find(const struct gguf_tokenizer *t, const char *text, size_t len);
int32_t gguf_token_named(const struct gguf_tokenizer *t, const struct json *text);

/* A member of an object, `absent` where there is none. */
bool gguf_flag(const struct json *object, const char *key, bool absent);

/* An entry of "merges", ["a", "b"] or "a b", as "a b" with the length of the left half; the caller
 * frees it. False when memory is short. */
bool gguf_merge_read(const struct json *merge, char **joined, size_t *left);

/* gguf_sentencepiece.c: everything of a SentencePiece-style tokenizer but its tokens and special
 * ids; sets kinds and scores. */
LLMQ_NODISCARD enum llmq_status gguf_sentencepiece_put(struct gguf_tokenizer *t, llmq_error *err);

#endif
