/* SPDX-License-Identifier: Apache-2.0 */
/* Writing safetensors: every tensor is planned first, data is filled in later in any order.
 *
 * The plan decides shards and offsets from the specs alone, so headers are final when files are
 * created and a run that was killed finds its own plan again: reopening compares the headers on
 * disk with the plan, byte for byte. Inside a shard tensors lie by dtype, widest alignment first,
 * then by name: the only order that aligns every tensor, since the container allows no padding. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "formats/safetensors/safetensors_set.h"

void st_shard_name(int index, int total, char out[ST_MAX_SHARD_NAME]) {
    if (total == 1)
        (void)snprintf(out, ST_MAX_SHARD_NAME, "%s", ST_SINGLE_FILE);
    else
        (void)snprintf(out, ST_MAX_SHARD_NAME, "model-%05d-of-%05d.safetensors", index + 1, total);
}

/* --- the plan --------------------------------------------------------------------------------- */

static enum llmq_status plan_tensor(struct st_writer *w, const struct st_spec *spec,
                                    llmq_error *err) {
    struct st_tensor t = {.dtype = spec->dtype, .rank = spec->rank};
    if (strcmp(spec->name, ST_METADATA_KEY) == 0 || strlen(spec->name) > ST_MAX_NAME ||
        !utf8_valid(spec->name, strlen(spec->name)))
        return error_set(err, LLMQ_E_INPUT,
                         "tensor '%.200s': expected a name in UTF-8 of at most %d bytes other "
                         "than " ST_METADATA_KEY,
                         spec->name, ST_MAX_NAME);
    if (spec->rank < 0 || spec->rank > ST_MAX_RANK)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "tensor '%.200s': expected at most %d dimensions, found %d", spec->name,
                         ST_MAX_RANK, spec->rank);
    enum llmq_status status = st_tensor_bytes(spec->dtype, spec->shape, spec->rank, &t.nbytes, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "tensor '%.200s'", spec->name);
    memcpy(t.shape, spec->shape, (size_t)spec->rank * sizeof t.shape[0]);
    char *name = strdup(spec->name);
    if (!name)
        return error_memory(err, "tensor names");
    return st_table_add(&w->table, &t, name, err);
}

static int compare_within_shard(const void *a, const void *b) {
    const struct st_tensor *x = a, *y = b;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    if (x->dtype != y->dtype)
        return x->dtype < y->dtype ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Cut shards in the order of the specs. */
static enum llmq_status plan_shards(struct st_writer *w, uint64_t limit, llmq_error *err) {
    uint64_t in_shard = 0;
    int shard = 0;
    for (size_t i = 0; i < w->table.count; i++) {
        struct st_tensor *t = &w->table.tensors[i];
        /* After a tensor larger than the limit, limit - in_shard would wrap. */
        if (in_shard > 0 && (in_shard > limit || t->nbytes > limit - in_shard)) {
            if (shard == INT_MAX - 1)
                return error_set(err, LLMQ_E_UNSUPPORTED, "expected fewer than 2^31 shards");
            shard++;
            in_shard = 0;
        }
        t->shard = shard;
        in_shard += t->nbytes;
        if (!checked_add_u64(w->data_bytes, t->nbytes, &w->data_bytes) || w->data_bytes > INT64_MAX)
            return error_set(err, LLMQ_E_ST_OVERFLOW,
                             "tensor '%.200s': expected at most 2^63 bytes of tensors in all, "
                             "found more",
                             t->name);
    }
    w->shard_count = shard + 1;
    return LLMQ_OK;
}

/* Order tensors and give each its offset within its shard's data. */
static void plan_offsets(struct st_writer *w) {
    uint64_t offset = 0;
    if (w->table.count > 0) /* qsort takes no NULL, not even for nothing */
        qsort(w->table.tensors, w->table.count, sizeof *w->table.tensors, compare_within_shard);
    for (size_t i = 0; i < w->table.count; i++) {
        struct st_tensor *t = &w->table.tensors[i];
        if (i > 0 && t->shard != t[-1].shard)
            offset = 0;
        t->begin = offset;
        offset += t->nbytes;
    }
}

static enum llmq_status plan(struct st_writer *w, const struct st_spec *specs, size_t count,
                             uint64_t limit, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct st_tensor *duplicate = NULL;
    for (size_t i = 0; i < count; i++)
        LLMQ_TRY(plan_tensor(w, &specs[i], err));
    LLMQ_TRY(plan_shards(w, limit, err));
    plan_offsets(w);
    LLMQ_TRY(st_table_index(&w->table, 0, &duplicate, err));
    if (duplicate)
        LLMQ_TRY(error_set(err, LLMQ_E_ST_DUPLICATE_TENSOR,
                           "tensor '%.200s': expected it once in the plan, found it twice",
                           duplicate->name));
    LLMQ_TRY(st_writer_make_room(w, err));

cleanup:
    return status;
}

/* --- files ------------------------------------------------------------------------------------ */

static enum llmq_status create_file(struct file *f, const char *path, const struct strbuf *head,
                                    uint64_t data_bytes, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(file_create(path, head->len + data_bytes, f, err));
    LLMQ_TRY(file_pwrite(f, head->data, head->len, 0, err));

cleanup:
    return status;
}

static enum llmq_status reopen_file(struct file *f, const char *path, const struct strbuf *head,
                                    uint64_t data_bytes, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const uint64_t size = head->len + data_bytes;
    char *found = NULL;
    LLMQ_TRY(file_open_update(path, f, err));
    if (f->size != size)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected a file of %" PRIu64 " bytes, found %" PRIu64, path, size,
                           f->size));
    found = malloc(head->len);
    if (!found)
        LLMQ_TRY(error_memory(err, "a file's header"));
    LLMQ_TRY(file_pread(f, found, head->len, 0, err));
    if (memcmp(found, head->data, head->len) != 0)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: expected the header of this plan, found another one", path));

