/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a list, sorted, so that the place of one is found in O(log n). */
#ifndef LLMQ_BASE_NAME_INDEX_H
#define LLMQ_BASE_NAME_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

struct name_index {
    struct named {
        const char *name; /* the list's */
        int64_t at;
    } * names;
    int64_t count;
};

/* Sort the names name_of(list, 0), ..., name_of(list, count - 1), which must outlive the index.
 * Release with name_index_free. */
LLMQ_NODISCARD enum llmq_status name_index_create(const void *list, int64_t count,
                                                  const char *(*name_of)(const void *list,
                                                                         int64_t i),
                                                  struct name_index *out, llmq_error *err);
void name_index_free(struct name_index *n); /* accepts a zeroed struct */

/* The place in the list of the name of `len` bytes, of several the first; -1: it is not there. */
int64_t name_index_find(const struct name_index *n, const char *name, size_t len);

#endif
