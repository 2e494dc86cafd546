/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a GGUF file's head apart: see gguf_cursor.h. */
#include "formats/gguf/gguf_cursor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_scan.h"
#include "formats/gguf/gguf_private.h"

uint64_t gguf_left(const struct gguf_cursor *c) {
    return c->f->size - c->at;
}

enum llmq_status gguf_too_short(const struct gguf_cursor *c, const char *what, uint64_t need,
                                llmq_error *err) {
    return error_set(err, LLMQ_E_INPUT,
                     "%s: %s at byte %" PRIu64 ": expected %" PRIu64 " bytes, found the end of the "
                     "file after %" PRIu64,
                     c->f->path, what, c->at, need, gguf_left(c));
}

enum llmq_status gguf_take(struct gguf_cursor *c, const char *what, void *out, size_t len,
                           llmq_error *err) {
    unsigned char *to = out;
    if (len > gguf_left(c))
        return gguf_too_short(c, what, len, err);
    while (len > 0) {
        if (c->at < c->buffer_at || c->at >= c->buffer_at + c->buffer_len) {
            c->buffer_at = c->at;
            c->buffer_len =
                gguf_left(c) < GGUF_BUFFER_BYTES ? (size_t)gguf_left(c) : GGUF_BUFFER_BYTES;
            const enum llmq_status status =
                file_pread(c->f, c->buffer, c->buffer_len, c->buffer_at, err);
            if (status != LLMQ_OK)
                return status;
        }
        const size_t begin = (size_t)(c->at - c->buffer_at);
        const size_t part = len < c->buffer_len - begin ? len : c->buffer_len - begin;
        memcpy(to, c->buffer + begin, part);
        c->at += part;
        to += part;
        len -= part;
    }
    return LLMQ_OK;
}

enum llmq_status gguf_take_u32(struct gguf_cursor *c, const char *what, uint32_t *out,
                               llmq_error *err) {
    return gguf_take(c, what, out, sizeof *out, err);
}

enum llmq_status gguf_take_u64(struct gguf_cursor *c, const char *what, uint64_t *out,
                               llmq_error *err) {
    return gguf_take(c, what, out, sizeof *out, err);
}

enum llmq_status gguf_take_length(struct gguf_cursor *c, const char *what, uint64_t *len,
                                  llmq_error *err) {
    enum llmq_status status = gguf_take_u64(c, what, len, err);
    if (status == LLMQ_OK && *len > GGUF_MAX_ELEMENTS)
        status = error_set(err, LLMQ_E_INPUT,
                           "%s: %s at byte %" PRIu64
                           ": expected a string of at most 2^30 bytes, found a length of %" PRIu64,
                           c->f->path, what, c->at, *len);
    else if (status == LLMQ_OK && *len > gguf_left(c))
        status = gguf_too_short(c, what, *len, err);
    return status;
}

enum llmq_status gguf_take_text(struct gguf_cursor *c, const char *what, uint64_t most, char **out,
                                llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    uint64_t len = 0;
    *out = NULL;
    LLMQ_TRY(gguf_take_length(c, what, &len, err));
    if (len == 0 || len > most)
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: %s at byte %" PRIu64 ": expected 1 to %" PRIu64
                           " bytes, found %" PRIu64,
                           c->f->path, what, c->at, most, len));
    *out = malloc((size_t)len + 1);
    if (!*out)
        LLMQ_TRY(error_memory(err, what));
    LLMQ_TRY(gguf_take(c, what, *out, (size_t)len, err));
    (*out)[len] = '\0';
    if (strlen(*out) != len || !utf8_valid(*out, (size_t)len))
        LLMQ_TRY(error_set(err, LLMQ_E_INPUT,
                           "%s: %s at byte %" PRIu64 ": expected UTF-8 without NUL, found other "
                           "bytes",
                           c->f->path, what, c->at - len));

cleanup:
    if (status != LLMQ_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}
