/* SPDX-License-Identifier: Apache-2.0 */
/* See lfs.h. */
#include "base/lfs.h"

#include <string.h>

#include "base/error.h"
#include "base/fileio.h"

enum llmq_status lfs_check(const char *path, const char *text, size_t len, llmq_error *err) {
    static const char head[] = "version https://git-lfs";
    if (len < sizeof head - 1 || memcmp(text, head, sizeof head - 1) != 0)
        return LLMQ_OK;
    const char *base = path_base(path);
    const size_t folder = (size_t)(base - path);
    error_set(err, LLMQ_E_INPUT, "%s: a Git LFS pointer, not the file itself", path);
    error_hint(err, "git -C %.*s lfs pull downloads what the pointers stand for",
               folder > 0 ? (int)folder : 1, folder > 0 ? path : ".");
    return LLMQ_E_INPUT;
}
