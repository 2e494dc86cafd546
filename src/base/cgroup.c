/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups: see cgroup.h. */
#include "base/cgroup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

enum { LINE_MOST = 4096, FILES_MOST = 2 };

/* One version's files in the folder of a group, "" where there is none. */
struct version {
    const char *controller; /* whose hierarchy has the files; version 2 has one for all */
    const char *bases[FILES_MOST];
    const char *limits[FILES_MOST], *usage, *reclaimable; /* the latter a line of memory.stat */
    const char *quota, *period;                           /* no period: both are in one file */
};

static const struct version versions[] = {
    {"",
     {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"},
     {"memory.max", "memory.high"},
     "memory.current",
     "inactive_file ",
     "cpu.max",
     NULL},
    {"memory",
     {"/sys/fs/cgroup/memory"},
     {"memory.limit_in_bytes"},
     "memory.usage_in_bytes",
     "total_inactive_file ",
     NULL,
     NULL},
    {"cpu",
     {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"},
     {NULL},
     NULL,
     NULL,
     "cpu.cfs_quota_us",
     "cpu.cfs_period_us"},
};

/* The folder of a group while the way up from it is walked. */
struct group {
    struct strbuf path;
    const struct version *version;
};

/* The text behind `key` at the beginning of the first such line of a file of the group. */
static bool read_line(const struct group *g, const char *name, const char *key,
                      char line[LINE_MOST]) {
    struct strbuf path = {0};
    bool found = false;
    strbuf_printf(&path, "%s/%s", g->path.data, name);
    FILE *f = strbuf_ok(&path) ? fopen(path.data, "re") : NULL;
    while (f && !found && fgets(line, LINE_MOST, f))
        found = strncmp(line, key, strlen(key)) == 0;
    if (f)
        fclose(f);
    strbuf_free(&path);
    if (found)
        memmove(line, line + strlen(key), strlen(line + strlen(key)) + 1);
    return found;
}

/* A number of bytes; "max", a negative one and what is not there are UINT64_MAX. */
static uint64_t read_bytes(const struct group *g, const char *name, const char *key) {
    char line[LINE_MOST], *end = line;
    if (!read_line(g, name, key, line) || *line == '-')
        return UINT64_MAX;
    const unsigned long long value = strtoull(line, &end, 10);
    return end == line ? UINT64_MAX : value;
}

/* What the group's limits leave. */
static uint64_t memory_left(const struct group *g) {
    const struct version *v = g->version;
    uint64_t limit = UINT64_MAX;
    for (int i = 0; i < FILES_MOST && v->limits[i]; i++) {
        const uint64_t one = read_bytes(g, v->limits[i], "");
        limit = one < limit ? one : limit;
    }
    /* version 1 writes the largest number of pages where there is no limit */
    if (limit >= UINT64_MAX / 4)
        return UINT64_MAX;
    uint64_t used = read_bytes(g, v->usage, "");
    const uint64_t cached = read_bytes(g, "memory.stat", v->reclaimable);
    if (used == UINT64_MAX)
        return limit;
    used -= cached < used ? cached : 0;
    return limit > used ? limit - used : 0;
}

static int cores_granted(const struct group *g) {
    const struct version *v = g->version;
    char line[LINE_MOST], *rest = line;
    long long quota = 0, period = 0;
    if (!v->quota || !read_line(g, v->quota, "", line))
        return 0;
    quota = strtoll(line, &rest, 10);
    if (!v->period)
        period = strtoll(rest, NULL, 10);
    else if (read_line(g, v->period, "", line))
        period = strtoll(line, NULL, 10);
    if (quota <= 0 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

static void read_group(const struct group *g, struct cgroup_limits *out) {
    if (g->version->usage) {
        const uint64_t left = memory_left(g);
        out->memory = left < out->memory ? left : out->memory;
    }
    const int cores = cores_granted(g);
    if (cores > 0 && (out->cores == 0 || cores < out->cores))
        out->cores = cores;
}

/* The group `path` below each base, and those around it: a container's own hierarchy may not have
 * the folder that the name outside leads to, but has its root. */
static void read_upwards(const char *root, const struct version *v, const char *path,
                         struct cgroup_limits *out) {
    for (int i = 0; i < FILES_MOST && v->bases[i]; i++) {
        struct group g = {.version = v};
        strbuf_printf(&g.path, "%s%s", root, v->bases[i]);
        const size_t base = g.path.len;
        if (!strstr(path, "/..")) /* of a group outside this namespace */
            strbuf_puts(&g.path, path);
        while (strbuf_ok(&g.path)) {
            read_group(&g, out);
            char *slash = g.path.len > base ? strrchr(g.path.data + base, '/') : NULL;
            if (!slash)
                break;
            *slash = '\0';
            g.path.len = (size_t)(slash - g.path.data);
        }
        strbuf_free(&g.path);
    }
}

/* Is `name` one of a list with commas between? */
static bool lists(const char *list, const char *name) {
    const size_t len = strlen(name);
    for (;; list++) {
        const size_t word = strcspn(list, ",");
        if (word == len && strncmp(list, name, len) == 0)
            return true;
        list += word;
        if (!*list)
            return false;
    }
}

/* "4:cpu,cpuacct:/path"; the version whose files are in that hierarchy, or NULL. */
static const struct version *version_of(char *line, const char **path) {
    char *controllers = strchr(line, ':');
    char *end = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!end)
        return NULL;
    *end = '\0';
    *path = end + 1;
    end[1 + strcspn(end + 1, "\n")] = '\0';
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++)
        if (lists(controllers + 1, versions[i].controller))
            return &versions[i];
    return NULL;
}

void cgroup_read(const char *root, struct cgroup_limits *out) {
    char line[LINE_MOST];
    struct strbuf path = {0};
    *out = (struct cgroup_limits){.memory = UINT64_MAX};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++)
        read_upwards(root, &versions[i], "", out);
    strbuf_printf(&path, "%s/proc/self/cgroup", root);
    FILE *f = strbuf_ok(&path) ? fopen(path.data, "re") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        const char *group = NULL;
        const struct version *v = version_of(line, &group);
        if (v)
            read_upwards(root, v, group, out);
    }
    if (f)
        fclose(f);
    strbuf_free(&path);
}
