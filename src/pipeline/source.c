/* SPDX-License-Identifier: Apache-2.0 */
/* See source.h. */
#include "pipeline/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"

#define INDEX_NAME "model.safetensors.index.json"

/* Where a file has no tensor that is used, its header is taken to be no longer. */
#define HEADER_MOST ((uint64_t)100 << 20)

static enum llmq_status find_config(const struct model *m, struct companion *out, llmq_error *err) {
    char *path = path_join(m->dir, "config.json", err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = file_hash(path, &out->stamp, out->hash, err);
    free(path);
    out->name = strdup("config.json");
    return out->name ? status : error_memory(err, "a name");
}

/* The index of a model in shards. */
static enum llmq_status find_index(const struct model *m, struct companion *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *path = path_join(m->dir, INDEX_NAME, err);
    if (!path)
        return LLMQ_E_MEMORY;
    if (st_shard_count(m->tensors) > 1 && path_is_file(path)) {
        out->name = strdup(INDEX_NAME);
        status =
            out->name ? file_hash(path, &out->stamp, out->hash, err) : error_memory(err, "a name");
    }
    free(path);
    return status;
}

/* The header of a file names all tensors with their shapes, types and places: it is summed, for
 * summing a whole model would take as long as reading it. What it holds was read tensor by tensor,
 * see safetensors_watch.h. */
static enum llmq_status sum_headers(const struct model *m, struct source *s, llmq_error *err) {
    const int count = st_shard_count(m->tensors);
    uint64_t *len = malloc((size_t)count * sizeof *len);
    enum llmq_status status = LLMQ_OK;
    s->headers = calloc((size_t)count, sizeof *s->headers);
    if (!len || !s->headers)
        LLMQ_TRY(error_memory(err, "the sums of the model's files"));
    for (int i = 0; i < count; i++)
        len[i] = HEADER_MOST;
    for (size_t i = 0; i < st_count(m->tensors); i++) {
        const struct st_tensor *t = st_at(m->tensors, i);
        len[t->shard] = t->begin < len[t->shard] ? t->begin : len[t->shard];
    }
    for (int i = 0; i < count; i++)
        LLMQ_TRY(file_hash_head(st_shard_path(m->tensors, i), len[i], s->headers[i], err));
cleanup:
    free(len);
    return status;
}

static enum llmq_status stamp_shards(const struct model *m, struct source *s, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const int count = st_shard_count(m->tensors);
    s->shards = calloc((size_t)count, sizeof *s->shards);
    if (!s->shards)
        return error_memory(err, "the state of the model's files");
    for (int i = 0; status == LLMQ_OK && i < count; i++)
        status = st_shard_stamp(m->tensors, i, &s->shards[i], err);
    return status;
}

enum llmq_status source_find(const struct model *m, const llmq_context *ctx, struct source *out,
                             llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *out = (struct source){0};
    LLMQ_TRY(stamp_shards(m, out, err));
    LLMQ_TRY(sum_headers(m, out, err));
    LLMQ_TRY(find_config(m, &out->config, err));
    LLMQ_TRY(find_index(m, &out->index, err));
    LLMQ_TRY(companions_find(m->dir, &out->companions, err));
    companions_tell(&out->companions, m->tensors, ctx);
cleanup:
    if (status != LLMQ_OK)
        source_free(out);
    return status;
}

static enum llmq_status check_file(const char *path, const struct file_stamp *before,
                                   llmq_error *err) {
    struct file_stamp now;
    enum llmq_status status = file_stamp_read(path, &now, err);
    if (status == LLMQ_OK && !file_stamp_equal(before, &now))
        status =
            error_set(err, LLMQ_E_INPUT, "%s: changed or replaced while llmq was reading it", path);
    if (status != LLMQ_OK)
        error_hint(err, "nothing was put in place: start over (--force) when nothing writes to the "
                        "model any more");
    return status;
}

static enum llmq_status check_companion(const char *dir, const struct companion *c,
                                        llmq_error *err) {
    char *path = path_join(dir, c->name, err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = check_file(path, &c->stamp, err);
    free(path);
    return status;
}

enum llmq_status source_check(const struct source *s, const struct model *m, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < st_shard_count(m->tensors); i++)
        LLMQ_TRY(check_file(st_shard_path(m->tensors, i), &s->shards[i], err));
    LLMQ_TRY(check_companion(m->dir, &s->config, err));
    for (size_t i = 0; i < s->companions.count; i++)
        LLMQ_TRY(check_companion(m->dir, &s->companions.files[i], err));
cleanup:
    return status;
}

void source_free(struct source *s) {
    free(s->config.name);
    free(s->index.name);
    free(s->headers);
    companions_free(&s->companions);
    free(s->shards);
    *s = (struct source){0};
}
