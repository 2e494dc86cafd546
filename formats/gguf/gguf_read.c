/* SPDX-License-Identifier: Apache-2.0 */
/* Reading GGUF files. Of the metadata only alignment and architecture are kept; the rest is checked
 * and skipped. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "formats/gguf/gguf_cursor.h"
#include "formats/gguf/gguf_private.h"
#include "formats/safetensors/safetensors_set.h"

/* Bytes that the shortest pair and the shortest tensor info take. */
#define MIN_PAIR_BYTES 14
#define MIN_INFO_BYTES 33

/* A pair's key and where its value begins. */
struct pair {
    char *key;
    uint32_t type;
    uint64_t at;
};

struct parser {
    struct gguf_cursor c;
    uint64_t tensors, pairs; /* as the file counts them */
    struct pair *pair;       /* pair_count so far, sorted by key at the end */
    size_t pair_count;
    uint64_t alignment;
};

/* --- metadata --------------------------------------------------------------------------------- */

/* Bytes of a value of fixed size, 0 for strings and arrays. */
static const unsigned char value_bytes[GGUF_TYPES] = {
    [GGUF_UINT8] = 1,  [GGUF_INT8] = 1,  [GGUF_UINT16] = 2,  [GGUF_INT16] = 2,
    [GGUF_UINT32] = 4, [GGUF_INT32] = 4, [GGUF_FLOAT32] = 4, [GGUF_BOOL] = 1,
    [GGUF_UINT64] = 8, [GGUF_INT64] = 8, [GGUF_FLOAT64] = 8,
};

static enum llmq_status skip_string(struct parser *p, const char *key, llmq_error *err) {
    uint64_t len = 0;
    const enum llmq_status status = gguf_take_length(&p->c, key, &len, err);
    if (status == LLMQ_OK)
        p->c.at += len;
    return status;
}

static enum llmq_status skip_bools(struct parser *p, const char *key, uint64_t count,
                                   llmq_error *err) {
    unsigned char byte = 0;
    for (uint64_t i = 0; i < count; i++) {
        const enum llmq_status status = gguf_take(&p->c, key, &byte, 1, err);
        if (status != LLMQ_OK)
            return status;
        if (byte > 1)
            return error_set(err, LLMQ_E_INPUT,
                             "%s: key '%.200s': expected a BOOL of 0 or 1, "
                             "found %d",
                             p->c.f->path, key, byte);
    }
    return LLMQ_OK;
}

static enum llmq_status check_type(const struct parser *p, const char *key, uint32_t type,
                                   llmq_error *err) {
    if (type < GGUF_TYPES)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT,
                     "%s: key '%.200s': expected a value type below %d, found "
                     "%" PRIu32,
                     p->c.f->path, key, GGUF_TYPES, type);
}

/* `count` values of one type other than arrays. */
static enum llmq_status skip_values(struct parser *p, const char *key, uint32_t type,
                                    uint64_t count, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (type == GGUF_BOOL)
        return skip_bools(p, key, count, err);
    for (uint64_t i = 0; type == GGUF_STRING && i < count && status == LLMQ_OK; i++)
        status = skip_string(p, key, err);
    const uint64_t bytes = count * value_bytes[type]; /* count is at most 2^30 */
    if (bytes > gguf_left(&p->c))
        return gguf_too_short(&p->c, key, bytes, err);
    p->c.at += bytes;
    return status;
}

static enum llmq_status skip_array(struct parser *p, const char *key, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    uint32_t type = 0;
    uint64_t count = 0;
    LLMQ_TRY(gguf_take_u32(&p->c, key, &type, err));
    LLMQ_TRY(check_type(p, key, type, err));
    LLMQ_TRY(gguf_take_u64(&p->c, key, &count, err));
    if (type == GGUF_ARRAY)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: key '%.200s': expected no array within an array, found one",
                           p->c.f->path, key));
    if (count > GGUF_MAX_ELEMENTS)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: key '%.200s': expected an array of at most 2^30 elements, "
                           "found %" PRIu64,
                           p->c.f->path, key, count));
    LLMQ_TRY(skip_values(p, key, type, count, err));

