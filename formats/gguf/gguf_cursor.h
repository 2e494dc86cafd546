/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a GGUF file's head apart from front to back, through a small buffer: no length is believed
 * before it was compared with what is left of the file. Not for use outside formats/gguf/. */
#ifndef LLMQ_FORMATS_GGUF_GGUF_CURSOR_H
#define LLMQ_FORMATS_GGUF_GGUF_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/fileio.h"
#include "llmq/error.h"

#define GGUF_BUFFER_BYTES ((size_t)1 << 16)

struct gguf_cursor {
    const struct file *f;
    uint64_t at;           /* of the next byte to take; at most the file's size */
    unsigned char *buffer; /* GGUF_BUFFER_BYTES, the caller's */
    uint64_t buffer_at;    /* where in the file its buffer_len bytes lie */
    size_t buffer_len;
};

/* Bytes from the next one to the end of the file. */
uint64_t gguf_left(const struct gguf_cursor *c);

/* The error of a file that ends within `what`, which takes `need` bytes. */
enum llmq_status gguf_too_short(const struct gguf_cursor *c, const char *what, uint64_t need,
                                llmq_error *err);

/* Take the next `len` bytes, or a number. `what` names them in LLMQ_E_INPUT. */
LLMQ_NODISCARD enum llmq_status gguf_take(struct gguf_cursor *c, const char *what, void *out,
                                          size_t len, llmq_error *err);
LLMQ_NODISCARD enum llmq_status gguf_take_u32(struct gguf_cursor *c, const char *what,
                                              uint32_t *out, llmq_error *err);
LLMQ_NODISCARD enum llmq_status gguf_take_u64(struct gguf_cursor *c, const char *what,
                                              uint64_t *out, llmq_error *err);

/* A string's length, which is known to lie in the file then. */
LLMQ_NODISCARD enum llmq_status gguf_take_length(struct gguf_cursor *c, const char *what,
                                                 uint64_t *len, llmq_error *err);

/* A string of 1 to `most` bytes of UTF-8, NUL-terminated; the caller frees it. */
LLMQ_NODISCARD enum llmq_status gguf_take_text(struct gguf_cursor *c, const char *what,
                                               uint64_t most, char **out, llmq_error *err);

#endif
