/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of pieces: see pieces.h. */
#include "text/pieces.h"

#include <stdlib.h>

#include "base/checked.h"
#include "base/error.h"

static enum llmq_status append(struct piece_list *list, struct piece piece, llmq_error *err) {
    if (!strbuf_ok(&list->text))
        return error_memory(err, "the text of pieces");
    if (list->count == list->cap) {
        size_t cap = list->cap + list->cap / 2 + 64, bytes = 0;
        struct piece *items = NULL;
        if (checked_mul_size(cap, sizeof *items, &bytes))
            items = realloc(list->items, bytes);
        if (!items)
            return error_memory(err, "a list of pieces");
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = piece;
    return LLMQ_OK;
}

enum llmq_status piece_list_close(struct piece_list *list, size_t begin, bool at_start,
                                  llmq_error *err) {
    size_t len = list->text.len - begin;
    if (len == 0 && strbuf_ok(&list->text)) /* without memory nothing was appended */
        return LLMQ_OK;
    return append(list, (struct piece){begin, len, PIECE_TEXT, at_start, list->marks}, err);
}

enum llmq_status piece_list_add(struct piece_list *list, const char *text, size_t len,
                                bool at_start, llmq_error *err) {
    size_t begin = list->text.len;
    if (len == 0)
        return LLMQ_OK;
    strbuf_append(&list->text, text, len);
    return append(list, (struct piece){begin, len, PIECE_TEXT, at_start, list->marks}, err);
}

enum llmq_status piece_list_add_id(struct piece_list *list, int32_t id, llmq_error *err) {
    return append(list, (struct piece){list->text.len, 0, id, false, 0}, err);
}

void piece_list_free(struct piece_list *list) {
    free(list->items);
    strbuf_free(&list->text);
    *list = (struct piece_list){0};
}
