/* Text, JSONL or token-id files to windows of tokens, with every token accounted for. */
#ifndef LLMQ_TEXT_CORPUS_H
#define LLMQ_TEXT_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"
#include "text/tokenizer.h"

/* Windows of token ids: window i is ids[offsets[i] .. offsets[i+1]). */
struct corpus {
    int32_t *ids;
    int64_t *offsets; /* [count + 1] */
    int64_t count;
    int64_t max_len;        /* longest window */
    int64_t tokens_used;    /* offsets[count] */
    int64_t tokens_dropped; /* tokenized but in no window */
};

struct corpus_options {
    int64_t window;      /* tokens per window */
    int64_t max_windows; /* 0: all */
    int64_t max_tokens;  /* 0: all; otherwise stop after this many tokens */
    bool sample;         /* choose max_windows at random (seeded) instead of the first ones */
    bool keep_tail;      /* a last, shorter window of >= 2 tokens is kept, not dropped */
    uint64_t seed;
};

/* Load a file. By its name:
 *   *.json   array of arrays of token ids: windows used exactly as they are (`window` and
 *            `sample` do not apply; max_windows takes the first ones). Needs no tokenizer.
 *   *.jsonl  one {"text": ...} per line; each document is tokenized with special tokens and the
 *            documents are joined into one stream, then cut.
 *   other    UTF-8 text, tokenized whole with special tokens, then cut.
 * Windows do not overlap. Sampled windows keep their order of appearance. An id outside
 * [0, vocab) is LLMQ_E_INPUT, as is a corpus without a single window; `tok` may be NULL only for
 * .json. vocab is the model's vocabulary size. Release with corpus_free. */
LLMQ_NODISCARD enum llmq_status corpus_load(const char *path, const struct tokenizer *tok,
                                            int64_t vocab, const struct corpus_options *options,
                                            struct corpus *out, llmq_error *err);
void corpus_free(struct corpus *c);

#endif
