/* Where tests find their data: see places.h. */
#include "places.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fileio.h"

char *source_path(const char *path) {
    const char *root = getenv("LLMQ_SOURCE_ROOT");
    char *full = path_join(root && *root ? root : ".", path, NULL);
    ck_assert_ptr_nonnull(full);
    return full;
}

char *shared_path(const char *path) {
    const char *shared = getenv("LLMQ_SHARED");
    char *full = NULL;
    if (shared && *shared) {
        full = path_join(shared, path, NULL);
    } else {
        char *root = source_path("../shared");
        full = path_join(root, path, NULL);
        free(root);
    }
    ck_assert_ptr_nonnull(full);
    if (access(full, R_OK) == 0)
        return full;
    printf("SKIP: %s is not here\n", path);
    free(full);
    return NULL;
}
