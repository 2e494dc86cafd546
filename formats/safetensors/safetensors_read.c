/* SPDX-License-Identifier: Apache-2.0 */
/* Reading safetensors: one file, its header and its data. The shards of a folder are assembled in
 * model_folder.c.
 *
 * A set keeps the table of tensors and one open descriptor per file; data is read on demand with
 * positioned reads, so a set costs memory for names only and may be used by many threads. */
#include "formats/safetensors/safetensors_set.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/filestate.h"
#include "base/lfs.h"
#include "formats/safetensors/safetensors_watch.h"

/* Bytes converted at a time: the raw half stays in the second-level cache. */
#define CONVERT_CHUNK ST_HASH_CHUNK

static enum llmq_status check_regular(const char *path, llmq_error *err) {
    struct stat info;
    if (stat(path, &info) != 0)
        return error_errno(err, "%s", path);
    if (!S_ISREG(info.st_mode))
        return error_set(err, LLMQ_E_INPUT, "%s: expected a regular file, found %s", path,
                         S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    return LLMQ_OK;
}

static enum llmq_status refuse_pointer(const struct file *f, llmq_error *err) {
    char head[LFS_HEAD_BYTES];
    if (f->size < sizeof head || f->size > LFS_MAX_POINTER)
        return LLMQ_OK;
    enum llmq_status status = file_pread(f, head, sizeof head, 0, err);
    return status == LLMQ_OK ? lfs_check(f->path, head, sizeof head, err) : status;
}

/* The header text of an open file, unparsed; the caller frees it. */
static enum llmq_status read_header(const struct file *f, char **text, size_t *len,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    unsigned char length[ST_LENGTH_BYTES];
    uint64_t n = 0;
    *text = NULL;
    if (f->size < sizeof length)
        LLMQ_TRY(error_set(err, LLMQ_E_ST_HEADER_TOO_SMALL,
                           "%s: expected at least 8 bytes, found a file of %" PRIu64, f->path,
                           f->size));
    LLMQ_TRY(file_pread(f, length, sizeof length, 0, err));
    memcpy(&n, length, sizeof n);
    if (n > ST_MAX_HEADER)
        LLMQ_TRY(error_set(err, LLMQ_E_ST_HEADER_TOO_LARGE,
                           "%s: expected a header of at most %u bytes, found a length of %" PRIu64,
                           f->path, ST_MAX_HEADER, n));
    if (n > f->size - sizeof length) {
        status = error_set(err, LLMQ_E_ST_HEADER_LENGTH,
                           "%s: expected a header of %" PRIu64 " bytes, found a file of %" PRIu64
                           " bytes",
                           f->path, n, f->size);
        error_hint(err, "the file is cut short: complete the download");
        goto cleanup;
    }
    *text = malloc(n ? (size_t)n : 1);
    if (!*text)
        LLMQ_TRY(error_memory(err, "a safetensors header"));
    LLMQ_TRY(file_pread(f, *text, (size_t)n, ST_LENGTH_BYTES, err));
    *len = (size_t)n;

cleanup:
    if (status != LLMQ_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

enum llmq_status st_set_create(int shards, struct st_set **out, llmq_error *err) {
    struct st_set *set = calloc(1, sizeof *set);
    struct file *files = calloc(shards > 0 ? (size_t)shards : 1, sizeof *files);
    if (!set || !files) {
        free(set);
        free(files);
        return error_memory(err, "a set of tensors");
    }
    set->files = files;
    *out = set;
    return LLMQ_OK;
}

enum llmq_status st_set_open_file(struct st_set *set, const char *path, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(check_regular(path, err));
    LLMQ_TRY(file_open_read(path, &set->files[set->file_count], err));
    set->file_count++;
    LLMQ_TRY(refuse_pointer(&set->files[set->file_count - 1], err));

cleanup:
    return status;
}

enum llmq_status st_set_add_file(struct st_set *set, const char *path, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct file *f = &set->files[set->file_count];
    char *text = NULL;
    size_t len = 0;
    LLMQ_TRY(st_set_open_file(set, path, err));
    struct st_header_source source = {.path = f->path, .shard = set->file_count - 1};
    LLMQ_TRY(read_header(f, &text, &len, err));
    source.text = text;
    source.len = len;
    source.data_bytes = f->size - ST_LENGTH_BYTES - len;
    LLMQ_TRY(st_header_parse(&source, &set->table, err));

cleanup:
    free(text);
    return status;
}

enum llmq_status st_set_index(struct st_set *set, llmq_error *err) {
    const struct st_tensor *duplicate = NULL;
    enum llmq_status status = st_table_index(&set->table, 0, &duplicate, err);
    if (status == LLMQ_OK && duplicate)
        status = error_set(err, LLMQ_E_ST_DUPLICATE_TENSOR,
                           "%s: tensor '%.200s': expected it in one shard, found it in two",
                           set->files[duplicate->shard].path, duplicate->name);
    return status;
}

enum llmq_status st_open_file(const char *path, struct st_set **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = NULL;
    LLMQ_TRY(st_set_create(1, out, err));
    LLMQ_TRY(st_set_add_file(*out, path, err));
    LLMQ_TRY(st_set_index(*out, err));

cleanup:
    if (status != LLMQ_OK)
        st_close(out);
    return status;
}

void st_close(struct st_set **set) {
    if (!*set)
        return;
    for (int i = 0; i < (*set)->file_count; i++)
        file_close(&(*set)->files[i], NULL);
    free((*set)->files);
    free((*set)->noted);
    free((*set)->coded);
    st_table_free(&(*set)->table);
    free(*set);
    *set = NULL;
}

enum llmq_status st_rename(struct st_set *set, const char *const *names, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; status == LLMQ_OK && i < set->table.count; i++) {
        char *name = strdup(names[i]);
        status = name ? st_table_rename(&set->table, i, name, err) : error_memory(err, "a name");
    }
    return status == LLMQ_OK ? st_set_index(set, err) : status;
}

size_t st_count(const struct st_set *set) {
    return set->table.count;
}

const struct st_tensor *st_at(const struct st_set *set, size_t index) {
    assert(index < set->table.count);
    return &set->table.tensors[index];
}

const struct st_tensor *st_find(const struct st_set *set, const char *name) {
    return st_table_find(&set->table, name);
}

const char *st_shard_path(const struct st_set *set, int shard) {
    assert(shard >= 0 && shard < set->file_count);
    return set->files[shard].path;
}

enum llmq_status st_shard_stamp(const struct st_set *set, int shard, struct file_stamp *out,
                                llmq_error *err) {
    assert(shard >= 0 && shard < set->file_count);
    return file_stamp_open(&set->files[shard], out, err);
}

int st_shard_count(const struct st_set *set) {
    return set->file_count;
}

const char *st_metadata(const struct st_set *set, const char *key) {
    /* From the back: of a repeated key the last value counts, as in the reference. */
    for (size_t i = set->table.metadata_count; i-- > 0;)
        if (strcmp(set->table.metadata[i].key, key) == 0)
            return set->table.metadata[i].value;
    return NULL;
}

enum llmq_status st_read(const struct st_set *set, const struct st_tensor *t, uint64_t offset,
                         size_t nbytes, void *buf, llmq_error *err) {
    assert(offset <= t->nbytes && nbytes <= t->nbytes - offset);
    unsigned char *to = buf;
    const size_t whole = nbytes;
    if (t->coded)
        return t->coded->decode(set, t->coded, offset / sizeof(float), nbytes / sizeof(float), buf,
                                err);
    size_t part = 0;
    do {
        part = nbytes;
        const uint64_t from = st_locate(t, offset, &part);
        enum llmq_status status = file_pread(&set->files[t->shard], to, part, from, err);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "tensor '%.200s'", t->name);
        offset += part;
        to += part;
        nbytes -= part;
    } while (nbytes > 0);
    if (t->plus_one)
        st_shift(buf, whole, -1.0f);
    return LLMQ_OK;
}

void st_read_ahead(const struct st_set *set, const struct st_tensor *t) {
    if (t->coded) {
        st_read_ahead(set, &t->coded->codes);
        st_read_ahead(set, &t->coded->scales);
        return;
    }
    file_read_ahead(&set->files[t->shard], t->begin, t->nbytes);
}

/* Bytes [begin, end) of a tensor on their way to float32. */
struct conversion {
    const struct st_set *set;
    const struct st_tensor *t;
    uint64_t begin, end;
    bool hashed; /* as a watched set wants it of whole tensors */
    float *dst;
};

/* Read the chunk at byte `at` into its place; `buffer` holds CONVERT_CHUNK bytes. Adds the chunk's
 * hash to *hash. */
static enum llmq_status read_chunk(const struct conversion *c, uint64_t at, void *buffer,
                                   uint64_t *hash, llmq_error *err) {
    const struct st_tensor *t = c->t;
    const size_t width = dtype_bits(t->dtype) / 8;
    const uint64_t left = c->end - at;
    const size_t bytes = left < CONVERT_CHUNK ? (size_t)left : CONVERT_CHUNK;
    float *to = c->dst + (at - c->begin) / width;
    void *raw = t->dtype == DTYPE_F32 ? to : buffer;
    enum llmq_status status = st_read(c->set, t, at, bytes, raw, err);
    if (status != LLMQ_OK)
        return status;
    if (c->hashed)
        *hash += st_hash_part(at, raw, bytes);
    if (raw != to)
        dtype_to_f32(t->dtype, raw, bytes / width, to);
    return LLMQ_OK;
}

/* Threads take chunks in turn: while one waits for the disk, others convert. */
static enum llmq_status convert(const struct conversion *c, uint64_t *hash, llmq_error *err) {
    const uint64_t bytes = c->end - c->begin;
    const uint64_t chunks = (bytes + CONVERT_CHUNK - 1) / CONVERT_CHUNK;
    enum llmq_status status = LLMQ_OK;
    uint64_t sum = 0;
#pragma omp parallel default(none) shared(c, err, status, bytes, chunks)                           \
    reduction(+ : sum) if (chunks > 1)
    {
        void *buffer = malloc(chunks > 1 ? CONVERT_CHUNK : (size_t)bytes + 1);
        llmq_error mine = {0};
        enum llmq_status first = buffer ? LLMQ_OK : error_memory(&mine, "converting a tensor");
#pragma omp for schedule(dynamic)
        for (uint64_t i = 0; i < chunks; i++)
            if (first == LLMQ_OK)
                first = read_chunk(c, c->begin + i * CONVERT_CHUNK, buffer, &sum, &mine);
        error_keep_first(&status, err, first, &mine);
        free(buffer);
    }
    *hash = sum;
    return status;
}

enum llmq_status st_read_part_f32(const struct st_set *set, const struct st_tensor *t,
                                  uint64_t begin, size_t count, float *out, llmq_error *err) {
    const size_t width = dtype_bits(t->dtype) / 8;
    const struct conversion c = {set, t, begin * width, (begin + count) * width, false, out};
    uint64_t hash = 0;
    return t->dtype == DTYPE_F32 ? st_read(set, t, c.begin, count * width, out, err)
                                 : convert(&c, &hash, err);
}

enum llmq_status st_read_f32(const struct st_set *set, const struct st_tensor *t, float *dst,
                             llmq_error *err) {
    const struct conversion c = {set, t, 0, t->nbytes, st_watched(set), dst};
    uint64_t hash = 0;
    if (!dtype_is_float(t->dtype))
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "%s: tensor '%.200s': expected F16, BF16, F32 or F64, found %s",
                         set->files[t->shard].path, t->name, dtype_name(t->dtype));
    enum llmq_status status = convert(&c, &hash, err);
    return status == LLMQ_OK ? st_note(set, t, hash, err) : status;
}
