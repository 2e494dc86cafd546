/* SPDX-License-Identifier: Apache-2.0 */
/* Texts to ids: see document.h. */
#include "text/document.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"

static bool has_content(const struct tokenizer *tok, const struct id_list *ids) {
    for (size_t i = 0; i < ids->count; i++)
        if (!tokenizer_is_special(tok, ids->ids[i]))
            return true;
    return false;
}

static bool begins_with(const struct id_list *ids, const int32_t *prefix, size_t count) {
    return count > 0 && ids->count >= count &&
           memcmp(ids->ids, prefix, count * sizeof *prefix) == 0;
}

static enum llmq_status append(struct id_list *out, const struct id_list *ids, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < ids->count && status == LLMQ_OK; i++)
        status = id_list_push(out, ids->ids[i], err);
    return status;
}

void document_begin(struct document_reader *reader, bool is_chat, struct document *out) {
    const bool none = is_chat && reader->special == LLMQ_SPECIAL_MODEL;
    *out =
        (struct document){.reader = reader, .special = none ? LLMQ_SPECIAL_NONE : reader->special};
    reader->texts++;
}

/* What the text begins with, as soon as it can be told. */
static enum llmq_status write_head(struct document *d, bool ends, struct id_list *out,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t count = 0;
    const int32_t *prefix = tokenizer_prefix(d->reader->tok, d->special, &count);
    if (!has_content(d->reader->tok, &d->head)) {
        d->reader->empty += ends;
        return LLMQ_OK;
    }
    if (d->head.count < count && !ends)
        return LLMQ_OK;
    struct id_list rest = d->head;
    if (begins_with(&d->head, prefix, count)) {
        d->reader->begun++;
        rest.ids += count;
        rest.count -= count;
    }
    if (ends)
        return tokenizer_wrap(d->reader->tok, &rest, d->special, out, err);
    d->has_content = true;
    LLMQ_TRY(tokenizer_begin(d->reader->tok, d->special, out, err));
    LLMQ_TRY(append(out, &rest, err));
    id_list_free(&d->head);
cleanup:
    return status;
}

enum llmq_status document_part(struct document *d, const char *text, size_t len, bool ends,
                               struct id_list *out, size_t *used, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct text_part part = {text, len, !d->begun, ends};
    struct id_list *ids = d->has_content ? out : &d->head;
    LLMQ_TRY(tokenizer_encode_part(d->reader->tok, &part, ids, used, err));
    d->begun = d->begun || *used > 0;
    if (!d->has_content)
        LLMQ_TRY(write_head(d, ends, out, err));
    else if (ends)
        LLMQ_TRY(tokenizer_end(d->reader->tok, d->special, out, err));
cleanup:
    return status;
}

void document_end(struct document *d) {
    id_list_free(&d->head);
}

enum llmq_status document_encode(struct document_reader *reader, const char *text, size_t len,
                                 struct id_list *out, llmq_error *err) {
    struct document d;
    size_t used = 0;
    document_begin(reader, false, &d);
    enum llmq_status status = document_part(&d, text, len, true, out, &used, err);
    document_end(&d);
    return status;
}
