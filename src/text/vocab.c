/* SPDX-License-Identifier: Apache-2.0 */
/* Vocabulary tables: see vocab.h. */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/json_field.h"
#include "text/table_hash.h"

/* id is -1 in an empty slot; part of the hash saves most comparisons of text. */
struct vocab_slot {
    uint32_t tag;
    int32_t id;
};

/* First pass: sizes. Checks every id, so that the second pass cannot fail on one. */
static enum llmq_status measure(const struct json *object, struct vocab *v, size_t *bytes,
                                llmq_error *err) {
    for (const struct json *c = json_first(object); c; c = json_next(c)) {
        int32_t id = 0;
        enum llmq_status status = json_token_id(c, json_key(c), &id, err);
        if (status != LLMQ_OK)
            return status;
        v->ids = id >= v->ids ? id + 1 : v->ids;
        v->count++;
        *bytes += strlen(json_key(c)) + 1;
    }
    return v->count ? LLMQ_OK : error_set(err, LLMQ_E_INPUT, "the vocabulary is empty");
}

static enum llmq_status allocate(struct vocab *v, size_t bytes, llmq_error *err) {
    size_t slots = table_hash_capacity((size_t)v->count);
    v->pool = malloc(bytes);
    v->by_id = calloc((size_t)v->ids, sizeof *v->by_id);
    v->by_text = malloc(slots * sizeof *v->by_text);
    if (!v->pool || !v->by_id || !v->by_text)
        return error_memory(err, "the vocabulary");
    v->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        v->by_text[i] = (struct vocab_slot){0, -1};
    return LLMQ_OK;
}

/* The slot that holds `text`, or the empty one where it belongs. */
static struct vocab_slot *slot_of(const struct vocab *v, const char *text, size_t len,
                                  uint32_t *tag) {
    uint64_t hash = table_hash_bytes(text, len);
    *tag = (uint32_t)(hash >> 32);
    for (size_t i = (size_t)hash & v->mask;; i = (i + 1) & v->mask) {
        struct vocab_slot *s = &v->by_text[i];
        if (s->id < 0)
            return s;
        if (s->tag == *tag && v->by_id[s->id].len == len &&
            memcmp(v->by_id[s->id].text, text, len) == 0)
            return s;
    }
}

static enum llmq_status insert(struct vocab *v, const char *text, size_t len, int32_t id,
                               llmq_error *err) {
    uint32_t tag = 0;
    struct vocab_slot *slot = slot_of(v, text, len, &tag);
    if (slot->id >= 0)
        return error_set(err, LLMQ_E_INPUT, "the vocabulary has '%.60s' twice", text);
    if (v->by_id[id].text)
        return error_set(err, LLMQ_E_INPUT, "'%.60s' and '%.60s' have the same id %d",
                         v->by_id[id].text, text, (int)id);
    *slot = (struct vocab_slot){tag, id};
    v->by_id[id] = (struct vocab_text){text, len};
    return LLMQ_OK;
}

enum llmq_status vocab_parse(const struct json *object, struct vocab *v, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t bytes = 0, used = 0;
    if (json_type(object) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "'vocab' must be an object of token: id");
    LLMQ_TRY(measure(object, v, &bytes, err));
    LLMQ_TRY(allocate(v, bytes, err));
    for (const struct json *c = json_first(object); c; c = json_next(c)) {
        int32_t id = 0;
        memcpy(v->pool + used, json_key(c), strlen(json_key(c)) + 1);
        size_t len = json_unpack(v->pool + used);
        LLMQ_TRY(json_token_id(c, json_key(c), &id, err));
        LLMQ_TRY(insert(v, v->pool + used, len, id, err));
        used += len + 1;
    }
cleanup:
    return status;
}

void vocab_free(struct vocab *v) {
    free(v->pool);
    free(v->by_id);
    free(v->by_text);
    *v = (struct vocab){0};
}

int32_t vocab_find(const struct vocab *v, const char *text, size_t len) {
    uint32_t tag = 0;
    return slot_of(v, text, len, &tag)->id;
}

const char *vocab_token(const struct vocab *v, int32_t id) {
    return id >= 0 && id < v->ids ? v->by_id[id].text : NULL;
}

size_t vocab_length(const struct vocab *v, int32_t id) {
    return id >= 0 && id < v->ids ? v->by_id[id].len : 0;
}
