/* SPDX-License-Identifier: Apache-2.0 */
/* Where a path leads, told by the identity of the folders on the way and not by spelling: links,
 * "..", trailing slashes, mounts of one folder in two places and file systems that take two
 * spellings for one name all come out the same. */
#ifndef LLMQ_BASE_LOCATION_H
#define LLMQ_BASE_LOCATION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "llmq/error.h"

struct location_node {
    dev_t device;
    ino_t inode;
};

struct location {
    struct location_node
        *nodes; /* of the part that exists: its own, its folder's, up to the root */
    size_t count;
    size_t missing; /* last components of the path that do not exist */
    char *existing; /* absolute path, free of links, of the part that exists */
};

/* Look a path up; the last components need not exist. LLMQ_E_IO: it leads through something that is
 * no folder, or cannot be followed. Release with location_free. */
LLMQ_NODISCARD enum llmq_status location_find(const char *path, struct location *out,
                                              llmq_error *err);
void location_free(struct location *l);

/* Both exist and are the same file or folder. */
bool location_same(const struct location *a, const struct location *b);

/* `inner`, which need not exist, lies somewhere below `outer`. */
bool location_within(const struct location *inner, const struct location *outer);

#endif
