/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON header of a safetensors file: strict parsing, checks, and writing.
 *
 * Parsing follows the reference implementation's order, so that the same file is refused for the
 * same reason: UTF-8, then JSON and the types of every entry, then (sorted by offset) for each
 * tensor its begin, the size of its shape, its byte alignment and its length, and at last the end
 * of the file. Beyond the reference, a name that occurs twice is refused, and rank, name length and
 * the number of tensors are bounded. */
#include "formats/safetensors/safetensors_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/json_check.h"
#include "base/json_scan.h"

/* Longest part of a name that a message shows. */
#define SHOWN 200

struct parser {
    struct json_scan scan;
    const struct st_header_source *source;
    struct st_table *table;
    const char *tensor; /* entry being read, for messages */
    bool metadata_seen;
    llmq_error *err;
};

/* What a scanner error means here: the JSON is wrong, and where. */
static enum llmq_status scan_result(const struct parser *p, enum llmq_status status) {
    if (status == LLMQ_OK)
        return status;
    if (status == LLMQ_E_INPUT) {
        status = LLMQ_E_ST_HEADER_JSON;
        if (p->err)
            p->err->code = status;
    }
    return error_prefix(p->err, status, "%s: header", p->source->path);
}

static enum llmq_status next(struct parser *p, struct json_token *token) {
    return scan_result(p, json_scan_next(&p->scan, token, p->err));
}

static const char *token_kind(enum json_token_type type) {
    switch (type) {
    case JSON_TOKEN_OBJECT_BEGIN:
        return "an object";
    case JSON_TOKEN_ARRAY_BEGIN:
        return "an array";
    case JSON_TOKEN_KEY:
        return "a key";
    case JSON_TOKEN_STRING:
        return "a string";
    case JSON_TOKEN_NUMBER:
        return "a number";
    case JSON_TOKEN_TRUE:
    case JSON_TOKEN_FALSE:
        return "a boolean";
    case JSON_TOKEN_NULL:
        return "null";
    case JSON_TOKEN_OBJECT_END:
    case JSON_TOKEN_ARRAY_END:
    case JSON_TOKEN_END:
        break;
    }
    return "the end";
}

/* The header has `found` where the format asks for `expected`. */
static enum llmq_status wrong(const struct parser *p, const char *where, const char *expected,
                              const char *found) {
    const char *quote = p->tensor ? "'" : "";
    return error_set(p->err, LLMQ_E_ST_HEADER_JSON, "%s: %s%s%.*s%s: %s: expected %s, found %s",
                     p->source->path, p->tensor ? "tensor " : "", quote, SHOWN,
                     p->tensor ? p->tensor : "header", quote, where, expected, found);
}

static enum llmq_status expect(struct parser *p, enum json_token_type type, const char *where,
                               const char *expected) {
    struct json_token token;
    enum llmq_status status = next(p, &token);
    if (status == LLMQ_OK && token.type != type)
        status = wrong(p, where, expected, token_kind(token.type));
    return status;
}