cleanup:
    free(found);
    return status;
}

enum llmq_status st_writer_add_file(struct st_writer *w, const char *name,
                                    const struct strbuf *head, uint64_t data_bytes,
                                    llmq_error *err) {
    if (!strbuf_ok(head))
        return error_memory(err, "a file's header");
    char *path = path_join(w->dir, name, err);
    if (!path)
        return LLMQ_E_MEMORY;
    struct file *f = &w->files[w->file_count++]; /* counted also when opening fails half-way */
    enum llmq_status status =
        (w->reopened ? reopen_file : create_file)(f, path, head, data_bytes, err);
    free(path);
    return status;
}

/* A file up to its data: the header's length, then the header. */
static enum llmq_status format_head(const struct st_tensor *tensors, size_t count,
                                    struct strbuf *head, llmq_error *err) {
    uint64_t length = 0;
    strbuf_append(head, (const char *)&length, sizeof length);
    st_header_format(tensors, count, head);
    if (!strbuf_ok(head))
        return error_memory(err, "a safetensors header");
    length = head->len - sizeof length;
    memcpy(head->data, &length, sizeof length);
    if (length > ST_MAX_HEADER)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "expected a header of at most %u bytes, planned %" PRIu64, ST_MAX_HEADER,
                         length);
    return LLMQ_OK;
}

/* Open the shard that starts at tensor `first`; *next is the first tensor of the following one.
 * Offsets become absolute. */
static enum llmq_status open_shard(struct st_writer *w, int shard, size_t first, size_t *next,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct strbuf head = {0};
    struct st_tensor *tensors = w->table.tensors + first;
    size_t count = 0;
    uint64_t bytes = 0;
    char name[ST_MAX_SHARD_NAME];
    st_shard_name(shard, w->shard_count, name);
    while (first + count < w->table.count && tensors[count].shard == shard)
        bytes += tensors[count++].nbytes;
    status = format_head(tensors, count, &head, err);
    if (status != LLMQ_OK)
        LLMQ_TRY(error_prefix(err, status, "%s/%s", w->dir, name));
    LLMQ_TRY(st_writer_add_file(w, name, &head, bytes, err));
    for (size_t i = 0; i < count; i++)
        tensors[i].begin += head.len;
    *next = first + count;

cleanup:
    strbuf_free(&head);
    return status;
}

