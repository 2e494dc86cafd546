/* SPDX-License-Identifier: Apache-2.0 */
/* See name_index.h. */
#include "base/name_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int by_name(const void *a, const void *b) {
    const struct named *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

enum llmq_status name_index_create(const void *list, int64_t count,
                                   const char *(*name_of)(const void *list, int64_t i),
                                   struct name_index *out, llmq_error *err) {
    *out = (struct name_index){.count = count};
    out->names = calloc((size_t)count + 1, sizeof *out->names); /* never none */
    if (!out->names)
        return error_memory(err, "an index of names");
    for (int64_t i = 0; i < count; i++)
        out->names[i] = (struct named){name_of(list, i), i};
    qsort(out->names, (size_t)count, sizeof *out->names, by_name);
    return LLMQ_OK;
}

void name_index_free(struct name_index *n) {
    free(n->names);
    *n = (struct name_index){0};
}

/* As strcmp of `name` and the `len` bytes. */
static int compare(const char *name, const char *wanted, size_t len) {
    const int order = strncmp(name, wanted, len);
    return order ? order : name[len] != '\0';
}

int64_t name_index_find(const struct name_index *n, const char *name, size_t len) {
    int64_t low = 0, high = n->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (compare(n->names[middle].name, name, len) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n->count && compare(n->names[low].name, name, len) == 0 ? n->names[low].at : -1;
}
