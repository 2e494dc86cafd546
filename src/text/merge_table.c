/* Merge tables: see merge_table.h. */
#include "text/merge_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "text/hash.h"

/* The slot of a pair, or the empty one where it belongs. */
static struct merge *slot_of(const struct merge_table *t, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)hash_u64(key) & t->mask;
    while (t->slots[i].left >= 0 && (t->slots[i].left != left || t->slots[i].right != right))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

const struct merge *merge_table_find(const struct merge_table *t, int32_t left, int32_t right) {
    const struct merge *m = slot_of(t, left, right);
    return m->left < 0 ? NULL : m;
}

struct halves {
    const char *left, *right;
    size_t left_len, right_len;
};

/* Both spellings of a merge; false when it is neither. */
static bool split_merge(const struct json *value, struct halves *h) {
    const char *text = json_string(value);
    if (text) {
        const char *space = strchr(text, ' ');
        if (!space || strchr(space + 1, ' '))
            return false;
        *h = (struct halves){text, space + 1, (size_t)(space - text), strlen(space + 1)};
        return true;
    }
    const struct json *first = json_type(value) == JSON_ARRAY ? json_first(value) : NULL;
    const struct json *second = first ? json_next(first) : NULL;
    h->left = json_string(first);
    h->right = json_string(second);
    if (!h->left || !h->right || json_next(second))
        return false;
    h->left_len = strlen(h->left);
    h->right_len = strlen(h->right);
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
                            uint32_t rank, struct strbuf *joined, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct merge m = {.rank = rank};
    LLMQ_TRY(require_token(v, h->left, h->left_len, &m.left, err));
    LLMQ_TRY(require_token(v, h->right, h->right_len, &m.right, err));
    joined->len = 0;
    strbuf_append(joined, h->left, h->left_len);
    strbuf_append(joined, h->right, h->right_len);
    if (!strbuf_ok(joined))
        return error_memory(err, "merges");
    LLMQ_TRY(require_token(v, joined->data, joined->len, &m.id, err));
    *slot_of(t, m.left, m.right) = m;
cleanup:
    return status;
}

static enum llmq_status allocate(struct merge_table *t, size_t count, llmq_error *err) {
    size_t slots = hash_capacity(count), bytes = 0;
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
    struct strbuf joined = {0};
    uint32_t rank = 0;
    size_t number = 0;
    if (json_type(array) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "'merges' must be an array");
    LLMQ_TRY(allocate(t, json_count(array), err));
    for (const struct json *c = json_first(array); c; c = json_next(c)) {
        struct halves h = {0};
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
        status = add(t, v, &h, rank++, &joined, err);
        if (status != LLMQ_OK) {
            error_prefix(err, status, "merge %zu", number);
            goto cleanup;
        }
    }
cleanup:
    strbuf_free(&joined);
    return status;
}

void merge_table_free(struct merge_table *t) {
    free(t->slots);
    *t = (struct merge_table){0};
}
