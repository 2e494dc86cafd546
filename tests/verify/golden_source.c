/* SPDX-License-Identifier: Apache-2.0 */
/* See golden_source.h. */
#include "golden_source.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fileio.h"
#include "pipeline/tiny_run.h"
#include "support.h"

static void copy(const char *from, const char *file) {
    llmq_error err = {0};
    char *a = path_join(from, file, NULL), *b = path_join(source, file, NULL);
    ck_assert_ok(file_copy(a, b, &err), &err);
    free(a);
    free(b);
}

bool golden_source(const char *model) {
    llmq_error err = {0};
    char path[64];
    snprintf(path, sizeof path, "golden/%s", model);
    char *dir = shared_path(path);
    if (!dir)
        return false;
    ck_assert_ok(dir_remove(source, &err), &err);
    ck_assert_ok(dir_make(source, false, &err), &err);
    copy(dir, "config.json");
    copy(dir, "model.safetensors");
    free(dir);
    return true;
}
