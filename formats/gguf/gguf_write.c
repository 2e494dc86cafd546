/* Writing GGUF files: metadata pairs are collected as the bytes they will be, and the head of the
 * file, metadata and table of tensors, is final when the file is created. From then on a writer of
 * safetensors.h fills in the data. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "formats/gguf/gguf_private.h"
#include "formats/safetensors/safetensors_set.h"

/* --- metadata --------------------------------------------------------------------------------- */

static void put_bytes(struct strbuf *b, const void *data, size_t len) {
    if (len > 0)
        strbuf_append(b, data, len);
}

static void put_u32(struct strbuf *b, uint32_t value) {
    put_bytes(b, &value, sizeof value);
}

static void put_u64(struct strbuf *b, uint64_t value) {
    put_bytes(b, &value, sizeof value);
}

static void put_text(struct strbuf *b, const char *text) {
    put_u64(b, strlen(text));
    put_bytes(b, text, strlen(text));
}

/* Key and type of the next pair. */
static void put_key(struct gguf_metadata *m, const char *key, enum gguf_type type) {
    const size_t prefix = key[0] == '.' ? strlen(m->arch) : 0;
    put_u64(&m->pairs, prefix + strlen(key));
    put_bytes(&m->pairs, m->arch, prefix);
    put_bytes(&m->pairs, key, strlen(key));
    put_u32(&m->pairs, (uint32_t)type);
    m->count++;
}

static void put_array(struct gguf_metadata *m, const char *key, enum gguf_type type, size_t count) {
    put_key(m, key, GGUF_ARRAY);
    put_u32(&m->pairs, (uint32_t)type);
    put_u64(&m->pairs, count);
}

void gguf_metadata_begin(struct gguf_metadata *m, const char *arch, uint32_t heads,
                         uint32_t kv_heads) {
    *m = (struct gguf_metadata){.arch = arch, .heads = heads, .kv_heads = kv_heads};
    gguf_put_string(m, GGUF_KEY_ARCH, arch);
    gguf_put_u32(m, GGUF_KEY_HEADS, heads);
    gguf_put_u32(m, GGUF_KEY_KV_HEADS, kv_heads);
}

void gguf_put_u32(struct gguf_metadata *m, const char *key, uint32_t value) {
    put_key(m, key, GGUF_UINT32);
    put_u32(&m->pairs, value);
}

void gguf_put_f32(struct gguf_metadata *m, const char *key, double value) {
    const float narrow = (float)value;
    put_key(m, key, GGUF_FLOAT32);
    put_bytes(&m->pairs, &narrow, sizeof narrow);
}

void gguf_put_bool(struct gguf_metadata *m, const char *key, bool value) {
    const unsigned char byte = value;
    put_key(m, key, GGUF_BOOL);
    put_bytes(&m->pairs, &byte, 1);
}

void gguf_put_string(struct gguf_metadata *m, const char *key, const char *value) {
    put_key(m, key, GGUF_STRING);
    put_text(&m->pairs, value);
}

void gguf_put_strings(struct gguf_metadata *m, const char *key, const char *const *values,
                      size_t count) {
    put_array(m, key, GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        put_text(&m->pairs, values[i]);
}

void gguf_put_f32s(struct gguf_metadata *m, const char *key, const float *values, size_t count) {
    put_array(m, key, GGUF_FLOAT32, count);
    put_bytes(&m->pairs, values, count * sizeof *values);
}

void gguf_put_i32s(struct gguf_metadata *m, const char *key, const int32_t *values, size_t count) {
    put_array(m, key, GGUF_INT32, count);
    put_bytes(&m->pairs, values, count * sizeof *values);
}

void gguf_metadata_free(struct gguf_metadata *m) {
    strbuf_free(&m->pairs);
    *m = (struct gguf_metadata){0};
}

/* --- tensors ---------------------------------------------------------------------------------- */

static uint64_t heads_of(const struct gguf_metadata *m, const char *name) {
    const enum gguf_rows rows = gguf_interleaves(m->arch) ? gguf_rows_of(name) : GGUF_ROWS_IN_ORDER;
    return rows == GGUF_ROWS_OF_HEADS ? m->heads : rows == GGUF_ROWS_OF_KV_HEADS ? m->kv_heads : 0;
}

static enum llmq_status plan_tensor(struct st_writer *w, const struct st_spec *spec,
                                    const struct gguf_metadata *m, llmq_error *err) {
    struct st_tensor t = {.dtype = spec->dtype, .rank = spec->rank, .begin = w->data_bytes};
    uint64_t elements = 1, padded = 0;
    if (!gguf_has_name(spec->name) || gguf_type_of(spec->dtype) < 0)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': GGUF files of %s models have no place for it as %s",
                         spec->name, m->arch, dtype_name(spec->dtype));
    if (spec->rank < 1 || spec->rank > GGUF_MAX_RANK)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': expected 1 to %d dimensions for GGUF, found %d",
                         spec->name, GGUF_MAX_RANK, spec->rank);
    for (int d = 0; d < spec->rank; d++) {
        t.shape[d] = spec->shape[d];
        if (t.shape[d] == 0 || !checked_mul_u64(elements, t.shape[d], &elements))
            elements = 0;
    }
    if (elements == 0 || elements > INT64_MAX ||
        t.shape[spec->rank - 1] % dtype_block(spec->dtype) != 0 ||
        !dtype_bytes(spec->dtype, elements, &t.nbytes) ||
        !checked_add_u64(t.nbytes, GGUF_ALIGNMENT - 1, &padded) ||
        !checked_add_u64(w->data_bytes, padded & ~(uint64_t)(GGUF_ALIGNMENT - 1), &w->data_bytes))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': expected a size that GGUF can express as %s, found "
                         "another",
                         spec->name, dtype_name(spec->dtype));
    t.heads = heads_of(m, spec->name);
    if (t.heads > 0 && t.shape[0] % (2 * t.heads) != 0)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': expected %" PRIu64
                         " heads of an even width, found %" PRIu64 " rows",
                         spec->name, t.heads, t.shape[0]);
    char *name = strdup(spec->name);
    if (!name)
        return error_memory(err, "tensor names");
    return st_table_add(&w->table, &t, name, err);
}

