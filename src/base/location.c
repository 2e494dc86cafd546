/* SPDX-License-Identifier: Apache-2.0 */
/* Identity of places: see location.h. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "base/location.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"

/* Shorten `path` by its last component. False when there is none to take away. */
static bool shorten(char *path) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    const bool up = len - begin == 2 && strncmp(path + begin, "..", 2) == 0;
    if (begin == len || up || strcmp(path, ".") == 0)
        return false;
    while (begin > 1 &&
           path[begin - 1] == '/') /* a link with a slash behind it would be followed */
        begin--;
    path[begin] = '\0';
    if (begin == 0)
        memcpy(path, ".", 2);
    return true;
}

/* A link whose target is missing is something that exists, yet nothing to build on. */
static bool is_dangling(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* The part of `path` that exists; counts the components that do not. */
static enum llmq_status find_existing(const char *path, struct location *l, llmq_error *err) {
    char *left = malloc(strlen(path) + 2); /* "." may take the place of one letter */
    if (!left)
        return error_memory(err, "a path");
    memcpy(left, path, strlen(path) + 1);
    for (size_t len = strlen(left); len > 1 && left[len - 1] == '/';)
        left[--len] = '\0';
    enum llmq_status status = LLMQ_OK;
    while (!(l->existing = realpath(left, NULL))) {
        if (errno == ENOENT && is_dangling(left))
            status = error_set(err, LLMQ_E_IO, "%s is a link that leads nowhere", left);
        else if (errno != ENOENT || !shorten(left))
            status = error_output(err, "%s", path);
        if (status != LLMQ_OK)
            break;
        l->missing++;
    }
    free(left);
    return status;
}

/* Note the node of every folder from `l->existing` up to the root. */
static enum llmq_status add_nodes(struct location *l, llmq_error *err) {
    size_t most = 1;
    for (const char *p = l->existing; *p; p++)
        most += *p == '/';
    l->nodes = calloc(most, sizeof *l->nodes);
    char *path = strdup(l->existing);
    enum llmq_status status = l->nodes && path ? LLMQ_OK : error_memory(err, "a path");
    bool more = true;
    while (status == LLMQ_OK && more) {
        struct stat st;
        if (stat(path, &st) != 0)
            status = error_output(err, "%s", path);
        l->nodes[l->count++] = (struct location_node){st.st_dev, st.st_ino};
        more = strcmp(path, "/") != 0 && shorten(path);
    }
    free(path);
    return status;
}

enum llmq_status location_find(const char *path, struct location *out, llmq_error *err) {
    *out = (struct location){0};
    enum llmq_status status = find_existing(path, out, err);
    if (status == LLMQ_OK)
        status = add_nodes(out, err);
    if (status != LLMQ_OK)
        location_free(out);
    return status;
}

void location_free(struct location *l) {
    free(l->nodes);
    free(l->existing);
    *l = (struct location){0};
}

static bool same_node(const struct location_node *a, const struct location_node *b) {
    return a->device == b->device && a->inode == b->inode;
}

bool location_same(const struct location *a, const struct location *b) {
    return a->missing == 0 && b->missing == 0 && a->count > 0 && b->count > 0 &&
           same_node(&a->nodes[0], &b->nodes[0]);
}

bool location_within(const struct location *inner, const struct location *outer) {
    if (outer->missing > 0 || outer->count == 0)
        return false;
    for (size_t i = inner->missing > 0 ? 0 : 1; i < inner->count; i++)
        if (same_node(&inner->nodes[i], &outer->nodes[0]))
            return true;
    return false;
}
