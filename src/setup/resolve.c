/* From what the user calls a model to its folder: see llmq_model_resolve in llmq/model.h. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/input.h"
#include "base/strbuf.h"
#include "llmq/model.h"

/* The search: every place tried is noted for the error's hint. */
struct search {
    const char *spec;
    struct strbuf tried;
    llmq_error unseen; /* the first place that is there, or may be, and cannot be looked at */
    bool memory_short; /* a place was not looked at because its name could not be formed */
};

/* Notes a name that could not be formed. */
static char *formed(struct search *s, char *name) {
    s->memory_short = s->memory_short || !name;
    return name;
}

static void note(struct search *s, const char *place) {
    strbuf_printf(&s->tried, "%s%s", s->tried.len ? ", " : "", place);
}

/* What is at a place; one that cannot be looked at counts as absent for the time being. */
static enum path_kind look(struct search *s, const char *place) {
    enum path_kind kind = PATH_ABSENT;
    llmq_error why = {0};
    enum llmq_status status = path_look(place, &kind, &why);
    note(s, status == LLMQ_OK ? place : why.message);
    if (status != LLMQ_OK && s->unseen.code == LLMQ_OK)
        s->unseen = why;
    return kind;
}

static bool try_folder(struct search *s, const char *folder) {
    return look(s, folder) == PATH_FOLDER;
}

/* `root`/`spec`, when there is such a folder. */
static char *under(struct search *s, const char *root) {
    char *folder = root && *root ? formed(s, path_join(root, s->spec, NULL)) : NULL;
    if (folder && try_folder(s, folder))
        return folder;
    free(folder);
    return NULL;
}

/* models--org--name */
static char *cache_name(const char *spec) {
    struct strbuf b = {0};
    strbuf_puts(&b, "models");
    for (const char *p = spec; *p;) {
        const char *slash = strchr(p, '/');
        size_t len = slash ? (size_t)(slash - p) : strlen(p);
        strbuf_puts(&b, "--");
        strbuf_append(&b, p, len);
        p += len + (slash != NULL);
    }
    return strbuf_take(&b);
}

/* The snapshot refs/main points at, inside a repository folder of the Hugging Face cache. */
static char *snapshot(struct search *s, const char *repository) {
    struct strbuf path = {0};
    char *commit = NULL;
    size_t len = 0;
    strbuf_printf(&path, "%s/refs/main", repository);
    s->memory_short = s->memory_short || !strbuf_ok(&path);
    bool there = strbuf_ok(&path) && look(s, path.data) == PATH_FILE;
    enum llmq_status status =
        there ? input_read(path.data, INPUT_NAME, &commit, &len, &s->unseen) : LLMQ_E_NOT_FOUND;
    strbuf_free(&path);
    if (status != LLMQ_OK)
        return NULL;
    commit[strcspn(commit, "\r\n ")] = '\0';
    strbuf_printf(&path, "%s/snapshots/%s", repository, commit);
    free(commit);
    char *folder = formed(s, strbuf_take(&path));
    if (folder && !strstr(folder, "/../") && try_folder(s, folder))
        return folder;
    free(folder);
    return NULL;
}

static char *in_cache(struct search *s, const char *hub) {
    char *name = formed(s, cache_name(s->spec));
    char *repository = name ? formed(s, path_join(hub, name, NULL)) : NULL;
    char *folder = repository ? snapshot(s, repository) : NULL;
    free(name);
    free(repository);
    return folder;
}

/* The Hugging Face cache: $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub. */
static char *in_default_cache(struct search *s) {
    static const struct {
        const char *variable, *below;
    } roots[] = {{"HF_HUB_CACHE", ""}, {"HF_HOME", "hub"}, {"HOME", ".cache/huggingface/hub"}};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        const char *root = getenv(roots[i].variable);
        if (!root || !*root)
            continue;
        char *hub = formed(s, path_join(root, roots[i].below, NULL));
        char *folder = hub ? in_cache(s, hub) : NULL;
        free(hub);
        if (folder)
            return folder;
    }
    return NULL;
}

/* A model is a folder: its config and tokenizer count as much as its weights. */
static enum llmq_status refuse_file(const char *spec, llmq_error *err) {
    const size_t folder = (size_t)(path_base(spec) - spec);
    error_set(err, LLMQ_E_USAGE, "%s is a file; a model is the folder that holds its config.json",
              spec);
    error_hint(err, "give the folder: %.*s", folder > 0 ? (int)folder : 1, folder > 0 ? spec : ".");
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

enum llmq_status llmq_model_resolve(const char *spec, char **path, llmq_error *err) {
    struct search s = {.spec = spec};
    *path = NULL;
    if (!*spec)
        return error_set(err, LLMQ_E_USAGE, "the model's name is empty");
    const enum path_kind kind = look(&s, spec);
    const bool may_be_it = s.unseen.code == LLMQ_E_IO; /* the folder itself, on a failing disk */
    if (kind == PATH_FILE) {
        strbuf_free(&s.tried);
        return refuse_file(spec, err);
    }
    if (kind == PATH_FOLDER)
        *path = formed(&s, strdup(spec));
    bool relative = spec[0] != '/' && strncmp(spec, "./", 2) != 0 && strncmp(spec, "../", 3) != 0;
    if (!*path && relative) {
        *path = under(&s, getenv("LLMQ_MODELS"));
        if (!*path)
            *path = under(&s, "./models");
        if (!*path)
            *path = in_default_cache(&s);
    }
    enum llmq_status status = *path ? LLMQ_OK : LLMQ_E_NOT_FOUND;
    if (s.memory_short) { /* what was found may come after what was meant */
        status = error_memory(err, "the places where a model may be");
        free(*path);
        *path = NULL;
    } else if (s.unseen.code != LLMQ_OK && (*path || !relative || may_be_it)) {
        status = prefer_unseen(&s, path, err);
    } else if (!*path) {
        error_set(err, LLMQ_E_NOT_FOUND, "model '%s' not found", spec);
        error_hint(err, "looked for: %s", s.tried.data ? s.tried.data : spec);
    }
    strbuf_free(&s.tried);
    return status;
}
