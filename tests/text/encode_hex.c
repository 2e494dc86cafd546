/* SPDX-License-Identifier: Apache-2.0 */
/* Token ids of texts, for comparisons with other tokenizers (tools/check_tokenizers.mjs).
 *
 *     encode_hex tokenizer.json <texts     one text a line, as hexadecimal bytes
 *
 * Prints for each text a line "1,2,3|0,1,2,3": ids without and with special tokens; or "error: ..."
 * where the text is refused. A line "@1,2,3" is a list of ids: the bytes of its text without and
 * with special tokens follow, as hexadecimal numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "text/tokenizer.h"

static _Noreturn void fail(const char *message) {
    fprintf(stderr, "encode_hex: %s\n", message);
    exit(1);
}

static unsigned digit(char c) {
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

static size_t unhex(char *line) {
    size_t len = 0;
    for (size_t i = 0; line[i] && line[i + 1]; i += 2)
        line[len++] = (char)(digit(line[i]) << 4 | digit(line[i + 1]));
    return len;
}

static enum llmq_status append_ids(const struct tokenizer *tok, const char *text, size_t len,
                                   bool special, struct strbuf *out, llmq_error *err) {
    struct id_list ids = {0};
    enum llmq_status status = tokenizer_encode(
        tok, text, len, special ? LLMQ_SPECIAL_MODEL : LLMQ_SPECIAL_NONE, &ids, err);
    for (size_t i = 0; i < ids.count; i++)
        strbuf_printf(out, "%s%d", i ? "," : "", (int)ids.ids[i]);
    id_list_free(&ids);
    return status;
}

static void decode_line(const struct tokenizer *tok, char *line) {
    struct id_list ids = {0};
    llmq_error err = {0};
    for (char *at = line; *at && id_list_push(&ids, (int32_t)strtol(at, &at, 10), &err) == LLMQ_OK;)
        at += *at == ',';
    for (int special = 0; special < 2; special++) {
        struct strbuf out = {0};
        if (tokenizer_decode_all(tok, ids.ids, ids.count, special, &out, &err) != LLMQ_OK)
            printf("error: %s", err.message);
        for (size_t i = 0; i < out.len; i++)
            printf("%02x", (unsigned)(unsigned char)out.data[i]);
        fputs(special ? "\n" : "|", stdout);
        strbuf_free(&out);
    }
    id_list_free(&ids);
}

static void encode_line(const struct tokenizer *tok, char *line) {
    struct strbuf out = {0};
    llmq_error err = {0};
    size_t len = unhex(line);
    enum llmq_status status = append_ids(tok, line, len, false, &out, &err);
    strbuf_puts(&out, "|");
    if (status == LLMQ_OK)
        status = append_ids(tok, line, len, true, &out, &err);
    if (!strbuf_ok(&out))
        fail("out of memory");
    printf("%s%s\n",
           status == LLMQ_OK ? "" : "error: ", status == LLMQ_OK ? out.data : err.message);
    strbuf_free(&out);
}

int main(int argc, char **argv) {
    struct tokenizer *tok = NULL;
    llmq_error err = {0};
    char *line = NULL;
    size_t cap = 0;
    if (argc != 2)
        fail("usage: encode_hex tokenizer.json <texts");
    if (tokenizer_load(argv[1], &tok, &err) != LLMQ_OK)
        fail(err.message);
    while (getline(&line, &cap, stdin) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '@')
            decode_line(tok, line + 1);
        else
            encode_line(tok, line);
    }
    free(line);
    tokenizer_free(&tok);
    return 0;
}