/* model.safetensors.index.json, tensors by name. */
static enum llmq_status write_index(const struct st_writer *w, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char name[ST_MAX_SHARD_NAME];
    char *text = NULL, *path = NULL;
    struct json *root = json_new_object(), *metadata = json_new_object(), *map = json_new_object();
    json_add_int64(metadata, "total_size", (int64_t)w->data_bytes);
    for (size_t i = 0; i < w->table.count; i++) {
        st_shard_name(w->table.by_name[i]->shard, w->shard_count, name);
        json_add_string(map, w->table.by_name[i]->name, name);
    }
    json_add(root, "metadata", metadata);
    json_add(root, "weight_map", map);
    text = json_print(root, true);
    if (!text)
        LLMQ_TRY(error_memory(err, ST_INDEX_FILE));
    path = path_join(w->dir, ST_INDEX_FILE, err);
    if (!path)
        LLMQ_TRY(LLMQ_E_MEMORY);
    LLMQ_TRY(file_write_atomic(path, text, strlen(text), err));

cleanup:
    json_free(&root);
    free(text);
    free(path);
    return status;
}

/* --- the interface ---------------------------------------------------------------------------- */

enum llmq_status st_writer_alloc(const char *dir, bool reopen, struct st_writer **out,
                                 llmq_error *err) {
    struct st_writer *w = calloc(1, sizeof *w);
    *out = w;
    if (w)
        w->dir = strdup(dir);
    if (!w || !w->dir)
        return error_memory(err, "a writer");
    w->reopened = reopen;
    w->shard_count = 1;
    return LLMQ_OK;
}

enum llmq_status st_writer_make_room(struct st_writer *w, llmq_error *err) {
    w->put = calloc(w->table.count ? w->table.count : 1, sizeof *w->put);
    w->files = calloc((size_t)w->shard_count, sizeof *w->files);
    return w->put && w->files ? LLMQ_OK : error_memory(err, "a writer");
}

/* What create and reopen share. */
struct request {
    const char *dir;
    const struct st_spec *specs;
    size_t count;
    uint64_t limit;
    bool reopen;
};

static enum llmq_status open_writer(const struct request *r, struct st_writer **out,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct st_writer *w = NULL;
    size_t next = 0;
    *out = NULL;
    LLMQ_TRY(st_writer_alloc(r->dir, r->reopen, &w, err));
    LLMQ_TRY(plan(w, r->specs, r->count, r->limit, err));
    for (int shard = 0; shard < w->shard_count; shard++)
        LLMQ_TRY(open_shard(w, shard, next, &next, err));
    if (w->shard_count > 1)
        LLMQ_TRY(write_index(w, err));
    *out = w;
    w = NULL;

cleanup:
    st_writer_abort(&w);
    return status;
}

enum llmq_status st_writer_create(const char *dir, const struct st_spec *specs, size_t count,
                                  uint64_t shard_limit, struct st_writer **out, llmq_error *err) {
    const struct request r = {dir, specs, count, shard_limit, false};
    return open_writer(&r, out, err);
}

enum llmq_status st_writer_reopen(const char *dir, const struct st_spec *specs, size_t count,
                                  uint64_t shard_limit, struct st_writer **out, llmq_error *err) {
    const struct request r = {dir, specs, count, shard_limit, true};
    return open_writer(&r, out, err);
}

static enum llmq_status put_bytes(const struct file *file, const struct st_tensor *t,
                                  uint64_t offset, const void *data, size_t nbytes,
                                  llmq_error *err) {
    const unsigned char *from = data;
    size_t part = 0;
    do {
        part = nbytes;
        const uint64_t to = st_locate(t, offset, &part);
        enum llmq_status status = file_pwrite(file, from, part, to, err);
        if (status != LLMQ_OK)
            return status;
        file_write_out(file, to, part);
        offset += part;
        from += part;
        nbytes -= part;
    } while (nbytes > 0);
    return LLMQ_OK;
}

