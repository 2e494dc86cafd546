/* SPDX-License-Identifier: Apache-2.0 */
/* The byte-pair-encoding model of tokenizer.json: pieces of text to token ids.
 *
 * Encoding is O(n log n) in the length of a piece, whatever the piece. */
#ifndef LLMQ_TEXT_BPE_H
#define LLMQ_TEXT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "llmq/error.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

/* Immutable after parsing. */
struct bpe;

/* Parse the "model" object. LLMQ_E_UNSUPPORTED for other models and for options that llmq does not
 * implement (dropout, continuing_subword_prefix, end_of_word_suffix). */
LLMQ_NODISCARD enum llmq_status bpe_parse(const struct json *model, struct bpe **out,
                                          llmq_error *err);
void bpe_free(struct bpe **b);

const struct vocab *bpe_vocab(const struct bpe *b);

/* Working memory and a cache of recent words. It refers to the pieces encoded and to the list of
 * ids filled since its creation: both must stay until it is freed, and the list may only grow. */
struct bpe_scratch;

/* `text_len` is the length of all the text to come, roughly: it sizes the cache. */
LLMQ_NODISCARD enum llmq_status bpe_scratch_create(size_t text_len, struct bpe_scratch **out,
                                                   llmq_error *err);
void bpe_scratch_free(struct bpe_scratch **s);

/* Length of the first part of a piece (len > 0) that no merge reaches beyond, whatever follows it,
 * so that it is encoded by itself as it is within the piece; `len` where that cannot be told. */
size_t bpe_first_part(const struct bpe *b, const char *piece, size_t len);

/* Append the ids of a piece. A character that is not in the vocabulary becomes its bytes, or the
 * unknown token, or, as in the reference, nothing where the model has neither. */
LLMQ_NODISCARD enum llmq_status bpe_encode(const struct bpe *b, struct bpe_scratch *s,
                                           const char *piece, size_t len, struct id_list *out,
                                           llmq_error *err);

#endif
