/* See source.h. */
#include "pipeline/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"

static enum llmq_status find_config(const struct model *m, struct companion *out, llmq_error *err) {
    char *path = path_join(m->dir, "config.json", err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = file_hash(path, &out->stamp, &out->hash, err);
    free(path);
    out->name = strdup("config.json");
    return out->name ? status : error_memory(err, "a name");
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
    LLMQ_TRY(find_config(m, &out->config, err));
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
    companions_free(&s->companions);
    free(s->shards);
    *s = (struct source){0};
}
