/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json to token ids, and back, equal to the reference `tokenizers` library.
 *
 * Byte-level BPE (GPT-2, Llama-3, Qwen) and SentencePiece-style BPE with byte fallback (Llama-2).
 * A tokenizer is immutable after loading; encoding from several threads is safe. */
#ifndef LLMQ_TEXT_TOKENIZER_H
#define LLMQ_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "llmq/error.h"
#include "llmq/special.h"

struct tokenizer;

/* A growing list of ids; zero-initialise, release with id_list_free. */
struct id_list {
    int32_t *ids;
    size_t count;
    size_t cap;
};
LLMQ_NODISCARD enum llmq_status id_list_push(struct id_list *list, int32_t id, llmq_error *err);
void id_list_free(struct id_list *list);

/* Load a tokenizer.json. LLMQ_E_UNSUPPORTED names the component (model, normalizer,
 * pre-tokenizer, post-processor type) that llmq does not implement. */
LLMQ_NODISCARD enum llmq_status tokenizer_load(const char *path, struct tokenizer **out,
                                               llmq_error *err);

/* Load the tokenizer of a model folder: tokenizer.json, and what tokenizer_config.json adds to it
 * (tokenizer_config.h) where its post-processor puts nothing around a text. LLMQ_E_NOT_FOUND
 * without a tokenizer.json. */
LLMQ_NODISCARD enum llmq_status tokenizer_open(const char *dir, struct tokenizer **out,
                                               llmq_error *err);
void tokenizer_free(struct tokenizer **tok);

/* Append the ids of UTF-8 text to *out, with the special tokens of llmq_special around them.
 * Invalid UTF-8 is LLMQ_E_INPUT with the byte offset, as are special tokens that
 * tokenizer_config.json asks for and the vocabulary lacks; LLMQ_SPECIAL_BOS without a known
 * begin-of-text token is LLMQ_E_USAGE. */
LLMQ_NODISCARD enum llmq_status tokenizer_encode(const struct tokenizer *tok, const char *text,
                                                 size_t len, enum llmq_special special,
                                                 struct id_list *out, llmq_error *err);

/* Append the ids of a text that was encoded without special tokens, with those around them. */
LLMQ_NODISCARD enum llmq_status tokenizer_wrap(const struct tokenizer *tok,
                                               const struct id_list *ids, enum llmq_special special,
                                               struct id_list *out, llmq_error *err);

/* A part of a text, cut between characters. */
struct text_part {
    const char *text;
    size_t len;
    bool begins, ends; /* it is where the text begins, or ends */
};

/* Append the ids of the part, without special tokens, as far as they are the same whatever comes
 * after it: those of its first *used bytes. The next part begins behind them. 0: that cannot be
 * told, give a longer part. Of one that ends the text it is all. LLMQ_E_INPUT: it is not UTF-8. */
LLMQ_NODISCARD enum llmq_status tokenizer_encode_part(const struct tokenizer *tok,
                                                      const struct text_part *part,
                                                      struct id_list *out, size_t *used,
                                                      llmq_error *err);

/* Can texts be encoded in parts at all? */
bool tokenizer_has_parts(const struct tokenizer *tok);

/* Append the special tokens that are put before or behind a text. Errors as of tokenizer_encode. */
LLMQ_NODISCARD enum llmq_status tokenizer_begin(const struct tokenizer *tok,
                                                enum llmq_special special, struct id_list *out,
                                                llmq_error *err);
LLMQ_NODISCARD enum llmq_status tokenizer_end(const struct tokenizer *tok,
                                              enum llmq_special special, struct id_list *out,
                                              llmq_error *err);

/* The ids that are put before every text; valid as long as the tokenizer. */
const int32_t *tokenizer_prefix(const struct tokenizer *tok, enum llmq_special special,
                                size_t *count);

/* Does tokenizer_config.json ask for other tokens around a text than the template of tokenizer.json
 * puts there? The template counts, as for transformers 5; versions before went by the flags. */
bool tokenizer_flags_differ(const struct tokenizer *tok);

/* Is it a special token of tokenizer.json? */
bool tokenizer_is_special(const struct tokenizer *tok, int32_t id);

/* Number of ids: one more than the largest. */
int32_t tokenizer_vocab_size(const struct tokenizer *tok);

/* Append the text of ids, as the reference's decode: with special tokens as they are written, or
 * without them. LLMQ_E_USAGE names an id without a token and its place, LLMQ_E_UNSUPPORTED a
 * decoder that llmq does not implement. */
LLMQ_NODISCARD enum llmq_status tokenizer_decode_all(const struct tokenizer *tok,
                                                     const int32_t *ids, size_t count, bool special,
                                                     struct strbuf *out, llmq_error *err);

/* Append what an id stands for within a text, bytes that may be a part of a character; added tokens
 * as they are written, nothing for an id without a token. */
void tokenizer_decode(const struct tokenizer *tok, int32_t id, struct strbuf *out);

/* The token's text as stored in the vocabulary, or NULL for an id that has none. It may hold NUL:
 * its length is that of the whole, the terminator not counted; 0 where there is none. */
const char *tokenizer_token(const struct tokenizer *tok, int32_t id);
size_t tokenizer_token_length(const struct tokenizer *tok, int32_t id);

#endif
