/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece's BPE as GGUF metadata: see gguf_tokenizer.h.
 *
 * llama.cpp merges the neighbours whose token has the highest score. The order of the merges of
 * tokenizer.json becomes the scores, which says the same only if each token's merges stand together
 * and none is missing: both is checked. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "gguf/gguf_tokenizer.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, a space in SentencePiece's tokens */

/* Does a step of a normalizer put a mark in front, or replace spaces by marks? */
static bool read_normalizer(const struct json *step, bool *prefix, bool *marks) {
    const char *type = json_string(json_get(step, "type"));
    const char *pattern = json_string(json_get(json_get(step, "pattern"), "String"));
    const char *prepend = json_string(json_get(step, "prepend"));
    const char *content = json_string(json_get(step, "content"));
    if (type && strcmp(type, "Prepend") == 0 && prepend && strcmp(prepend, SPACE_MARK) == 0)
        *prefix = true;
    else if (type && strcmp(type, "Replace") == 0 && pattern && strcmp(pattern, " ") == 0 &&
             content && strcmp(content, SPACE_MARK) == 0)
        *marks = true;
    else
        return false;
    return true;
}

/* Is the text cut and marked as SentencePiece does? *prefix: with a space in front. */
static bool is_sentencepiece(const struct gguf_tokenizer *e, bool *prefix) {
    const struct json *normalizer = json_get(e->json, "normalizer");
    const struct json *pre = json_get(e->json, "pre_tokenizer");
    const struct json *steps = json_get(normalizer, "normalizers");
    bool marks = false, known = true;
    *prefix = false;
    if (json_type(pre) == JSON_NULL) {
        if (!steps)
            return read_normalizer(normalizer, prefix, &marks) && marks;
        for (const struct json *s = json_first(steps); s; s = json_next(s))
            known = known && read_normalizer(s, prefix, &marks);
        return known && marks;
    }
    const char *type = json_string(json_get(pre, "type"));
    const char *scheme = json_string(json_get(pre, "prepend_scheme"));
    const char *mark = json_string(json_get(pre, "replacement"));
    *prefix = scheme ? strcmp(scheme, "never") != 0 : gguf_flag(pre, "add_prefix_space", true);
    return json_type(normalizer) == JSON_NULL && type && strcmp(type, "Metaspace") == 0 && mark &&
           strcmp(mark, SPACE_MARK) == 0 && !gguf_flag(pre, "split", true);
}

static uint64_t pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static int compare_keys(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Is the text a run of spaces? */
static bool is_spaces(const char *text) {
    while (strncmp(text, SPACE_MARK, strlen(SPACE_MARK)) == 0)
        text += strlen(SPACE_MARK);
    return *text == '\0';
}

/* Give the token of each merge its place, the first one, as the score. Runs of spaces may have
 * several: longer ones come first, so that either way a run grows from the left. */
static enum llmq_status score_merges(struct gguf_tokenizer *e, uint64_t *pairs, int64_t *places,
                                     llmq_error *err) {
    const struct json *merges = json_get(json_get(e->json, "model"), "merges");
    int32_t last = -1;
    size_t left = 0, i = 0;
    char *text = NULL;
    *places = 0;
    for (const struct json *m = json_first(merges); m; m = json_next(m)) {
        if (!gguf_merge_read(m, &text, &left))
            return error_memory(err, "merges");
        const size_t len = strlen(text) - 1; /* without the space between */
        const int32_t a = gguf_token_find(e, text, left);
        const int32_t b = gguf_token_find(e, text + left + 1, len - left);
        memmove(text + left, text + left + 1, len - left + 1);
        const int32_t id = gguf_token_find(e, text, len);
        free(text);
        const bool again = id >= 0 && id != last && e->scores[id] < 0.0f;
        if (a < 0 || b < 0 || id < 0 || (again && !is_spaces(e->texts[id])))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "tokenizer.json: merge %zu: scores cannot express this order of "
                             "merges",
                             i);
        if (id != last && !again)
            e->scores[id] = -(float)++*places;
        last = id;
        pairs[i++] = pair_key(a, b);
    }
    return LLMQ_OK;
}

/* A token may come from any two tokens that make it, so each such pair has to be a merge. */
static enum llmq_status check_merges(const struct gguf_tokenizer *e, const uint64_t *pairs,
                                     size_t count, llmq_error *err) {
    for (int64_t id = 0; id < e->count; id++) {
        const char *text = e->texts[id];
        const size_t len = strlen(text);
        for (size_t cut = 1; e->kinds[id] == TOKEN_NORMAL && cut < len; cut++) {
            if (((unsigned char)text[cut] & 0xC0) == 0x80) /* within a character */
                continue;
            const int32_t a = gguf_token_find(e, text, cut),
                          b = gguf_token_find(e, text + cut, len - cut);
            const uint64_t key = pair_key(a, b);
            if (a < 0 || b < 0 || bsearch(&key, pairs, count, sizeof *pairs, compare_keys))
                continue;
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "tokenizer.json: '%.60s' and '%.60s' make a token but are no merge, "
                             "which GGUF files cannot express",
                             e->texts[a], e->texts[b]);
        }
    }
    return LLMQ_OK;
}

static enum llmq_status make_scores(struct gguf_tokenizer *e, llmq_error *err) {
    const size_t count = json_count(json_get(json_get(e->json, "model"), "merges"));
    enum llmq_status status = LLMQ_OK;
    int64_t places = 0;
    uint64_t *pairs = calloc(count ? count : 1, sizeof *pairs);
    e->scores = calloc((size_t)e->count, sizeof *e->scores);
    if (!pairs || !e->scores)
        LLMQ_TRY(error_memory(err, "merges"));
    LLMQ_TRY(score_merges(e, pairs, &places, err));
    if (count > 0)
        qsort(pairs, count, sizeof *pairs, compare_keys);
    LLMQ_TRY(check_merges(e, pairs, count, err));
    for (int64_t i = 0; i < e->count; i++) /* characters, which no merge makes, come last */
        if (e->kinds[i] == TOKEN_NORMAL && e->scores[i] >= 0.0f)
            e->scores[i] = -(float)(places + 1);

cleanup:
    free(pairs);
    return status;
}

/* <0x41> */
static bool is_byte_token(const char *text) {
    return strlen(text) == 6 && memcmp(text, "<0x", 3) == 0 &&
           strspn(text + 3, "0123456789ABCDEF") == 2 && text[5] == '>';
}

enum llmq_status gguf_sentencepiece_put(struct gguf_tokenizer *e, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool prefix = false;
    const int32_t unknown = gguf_token_named(e, json_get(json_get(e->json, "model"), "unk_token"));
    if (!is_sentencepiece(e, &prefix))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tokenizer.json: expected spaces marked as SentencePiece does, found "
                         "another normalizer or pre-tokenizer");
    for (int64_t i = 0; i < e->count; i++)
        if (is_byte_token(e->texts[i]))
            e->kinds[i] = TOKEN_BYTE;
    if (unknown >= 0)
        e->kinds[unknown] = TOKEN_UNKNOWN;
    LLMQ_TRY(make_scores(e, err));
    gguf_put_string(e->out, "tokenizer.ggml.model", "llama");
    gguf_put_string(e->out, "tokenizer.ggml.pre", "default");
    gguf_put_f32s(e->out, "tokenizer.ggml.scores", e->scores, (size_t)e->count);
    gguf_put_bool(e->out, "tokenizer.ggml.add_space_prefix", prefix);
    if (unknown >= 0)
        gguf_put_u32(e->out, "tokenizer.ggml.unknown_token_id", (uint32_t)unknown);

cleanup:
    return status;
}