static void put_info(struct strbuf *b, const struct st_tensor *t) {
    char name[GGUF_MAX_NAME + 1] = "";
    (void)gguf_name_of(t->name, name); /* it had one when planned */
    put_text(b, name);
    put_u32(b, (uint32_t)t->rank);
    for (int d = t->rank; d-- > 0;) /* fastest first */
        put_u64(b, t->shape[d]);
    put_u32(b, (uint32_t)gguf_type_of(t->dtype));
    put_u64(b, t->begin);
}

/* Everything before the data. */
static void format_head(const struct st_writer *w, const struct gguf_metadata *m,
                        struct strbuf *b) {
    static const char zeros[GGUF_ALIGNMENT] = "";
    put_bytes(b, GGUF_MAGIC, 4);
    put_u32(b, GGUF_VERSION);
    put_u64(b, w->table.count);
    put_u64(b, m->count);
    put_bytes(b, m->pairs.data, m->pairs.len);
    for (size_t i = 0; i < w->table.count; i++)
        put_info(b, &w->table.tensors[i]);
    put_bytes(b, zeros, (GGUF_ALIGNMENT - b->len % GGUF_ALIGNMENT) % GGUF_ALIGNMENT);
}

/* --- the interface ---------------------------------------------------------------------------- */

/* What create and reopen share. */
struct request {
    const char *dir;
    const struct st_spec *specs;
    size_t count;
    const struct gguf_metadata *metadata;
    bool reopen;
};

static enum llmq_status open_writer(const struct request *r, struct st_writer **out,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct st_writer *w = NULL;
    struct strbuf head = {0};
    const struct st_tensor *duplicate = NULL;
    *out = NULL;
    if (!strbuf_ok(&r->metadata->pairs))
        return error_memory(err, "the metadata of a GGUF file");
    LLMQ_TRY(st_writer_alloc(r->dir, r->reopen, &w, err));
    for (size_t i = 0; i < r->count; i++)
        LLMQ_TRY(plan_tensor(w, &r->specs[i], r->metadata, err));
    LLMQ_TRY(st_table_index(&w->table, 0, &duplicate, err));
    if (duplicate)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "tensor '%.200s': expected it once in the plan, found it twice",
                           duplicate->name));
    LLMQ_TRY(st_writer_make_room(w, err));
    format_head(w, r->metadata, &head);
    LLMQ_TRY(st_writer_add_file(w, GGUF_FILE_NAME, &head, w->data_bytes, err));
    for (size_t i = 0; i < w->table.count; i++)
        w->table.tensors[i].begin += head.len;
    *out = w;
    w = NULL;

cleanup:
    strbuf_free(&head);
    st_writer_abort(&w);
    return status;
}

enum llmq_status gguf_writer_create(const char *dir, const struct st_spec *specs, size_t count,
                                    const struct gguf_metadata *metadata, struct st_writer **out,
                                    llmq_error *err) {
    const struct request r = {dir, specs, count, metadata, false};
    return open_writer(&r, out, err);
}

enum llmq_status gguf_writer_reopen(const char *dir, const struct st_spec *specs, size_t count,
                                    const struct gguf_metadata *metadata, struct st_writer **out,
                                    llmq_error *err) {
    const struct request r = {dir, specs, count, metadata, true};
    return open_writer(&r, out, err);
}
