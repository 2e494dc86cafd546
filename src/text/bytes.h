/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a file in order, unpacked where gzip packed them. */
#ifndef LLMQ_TEXT_BYTES_H
#define LLMQ_TEXT_BYTES_H

#include <stddef.h>

#include "llmq/error.h"

struct bytes;

/* Open a file; it is gzip's when it begins with 1f 8b, whatever its name. Errors as of
 * file_open_read. Release with bytes_close. */
LLMQ_NODISCARD enum llmq_status bytes_open(const char *path, struct bytes **out, llmq_error *err);

/* The next bytes, up to `size`; *got is 0 at the end only. LLMQ_E_INPUT for a packed file that is
 * damaged or cut off. */
LLMQ_NODISCARD enum llmq_status bytes_read(struct bytes *b, void *buf, size_t size, size_t *got,
                                           llmq_error *err);
void bytes_close(struct bytes **b);

#endif
