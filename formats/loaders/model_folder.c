/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a model folder: model.safetensors, or the index and the shards it names, or model.gguf;
 * what has none of these names is left to model_folder_unnamed.c.
 *
 * The index is a claim, the shards' headers are the fact. Both are brought into name order and
 * walked together; every difference is refused, because a loader that trusts the index would see
 * another model than one that reads the files. */
#include "formats/loaders/model_folder.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "formats/gguf/gguf_file.h"
#include "formats/safetensors/safetensors_set.h"

struct claim {
    const char *tensor; /* both owned by the index document */
    const char *file;
    int shard;
};

struct weight_map {
    const char *path;
    struct json *document;
    struct claim *claims; /* sorted by tensor */
    size_t count;
    const char **files; /* distinct, sorted; position = shard */
    int file_count;
};

static int compare_claims(const void *a, const void *b) {
    const struct claim *x = a, *y = b;
    return strcmp(x->tensor, y->tensor);
}

static int compare_texts(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void weight_map_free(struct weight_map *map) {
    json_free(&map->document);
    free(map->claims);
    free(map->files);
}

/* A name that a file can have, and that stays inside the folder. */
static bool is_plain_name(const char *name) {
    return name[0] != '\0' && strlen(name) <= NAME_MAX && !strchr(name, '/') &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static enum llmq_status fill_claims(struct weight_map *map, const struct json *object,
                                    llmq_error *err) {
    for (const struct json *c = json_first(object); c; c = json_next(c)) {
        const char *file = json_string(c);
        if (!file)
            return error_set(err, LLMQ_E_INPUT,
                             "%s: tensor '%.200s': expected a file name, found another type",
                             map->path, json_key(c));
        if (!is_plain_name(file))
            return error_set(err, LLMQ_E_INPUT,
                             "%s: tensor '%.200s': expected the name of a file in the same folder, "
                             "found '%.200s'",
                             map->path, json_key(c), file);
        map->files[map->count] = file;
        map->claims[map->count++] = (struct claim){.tensor = json_key(c), .file = file};
    }
    return LLMQ_OK;
}

/* Sort claims and files, keep each file once, and number the claims' shards. */
static enum llmq_status sort_claims(struct weight_map *map, llmq_error *err) {
    qsort(map->claims, map->count, sizeof *map->claims, compare_claims);
    for (size_t i = 1; i < map->count; i++)
        if (strcmp(map->claims[i - 1].tensor, map->claims[i].tensor) == 0)
            return error_set(err, LLMQ_E_ST_DUPLICATE_TENSOR,
                             "%s: tensor '%.200s': expected one entry, found two", map->path,
                             map->claims[i].tensor);
    qsort(map->files, map->count, sizeof *map->files, compare_texts);
    size_t distinct = 0;
    for (size_t i = 0; i < map->count; i++)
        if (i == 0 || strcmp(map->files[i], map->files[distinct - 1]) != 0)
            map->files[distinct++] = map->files[i];
    for (size_t i = 0; i < map->count; i++) {
        const char **found =
            bsearch(&map->claims[i].file, map->files, distinct, sizeof *map->files, compare_texts);
        map->claims[i].shard = (int)(found - map->files);
    }
    map->file_count = (int)distinct;
    return LLMQ_OK;
}

static enum llmq_status weight_map_read(struct weight_map *map, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(json_read_as(map->path, INPUT_INDEX, &map->document, err));
    const struct json *object = json_get(map->document, "weight_map");
    const size_t entries = json_count(object);
    if (json_type(object) != JSON_OBJECT || entries == 0)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: weight_map: expected an object of tensor names, found none",
                           map->path));
    if (entries > ST_MAX_TENSORS)
        LLMQ_TRY(error_set(err, LLMQ_E_UNSUPPORTED,
                           "%s: weight_map: expected at most %zu tensors, found %zu", map->path,
                           ST_MAX_TENSORS, entries));
    map->claims = calloc(entries, sizeof *map->claims);
    map->files = calloc(entries, sizeof *map->files);
    if (!map->claims || !map->files)
        LLMQ_TRY(error_memory(err, "the index of shards"));
    LLMQ_TRY(fill_claims(map, object, err));
    LLMQ_TRY(sort_claims(map, err));

cleanup:
    return status;
}

static enum llmq_status not_in_shards(const struct st_set *set, const struct claim *claim,
                                      llmq_error *err) {
    return error_set(err, LLMQ_E_NOT_FOUND,
                     "%s: tensor '%.200s': expected it as the index says, found no such tensor in "
                     "the shards",
                     set->files[claim->shard].path, claim->tensor);
}

static enum llmq_status not_in_map(const struct st_set *set, const struct st_tensor *tensor,
                                   llmq_error *err) {
    return error_set(err, LLMQ_E_INPUT,
                     "%s: tensor '%.200s': expected it in " ST_INDEX_FILE ", found it only here",
                     set->files[tensor->shard].path, tensor->name);
}

/* The map and the shards hold the same tensors in the same places. Both are sorted by name. */
static enum llmq_status check_claims(const struct weight_map *map, const struct st_set *set,
                                     llmq_error *err) {
    size_t i = 0;
    for (; i < map->count && i < set->table.count; i++) {
        const struct claim *claim = &map->claims[i];
        const struct st_tensor *tensor = set->table.by_name[i];
        const int order = strcmp(claim->tensor, tensor->name);
        if (order != 0)
            return order < 0 ? not_in_shards(set, claim, err) : not_in_map(set, tensor, err);
        if (claim->shard != tensor->shard)
            return error_set(err, LLMQ_E_INPUT,
                             "%s: tensor '%.200s': expected it in %s as the index says, found it "
                             "here",
                             set->files[tensor->shard].path, tensor->name, claim->file);
    }
    if (i < map->count)
        return not_in_shards(set, &map->claims[i], err);
    if (i < set->table.count)
        return not_in_map(set, set->table.by_name[i], err);
    return LLMQ_OK;
}

