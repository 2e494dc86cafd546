/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the tokenizer share. Not for use outside src/text/tokenizer*.c. */
#ifndef LLMQ_TEXT_TOKENIZER_PRIVATE_H
#define LLMQ_TEXT_TOKENIZER_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pieces.h"
#include "text/postprocessor.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"

struct tokenizer {
    struct added_tokens *added;
    struct normalizer *normalizer;
    struct pretokenizer *pretokenizer;
    struct bpe *model;
    struct postprocessor *postprocessor;
    struct decoder *decoder;
    int32_t vocab_size;
    int32_t bos;        /* begin-of-text token of tokenizer_config.json, or -1 */
    const char *absent; /* key of a special token it asks for that the vocabulary lacks, or NULL */
    char *absent_text;
    bool flags_differ;
};

/* LLMQ_E_INPUT where a text is not UTF-8. */
LLMQ_NODISCARD enum llmq_status tokenizer_check_text(const char *text, size_t len, llmq_error *err);

/* Cut a part of a text into pieces ready for the model, with marks. */
LLMQ_NODISCARD enum llmq_status tokenizer_cut(const struct tokenizer *t,
                                              const struct text_part *part, struct piece_list *out,
                                              llmq_error *err);

/* Append the ids of the first `count` pieces. */
LLMQ_NODISCARD enum llmq_status tokenizer_encode_pieces(const struct tokenizer *t,
                                                        const struct piece_list *pieces,
                                                        size_t count, struct id_list *out,
                                                        llmq_error *err);

#endif
