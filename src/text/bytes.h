/* The bytes of a file, unpacked where gzip packed them. */
#ifndef LLMQ_TEXT_BYTES_H
#define LLMQ_TEXT_BYTES_H

#include <stddef.h>

#include "llmq/error.h"

/* All bytes of a file, at most `max`; it is gzip's when it begins with 1f 8b, whatever its name.
 * *data is NUL-terminated (the NUL is not counted in *len) and the caller frees it. LLMQ_E_INPUT
 * for more bytes, and for a packed file that is damaged or cut off; others as of file_open_read. */
LLMQ_NODISCARD enum llmq_status bytes_read_all(const char *path, size_t max, char **data,
                                               size_t *len, llmq_error *err);

#endif
