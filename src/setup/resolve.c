/* SPDX-License-Identifier: Apache-2.0 */
/* From what the user calls a model to its folder: see llmq_model_resolve in llmq/model.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "llmq/model.h"
#include "setup/search.h"

char *search_formed(struct search *s, char *name) {
    s->memory_short = s->memory_short || !name;
    return name;
}

enum path_kind search_look(struct search *s, const char *place) {
    enum path_kind kind = PATH_ABSENT;
    llmq_error why = {0};
    enum llmq_status status = path_look(place, &kind, &why);
    strbuf_printf(&s->tried, "%s%s", s->tried.len ? ", " : "",
                  status == LLMQ_OK ? place : why.message);
    if (status != LLMQ_OK && s->unseen.code == LLMQ_OK)
        s->unseen = why;
    return kind;
}

char *search_under(struct search *s, const char *root, const char *name) {
    char *folder = root && *root ? search_formed(s, path_join(root, name, NULL)) : NULL;
    if (folder && search_look(s, folder) == PATH_FOLDER)
        return folder;
    free(folder);
    return NULL;
}

/* A model is a folder: its config and tokenizer count as much as its weights. A file of one stands
 * for the folder that it lies in. */
static enum llmq_status folder_of_file(struct search *s, char **path, llmq_error *err) {
    const size_t len = (size_t)(path_base(s->spec) - s->spec);
    char *folder = search_formed(s, len ? strndup(s->spec, len) : strdup("."));
    char *config = folder ? search_formed(s, path_join(folder, "config.json", NULL)) : NULL;
    const bool is_model = config && path_is_file(config);
    free(config);
    if (is_model) {
        if (len > 1)
            folder[len - 1] = '\0'; /* the slash */
        *path = folder;
        return LLMQ_OK;
    }
    free(folder);
    if (s->memory_short)
        return error_memory(err, "the model's folder");
    error_set(err, LLMQ_E_USAGE, "%s is a file; a model is the folder that holds its config.json",
              s->spec);
    error_hint(err, "there is no config.json beside it; give the folder that holds one");
    return LLMQ_E_USAGE;
}

/* A place that comes before *path (NULL: the only one) may hold the model that is meant. */
static enum llmq_status prefer_unseen(const struct search *s, char **path, llmq_error *err) {
    if (err)
        *err = s->unseen;
    if (*path)
        error_hint(err, "it comes before %s: mend or remove it, or give that folder", *path);
    free(*path);
    *path = NULL;
    return s->unseen.code;
}

static void not_found(const struct search *s, llmq_error *err) {
    const char *tried = s->tried.data ? s->tried.data : s->spec;
    char *download = hub_download(s->spec);
    error_set(err, LLMQ_E_NOT_FOUND, "model '%s' not found", s->spec);
    error_hint(err, "%s%slooked for: %s", download ? download : "", download ? " fetches it; " : "",
               tried);
    free(download);
}

enum llmq_status llmq_model_resolve(const char *spec, char **path, llmq_error *err) {
    struct search s = {.spec = spec};
    *path = NULL;
    if (!spec || !*spec)
        return error_set(err, LLMQ_E_USAGE, "the model's name is %s", spec ? "empty" : "missing");
    const enum path_kind kind = search_look(&s, spec);
    const bool may_be_it = s.unseen.code == LLMQ_E_IO; /* the folder itself, on a failing disk */
    if (kind == PATH_FILE) {
        strbuf_free(&s.tried);
        return folder_of_file(&s, path, err);
    }
    if (kind == PATH_FOLDER)
        *path = search_formed(&s, strdup(spec));
    bool relative = spec[0] != '/' && strncmp(spec, "./", 2) != 0 && strncmp(spec, "../", 3) != 0;
    if (!*path && relative) {
        *path = search_under(&s, getenv("LLMQ_MODELS"), spec);
        if (!*path)
            *path = search_under(&s, "./models", spec);
        if (!*path)
            *path = hub_find(&s);
    }
    enum llmq_status status = *path ? LLMQ_OK : LLMQ_E_NOT_FOUND;
    if (s.memory_short) { /* what was found may come after what was meant */
        status = error_memory(err, "the places where a model may be");
        free(*path);
        *path = NULL;
    } else if (s.unseen.code != LLMQ_OK && (*path || !relative || may_be_it)) {
        status = prefer_unseen(&s, path, err);
    } else if (!*path) {
        not_found(&s, err);
    }
    strbuf_free(&s.tried);
    return status;
}
