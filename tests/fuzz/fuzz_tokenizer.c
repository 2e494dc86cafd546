/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json: loaded, and a few texts encoded and decoded. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "text/tokenizer.h"

static const char *const texts[] = {
    "",
    "a",
    " Hello, world's  12345 end\n\n\tof <s>text</s>",
    "caf\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x99\x82\xcc\x81 \xef\xb7\xba",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
};

static void decode(const struct tokenizer *tok, const struct id_list *ids, bool special) {
    llmq_error err = {0};
    struct strbuf text = {0};
    fuzz_check(tokenizer_decode_all(tok, ids->ids, ids->count, special, &text, &err), &err);
    for (size_t i = 0; i < ids->count; i++)
        tokenizer_decode(tok, ids->ids[i], &text);
    strbuf_free(&text);
}

static void encode(const struct tokenizer *tok, const char *text) {
    llmq_error err = {0};
    struct id_list ids = {0};
    const enum llmq_status status =
        tokenizer_encode(tok, text, strlen(text), LLMQ_SPECIAL_MODEL, &ids, &err);
    fuzz_check(status, &err);
    for (size_t i = 0; status == LLMQ_OK && i < ids.count; i++)
        MUST(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_vocab_size(tok));
    if (status == LLMQ_OK) {
        decode(tok, &ids, true);
        decode(tok, &ids, false);
    }
    id_list_free(&ids);
}

void fuzz_tokenizer(const uint8_t *data, size_t len) {
    llmq_error err = {0};
    struct tokenizer *tok = NULL;
    const char *path = fuzz_put("tokenizer.json", data, len);
    const enum llmq_status status = tokenizer_load(path, &tok, &err);
    fuzz_check(status, &err);
    MUST((status == LLMQ_OK) == (tok != NULL));
    for (size_t i = 0; tok && i < sizeof texts / sizeof texts[0]; i++)
        encode(tok, texts[i]);
    tokenizer_free(&tok);
}
