/* SPDX-License-Identifier: Apache-2.0 */
/* The models that can be called by a name, where resolve.c looks: see llmq_model_names in
 * llmq/model.h. What cannot be read is no place to choose from, and left out. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "llmq/model.h"
#include "setup/search.h"

struct listing {
    struct search search;
    llmq_name_fn *each;
    void *user;
};

/* What to do with an entry of `folder`. */
typedef void entry_fn(struct listing *l, const char *folder, const char *name);

static void for_entries(struct listing *l, const char *folder, entry_fn *entry) {
    struct dir_list list = {0};
    const enum llmq_status status = dir_list_read(folder, &list, NULL);
    for (size_t i = 0; status == LLMQ_OK && i < list.count; i++)
        entry(l, folder, list.names[i]);
    l->search.memory_short = l->search.memory_short || status == LLMQ_E_MEMORY;
    dir_list_free(&list);
}

/* `folder`/`name`, which holds a config.json; the caller frees. */
static char *model_at(struct listing *l, const char *folder, const char *name) {
    char *path = search_formed(&l->search, path_join(folder, name, NULL));
    char *config = path ? search_formed(&l->search, path_join(path, "config.json", NULL)) : NULL;
    const bool found = config && path_is_file(config);
    free(config);
    if (found)
        return path;
    free(path);
    return NULL;
}

/* `name` of a folder org: org/name. */
static void tell_second(struct listing *l, const char *org, const char *name) {
    char *path = model_at(l, org, name);
    char *spec = path ? search_formed(&l->search, path_join(path_base(org), name, NULL)) : NULL;
    if (spec)
        l->each(l->user, spec);
    free(spec);
    free(path);
}

static void tell_first(struct listing *l, const char *folder, const char *name) {
    char *path = model_at(l, folder, name);
    if (path)
        l->each(l->user, name);
    else if ((path = search_formed(&l->search, path_join(folder, name, NULL))) && path_is_dir(path))
        for_entries(l, path, tell_second);
    free(path);
}

/* models--org--name is org/name. */
static void tell_repository(struct listing *l, const char *folder, const char *name) {
    static const char begin[] = "models--", between[] = "--";
    struct strbuf spec = {0};
    (void)folder;
    if (strncmp(name, begin, sizeof begin - 1) != 0)
        return;
    for (const char *p = name + sizeof begin - 1; *p;) {
        const char *end = strstr(p, between);
        strbuf_append(&spec, p, end ? (size_t)(end - p) : strlen(p));
        if (end)
            strbuf_puts(&spec, "/");
        p = end ? end + sizeof between - 1 : p + strlen(p);
    }
    char *text = search_formed(&l->search, strbuf_take(&spec));
    if (text)
        l->each(l->user, text);
    free(text);
}

enum llmq_status llmq_model_names(llmq_name_fn *each, void *user, llmq_error *err) {
    struct listing l = {.each = each, .user = user};
    const char *models = getenv("LLMQ_MODELS");
    char *hub = NULL;
    if (models && *models)
        for_entries(&l, models, tell_first);
    for_entries(&l, "./models", tell_first);
    for (size_t i = 0; hub_cache(&l.search, i, &hub); i++) {
        if (hub)
            for_entries(&l, hub, tell_repository);
        free(hub);
    }
    return l.search.memory_short ? error_memory(err, "the names of models") : LLMQ_OK;
}
