/* SPDX-License-Identifier: Apache-2.0 */
/* A file to calibrate on. The first line of the input is its name's ending. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "text/corpus.h"

/* Bytes as tokens, and a few merges. */
static const char tokenizer_text[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"model\":{\"type\":"
    "\"BPE\",\"unk_token\":\"<s>\",\"vocab\":{\"<s>\":0,\"a\":1,\"b\":2,\"ab\":3,\" \":4},"
    "\"merges\":[\"a b\"]}}";

static const struct reading no_limits;
static struct tokenizer *tokenizer;

static void free_tokenizer(void) {
    tokenizer_free(&tokenizer);
}

static void check_windows(const struct corpus *c, int64_t vocab) {
    MUST(c->count > 0 && c->offsets[0] == 0 && c->offsets[c->count] == c->tokens_used);
    for (int64_t w = 0; w < c->count; w++)
        MUST(c->offsets[w + 1] - c->offsets[w] >= 2 &&
             c->offsets[w + 1] - c->offsets[w] <= c->max_len);
    for (int64_t i = 0; i < c->tokens_used; i++)
        MUST(c->ids[i] >= 0 && c->ids[i] < vocab);
}

void fuzz_corpus(const uint8_t *data, size_t len) {
    enum { VOCAB = 64, WINDOW = 4 };
    llmq_error err = {0};
    struct corpus corpus = {0};
    struct corpus_file file = {0};
    char name[32] = "text.";
    const uint8_t *end = memchr(data, '\n', len < 8 ? len : 8);
    const size_t ending = end ? (size_t)(end - data) : 0;
    if (!tokenizer) {
        const char *path = fuzz_put("t.json", tokenizer_text, sizeof tokenizer_text - 1);
        MUST(tokenizer_load(path, &tokenizer, &err) == LLMQ_OK);
        atexit(free_tokenizer);
    }
    for (size_t i = 0; i < ending; i++)
        name[5 + i] = data[i] >= 'a' && data[i] <= 'z' ? (char)data[i] : 'x';
    const size_t head = end ? ending + 1 : 0;
    const struct corpus_options options = {.special = LLMQ_SPECIAL_MODEL,
                                           .window = WINDOW,
                                           .max_windows = 3,
                                           .sample = len % 2,
                                           .keep_tail = len % 3 == 0,
                                           .seed = len};
    const char *path = fuzz_put(name, data + head, len - head);
    enum llmq_status status = corpus_file_open(path, &no_limits, &file, &err);
    if (status == LLMQ_OK)
        status = corpus_load(&file, tokenizer, VOCAB, &options, &corpus, &err);
    fuzz_check(status, &err);
    if (status == LLMQ_OK)
        check_windows(&corpus, VOCAB);
    corpus_free(&corpus);
    corpus_file_free(&file);
    (void)remove(path);
}
