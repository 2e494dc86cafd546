/* SPDX-License-Identifier: Apache-2.0 */
/* Writing GGUF files: metadata pairs are collected as the bytes they will be, and the head of the
 * file, metadata and table of tensors, is final when the file is created. From then on a writer of
 * safetensors.h fills in the data. */
#include <inttypes.h>
#include <stdlib.h>
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

void gguf_metadata_begin(struct gguf_metadata *m, const char *arch) {
    *m = (struct gguf_metadata){.arch = arch};
    gguf_put_string(m, GGUF_KEY_ARCH, arch);
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

/* A tensor of the file, which may be that of several specs. */
struct entry {
    const struct gguf_place *place; /* of the first */
    struct st_tensor t;             /* as the file has it; its data begins at t.begin there */
    uint64_t parts_seen;
};

struct file_plan {
    struct entry *entry; /* entry_count in the order of their data */
    size_t entry_count;
    struct strbuf head;
};

static enum llmq_status refuse(const struct st_spec *spec, llmq_error *err, const char *expected) {
    return error_set(err, LLMQ_E_UNSUPPORTED, "tensor '%.200s': expected %s", spec->name, expected);
}

/* Its bytes, and room for all parts of it at the end of the data. */
static enum llmq_status measure(struct st_writer *w, const struct st_spec *spec, uint64_t parts,
                                struct st_tensor *t, llmq_error *err) {
    uint64_t elements = 1, all = 0, padded = 0;
    for (int d = 0; d < spec->rank; d++)
        if (spec->shape[d] == 0 || !checked_mul_u64(elements, spec->shape[d], &elements))
            elements = 0;
    if (elements == 0 || elements > INT64_MAX ||
        spec->shape[spec->rank - 1] % dtype_block(spec->dtype) != 0 ||
        !dtype_bytes(spec->dtype, elements, &t->nbytes) ||
        !checked_mul_u64(t->nbytes, parts ? parts : 1, &all) ||
        !checked_add_u64(all, GGUF_ALIGNMENT - 1, &padded) ||
        !checked_add_u64(w->data_bytes, padded & ~(uint64_t)(GGUF_ALIGNMENT - 1), &w->data_bytes))
        return refuse(spec, err, "a size that GGUF can express, found another");
    return LLMQ_OK;
}

/* The tensor as this side has it, without a place yet. */
static enum llmq_status describe(const struct st_spec *spec, const struct gguf_place *place,
                                 const struct gguf_metadata *m, struct st_tensor *t,
                                 llmq_error *err) {
    const int rank = spec->rank + (place->parts > 0);
    if (gguf_type_of(spec->dtype) < 0)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': GGUF files of %s models have no place for it as %s",
                         spec->name, m->arch, dtype_name(spec->dtype));
    if (spec->rank < 1 || rank > GGUF_MAX_RANK)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': expected 1 to %d dimensions for GGUF, found %d",
                         spec->name, GGUF_MAX_RANK, rank);
    *t = (struct st_tensor){.dtype = spec->dtype, .rank = spec->rank, .heads = place->heads};
    t->plus_one = place->plus_one;
    memcpy(t->shape, spec->shape, (size_t)spec->rank * sizeof *t->shape);
    llmq_error why = {0};
    if (st_check_heads(t, &why) == LLMQ_OK)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_UNSUPPORTED, "tensor '%.200s': %s", spec->name, why.message);
}

/* The entry of a place; the parts of one mostly follow one another. NULL: there is none yet. */
static struct entry *find_entry(const struct file_plan *f, const struct gguf_place *place) {
    for (size_t i = f->entry_count; place->parts > 0 && i-- > 0;)
        if (strcmp(f->entry[i].place->name, place->name) == 0)
            return &f->entry[i];
    return NULL;
}

static enum llmq_status add_entry(struct st_writer *w, const struct st_spec *spec,
                                  const struct gguf_place *place, struct st_tensor *t,
                                  struct file_plan *f, llmq_error *err) {
    struct entry *e = &f->entry[f->entry_count];
    t->begin = w->data_bytes;
    enum llmq_status status = measure(w, spec, place->parts, t, err);
    if (status != LLMQ_OK)
        return status;
    *e = (struct entry){.place = place, .t = *t, .parts_seen = place->parts > 0};
    if (place->parts > 0) {
        memmove(e->t.shape + 1, e->t.shape, (size_t)t->rank * sizeof *t->shape);
        e->t.shape[0] = place->parts;
        e->t.rank++;
    }
    f->entry_count++;
    return LLMQ_OK;
}

/* Another part of an entry. */
static enum llmq_status join_entry(const struct st_spec *spec, const struct gguf_place *place,
                                   struct entry *e, struct st_tensor *t, llmq_error *err) {
    t->nbytes = e->t.nbytes;
    t->begin = e->t.begin;
    e->parts_seen++;
    if (e->place->parts != place->parts || e->t.dtype != t->dtype || e->t.rank != t->rank + 1 ||
        memcmp(e->t.shape + 1, t->shape, (size_t)t->rank * sizeof *t->shape) != 0)
        return refuse(spec, err, "the type and shape that the other experts' have, found another");
    return LLMQ_OK;
}

