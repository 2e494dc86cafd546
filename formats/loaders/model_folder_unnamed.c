/* SPDX-License-Identifier: Apache-2.0 */
/* Model folders without the usual names: shards that no index lists, the only file there is, and
 * folders that hold no weights that can be read, of which the message says what helps. */
#include "formats/loaders/model_folder.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/strbuf.h"
#include "formats/gguf/gguf_file.h"
#include "formats/safetensors/safetensors_set.h"

/* --- shards without an index ------------------------------------------------------------------ */

#define SHARD_DIGITS 5
#define SHARD_TAIL   "-00000-of-00000.safetensors"

/* "<stem>-<number>-of-<total>.safetensors", five digits each. */
struct shard_name {
    size_t stem_len;
    int number, total;
};

static bool read_digits(const char *text, int *out) {
    *out = 0;
    for (int i = 0; i < SHARD_DIGITS; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        *out = 10 * *out + (text[i] - '0');
    }
    return true;
}

static bool shard_name_read(const char *name, struct shard_name *out) {
    const size_t len = strlen(name), tail = strlen(SHARD_TAIL);
    if (len < tail || !text_ends_with(name, ".safetensors"))
        return false;
    const char *at = name + len - tail;
    out->stem_len = len - tail;
    return at[0] == '-' && read_digits(at + 1, &out->number) && strncmp(at + 6, "-of-", 4) == 0 &&
           read_digits(at + 10, &out->total) && out->total > 0;
}

/* Files of Mistral's own format and adapters lie beside checkpoints and are none. */
static bool is_aside(const char *name) {
    return strncmp(name, "consolidated", 12) == 0 || strncmp(name, "adapter_", 8) == 0;
}

/* The shards of a folder, which have to be one whole set. */
struct shards {
    const char *first; /* name of any; NULL: there are none */
    struct shard_name model;
    size_t count;
};

static enum llmq_status find_shards(const char *dir, const struct dir_list *list,
                                    struct shards *out, llmq_error *err) {
    *out = (struct shards){0};
    for (size_t i = 0; i < list->count; i++) {
        struct shard_name s;
        if (is_aside(list->names[i]) || !shard_name_read(list->names[i], &s))
            continue;
        if (!out->first) {
            out->first = list->names[i];
            out->model = s;
        } else if (s.total != out->model.total || s.stem_len != out->model.stem_len ||
                   strncmp(list->names[i], out->first, s.stem_len) != 0) {
            error_set(err, LLMQ_E_INPUT,
                      "%s: shards of two checkpoints and no " ST_INDEX_FILE ": %.100s and %.100s",
                      dir, out->first, list->names[i]);
            error_hint(err, "move the shards of one of them out of the folder");
            return LLMQ_E_INPUT;
        }
        out->count++;
    }
    return LLMQ_OK;
}

/* Name of shard `number` (from 1). */
static void shard_file(const struct shards *s, int number, struct strbuf *out) {
    strbuf_printf(out, "%.*s-%05d-of-%05d.safetensors", (int)s->model.stem_len, s->first, number,
                  s->model.total);
}

static enum llmq_status refuse_gaps(const char *dir, const struct shards *s,
                                    const struct dir_list *list, llmq_error *err) {
    enum { SHOWN_NAMES = 4 };
    struct strbuf missing = {0};
    int count = 0;
    for (int number = 1; number <= s->model.total; number++) {
        struct strbuf name = {0};
        shard_file(s, number, &name);
        bool found = false;
        for (size_t i = 0; strbuf_ok(&name) && i < list->count; i++)
            found = found || strcmp(list->names[i], name.data) == 0;
        if (!found && count++ < SHOWN_NAMES)
            strbuf_printf(&missing, "%s%s", count > 1 ? ", " : "", name.data ? name.data : "");
        strbuf_free(&name);
    }
    if (count > SHOWN_NAMES)
        strbuf_printf(&missing, " and %d more", count - SHOWN_NAMES);
    if (count > 0) {
        error_set(err, LLMQ_E_NOT_FOUND, "%s: %d of %d shards are missing: %s", dir, count,
                  s->model.total, strbuf_ok(&missing) ? missing.data : "(out of memory)");
        error_hint(err, "complete the download of the model, " ST_INDEX_FILE " included");
    }
    strbuf_free(&missing);
    return count > 0 ? LLMQ_E_NOT_FOUND : LLMQ_OK;
}

/* All numbers from 1 to the total are there: what an index would say is plain. */
static enum llmq_status open_unindexed(const char *dir, const struct shards *s,
                                       const struct dir_list *list, struct st_set **out,
                                       llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(refuse_gaps(dir, s, list, err));
    LLMQ_TRY(st_set_create(s->model.total, out, err));
    for (int number = 1; status == LLMQ_OK && number <= s->model.total; number++) {
        struct strbuf name = {0};
        shard_file(s, number, &name);
        char *path = strbuf_ok(&name) ? path_join(dir, name.data, err) : NULL;
        status = path ? st_set_add_file(*out, path, err) : error_memory(err, "a path");
        free(path);
        strbuf_free(&name);
    }
    if (status == LLMQ_OK)
        status = st_set_index(*out, err);
cleanup:
    if (status != LLMQ_OK)
        st_close(out);
    return status;
}