cleanup:
    return status;
}

static enum llmq_status parse_pair(struct parser *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct pair *pair = &p->pair[p->pair_count];
    LLMQ_TRY(gguf_take_text(&p->c, "a metadata key", GGUF_MAX_KEY, &pair->key, err));
    p->pair_count++;
    LLMQ_TRY(gguf_take_u32(&p->c, pair->key, &pair->type, err));
    LLMQ_TRY(check_type(p, pair->key, pair->type, err));
    pair->at = p->c.at;
    if (pair->type == GGUF_ARRAY)
        LLMQ_TRY(skip_array(p, pair->key, err));
    else
        LLMQ_TRY(skip_values(p, pair->key, pair->type, 1, err));

cleanup:
    return status;
}

static int compare_pairs(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static enum llmq_status parse_pairs(struct parser *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    p->pair = calloc(p->pairs ? (size_t)p->pairs : 1, sizeof *p->pair);
    if (!p->pair)
        return error_memory(err, "the metadata of a GGUF file");
    for (uint64_t i = 0; i < p->pairs; i++)
        LLMQ_TRY(parse_pair(p, err));
    qsort(p->pair, p->pair_count, sizeof *p->pair, compare_pairs);
    for (size_t i = 1; i < p->pair_count; i++)
        if (strcmp(p->pair[i - 1].key, p->pair[i].key) == 0)
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                               "%s: key '%.200s': expected it once, found it "
                               "twice",
                               p->c.f->path, p->pair[i].key));

cleanup:
    return status;
}

/* A pair that must have a certain type if it is there; *out is NULL when it is not. */
static enum llmq_status find_pair(const struct parser *p, const char *key, uint32_t type,
                                  const struct pair **out, llmq_error *err) {
    const struct pair wanted = {.key = (char *)(uintptr_t)key};
    *out = bsearch(&wanted, p->pair, p->pair_count, sizeof *p->pair, compare_pairs);
    if (*out && (*out)->type != type)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: key '%.200s': expected a value of type %" PRIu32
                         ", found type %" PRIu32,
                         p->c.f->path, key, type, (*out)->type);
    return LLMQ_OK;
}

/* A UINT32, *value unchanged where there is none. */
static enum llmq_status find_u32(struct parser *p, const char *key, uint64_t *value,
                                 llmq_error *err) {
    const struct pair *pair = NULL;
    uint32_t found = 0;
    enum llmq_status status = find_pair(p, key, GGUF_UINT32, &pair, err);
    if (status != LLMQ_OK || !pair)
        return status;
    status = file_pread(p->c.f, &found, sizeof found, pair->at, err);
    *value = found;
    return status;
}

/* Keep the architecture's name with the set. */
static enum llmq_status keep_arch(struct parser *p, struct st_table *table, llmq_error *err) {
    const struct pair *arch = NULL;
    const uint64_t end = p->c.at;
    char *text = NULL;
    enum llmq_status status = find_pair(p, GGUF_KEY_ARCH, GGUF_STRING, &arch, err);
    if (status != LLMQ_OK || !arch)
        return status;
    p->c.at = arch->at;
    status = gguf_take_text(&p->c, GGUF_KEY_ARCH, GGUF_MAX_KEY, &text, err);
    p->c.at = end;
    if (status != LLMQ_OK)
        return status;
    char *key = strdup(GGUF_KEY_ARCH);
    if (!key) {
        free(text);
        return error_memory(err, "a key");
    }
    return st_table_add_metadata(table, key, text, err);
}

static enum llmq_status read_settings(struct parser *p, struct st_table *table, llmq_error *err) {
    enum llmq_status status = find_u32(p, GGUF_KEY_ALIGNMENT, &p->alignment, err);
    if (status != LLMQ_OK)
        return status;
    if (p->alignment == 0 || (p->alignment & (p->alignment - 1)) != 0)
        return error_set(err, LLMQ_E_INPUT,
                         "%s: key '" GGUF_KEY_ALIGNMENT
                         "': expected a power of two, found %" PRIu64,
                         p->c.f->path, p->alignment);
    return keep_arch(p, table, err);
}

