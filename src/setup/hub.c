/* SPDX-License-Identifier: Apache-2.0 */
/* The caches of Hugging Face's hub: models--org--name holds refs/REVISION, which names a commit,
 * and snapshots/COMMIT, a folder of links. Places and names as huggingface_hub 1.0 has them
 * (constants.py, file_download.py) and had them under older variables. */
#include <stdlib.h>
#include <string.h>

#include "base/input.h"
#include "setup/search.h"

#define MAIN "main"

/* What the name of a model says; `name` is the caller's to free. */
struct wanted {
    char *name;           /* org/name */
    const char *revision; /* inside of spec, or "main" */
};

static struct wanted read_spec(struct search *s) {
    const char *at = strrchr(s->spec, '@');
    const size_t len = at && at[1] ? (size_t)(at - s->spec) : strlen(s->spec);
    return (struct wanted){.name = search_formed(s, strndup(s->spec, len)),
                           .revision = at && at[1] ? at + 1 : MAIN};
}

/* models--org--name */
static char *cache_name(const char *name) {
    struct strbuf b = {0};
    strbuf_puts(&b, "models");
    for (const char *p = name; *p;) {
        const char *slash = strchr(p, '/');
        size_t len = slash ? (size_t)(slash - p) : strlen(p);
        strbuf_puts(&b, "--");
        strbuf_append(&b, p, len);
        p += len + (slash != NULL);
    }
    return strbuf_take(&b);
}

/* The commit that refs/`revision` names, or NULL. */
static char *commit_of(struct search *s, const char *repository, const char *revision) {
    char *refs = search_formed(s, path_join(repository, "refs", NULL));
    char *path = refs ? search_formed(s, path_join(refs, revision, NULL)) : NULL;
    char *commit = NULL;
    size_t len = 0;
    enum llmq_status status = LLMQ_E_NOT_FOUND;
    if (path && search_look(s, path) == PATH_FILE)
        status = input_read(path, INPUT_NAME, &commit, &len, &s->unseen);
    free(refs);
    free(path);
    if (status != LLMQ_OK)
        return NULL;
    commit[strcspn(commit, "\r\n ")] = '\0';
    return commit;
}

/* The only snapshot there is, or NULL; of several, which one has to be said. */
static char *only_snapshot(struct search *s, const char *snapshots) {
    struct dir_list list = {0};
    char *folder = NULL;
    llmq_error ignored = {0};
    if (!path_is_dir(snapshots) || dir_list_read(snapshots, &list, &ignored) != LLMQ_OK)
        return NULL;
    if (list.count == 1)
        folder = search_under(s, snapshots, list.names[0]);
    else if (list.count > 1)
        strbuf_printf(&s->tried, " (of the %zu snapshots beside it choose one: %s@%s)", list.count,
                      s->spec, list.names[0]);
    dir_list_free(&list);
    return folder;
}

/* The snapshot that `revision` of a repository means: a branch or tag of refs, a commit, or, where
 * nothing says which is main, the only one. */
static char *snapshot(struct search *s, const char *repository, const char *revision) {
    char *commit = commit_of(s, repository, revision);
    char *snapshots = search_formed(s, path_join(repository, "snapshots", NULL));
    const bool is_main = strcmp(revision, MAIN) == 0;
    const char *name = commit ? commit : is_main ? NULL : revision;
    char *folder = NULL;
    if (snapshots && name && *name && !strstr(name, ".."))
        folder = search_under(s, snapshots, name);
    if (snapshots && !folder && !commit && is_main)
        folder = only_snapshot(s, snapshots);
    free(commit);
    free(snapshots);
    return folder;
}

static char *in_cache(struct search *s, const char *hub, const struct wanted *wanted) {
    char *name = search_formed(s, cache_name(wanted->name));
    char *repository = name ? search_formed(s, path_join(hub, name, NULL)) : NULL;
    char *folder = repository ? snapshot(s, repository, wanted->revision) : NULL;
    free(name);
    free(repository);
    return folder;
}

bool hub_cache(struct search *s, size_t index, char **folder) {
    static const struct {
        const char *variable, *below;
    } roots[] = {
        {"HF_HUB_CACHE", ""},
        {"HUGGINGFACE_HUB_CACHE", ""},
        {"HF_HOME", "hub"},
        {"TRANSFORMERS_CACHE", ""},
        {"XDG_CACHE_HOME", "huggingface/hub"},
        {"HOME", ".cache/huggingface/hub"},
    };
    *folder = NULL;
    if (index >= sizeof roots / sizeof roots[0])
        return false;
    const char *root = getenv(roots[index].variable);
    if (root && *root)
        *folder = search_formed(s, path_join(root, roots[index].below, NULL));
    return true;
}

char *hub_find(struct search *s) {
    struct wanted wanted = read_spec(s);
    char *folder = NULL, *hub = NULL;
    for (size_t i = 0; wanted.name && !folder && hub_cache(s, i, &hub); i++) {
        if (hub)
            folder = in_cache(s, hub, &wanted);
        free(hub);
    }
    free(wanted.name);
    return folder;
}

char *hub_download(const char *spec) {
    const char *slash = strchr(spec, '/'), *at = strrchr(spec, '@');
    struct strbuf command = {0};
    if (!slash || slash == spec || !slash[1] || strchr(slash + 1, '/') || strchr("./~", spec[0]))
        return NULL;
    if (at && at[1])
        strbuf_printf(&command, "hf download %.*s --revision %s", (int)(at - spec), spec, at + 1);
    else
        strbuf_printf(&command, "hf download %s", spec);
    return strbuf_take(&command);
}
