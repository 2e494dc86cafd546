/* SPDX-License-Identifier: Apache-2.0 */
/* Files of text or token ids to windows of tokens, with every token accounted for. */
#ifndef LLMQ_TEXT_CORPUS_H
#define LLMQ_TEXT_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "llmq/special.h"
#include "text/corpus_file.h"
#include "text/tokenizer.h"

/* Windows of token ids: window i is ids[offsets[i] .. offsets[i+1]). */
struct corpus {
    int32_t *ids;
    int64_t *offsets; /* [count + 1] */
    int64_t count;
    int64_t held;           /* the last so many windows are held back: to judge by, not to fit to */
    int64_t max_len;        /* longest window */
    int64_t tokens_used;    /* offsets[count] */
    int64_t tokens_dropped; /* tokenized but in no window */
    int64_t tokens_beyond;  /* of these, the ones behind max_tokens */
    int64_t windows_beyond; /* windows given as ids that the limits left out */
    int64_t texts;          /* 0: the windows were given as ids */
    int64_t texts_empty;    /* without content, left out (document.h) */
    int64_t chats;          /* texts that the model's chat template wrote */
    int64_t texts_begun;    /* brought their own begin-of-text token (document.h) */
    int32_t bos;            /* the one token that was put before every text, or -1 */
};

struct corpus_options {
    enum llmq_special special;
    int64_t window;            /* tokens per window */
    int64_t max_windows;       /* 0: all */
    int64_t held, held_length; /* further windows to hold back, of so many tokens each */
    int64_t max_tokens;        /* 0: all; otherwise stop after this many tokens */
    int64_t longest;           /* 0: any; windows given as ids are cut after this many tokens */
    bool sample;               /* choose max_windows at random (seeded) instead of the first ones */
    bool stratified;           /* ... one out of each of so many stretches of the text: refused with
                                  windows given as ids */
    bool keep_tail;            /* a last, shorter window of >= 2 tokens is kept, not dropped */
    const char *dir;           /* of the model, whose chat template is used; NULL: none is */
    const char *field;         /* the member of lines that holds the text; NULL: as usual */
    const char *field_option;  /* what the command calls `field`, for messages */
    bool window_given;         /* the user chose `window` ... */
    bool seed_given;           /* ... or `seed`: refused with windows given as ids */
    const char *window_option; /* what the command calls `window`, for messages */
    uint64_t seed;
};

/* Cut a file into windows.
 *   windows  used exactly as they are; max_windows and max_tokens take the first ones. Needs no
 *            tokenizer. window_given, seed_given, `field` and a `special` other than MODEL are
 *            LLMQ_E_USAGE: they would change nothing.
 *   lines    each record is a document with special tokens of its own (record.h, document.h); the
 *            documents are joined into one stream, then cut.
 *   text     one such document. `field` would change nothing: LLMQ_E_USAGE.
 * Of a stream `held` further windows are held back, drawn before the others by the seed alone: the
 * same ones whatever `window`, `max_windows` and the way of choosing are. They come last. There are
 * all of them or none: where the stream is too short for both, and where windows are given.
 * Windows do not overlap. Sampled windows keep their order of appearance. An id outside
 * [0, vocab) is LLMQ_E_INPUT, as is a corpus without a single window; `tok` may be NULL only for
 * windows. vocab is the model's vocabulary size. Release with corpus_free. */
LLMQ_NODISCARD enum llmq_status corpus_load(struct corpus_file *file, const struct tokenizer *tok,
                                            int64_t vocab, const struct corpus_options *options,
                                            struct corpus *out, llmq_error *err);
void corpus_free(struct corpus *c);

/* Put the windows of `more` behind those of `c` (empty, or loaded), those held back behind all, and
 * add up what is counted; `bos` stays where both agree. `more` is empty afterwards. */
LLMQ_NODISCARD enum llmq_status corpus_join(struct corpus *c, struct corpus *more, llmq_error *err);

/* Without the windows that are held back. */
void corpus_drop_held(struct corpus *c);

#endif
