/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of whole documents: see json_check.h.
 *
 * The keys of all open objects lie on one stack. When an object closes, its own are on top: they
 * are compared, all with all where they are few, else through a hash table, and taken off. */
#include "base/json_check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/strbuf.h"

/* Up to here, comparing all hashes with all is faster than a table. */
#define FEW_KEYS 16

/* Longest key or path that a message shows. */
#define SHOWN 200

struct key {
    uint64_t hash; /* of the decoded text */
    struct json_token token;
};

/* An open container; in_object of the scanner says of which kind. */
struct level {
    size_t first;    /* of an object: its first key on the stack */
    int64_t element; /* of an array: the current element, counted from 0 */
};

struct checker {
    struct json_scan *scan;
    struct key *keys;
    size_t count, cap;
    uint32_t *slots; /* 0: empty, else 1 + distance from the object's first key */
    size_t slot_cap;
    size_t values;                           /* so far */
    struct level levels[JSON_MAX_DEPTH + 1]; /* by depth, from 1 */
};

static bool has_escape(const struct checker *c, const struct json_token *t) {
    return memchr(c->scan->text + t->begin, '\\', t->len) != NULL;
}

static uint64_t hash_key(const struct checker *c, const struct json_token *t) {
    uint64_t h = HASH_INIT;
    if (!has_escape(c, t))
        return hash_bytes(h, c->scan->text + t->begin, t->len);
    for (size_t at = t->begin; at < t->begin + t->len;) {
        char text[4];
        const size_t len = json_scan_decode(c->scan, &at, text);
        h = hash_bytes(h, text, len);
    }
    return h;
}

static bool same_key(const struct checker *c, const struct key *a, const struct key *b) {
    size_t i = a->token.begin, j = b->token.begin;
    const size_t end_i = i + a->token.len, end_j = j + b->token.len;
    if (a->hash != b->hash)
        return false;
    while (i < end_i && j < end_j) {
        char left[4], right[4];
        const size_t n = json_scan_decode(c->scan, &i, left);
        if (json_scan_decode(c->scan, &j, right) != n || memcmp(left, right, n) != 0)
            return false;
    }
    return i == end_i && j == end_j;
}

static enum llmq_status push_key(struct checker *c, const struct json_token *token,
                                 llmq_error *err) {
    if (c->count == c->cap) {
        size_t cap = c->cap + c->cap / 2 + 64, bytes = 0;
        struct key *keys = NULL;
        if (checked_mul_size(cap, sizeof *keys, &bytes))
            keys = realloc(c->keys, bytes);
        if (!keys)
            return error_memory(err, "the keys of a JSON document");
        c->keys = keys;
        c->cap = cap;
    }
    c->keys[c->count++] = (struct key){hash_key(c, token), *token};
    return LLMQ_OK;
}

/* --- the message ------------------------------------------------------------------------------ */

static void put_key(const struct checker *c, const struct json_token *key, struct strbuf *out) {
    strbuf_append(out, c->scan->text + key->begin, key->len);
}

/* The key after those of the containers around its object, at `depth`: "a.b[3].key". */
static void put_path(const struct checker *c, int depth, const struct key *key,
                     struct strbuf *out) {
    for (int d = 1; d < depth; d++) {
        if (c->scan->in_object[d - 1]) {
            put_key(c, &c->keys[c->levels[d + 1].first - 1].token, out);
            strbuf_puts(out, ".");
        } else {
            if (out->len > 0 && out->data[out->len - 1] == '.')
                out->len--;
            strbuf_printf(out, "[%lld].", (long long)c->levels[d].element);
        }
    }
    put_key(c, &key->token, out);
}

static enum llmq_status given_twice(const struct checker *c, int depth, const struct key *first,
                                    const struct key *second, llmq_error *err) {
    struct strbuf path = {0}, what = {0};
    put_path(c, depth, second, &path);
    const bool cut = path.len > SHOWN;
    strbuf_printf(&what, "the key '%.*s%s' is given twice, first on line %zu", SHOWN,
                  path.data ? path.data : "", cut ? "..." : "",
                  json_scan_line(c->scan, first->token.begin));
    enum llmq_status status = json_scan_fail(c->scan, second->token.begin - 1,
                                             what.data ? what.data : "a key is given twice", err);
    error_hint(err, "readers differ in which of the two counts: take out the wrong one");
    strbuf_free(&path);
    strbuf_free(&what);
    return status;
}

