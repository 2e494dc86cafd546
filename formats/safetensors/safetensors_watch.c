/* SPDX-License-Identifier: Apache-2.0 */
/* See safetensors_watch.h. */
#include "formats/safetensors/safetensors_watch.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/hash.h"
#include "formats/safetensors/safetensors_set.h"

enum llmq_status st_watch(struct st_set *set, llmq_error *err) {
    if (!set->noted)
        set->noted = calloc(set->table.count ? set->table.count : 1, sizeof *set->noted);
    return set->noted ? LLMQ_OK : error_memory(err, "the hashes of tensors");
}

bool st_watched(const struct st_set *set) {
    return set->noted != NULL;
}

uint64_t st_hash_part(uint64_t offset, const void *data, size_t nbytes) {
    const unsigned char *p = data;
    uint64_t sum = 0;
    assert(offset % ST_HASH_CHUNK == 0);
    for (size_t at = 0; at < nbytes; at += ST_HASH_CHUNK) {
        size_t part = nbytes - at < ST_HASH_CHUNK ? nbytes - at : ST_HASH_CHUNK;
        sum += hash_array(hash_word(HASH_INIT, offset + at), p + at, part);
    }
    return sum;
}

static uint64_t *slot(const struct st_set *set, const struct st_tensor *t) {
    return &set->noted[t - set->table.tensors];
}

enum llmq_status st_note(const struct st_set *set, const struct st_tensor *t, uint64_t hash,
                         llmq_error *err) {
    uint64_t before = 0;
    if (!set->noted)
        return LLMQ_OK;
    hash = hash ? hash : 1; /* 0 stands for none */
#pragma omp critical(st_note)
    {
        before = *slot(set, t);
        if (before == 0)
            *slot(set, t) = hash;
    }
    if (before == 0 || before == hash)
        return LLMQ_OK;
    error_set(err, LLMQ_E_INPUT, "%s: tensor '%.200s': its content is not what was read before",
              set->files[t->shard].path, t->name);
    error_hint(err, "something wrote to the file since the run began: put the file back as it was "
                    "and give --resume, or start over with --force");
    return LLMQ_E_INPUT;
}

uint64_t st_noted(const struct st_set *set, const struct st_tensor *t) {
    return set->noted ? *slot(set, t) : 0;
}
