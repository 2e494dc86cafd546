/* SPDX-License-Identifier: Apache-2.0 */
/* Merge tables: see merge_table.h. */
#include "text/merge_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "text/table_hash.h"

/* The slot of a pair, or the empty one where it belongs. */
static struct merge *slot_of(const struct merge_table *t, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)table_hash_u64(key) & t->mask;
    while (t->slots[i].left >= 0 && (t->slots[i].left != left || t->slots[i].right != right))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

const struct merge *merge_table_find(const struct merge_table *t, int32_t left, int32_t right) {
    const struct merge *m = slot_of(t, left, right);
    return m->left < 0 ? NULL : m;
}

/* A merge's two tokens, one after the other: U+0000 may be in them. */
struct halves {
    struct strbuf text;
    size_t left_len;
};

static void append_text(struct strbuf *b, const char *text, size_t len) {
    size_t begin = b->len;
    strbuf_append(b, text, len);
    if (strbuf_ok(b) && b->data)
        b->len = begin + json_unpack(b->data + begin);
}

/* Both spellings of a merge; false when it is neither. */
static bool split_merge(const struct json *value, struct halves *h) {
    const char *text = json_string(value);
    h->text.len = 0;
    if (text) {
        const char *space = strchr(text, ' ');
        if (!space || strchr(space + 1, ' '))
            return false;
        append_text(&h->text, text, (size_t)(space - text));
        h->left_len = h->text.len;
        append_text(&h->text, space + 1, strlen(space + 1));
        return true;
    }
    const struct json *first = json_type(value) == JSON_ARRAY ? json_first(value) : NULL;
    const struct json *second = first ? json_next(first) : NULL;
    const char *left = json_string(first), *right = json_string(second);
    if (!left || !right || json_next(second))
        return false;
    append_text(&h->text, left, strlen(left));
    h->left_len = h->text.len;
    append_text(&h->text, right, strlen(right));
    return true;
}

static enum llmq_status require_token(const struct vocab *v, const char *text, size_t len,
                                      int32_t *id, llmq_error *err) {
    *id = vocab_find(v, text, len);
    if (*id < 0)
        return error_set(err, LLMQ_E_INPUT, "token '%.*s' is not in the vocabulary",
                         (int)(len < 60 ? len : 60), text);
    return LLMQ_OK;
}

/* Add one merge. A pair given twice keeps its last rank, as in the reference. */
static enum llmq_status add(struct merge_table *t, const struct vocab *v, const struct halves *h,
                            uint32_t rank, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct merge m = {.rank = rank};
    const char *text = h->text.data ? h->text.data : "";
    if (!strbuf_ok(&h->text))
        return error_memory(err, "merges");
    LLMQ_TRY(require_token(v, text, h->left_len, &m.left, err));
    LLMQ_TRY(require_token(v, text + h->left_len, h->text.len - h->left_len, &m.right, err));
    LLMQ_TRY(require_token(v, text, h->text.len, &m.id, err));
    *slot_of(t, m.left, m.right) = m;
cleanup:
    return status;
}

static enum llmq_status allocate(struct merge_table *t, size_t count, llmq_error *err) {
    size_t slots = table_hash_capacity(count), bytes = 0;
    if (count < UINT32_MAX && checked_mul_size(slots, sizeof *t->slots, &bytes))
        t->slots = malloc(bytes);
    if (!t->slots)
        return error_memory(err, "merges");
    t->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        t->slots[i].left = -1;
    return LLMQ_OK;
}

enum llmq_status merge_table_parse(const struct json *array, const struct vocab *v,
                                   struct merge_table *t, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct halves h = {0};
    uint32_t rank = 0;
    size_t number = 0;
    if (json_type(array) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "'merges' must be an array");
    LLMQ_TRY(allocate(t, json_count(array), err));
    for (const struct json *c = json_first(array); c; c = json_next(c)) {
        const char *text = json_string(c);
        number++;
        if (text && strncmp(text, "#version", 8) == 0) /* the first line of old merges.txt */
            continue;
        if (!split_merge(c, &h)) {
            status =
                error_set(err, LLMQ_E_INPUT,
                          "merge %zu is neither \"left right\" nor [\"left\", \"right\"]", number);
            goto cleanup;
        }
        status = add(t, v, &h, rank++, err);
        if (status != LLMQ_OK) {
            error_prefix(err, status, "merge %zu", number);
            goto cleanup;
        }
    }
cleanup:
    strbuf_free(&h.text);
    return status;
}

void merge_table_free(struct merge_table *t) {
    free(t->slots);
    *t = (struct merge_table){0};
}
