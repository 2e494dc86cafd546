/* tokenizer.json to token ids, equal to the reference `tokenizers` library.
 *
 * Byte-level BPE (GPT-2, Llama-3, Qwen) and SentencePiece-style BPE with byte fallback (Llama-2).
 * A tokenizer is immutable after loading; encoding from several threads is safe. */
#ifndef LLMQ_TEXT_TOKENIZER_H
#define LLMQ_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

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
void tokenizer_free(struct tokenizer **tok);

/* Append the ids of UTF-8 text to *out; with add_special the post-processor's template (BOS and
 * the like) is applied. Invalid UTF-8 is LLMQ_E_INPUT with the byte offset. */
LLMQ_NODISCARD enum llmq_status tokenizer_encode(const struct tokenizer *tok, const char *text,
                                                 size_t len, bool add_special, struct id_list *out,
                                                 llmq_error *err);

/* Number of ids: one more than the largest. */
int32_t tokenizer_vocab_size(const struct tokenizer *tok);

/* The token's text as stored in the vocabulary, or NULL for an id that has none. */
const char *tokenizer_token(const struct tokenizer *tok, int32_t id);

#endif
