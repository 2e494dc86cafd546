/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for the files of a folder: see verify.h. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "verify/verify.h"

static bool has_file(const struct verify *v, const char *pattern) {
    for (size_t i = 0; i < v->files.count; i++)
        if (fnmatch(pattern, v->files.names[i], 0) == 0)
            return true;
    return false;
}

static bool is_shard(const struct verify *v, const char *name) {
    for (int s = 0; s < st_shard_count(v->tensors); s++)
        if (strcmp(path_base(st_shard_path(v->tensors, s)), name) == 0)
            return true;
    return false;
}

/* vLLM reads the headers of all of them when it infers what is quantized. */
static enum llmq_status stale_shards(struct verify *v, llmq_error *err) {
    (void)err;
    for (size_t i = 0; i < v->files.count; i++) {
        const char *name = v->files.names[i];
        if (fnmatch("*.safetensors", name, 0) == 0 && !is_shard(v, name))
            verify_found(v, name, NULL, "remove the file, or the index that does not name it",
                         "a file of weights that is no part of the checkpoint");
    }
    return LLMQ_OK;
}

/* Both the single file and an index: loaders choose differently. */
static enum llmq_status two_containers(struct verify *v, llmq_error *err) {
    (void)err;
    if (has_file(v, "model.safetensors") && has_file(v, "model.safetensors.index.json") &&
        st_shard_count(v->tensors) == 1 && is_shard(v, "model.safetensors"))
        verify_found(v, "model.safetensors.index.json", NULL, "remove the index",
                     "an index beside model.safetensors");
    return LLMQ_OK;
}

static bool is_safetensors(const char *path) {
    return fnmatch("*.safetensors", path_base(path), 0) == 0;
}

static enum llmq_status file_name(struct verify *v, llmq_error *err) {
    const char *name = path_base(st_shard_path(v->tensors, 0));
    (void)err;
    if (st_shard_count(v->tensors) == 1 && is_safetensors(name) &&
        strcmp(name, "model.safetensors") != 0 && !has_file(v, "model.safetensors.index.json"))
        verify_found(v, name, NULL, "name it model.safetensors",
                     "transformers looks for model.safetensors or an index");
    return LLMQ_OK;
}

/* vLLM and SGLang read all files that they find; transformers finds none. */
static enum llmq_status shard_index(struct verify *v, llmq_error *err) {
    (void)err;
    if (st_shard_count(v->tensors) > 1 && !has_file(v, "model.safetensors.index.json"))
        verify_found(v, path_base(st_shard_path(v->tensors, 0)), NULL,
                     "complete the download: model.safetensors.index.json belongs to the shards",
                     "one of %d shards without an index, by which transformers finds them",
                     st_shard_count(v->tensors));
    return LLMQ_OK;
}

static enum llmq_status other_weights(struct verify *v, llmq_error *err) {
    static const char *const patterns[] = {"*.bin", "*.pt",      "*.pth",      "*.gguf",
                                           "*.h5",  "*.msgpack", "params.json"};
    (void)err;
    for (size_t i = 0; i < v->files.count; i++)
        for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++)
            if (fnmatch(patterns[p], v->files.names[i], 0) == 0 && !is_shard(v, v->files.names[i]))
                verify_found(v, v->files.names[i], NULL, "remove the file",
                             "weights of another format that a loader may pick instead");
    return LLMQ_OK;
}

static enum llmq_status metadata_format(struct verify *v, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct st_set *shard = NULL;
    for (int s = 0; s < st_shard_count(v->tensors); s++) {
        if (!is_safetensors(st_shard_path(v->tensors, s)))
            continue;
        LLMQ_TRY(st_open_file(st_shard_path(v->tensors, s), &shard, err));
        const char *format = st_metadata(shard, "format");
        if (!format || strcmp(format, "pt") != 0)
            verify_found(v, path_base(st_shard_path(v->tensors, s)), NULL,
                         "transformers before 4.48 refuses the file",
                         "__metadata__: expected format pt, found %.40s", format ? format : "none");
        st_close(&shard);
    }
cleanup:
    st_close(&shard);
    return status;
}

static enum llmq_status tokenizer(struct verify *v, llmq_error *err) {
    static const char *const files[] = {"tokenizer.json", "tokenizer.model", "vocab.json",
                                        "tekken.json"};
    (void)err;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (has_file(v, files[i]))
            return LLMQ_OK;
    verify_found(v, NULL, NULL, "copy the tokenizer's files of the original",
                 "no tokenizer: servers cannot take text");
    return LLMQ_OK;
}

const struct verify_rule verify_container_rules[] = {
    /* Found while opening. */
    {"index", VERIFY_VIOLATION, VERIFY_HEADERS,
     "model.safetensors.index.json and the files it names hold the same tensors", NULL, NULL},
    {"stale-weights", VERIFY_VIOLATION, VERIFY_HEADERS,
     "every .safetensors file of the folder is part of the checkpoint", stale_shards, NULL},
    {"two-containers", VERIFY_WARNING, VERIFY_HEADERS,
     "a folder has model.safetensors or an index of shards, not both", two_containers, NULL},
    {"file-name", VERIFY_WARNING, VERIFY_HEADERS, "a single file is called model.safetensors",
     file_name, NULL},
    {"shard-index", VERIFY_VIOLATION, VERIFY_HEADERS, "several shards have an index", shard_index,
     NULL},
    {"other-weights", VERIFY_WARNING, VERIFY_HEADERS, "no weights in other formats lie beside",
     other_weights, NULL},
    {"metadata-format", VERIFY_WARNING, VERIFY_HEADERS,
     "each file's __metadata__ names the format pt", metadata_format, NULL},
    {"tokenizer", VERIFY_WARNING, VERIFY_HEADERS, "the folder holds a tokenizer", tokenizer, NULL},
    {.id = NULL},
};
