/* SPDX-License-Identifier: Apache-2.0 */
/* See origin.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "pipeline/origin.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/strbuf.h"

/* What the user calls the model; a folder that is "." or ".." by what it is called elsewhere. */
static char *called(const char *spec, const char *dir) {
    char *path = strdup(path_is_dir(spec) || path_is_file(spec) ? dir : spec);
    if (!path)
        return NULL;
    path_trim(path);
    char *whole = path_base(path)[strspn(path_base(path), ".")] ? NULL : realpath(path, NULL);
    char *name = strdup(path_base(whole ? whole : path));
    free(whole);
    free(path);
    return name;
}

/* "org/name" of models--org--name, which is `len` bytes of a path. */
static char *repository_of(const char *folder, size_t len) {
    static const char prefix[] = "models--";
    const size_t skip = sizeof prefix - 1;
    struct strbuf b = {0};
    if (len <= skip || strncmp(folder, prefix, skip) != 0)
        return NULL;
    for (size_t at = skip; at < len; at++) {
        const bool slash = at + 1 < len && folder[at] == '-' && folder[at + 1] == '-';
        strbuf_append(&b, slash ? "/" : folder + at, 1);
        at += slash;
    }
    return strbuf_take(&b);
}

/* .../models--org--name/snapshots/COMMIT */
static void find_snapshot(const char *dir, struct origin *o) {
    char *path = realpath(dir, NULL);
    char *commit = path ? strrchr(path, '/') : NULL;
    if (commit)
        *commit++ = '\0';
    char *snapshots = commit ? strrchr(path, '/') : NULL;
    if (snapshots && strcmp(snapshots, "/snapshots") == 0) {
        *snapshots = '\0';
        const char *folder = path_base(path);
        o->repository = repository_of(folder, strlen(folder));
        o->revision = o->repository ? strdup(commit) : NULL;
    }
    free(path);
}

/* Is it "org/name", looked up and so no path? */
static bool is_repository(const char *spec) {
    const char *slash = strchr(spec, '/');
    return slash && slash > spec && slash[1] && !strchr(slash + 1, '/') && spec[0] != '.' &&
           !path_is_dir(spec) && !path_is_file(spec);
}

enum llmq_status origin_find(const char *spec, const char *dir, struct origin *out,
                             llmq_error *err) {
    *out = (struct origin){0};
    find_snapshot(dir, out);
    if (!out->repository && is_repository(spec))
        out->repository = strndup(spec, strcspn(spec, "@"));
    out->name = out->repository ? strdup(path_base(out->repository)) : called(spec, dir);
    return out->name ? LLMQ_OK : error_memory(err, "the model's name");
}

void origin_free(struct origin *o) {
    free(o->name);
    free(o->repository);
    free(o->revision);
    *o = (struct origin){0};
}

struct json *origin_json(const struct origin *o) {
    struct json *object = json_new_object();
    json_add_string(object, "name", o->name);
    json_add_string(object, "repository", o->repository);
    json_add_string(object, "revision", o->revision);
    return object;
}