/* A key or string as a fresh C string. Text that C cannot carry is refused. */
static enum llmq_status take_text(struct parser *p, const struct json_token *token, char **out) {
    size_t len = 0;
    enum llmq_status status =
        scan_result(p, json_scan_unescape(&p->scan, token, out, &len, p->err));
    if (status != LLMQ_OK)
        return status;
    if (len <= ST_MAX_NAME && strlen(*out) == len)
        return LLMQ_OK;
    error_set(p->err, LLMQ_E_UNSUPPORTED,
              "%s: header: string '%.*s...' of %zu bytes: expected at most %d bytes without NUL",
              p->source->path, SHOWN, *out, len, ST_MAX_NAME);
    free(*out);
    *out = NULL;
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status parse_metadata_pair(struct parser *p, const struct json_token *key_token) {
    enum llmq_status status = LLMQ_OK;
    char *key = NULL, *value = NULL;
    struct json_token token;
    LLMQ_TRY(take_text(p, key_token, &key));
    LLMQ_TRY(next(p, &token));
    if (token.type != JSON_TOKEN_STRING)
        LLMQ_TRY(wrong(p, ST_METADATA_KEY, "string values", token_kind(token.type)));
    LLMQ_TRY(take_text(p, &token, &value));
    if (p->source->shard == 0) {
        status = st_table_add_metadata(p->table, key, value, p->err);
        key = value = NULL;
    }

cleanup:
    free(key);
    free(value);
    return status;
}

static enum llmq_status parse_metadata(struct parser *p) {
    enum llmq_status status = LLMQ_OK;
    struct json_token token;
    if (p->metadata_seen)
        LLMQ_TRY(wrong(p, ST_METADATA_KEY, "it once", "it twice"));
    p->metadata_seen = true;
    LLMQ_TRY(next(p, &token));
    if (token.type == JSON_TOKEN_NULL)
        goto cleanup;
    if (token.type != JSON_TOKEN_OBJECT_BEGIN)
        LLMQ_TRY(wrong(p, ST_METADATA_KEY, "an object or null", token_kind(token.type)));
    for (;;) {
        LLMQ_TRY(next(p, &token));
        if (token.type == JSON_TOKEN_OBJECT_END)
            break;
        LLMQ_TRY(parse_metadata_pair(p, &token));
    }

cleanup:
    return status;
}

static enum llmq_status parse_dtype(struct parser *p, struct st_tensor *t) {
    struct json_token token;
    enum llmq_status status = next(p, &token);
    if (status != LLMQ_OK)
        return status;
    if (token.type != JSON_TOKEN_STRING)
        return wrong(p, "dtype", "a string", token_kind(token.type));
    const char *text = p->scan.text + token.begin;
    if (!dtype_from_name(text, token.len, &t->dtype)) {
        char found[40];
        (void)snprintf(found, sizeof found, "\"%.*s\"", token.len < 32 ? (int)token.len : 32, text);
        return wrong(p, "dtype", "a known name", found);
    }
    return LLMQ_OK;
}

/* An array of exact unsigned integers; *count says how many, at most `max`. */
static enum llmq_status parse_integers(struct parser *p, const char *where, uint64_t *out, int max,
                                       int *count) {
    enum llmq_status status = LLMQ_OK;
    struct json_token token;
    LLMQ_TRY(expect(p, JSON_TOKEN_ARRAY_BEGIN, where, "an array"));
    for (*count = 0;; (*count)++) {
        LLMQ_TRY(next(p, &token));
        if (token.type == JSON_TOKEN_ARRAY_END)
            break;
        uint64_t value = 0;
        if (token.type != JSON_TOKEN_NUMBER)
            LLMQ_TRY(wrong(p, where, "integers", token_kind(token.type)));
        if (!json_token_u64(&p->scan, &token, &value)) {
            char found[40];
            (void)snprintf(found, sizeof found, "%.*s", token.len < 32 ? (int)token.len : 32,
                           p->scan.text + token.begin);
            LLMQ_TRY(wrong(p, where, "integers from 0 to 2^64 - 1", found));
        }
        if (*count < max)
            out[*count] = value;
    }

cleanup:
    return status;
}

static enum llmq_status parse_shape(struct parser *p, struct st_tensor *t) {
    enum llmq_status status = parse_integers(p, "shape", t->shape, ST_MAX_RANK, &t->rank);
    if (status == LLMQ_OK && t->rank > ST_MAX_RANK)
        status = error_set(p->err, LLMQ_E_UNSUPPORTED,
                           "%s: tensor '%.*s': expected at most %d dimensions, found %d",
                           p->source->path, SHOWN, p->tensor, ST_MAX_RANK, t->rank);
    return status;
}

/* Until check_tiling, begin is relative to the data and nbytes holds the end. */
static enum llmq_status parse_offsets(struct parser *p, struct st_tensor *t) {
    uint64_t offsets[2] = {0, 0};
    int count = 0;
    enum llmq_status status = parse_integers(p, "data_offsets", offsets, 2, &count);
    if (status != LLMQ_OK)
        return status;
    if (count != 2) {
        char found[32];
        (void)snprintf(found, sizeof found, "%d", count);
        return wrong(p, "data_offsets", "2 integers", found);
    }
    t->begin = offsets[0];
    t->nbytes = offsets[1];
    return LLMQ_OK;
}

/* The members of an entry, each once; unknown ones are skipped. */
static enum llmq_status parse_members(struct parser *p, struct st_tensor *t) {
    static const struct {
        const char *key;
        enum llmq_status (*parse)(struct parser *p, struct st_tensor *t);
    } members[] = {{"dtype", parse_dtype}, {"shape", parse_shape}, {"data_offsets", parse_offsets}};
    enum { MEMBERS = sizeof members / sizeof members[0] };
    bool seen[MEMBERS] = {false};
    enum llmq_status status = LLMQ_OK;
    struct json_token token;
    LLMQ_TRY(expect(p, JSON_TOKEN_OBJECT_BEGIN, "entry", "an object"));
    for (;;) {
        LLMQ_TRY(next(p, &token));
        if (token.type == JSON_TOKEN_OBJECT_END)
            break;
        int m = 0;
        while (m < MEMBERS && !json_token_is(&p->scan, &token, members[m].key))
            m++;
        if (m == MEMBERS) {
            LLMQ_TRY(next(p, &token));
            LLMQ_TRY(scan_result(p, json_scan_skip(&p->scan, &token, p->err)));
            continue;
        }
        if (seen[m])
            LLMQ_TRY(wrong(p, members[m].key, "it once", "it twice"));
        seen[m] = true;
        LLMQ_TRY(members[m].parse(p, t));
    }
    for (int m = 0; m < MEMBERS; m++)
        if (!seen[m])
            LLMQ_TRY(wrong(p, members[m].key, "a value", "none"));

cleanup:
    return status;
}

static enum llmq_status parse_tensor(struct parser *p, const struct json_token *key) {
    enum llmq_status status = LLMQ_OK;
    struct st_tensor t = {.shard = p->source->shard};
    char *name = NULL;
    LLMQ_TRY(take_text(p, key, &name));
    if (strcmp(name, ST_METADATA_KEY) == 0) {
        status = parse_metadata(p);
        goto cleanup;
    }
    p->tensor = name;
    LLMQ_TRY(parse_members(p, &t));
    if (p->table->count >= ST_MAX_TENSORS)
        LLMQ_TRY(error_set(p->err, LLMQ_E_UNSUPPORTED, "%s: more than %zu tensors", p->source->path,
                           ST_MAX_TENSORS));
    status = st_table_add(p->table, &t, name, p->err);
    name = NULL;

cleanup:
    p->tensor = NULL;
    free(name);
    return status;
}

static enum llmq_status parse_object(struct parser *p) {
    enum llmq_status status = LLMQ_OK;
    struct json_token token;
    LLMQ_TRY(expect(p, JSON_TOKEN_OBJECT_BEGIN, "top level", "an object"));
    for (;;) {
        LLMQ_TRY(next(p, &token));
        if (token.type == JSON_TOKEN_OBJECT_END)
            break;
        LLMQ_TRY(parse_tensor(p, &token));
    }
    LLMQ_TRY(next(p, &token)); /* whitespace only: the scanner refuses the rest */

cleanup:
    return status;
}

/* By begin, then end as the reference sorts; zero-size tensors at one place by name. */
static int compare_offsets(const void *a, const void *b) {
    const struct st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->nbytes != y->nbytes)
        return x->nbytes < y->nbytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

enum llmq_status st_tensor_bytes(enum dtype dtype, const uint64_t *shape, int rank, uint64_t *out,
                                 llmq_error *err) {
    uint64_t bits = 1;
    bool fits = true;
    for (int i = 0; i < rank && fits; i++)
        fits = checked_mul_u64(bits, shape[i], &bits);
    if (!fits || !checked_mul_u64(bits, dtype_bits(dtype), &bits))
        return error_set(err, LLMQ_E_ST_OVERFLOW,
                         "shape of %d dimensions and dtype %s: expected a size below 2^64 bits, "
                         "found a larger one",
                         rank, dtype_name(dtype));
    if (bits % 8 != 0)
        return error_set(err, LLMQ_E_ST_MISALIGNED,
                         "dtype %s: expected a multiple of 8 bits, found %" PRIu64,
                         dtype_name(dtype), bits);
    *out = bits / 8;
    return LLMQ_OK;
}

/* The tensor's data is [begin, nbytes) as parsed, and has to start at `expected_begin`. */
static enum llmq_status check_tensor(const struct st_header_source *source, struct st_tensor *t,
                                     uint64_t expected_begin, llmq_error *err) {
    const uint64_t end = t->nbytes;
    if (end < t->begin)
        return error_set(err, LLMQ_E_ST_OFFSET,
                         "%s: tensor '%.*s': expected data_offsets in order, found [%" PRIu64
                         ", %" PRIu64 "]",
                         source->path, SHOWN, t->name, t->begin, end);
    if (t->begin != expected_begin)
        return error_set(err, LLMQ_E_ST_OFFSET,
                         "%s: tensor '%.*s': expected its data at offset %" PRIu64
                         ", where the previous tensor ends, found %" PRIu64,
                         source->path, SHOWN, t->name, expected_begin, t->begin);
    uint64_t bytes = 0;
    enum llmq_status status = st_tensor_bytes(t->dtype, t->shape, t->rank, &bytes, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "%s: tensor '%.*s'", source->path, SHOWN, t->name);
    t->nbytes = end - t->begin;
    if (bytes != t->nbytes)
        return error_set(err, LLMQ_E_ST_TENSOR_SIZE,
                         "%s: tensor '%.*s': expected %" PRIu64
                         " bytes by dtype %s and shape, found %" PRIu64 " in data_offsets",
                         source->path, SHOWN, t->name, bytes, dtype_name(t->dtype), t->nbytes);
    return LLMQ_OK;
}

/* The tensors from `first` on tile the data without hole or overlap. Makes offsets absolute. */
static enum llmq_status check_tiling(const struct st_header_source *source, struct st_table *table,
                                     size_t first, llmq_error *err) {
    uint64_t end = 0;
    const uint64_t data = ST_LENGTH_BYTES + (uint64_t)source->len;
    if (table->count > first) /* qsort takes no NULL, not even for nothing */
        qsort(table->tensors + first, table->count - first, sizeof *table->tensors,
              compare_offsets);
    for (size_t i = first; i < table->count; i++) {
        struct st_tensor *t = &table->tensors[i];
        enum llmq_status status = check_tensor(source, t, end, err);
        if (status != LLMQ_OK)
            return status;
        end = t->begin + t->nbytes;
        t->begin += data;
    }
    if (end == source->data_bytes)
        return LLMQ_OK;
    error_set(err, LLMQ_E_ST_INCOMPLETE_BUFFER,
              "%s: %s%.*s%s: expected %" PRIu64 " bytes of data, found %" PRIu64, source->path,
              table->count > first ? "up to tensor '" : "no tensor", SHOWN,
              table->count > first ? table->tensors[table->count - 1].name : "",
              table->count > first ? "'" : "", end, source->data_bytes);
    if (source->data_bytes < end)
        error_hint(err, "the file is cut short: complete the download");
    return LLMQ_E_ST_INCOMPLETE_BUFFER;
}

enum llmq_status st_header_parse(const struct st_header_source *source, struct st_table *table,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const size_t first = table->count;
    const struct st_tensor *duplicate = NULL;
    struct parser p = {.source = source, .table = table, .err = err};
    if (!utf8_valid(source->text, source->len))
        LLMQ_TRY(error_set(err, LLMQ_E_ST_HEADER_UTF8,
                           "%s: expected a header of %zu bytes in UTF-8, found other bytes",
                           source->path, source->len));
    json_scan_init(&p.scan, source->text, source->len, JSON_MAX_DEPTH);
    LLMQ_TRY(parse_object(&p));
    LLMQ_TRY(st_table_index(table, first, &duplicate, err));
    if (duplicate)
        LLMQ_TRY(error_set(err, LLMQ_E_ST_DUPLICATE_TENSOR,
                           "%s: tensor '%.*s': expected one entry, found two", source->path, SHOWN,
                           duplicate->name));
    /* What is left: names that occur twice in the metadata, or among members that are skipped. */
    json_scan_init(&p.scan, source->text, source->len, JSON_MAX_DEPTH);
    LLMQ_TRY(scan_result(&p, json_check(&p.scan, err)));
    LLMQ_TRY(check_tiling(source, table, first, err));

cleanup:
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* A JSON string with the escapes that RFC 8259 demands and no others. */
static void put_string(struct strbuf *out, const char *text) {
    strbuf_puts(out, "\"");
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            strbuf_printf(out, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            strbuf_printf(out, "\\u%04x", (unsigned)*c);
        else
            strbuf_append(out, c, 1);
    }
    strbuf_puts(out, "\"");
}

static void put_entry(struct strbuf *out, const struct st_tensor *t) {
    put_string(out, t->name);
    strbuf_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        strbuf_printf(out, "%s%" PRIu64, i ? "," : "", t->shape[i]);
    strbuf_printf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->begin,
                  t->begin + t->nbytes);
}

void st_header_format(const struct st_tensor *tensors, size_t count, struct strbuf *out) {
    strbuf_puts(out, "{\"" ST_METADATA_KEY "\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < count; i++) {
        strbuf_puts(out, ",");
        put_entry(out, &tensors[i]);
    }
    strbuf_puts(out, "}");
    while (strbuf_ok(out) && (ST_LENGTH_BYTES + out->len) % 8 != 0)
        strbuf_puts(out, " ");
}
