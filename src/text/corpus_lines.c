/* Lines of JSON: see corpus_lines.h. */
#include "text/corpus_lines.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct line {
    const char *text;
    size_t len;
};

static bool is_blank(const struct line *line) {
    for (size_t i = 0; i < line->len; i++)
        if (!strchr(" \t\r", line->text[i]) || line->text[i] == '\0')
            return false;
    return true;
}

/* The line at `at`, without a byte order mark, which files put together leave inside. */
static struct line line_at(const struct corpus_file *file, size_t at, size_t *next) {
    static const char mark[] = "\xef\xbb\xbf";
    struct line line = {.text = file->text + at};
    line.len = strcspn(line.text, "\n");
    *next = at + line.len + 1;
    if (strncmp(line.text, mark, sizeof mark - 1) == 0) {
        line.text += sizeof mark - 1;
        line.len -= sizeof mark - 1;
    }
    return line;
}

enum llmq_status corpus_lines_encode(struct record_reader *records, struct document_reader *reader,
                                     struct id_list *ids, llmq_error *err) {
    const struct corpus_file *file = records->file;
    size_t number = 0;
    for (size_t at = 0, next = 0; at < file->len; at = next) {
        const struct line line = line_at(file, at, &next);
        number++;
        if (is_blank(&line))
            continue;
        struct record record = {0};
        enum llmq_status status = record_read(records, line.text, line.len, &record, err);
        if (status == LLMQ_OK && record.is_chat)
            status = document_encode_chat(reader, record.text, record.len, ids, err);
        else if (status == LLMQ_OK)
            status = document_encode(reader, record.text, record.len, ids, err);
        free(record.text);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "line %zu", number);
    }
    return LLMQ_OK;
}