static enum llmq_status open_shards(const char *dir, const struct weight_map *map,
                                    struct st_set *set, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *path = NULL;
    for (int i = 0; i < map->file_count; i++) {
        path = path_join(dir, map->files[i], err);
        if (!path)
            return LLMQ_E_MEMORY;
        status = st_set_add_file(set, path, err);
        free(path);
        if (status == LLMQ_E_NOT_FOUND)
            error_hint(err, "%s names this file: complete the download", map->path);
        if (status != LLMQ_OK)
            return status;
    }
    LLMQ_TRY(st_set_index(set, err));
    LLMQ_TRY(check_claims(map, set, err));

cleanup:
    return status;
}

static enum llmq_status open_indexed(const char *dir, const char *index, struct st_set **out,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct weight_map map = {.path = index};
    LLMQ_TRY(weight_map_read(&map, err));
    LLMQ_TRY(st_set_create(map.file_count, out, err));
    LLMQ_TRY(open_shards(dir, &map, *out, err));

cleanup:
    if (status != LLMQ_OK)
        st_close(out);
    weight_map_free(&map);
    return status;
}

/* The single file and the index are both there. transformers reads the single file and does not
 * look at the index, vLLM and SGLang read the files that the index names: only where the index
 * names the single file and nothing else do all of them see one model. */
static enum llmq_status open_both(const char *dir, const char *index, struct st_set **out,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct weight_map map = {.path = index};
    LLMQ_TRY(weight_map_read(&map, err));
    if (map.file_count != 1 || strcmp(map.files[0], ST_SINGLE_FILE) != 0) {
        const bool first = strcmp(map.files[0], ST_SINGLE_FILE) != 0;
        status = error_set(err, LLMQ_E_INPUT,
                           "%s: two checkpoints: " ST_SINGLE_FILE " and " ST_INDEX_FILE
                           ", which names %.120s%s: loaders differ in which of them they read",
                           dir, map.files[first ? 0 : 1], map.file_count > 1 ? " and others" : "");
        error_hint(err, "move the one that is not wanted out of the folder: " ST_SINGLE_FILE
                        ", or " ST_INDEX_FILE " with its shards");
    }
cleanup:
    weight_map_free(&map);
    return status == LLMQ_OK ? open_indexed(dir, index, out, err) : status;
}

/* A file that a folder may have. */
struct candidate {
    const char *name;
    char *path;
    bool there;
};

/* The folder's files of weights that have names of their own. */
enum { CANDIDATE_SINGLE, CANDIDATE_INDEX, CANDIDATE_GGUF, CANDIDATES };

static enum llmq_status look_for(const char *dir, struct candidate found[CANDIDATES],
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; status == LLMQ_OK && i < CANDIDATES; i++) {
        found[i].path = path_join(dir, found[i].name, err);
        status = found[i].path ? file_exists(found[i].path, &found[i].there, err) : LLMQ_E_MEMORY;
    }
    return status;
}

enum llmq_status st_open_dir(const char *dir, struct st_set **out, llmq_error *err) {
    struct candidate found[CANDIDATES] = {
        {.name = ST_SINGLE_FILE}, {.name = ST_INDEX_FILE}, {.name = GGUF_FILE_NAME}};
    const struct candidate *single = &found[CANDIDATE_SINGLE], *index = &found[CANDIDATE_INDEX],
                           *gguf = &found[CANDIDATE_GGUF];
    enum llmq_status status = look_for(dir, found, err);
    *out = NULL;
    if (status != LLMQ_OK)
        goto cleanup;
    if (single->there && index->there)
        status = open_both(dir, index->path, out, err);
    else if (single->there)
        status = st_open_file(single->path, out, err);
    else if (index->there)
        status = open_indexed(dir, index->path, out, err);
    else if (gguf->there)
        status = gguf_open_file(gguf->path, out, err);
    else
        status = st_open_unnamed(dir, out, err);
cleanup:
    for (int i = 0; i < CANDIDATES; i++)
        free(found[i].path);
    return status;
}

static bool is_safetensors(const char *name) {
    const size_t len = strlen(name), suffix = strlen(".safetensors");
    return len >= suffix && strcmp(name + len - suffix, ".safetensors") == 0;
}

static enum llmq_status add_listed(const char *dir, const struct dir_list *list, struct st_set *set,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; status == LLMQ_OK && i < list->count; i++) {
        if (!is_safetensors(list->names[i]))
            continue;
        char *path = path_join(dir, list->names[i], err);
        if (!path)
            return LLMQ_E_MEMORY;
        status = st_set_add_file(set, path, err);
        free(path);
    }
    if (status == LLMQ_OK && set->file_count == 0)
        status = error_set(err, LLMQ_E_NOT_FOUND, "%s: no .safetensors file", dir);
    return status;
}

enum llmq_status st_open_files(const char *dir, struct st_set **out, llmq_error *err) {
    struct dir_list list = {0};
    enum llmq_status status = LLMQ_OK;
    *out = NULL;
    LLMQ_TRY(dir_list_read(dir, &list, err));
    LLMQ_TRY(st_set_create(list.count > 0 ? (int)list.count : 1, out, err));
    LLMQ_TRY(add_listed(dir, &list, *out, err));
    LLMQ_TRY(st_set_index(*out, err));

cleanup:
    if (status != LLMQ_OK)
        st_close(out);
    dir_list_free(&list);
    return status;
}
