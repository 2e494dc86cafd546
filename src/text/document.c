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

struct document {
    const char *at;
    size_t len;
    enum llmq_special special;
};

static enum llmq_status encode(struct document_reader *reader, const struct document *text,
                               struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct id_list ids = {0};
    size_t count = 0;
    const int32_t *prefix = tokenizer_prefix(reader->tok, text->special, &count);
    reader->texts++;
    LLMQ_TRY(tokenizer_encode(reader->tok, text->at, text->len, LLMQ_SPECIAL_NONE, &ids, err));
    if (!has_content(reader->tok, &ids)) {
        reader->empty++;
        goto cleanup;
    }
    struct id_list rest = ids;
    if (begins_with(&ids, prefix, count)) {
        reader->begun++;
        rest.ids += count;
        rest.count -= count;
    }
    LLMQ_TRY(tokenizer_wrap(reader->tok, &rest, text->special, out, err));
cleanup:
    id_list_free(&ids);
    return status;
}

enum llmq_status document_encode(struct document_reader *reader, const char *text, size_t len,
                                 struct id_list *out, llmq_error *err) {
    return encode(reader, &(struct document){text, len, reader->special}, out, err);
}

enum llmq_status document_encode_chat(struct document_reader *reader, const char *text, size_t len,
                                      struct id_list *out, llmq_error *err) {
    const enum llmq_special special =
        reader->special == LLMQ_SPECIAL_MODEL ? LLMQ_SPECIAL_NONE : reader->special;
    return encode(reader, &(struct document){text, len, special}, out, err);
}