/* --- the only file ---------------------------------------------------------------------------- */

/* AutoGPTQ names its file after bits and group size: the only file of weights is the checkpoint.
 * *path is the caller's to free, NULL when there is no such file. */
static enum llmq_status lone_file(const char *dir, const struct dir_list *list, char **path,
                                  llmq_error *err) {
    size_t found = 0;
    bool file = false;
    *path = NULL;
    for (size_t i = 0; i < list->count; i++) {
        if (!text_ends_with(list->names[i], ".safetensors") || is_aside(list->names[i]))
            continue;
        free(*path);
        *path = path_join(dir, list->names[i], err);
        if (!*path)
            return LLMQ_E_MEMORY;
        found++;
    }
    enum llmq_status status = found == 1 ? file_exists(*path, &file, err) : LLMQ_OK;
    if (!file) {
        free(*path);
        *path = NULL;
    }
    return status;
}

/* --- no weights ------------------------------------------------------------------------------- */

/* Weights that llmq does not read, by the ends of their names, and what helps. */
static const struct {
    const char *suffix;
    enum { HELP_PYTORCH, HELP_GGUF, HELP_OTHER } help;
} unread[] = {
    {".bin", HELP_PYTORCH},   {".pt", HELP_PYTORCH},        {".pth", HELP_PYTORCH},
    {".gguf", HELP_GGUF},     {".safetensors", HELP_OTHER}, {".h5", HELP_OTHER},
    {".msgpack", HELP_OTHER}, {".onnx", HELP_OTHER},
};
enum { UNREAD = sizeof unread / sizeof unread[0] };

/* Index into `unread`, or -1. */
static int unread_kind(const char *name) {
    for (int i = 0; i < UNREAD; i++)
        if (text_ends_with(name, unread[i].suffix) && strcmp(name, "training_args.bin") != 0)
            return i;
    return -1;
}

/* The part of a path that says which model it is. */
static const char *short_name(const char *dir) {
    const char *base = path_base(dir);
    return *base ? base : dir;
}

static void hint_help(const char *dir, int kind, llmq_error *err) {
    switch (unread[kind].help) {
    case HELP_PYTORCH:
        error_hint(err,
                   "convert it once: python3 -c \"from transformers import AutoModelForCausalLM as "
                   "M, AutoTokenizer as T; M.from_pretrained('%.60s', torch_dtype='auto')."
                   "save_pretrained('%.40s-st', safe_serialization=True); "
                   "T.from_pretrained('%.60s').save_pretrained('%.40s-st')\"",
                   dir, short_name(dir), dir, short_name(dir));
        return;
    case HELP_GGUF:
        error_hint(err, "llmq reads the GGUF files that it wrote, as " GGUF_FILE_NAME
                        " beside their config.json; of other models take the original checkpoint");
        return;
    case HELP_OTHER:
    default:
        error_hint(err, "llmq reads " ST_SINGLE_FILE ", shards, and " GGUF_FILE_NAME
                        ": convert or rename the weights");
    }
}

/* Say what is there, weights in other forms first. */
static enum llmq_status nothing_found(const char *dir, const struct dir_list *list,
                                      llmq_error *err) {
    enum { SHOWN_NAMES = 4 };
    struct strbuf found = {0};
    int kind = -1;
    size_t shown = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->names[i];
        if (unread_kind(name) < 0)
            continue;
        if (shown++ < SHOWN_NAMES)
            strbuf_printf(&found, "%s%.80s", shown == 1 ? "" : ", ", name);
        kind = kind < 0 ? unread_kind(name) : kind;
    }
    if (shown > SHOWN_NAMES)
        strbuf_printf(&found, " and %zu more", shown - SHOWN_NAMES);
    if (shown == 0)
        strbuf_printf(&found, "%zu files, none of them weights", list->count);
    error_set(err, LLMQ_E_NOT_FOUND,
              "%s: expected " ST_SINGLE_FILE " or " ST_INDEX_FILE ", found %s", dir,
              strbuf_ok(&found) ? found.data : "other files");
    if (kind >= 0)
        hint_help(dir, kind, err);
    strbuf_free(&found);
    return LLMQ_E_NOT_FOUND;
}

enum llmq_status st_open_unnamed(const char *dir, struct st_set **out, llmq_error *err) {
    struct dir_list list = {0};
    struct shards shards = {0};
    enum llmq_status status = LLMQ_OK;
    char *lone = NULL;
    *out = NULL;
    LLMQ_TRY(dir_list_read(dir, &list, err));
    LLMQ_TRY(find_shards(dir, &list, &shards, err));
    if (shards.first) {
        LLMQ_TRY(open_unindexed(dir, &shards, &list, out, err));
        goto cleanup;
    }
    LLMQ_TRY(lone_file(dir, &list, &lone, err));
    status = lone ? st_open_file(lone, out, err) : nothing_found(dir, &list, err);
cleanup:
    free(lone);
    dir_list_free(&list);
    return status;
}
