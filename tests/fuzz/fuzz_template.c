/* SPDX-License-Identifier: Apache-2.0 */
/* A chat template, and behind a line "---" a record of a data set for it to write. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "text/record.h"

/* Where the record begins, or `len`. */
static size_t find_record(const uint8_t *data, size_t len, size_t *end_of_template) {
    static const char mark[] = "\n---\n";
    for (size_t i = 0; i + sizeof mark - 1 <= len; i++)
        if (memcmp(data + i, mark, sizeof mark - 1) == 0) {
            *end_of_template = i;
            return i + sizeof mark - 1;
        }
    *end_of_template = len;
    return len;
}

void fuzz_template(const uint8_t *data, size_t len) {
    static const char usual[] = "{\"prompt\":\"a\",\"completion\":\"b\"}";
    llmq_error err = {0};
    char path[] = "a.jsonl";
    const struct corpus_file file = {.path = path};
    struct record_reader reader = {.file = &file};
    struct record record = {0};
    size_t end = 0;
    const size_t begin = find_record(data, len, &end);
    const char *text = begin < len ? (const char *)data + begin : usual;
    const char *template = fuzz_put("chat_template.jinja", data, end);
    enum llmq_status status = chat_template_open(fuzz_dir(), &reader.chat, &err);
    if (status == LLMQ_OK)
        status =
            record_read(&reader, text, begin < len ? len - begin : sizeof usual - 1, &record, &err);
    fuzz_check(status, &err);
    MUST((status == LLMQ_OK) == (record.text != NULL));
    free(record.text);
    chat_template_free(&reader.chat);
    (void)remove(template);
}