static enum llmq_status plan_tensor(struct st_writer *w, const struct gguf_plan *p, size_t index,
                                    struct file_plan *f, llmq_error *err) {
    const struct st_spec *spec = &p->specs[index];
    const struct gguf_place *place = &p->places[index];
    struct entry *e = find_entry(f, place);
    struct st_tensor t;
    enum llmq_status status = describe(spec, place, p->metadata, &t, err);
    if (status == LLMQ_OK)
        status = e ? join_entry(spec, place, e, &t, err) : add_entry(w, spec, place, &t, f, err);
    if (status != LLMQ_OK)
        return status;
    t.begin += place->part * t.nbytes;
    char *name = strdup(spec->name);
    return name ? st_table_add(&w->table, &t, name, err) : error_memory(err, "tensor names");
}

static enum llmq_status plan_tensors(struct st_writer *w, const struct gguf_plan *p,
                                     struct file_plan *f, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    f->entry = calloc(p->count ? p->count : 1, sizeof *f->entry);
    if (!f->entry)
        return error_memory(err, "the plan of a GGUF file");
    for (size_t i = 0; status == LLMQ_OK && i < p->count; i++)
        status = plan_tensor(w, p, i, f, err);
    for (size_t i = 0; status == LLMQ_OK && i < f->entry_count; i++)
        if (f->entry[i].parts_seen != f->entry[i].place->parts)
            status = error_set(err, LLMQ_E_UNSUPPORTED,
                               "%s: expected %" PRIu64 " experts alike, found %" PRIu64
                               ": GGUF files hold all of them in one tensor",
                               f->entry[i].place->name, f->entry[i].place->parts,
                               f->entry[i].parts_seen);
    return status;
}

static enum llmq_status put_info(struct strbuf *b, const struct entry *e, llmq_error *err) {
    char *name = gguf_name_out(e->place->name);
    if (!name)
        return error_memory(err, "tensor names");
    put_text(b, name);
    free(name);
    put_u32(b, (uint32_t)e->t.rank);
    for (int d = e->t.rank; d-- > 0;) /* fastest first */
        put_u64(b, e->t.shape[d]);
    put_u32(b, (uint32_t)gguf_type_of(e->t.dtype));
    put_u64(b, e->t.begin);
    return LLMQ_OK;
}

/* Everything before the data. */
static enum llmq_status format_head(const struct gguf_metadata *m, struct file_plan *f,
                                    llmq_error *err) {
    static const char zeros[GGUF_ALIGNMENT] = "";
    struct strbuf *b = &f->head;
    enum llmq_status status = LLMQ_OK;
    put_bytes(b, GGUF_MAGIC, 4);
    put_u32(b, GGUF_VERSION);
    put_u64(b, f->entry_count);
    put_u64(b, m->count);
    put_bytes(b, m->pairs.data, m->pairs.len);
    for (size_t i = 0; status == LLMQ_OK && i < f->entry_count; i++)
        status = put_info(b, &f->entry[i], err);
    put_bytes(b, zeros, (GGUF_ALIGNMENT - b->len % GGUF_ALIGNMENT) % GGUF_ALIGNMENT);
    return status;
}

/* --- the interface ---------------------------------------------------------------------------- */

static enum llmq_status open_writer(const char *dir, const struct gguf_plan *p, bool reopen,
                                    struct st_writer **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct st_writer *w = NULL;
    struct file_plan f = {0};
    const struct st_tensor *duplicate = NULL;
    *out = NULL;
    if (!strbuf_ok(&p->metadata->pairs))
        return error_memory(err, "the metadata of a GGUF file");
    LLMQ_TRY(st_writer_alloc(dir, reopen, &w, err));
    LLMQ_TRY(plan_tensors(w, p, &f, err));
    LLMQ_TRY(st_table_index(&w->table, 0, &duplicate, err));
    if (duplicate)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "tensor '%.200s': expected it once in the plan, found it twice",
                           duplicate->name));
    LLMQ_TRY(st_writer_make_room(w, err));
    LLMQ_TRY(format_head(p->metadata, &f, err));
    LLMQ_TRY(st_writer_add_file(w, GGUF_FILE_NAME, &f.head, w->data_bytes, err));
    for (size_t i = 0; i < w->table.count; i++)
        w->table.tensors[i].begin += f.head.len;
    *out = w;
    w = NULL;

cleanup:
    free(f.entry);
    strbuf_free(&f.head);
    st_writer_abort(&w);
    return status;
}

enum llmq_status gguf_writer_create(const char *dir, const struct gguf_plan *plan,
                                    struct st_writer **out, llmq_error *err) {
    return open_writer(dir, plan, false, out, err);
}

enum llmq_status gguf_writer_reopen(const char *dir, const struct gguf_plan *plan,
                                    struct st_writer **out, llmq_error *err) {
    return open_writer(dir, plan, true, out, err);
}