/* --- one object ------------------------------------------------------------------------------- */

/* A slot for every two keys, all empty. */
static enum llmq_status clear_slots(struct checker *c, size_t keys, size_t *mask, llmq_error *err) {
    size_t wanted = 2 * FEW_KEYS;
    while (wanted / 2 < keys)
        wanted *= 2;
    if (wanted > c->slot_cap) {
        free(c->slots);
        c->slots = malloc(wanted * sizeof *c->slots);
        c->slot_cap = c->slots ? wanted : 0;
        if (!c->slots)
            return error_memory(err, "the keys of a JSON document");
    }
    memset(c->slots, 0, wanted * sizeof *c->slots);
    *mask = wanted - 1;
    return LLMQ_OK;
}

/* The key that comes before `keys[i]` and equals it, or NULL. */
static const struct key *find_before(const struct checker *c, const struct key *keys, size_t i) {
    for (size_t j = 0; j < i; j++)
        if (same_key(c, &keys[j], &keys[i]))
            return &keys[j];
    return NULL;
}

/* The same through the table, which then knows keys[i] too. */
static const struct key *find_in_table(const struct checker *c, const struct key *keys, size_t i,
                                       size_t mask) {
    /* The low bits of FNV-1a see only the low bits of the text: fold the high ones in. */
    size_t at = (size_t)(keys[i].hash ^ keys[i].hash >> 32) & mask;
    for (; c->slots[at]; at = (at + 1) & mask)
        if (same_key(c, &keys[c->slots[at] - 1], &keys[i]))
            return &keys[c->slots[at] - 1];
    c->slots[at] = (uint32_t)i + 1;
    return NULL;
}

static enum llmq_status close_object(struct checker *c, int depth, llmq_error *err) {
    const struct key *keys = c->keys + c->levels[depth].first;
    const size_t count = c->count - c->levels[depth].first;
    const bool few = count <= FEW_KEYS;
    size_t mask = 0;
    if (count > UINT32_MAX - 1)
        return error_set(err, LLMQ_E_UNSUPPORTED, "JSON: an object of %zu members", count);
    enum llmq_status status = few ? LLMQ_OK : clear_slots(c, count, &mask, err);
    for (size_t i = 0; i < count && status == LLMQ_OK; i++) {
        const struct key *twin = few ? find_before(c, keys, i) : find_in_table(c, keys, i, mask);
        if (twin)
            status = given_twice(c, depth, twin, &keys[i], err);
    }
    c->count = c->levels[depth].first;
    return status;
}

/* --- the document ----------------------------------------------------------------------------- */

static bool opens(enum json_token_type type) {
    return type == JSON_TOKEN_OBJECT_BEGIN || type == JSON_TOKEN_ARRAY_BEGIN;
}

static bool begins_value(enum json_token_type type) {
    return type != JSON_TOKEN_KEY && type != JSON_TOKEN_OBJECT_END && type != JSON_TOKEN_ARRAY_END;
}

static enum llmq_status too_many(const struct checker *c, const struct json_token *token,
                                 llmq_error *err) {
    char what[80];
    (void)snprintf(what, sizeof what, "more than %zu values, more than such a file has",
                   c->scan->most_values);
    return json_scan_fail(c->scan, token->begin, what, err);
}

static enum llmq_status take(struct checker *c, const struct json_token *token, llmq_error *err) {
    const int depth = c->scan->depth; /* after the token */
    const int around = depth - opens(token->type);
    c->values += begins_value(token->type) && token->type != JSON_TOKEN_END;
    if (c->scan->most_values > 0 && c->values > c->scan->most_values)
        return too_many(c, token, err);
    if (begins_value(token->type) && around > 0)
        c->levels[around].element++;
    if (opens(token->type))
        c->levels[depth] = (struct level){.first = c->count, .element = -1};
    if (token->type == JSON_TOKEN_KEY)
        return push_key(c, token, err);
    return token->type == JSON_TOKEN_OBJECT_END ? close_object(c, depth + 1, err) : LLMQ_OK;
}

enum llmq_status json_check(struct json_scan *scan, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct checker c = {.scan = scan};
    struct json_token token = {.type = JSON_TOKEN_NULL};
    while (token.type != JSON_TOKEN_END) {
        LLMQ_TRY(json_scan_next(scan, &token, err));
        LLMQ_TRY(take(&c, &token, err));
    }
cleanup:
    free(c.keys);
    free(c.slots);
    return status;
}
