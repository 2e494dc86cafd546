/* SPDX-License-Identifier: Apache-2.0 */
/* Texts in parts: see corpus_feed.h. */
#include "text/corpus_feed.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Bytes of a part, with a limit of memory and without; and what encoding takes for each of them:
 * measured, 8.3 to 11; more the shorter its words are. */
enum { PART_SMALL = 64 << 10, PART = 1 << 20, BYTES_EACH = 16 };

/* A text on its way. */
struct passage {
    struct document document;
    struct id_list ids;
    size_t wanted; /* bytes of the next part */
};

static void begin(const struct corpus_feed *f, struct document_reader *reader, bool is_chat,
                  struct passage *p) {
    *p = (struct passage){.wanted = f->file->limits->max_mem > 0 ? PART_SMALL : PART};
    document_begin(reader, is_chat, &p->document);
}

static void end(struct passage *p) {
    document_end(&p->document);
    id_list_free(&p->ids);
}

/* The next part of a text of which `len` bytes are at hand; `all`: no more will follow. *done: it
 * was the last one. */
static enum llmq_status feed_part(struct corpus_feed *f, struct passage *p, const char *text,
                                  size_t len, bool all, size_t *used, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const size_t least = f->file->limits->max_mem > 0 ? PART_SMALL : PART;
    size_t part = len < p->wanted ? len : p->wanted;
    while (part < len && ((unsigned char)text[part] & 0xc0) == 0x80)
        part--;
    if (part > least)
        LLMQ_TRY(reading_room(f->file->limits, f->file->path, (uint64_t)part * BYTES_EACH, err));
    LLMQ_TRY(document_part(&p->document, text, part, all && part == len, &p->ids, used, err));
    LLMQ_TRY(id_keeper_take(&f->keeper, &p->ids, err));
    p->wanted = *used > 0 ? least : 2 * p->wanted;
cleanup:
    return status;
}

static enum llmq_status feed_text(struct corpus_feed *f, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct passage p;
    bool more = true;
    begin(f, &f->reader, false, &p);
    while (more && !id_keeper_done(&f->keeper)) {
        size_t used = 0;
        LLMQ_TRY(corpus_file_want(f->file, p.wanted + 1, err));
        status = feed_part(f, &p, f->file->text, f->file->len, f->file->ended, &used, err);
        if (status != LLMQ_OK && status != LLMQ_E_MEMORY)
            error_prefix(err, status, "%s", f->file->path);
        LLMQ_TRY(status);
        corpus_file_skip(f->file, used);
        more = !f->file->ended || f->file->len > 0;
    }
cleanup:
    end(&p);
    return status;
}

/* --- lines ------------------------------------------------------------------------------------ */

static enum llmq_status feed_record(struct corpus_feed *f, const struct record *record,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct passage p;
    size_t at = 0;
    begin(f, &f->reader, record->is_chat, &p);
    do {
        size_t used = 0;
        LLMQ_TRY(feed_part(f, &p, record->text + at, record->len - at, true, &used, err));
        at += used;
    } while (at < record->len && !id_keeper_done(&f->keeper));
cleanup:
    end(&p);
    return status;
}

static bool is_blank(const char *line, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!memchr(" \t\r\n", line[i], 4))
            return false;
    return true;
}

/* The line at hand, without its end and a byte order mark, which files put together leave inside.
 */
static enum llmq_status feed_line(struct corpus_feed *f, size_t len, llmq_error *err) {
    static const char mark[3] = {'\xef', '\xbb', '\xbf'};
    const char *line = f->file->text;
    struct record record = {0};
    len -= len > 0 && line[len - 1] == '\n';
    if (len >= sizeof mark && memcmp(line, mark, sizeof mark) == 0) {
        line += sizeof mark;
        len -= sizeof mark;
    }
    if (is_blank(line, len))
        return LLMQ_OK;
    enum llmq_status status = record_read(&f->records, line, len, &record, err);
    if (status == LLMQ_OK)
        status = feed_record(f, &record, err);
    free(record.text);
    return status;
}

static enum llmq_status feed_lines(struct corpus_feed *f, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t len = 0;
    for (size_t number = 1; !id_keeper_done(&f->keeper); number++) {
        LLMQ_TRY(corpus_file_line(f->file, 0, &len, err));
        if (len == 0)
            break;
        status = feed_line(f, len, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "%s: line %zu", f->file->path, number);
        corpus_file_skip(f->file, len);
    }
cleanup:
    return status;
}

enum llmq_status corpus_feed(struct corpus_feed *f, llmq_error *err) {
    return f->file->kind == CORPUS_LINES ? feed_lines(f, err) : feed_text(f, err);
}