/* --- tensors ---------------------------------------------------------------------------------- */

static enum llmq_status parse_shape(struct parser *p, const char *name, struct st_tensor *t,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    uint32_t rank = 0;
    uint64_t ne[GGUF_MAX_RANK] = {0}, elements = 1;
    LLMQ_TRY(gguf_take_u32(&p->c, "a number of dimensions", &rank, err));
    if (rank < 1 || rank > GGUF_MAX_RANK)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: tensor '%s': expected 1 to %d dimensions, found %" PRIu32,
                           p->c.f->path, name, GGUF_MAX_RANK, rank));
    for (uint32_t d = 0; d < rank; d++) {
        LLMQ_TRY(gguf_take_u64(&p->c, "a dimension", &ne[d], err));
        if (ne[d] == 0 || ne[d] > INT64_MAX)
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                               "%s: tensor '%s': expected positive dimensions, found %" PRId64,
                               p->c.f->path, name, (int64_t)ne[d]));
        if (!checked_mul_u64(elements, ne[d], &elements) || elements > INT64_MAX)
            LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                               "%s: tensor '%s': expected fewer than 2^63 elements, found more",
                               p->c.f->path, name));
    }
    t->rank = (int)rank;
    for (uint32_t d = 0; d < rank; d++)
        t->shape[d] = ne[rank - 1 - d];

cleanup:
    return status;
}

static enum llmq_status parse_dtype(struct parser *p, const char *name, struct st_tensor *t,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    uint32_t type = 0;
    uint64_t elements = 1;
    LLMQ_TRY(gguf_take_u32(&p->c, "a tensor type", &type, err));
    if (!gguf_dtype_of(type, &t->dtype))
        LLMQ_TRY(error_set(err, LLMQ_E_UNSUPPORTED,
                           "%s: tensor '%s': expected F32, F16, BF16, Q4_0, Q4_1 or Q8_0, found "
                           "type number %" PRIu32,
                           p->c.f->path, name, type));
    for (int d = 0; d < t->rank; d++)
        elements *= t->shape[d];
    if (t->shape[t->rank - 1] % dtype_block(t->dtype) != 0)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: tensor '%s': expected rows of whole blocks of %u elements for %s, "
                           "found %" PRIu64,
                           p->c.f->path, name, dtype_block(t->dtype), dtype_name(t->dtype),
                           t->shape[t->rank - 1]));
    if (!dtype_bytes(t->dtype, elements, &t->nbytes))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: tensor '%s': expected a size below 2^64 bits, found a larger one",
                           p->c.f->path, name));

cleanup:
    return status;
}

/* Append the next tensor, whose data has to begin at *end of the data section. */
static enum llmq_status parse_tensor(struct parser *p, struct st_table *table, uint64_t *end,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct st_tensor t = {0};
    char *name = NULL;
    LLMQ_TRY(gguf_take_text(&p->c, "a tensor's name", GGUF_NAME_MAX - 1, &name, err));
    LLMQ_TRY(parse_shape(p, name, &t, err));
    LLMQ_TRY(parse_dtype(p, name, &t, err));
    LLMQ_TRY(gguf_take_u64(&p->c, "a tensor's offset", &t.begin, err));
    if (t.begin != *end)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: tensor '%s': expected its data at offset %" PRIu64
                           ", after the tensor before it, found %" PRIu64,
                           p->c.f->path, name, *end, t.begin));
    if (!checked_add_u64(*end, t.nbytes, end) || !checked_add_u64(*end, p->alignment - 1, end))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: tensor '%s': expected an end below 2^64, found a later one",
                           p->c.f->path, name));
    *end &= ~(p->alignment - 1);
    char *ours = gguf_name_in(name, t.dtype);
    status = ours ? st_table_add(table, &t, ours, err) : error_memory(err, "tensor names");

