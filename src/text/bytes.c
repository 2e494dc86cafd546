/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of files, packed or not: see bytes.h. This module is the only user of zlib, which passes
 * what gzip did not pack through as it is. */
#include "text/bytes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/fileio.h"

#define BUFFER (64u << 10)

struct bytes {
    char *path;
    gzFile stream;
};

static enum llmq_status open_stream(struct bytes *b, llmq_error *err) {
    struct file f = {.fd = -1};
    enum llmq_status status = file_open_read(b->path, &f, err);
    if (status != LLMQ_OK)
        return status;
    const int fd = dup(f.fd);
    (void)file_close(&f, NULL);
    if (fd < 0)
        return error_errno(err, "%s", b->path);
    b->stream = gzdopen(fd, "rb");
    if (!b->stream) {
        close(fd);
        return error_memory(err, "a file's bytes");
    }
    gzbuffer(b->stream, BUFFER);
    return LLMQ_OK;
}

enum llmq_status bytes_open(const char *path, struct bytes **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct bytes *b = calloc(1, sizeof *b);
    if (b)
        b->path = strdup(path);
    if (!b || !b->path)
        LLMQ_TRY(error_memory(err, "a file's bytes"));
    LLMQ_TRY(open_stream(b, err));
    *out = b;
    b = NULL;
cleanup:
    bytes_close(&b);
    return status;
}

static enum llmq_status failed(struct bytes *b, llmq_error *err) {
    int code = Z_OK;
    const char *what = gzerror(b->stream, &code);
    if (code == Z_ERRNO)
        return error_errno(err, "%s: cannot be read", b->path);
    if (code == Z_MEM_ERROR)
        return error_memory(err, "unpacking gzip");
    error_set(err, LLMQ_E_INPUT, "%s: %s: %s", b->path,
              code == Z_BUF_ERROR ? "the end of what gzip packed is missing"
                                  : "what gzip packed is damaged",
              what);
    error_hint(err, "gzip -t tells whether it is whole; fetch it again");
    return LLMQ_E_INPUT;
}

enum llmq_status bytes_read(struct bytes *b, void *buf, size_t size, size_t *got, llmq_error *err) {
    const unsigned wanted = size < INT_MAX ? (unsigned)size : INT_MAX;
    errno = 0;
    const int count = gzread(b->stream, buf, wanted);
    int code = Z_OK;
    if (count >= 0)
        (void)gzerror(b->stream, &code); /* a file that is cut off gives its bytes all the same */
    if (count < 0 || (code != Z_OK && code != Z_STREAM_END))
        return failed(b, err);
    *got = (size_t)count;
    return LLMQ_OK;
}

void bytes_close(struct bytes **b) {
    if (!*b)
        return;
    if ((*b)->stream)
        (void)gzclose_r((*b)->stream);
    free((*b)->path);
    free(*b);
    *b = NULL;
}