/* Of vectors: a copy is short. */
static enum llmq_status put_plus_one(const struct file *file, const struct st_tensor *t,
                                     uint64_t offset, const void *data, size_t nbytes,
                                     llmq_error *err) {
    void *shifted = malloc(nbytes + 1);
    if (!shifted)
        return error_memory(err, t->name);
    memcpy(shifted, data, nbytes);
    st_shift(shifted, nbytes, 1.0f);
    enum llmq_status status = put_bytes(file, t, offset, shifted, nbytes, err);
    free(shifted);
    return status;
}

enum llmq_status st_writer_put_part(struct st_writer *w, const char *name, uint64_t offset,
                                    const void *data, size_t nbytes, llmq_error *err) {
    const struct st_tensor *t = st_table_find(&w->table, name);
    if (!t)
        return error_set(err, LLMQ_E_NOT_FOUND, "%s: tensor '%.200s' is not in the plan", w->dir,
                         name);
    const struct file *file = &w->files[t->shard];
    if (offset > t->nbytes || nbytes > t->nbytes - offset)
        return error_set(err, LLMQ_E_USAGE,
                         "%s: tensor '%.200s': expected at most %" PRIu64
                         " bytes from byte %" PRIu64 " on, found %zu",
                         file->path, name, t->nbytes, offset, nbytes);
    const bool last = offset + nbytes == t->nbytes;
    enum llmq_status status = t->plus_one ? put_plus_one(file, t, offset, data, nbytes, err)
                                          : put_bytes(file, t, offset, data, nbytes, err);
    if (status == LLMQ_OK && last)
        w->put[t - w->table.tensors] = true;
    return status;
}

enum llmq_status st_writer_put(struct st_writer *w, const char *name, const void *data,
                               size_t nbytes, llmq_error *err) {
    const struct st_tensor *t = st_table_find(&w->table, name);
    if (t && t->nbytes != nbytes)
        return error_set(err, LLMQ_E_USAGE,
                         "%s: tensor '%.200s': expected %" PRIu64 " bytes, found %zu",
                         w->files[t->shard].path, name, t->nbytes, nbytes);
    return st_writer_put_part(w, name, 0, data, nbytes, err);
}

enum llmq_status st_writer_sync(struct st_writer *w, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < w->file_count && status == LLMQ_OK; i++)
        status = file_sync(&w->files[i], err);
    return status;
}

uint64_t st_writer_data_bytes(const struct st_writer *w) {
    return w->data_bytes;
}

static enum llmq_status check_all_put(const struct st_writer *w, llmq_error *err) {
    size_t missing = 0, first = 0;
    for (size_t i = w->table.count; i-- > 0;)
        if (!w->put[i]) {
            missing++;
            first = i;
        }
    if (missing == 0 || w->reopened)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_CHECK,
                     "%s: tensor '%.200s' was planned but never written (%zu of "
                     "%zu tensors)",
                     w->dir, w->table.tensors[first].name, missing, w->table.count);
}

static enum llmq_status close_files(struct st_writer *w, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < w->file_count; i++) {
        enum llmq_status closed = file_close(&w->files[i], status == LLMQ_OK ? err : NULL);
        status = status == LLMQ_OK ? closed : status;
    }
    w->file_count = 0;
    return status;
}

enum llmq_status st_writer_finish(struct st_writer **w, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(check_all_put(*w, err));
    LLMQ_TRY(st_writer_sync(*w, err));
    LLMQ_TRY(close_files(*w, err));
    LLMQ_TRY(dir_sync((*w)->dir, err));

cleanup:
    st_writer_abort(w);
    return status;
}

void st_writer_abort(struct st_writer **w) {
    if (!*w)
        return;
    close_files(*w, NULL);
    free((*w)->files);
    free((*w)->put);
    free((*w)->dir);
    st_table_free(&(*w)->table);
    free(*w);
    *w = NULL;
}

enum llmq_status st_single_head(const struct st_spec *spec, struct strbuf *head, llmq_error *err) {
    struct st_tensor t = {.name = spec->name, .dtype = spec->dtype, .rank = spec->rank};
    memcpy(t.shape, spec->shape, (size_t)spec->rank * sizeof t.shape[0]);
    enum llmq_status status = st_tensor_bytes(t.dtype, t.shape, t.rank, &t.nbytes, err);
    return status == LLMQ_OK ? format_head(&t, 1, head, err) : status;
}
