/* Bytes of files, packed or not: see bytes.h. This module is the only user of zlib, which passes
 * what gzip did not pack through as it is. */
#include "text/bytes.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/fileio.h"

#define BUFFER (256u << 10)

static enum llmq_status open_stream(const char *path, gzFile *out, llmq_error *err) {
    struct file f = {.fd = -1};
    enum llmq_status status = file_open_read(path, &f, err);
    if (status != LLMQ_OK)
        return status;
    const int fd = dup(f.fd);
    (void)file_close(&f, NULL);
    if (fd < 0)
        return error_errno(err, "%s", path);
    *out = gzdopen(fd, "rb");
    if (!*out) {
        close(fd);
        return error_memory(err, "a file's bytes");
    }
    gzbuffer(*out, BUFFER);
    return LLMQ_OK;
}

static enum llmq_status failed(const char *path, gzFile stream, llmq_error *err) {
    int code = Z_OK;
    const char *what = gzerror(stream, &code);
    if (code == Z_ERRNO)
        return error_errno(err, "%s: cannot be read", path);
    if (code == Z_MEM_ERROR)
        return error_memory(err, "unpacking gzip");
    error_set(err, LLMQ_E_INPUT, "%s: %s: %s", path,
              code == Z_BUF_ERROR ? "the end of what gzip packed is missing"
                                  : "what gzip packed is damaged",
              what);
    error_hint(err, "gzip -t tells whether it is whole; fetch it again");
    return LLMQ_E_INPUT;
}

/* The next bytes, up to `size`; *got is 0 at the end only. */
static enum llmq_status read_some(const char *path, gzFile stream, void *buf, size_t size,
                                  size_t *got, llmq_error *err) {
    const unsigned wanted = size < INT_MAX ? (unsigned)size : INT_MAX;
    errno = 0;
    const int count = gzread(stream, buf, wanted);
    int code = Z_OK;
    if (count >= 0)
        (void)gzerror(stream, &code); /* a file that is cut off gives its bytes all the same */
    if (count < 0 || (code != Z_OK && code != Z_STREAM_END))
        return failed(path, stream, err);
    *got = (size_t)count;
    return LLMQ_OK;
}

/* Room for one byte more than was read, so that the end of the file is seen. */
static enum llmq_status grow(char **data, size_t *room, size_t max, llmq_error *err) {
    size_t larger = *room ? *room * 2 : BUFFER;
    larger = larger < max + 2 ? larger : max + 2;
    char *moved = realloc(*data, larger);
    if (!moved)
        return error_memory(err, "a file");
    *data = moved;
    *room = larger;
    return LLMQ_OK;
}

enum llmq_status bytes_read_all(const char *path, size_t max, char **out, size_t *len,
                                llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    gzFile stream = NULL;
    char *data = NULL;
    size_t room = 0, used = 0, got = 1;
    LLMQ_TRY(open_stream(path, &stream, err));
    while (got > 0) {
        if (room - used < 2)
            LLMQ_TRY(grow(&data, &room, max, err));
        LLMQ_TRY(read_some(path, stream, data + used, room - used - 1, &got, err));
        used += got;
        if (used > max) {
            status = error_set(err, LLMQ_E_INPUT,
                               "%s: more than %zu bytes, at most as many are accepted", path, max);
            goto cleanup;
        }
    }
    data[used] = '\0';
    *out = data;
    *len = used;
    data = NULL;
cleanup:
    free(data);
    if (stream)
        (void)gzclose_r(stream);
    return status;
}