cleanup:
    free(name);
    return status;
}

/* The table of tensors, then the data section, which ends where the file does. */
static enum llmq_status parse_tensors(struct parser *p, struct st_table *table, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    uint64_t end = 0, data = 0;
    for (uint64_t i = 0; i < p->tensors; i++)
        LLMQ_TRY(parse_tensor(p, table, &end, err));
    if (!checked_add_u64(p->c.at, p->alignment - 1, &data))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT, "%s: expected data below byte 2^64", p->c.f->path));
    data &= ~(p->alignment - 1);
    if (p->tensors > 0 && (data > p->c.f->size || end != p->c.f->size - data))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected %" PRIu64 " bytes of data from byte %" PRIu64
                           " to the end, found a file of %" PRIu64 " bytes",
                           p->c.f->path, end, data, p->c.f->size));
    for (size_t i = 0; i < table->count; i++)
        table->tensors[i].begin += data;

cleanup:
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum llmq_status parse_counts(struct parser *p, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char magic[4] = "";
    uint32_t version = 0;
    LLMQ_TRY(gguf_take(&p->c, "the magic", magic, sizeof magic, err));
    if (memcmp(magic, GGUF_MAGIC, sizeof magic) != 0)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected a file that begins with " GGUF_MAGIC ", found another",
                           p->c.f->path));
    LLMQ_TRY(gguf_take_u32(&p->c, "the version", &version, err));
    if (version != 2 && version != GGUF_VERSION)
        LLMQ_TRY(error_set(err, LLMQ_E_UNSUPPORTED,
                           "%s: expected version 2 or %d of GGUF, found %" PRIu32, p->c.f->path,
                           GGUF_VERSION, version));
    LLMQ_TRY(gguf_take_u64(&p->c, "the number of tensors", &p->tensors, err));
    LLMQ_TRY(gguf_take_u64(&p->c, "the number of metadata pairs", &p->pairs, err));
    if (p->tensors > gguf_left(&p->c) / MIN_INFO_BYTES || p->tensors > GGUF_MAX_TENSORS)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected fewer tensors in %" PRIu64 " bytes, found a count of "
                           "%" PRId64,
                           p->c.f->path, p->c.f->size, (int64_t)p->tensors));
    if (p->pairs > gguf_left(&p->c) / MIN_PAIR_BYTES || p->pairs > GGUF_MAX_PAIRS)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected fewer metadata pairs in %" PRIu64 " bytes, found a count "
                           "of %" PRId64,
                           p->c.f->path, p->c.f->size, (int64_t)p->pairs));

cleanup:
    return status;
}

static enum llmq_status parse(const struct file *f, struct st_table *table, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct parser p = {.c = {.f = f}, .alignment = GGUF_ALIGNMENT};
    p.c.buffer = malloc(GGUF_BUFFER_BYTES);
    if (!p.c.buffer)
        return error_memory(err, "a GGUF file's head");
    LLMQ_TRY(parse_counts(&p, err));
    LLMQ_TRY(parse_pairs(&p, err));
    LLMQ_TRY(read_settings(&p, table, err));
    LLMQ_TRY(parse_tensors(&p, table, err));

cleanup:
    for (size_t i = 0; i < p.pair_count; i++)
        free(p.pair[i].key);
    free(p.pair);
    free(p.c.buffer);
    return status;
}

enum llmq_status gguf_open_file(const char *path, struct st_set **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct st_tensor *duplicate = NULL;
    *out = NULL;
    LLMQ_TRY(st_set_create(1, out, err));
    LLMQ_TRY(st_set_open_file(*out, path, err));
    LLMQ_TRY(parse(&(*out)->files[0], &(*out)->table, err));
    LLMQ_TRY(st_table_index(&(*out)->table, 0, &duplicate, err));
    if (duplicate)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: tensor '%.200s': expected it once, found it twice", path,
                           duplicate->name));

cleanup:
    if (status != LLMQ_OK)
        st_close(out);
    return status;
}
