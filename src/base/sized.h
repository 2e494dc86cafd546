/* SPDX-License-Identifier: Apache-2.0 */
/* Structs that a caller fills and that grow from version to version: they begin with a size_t, how
 * large they were where the caller was compiled (llmq/llmq.h). An entry of the library reads them
 * into one of its own; nothing behind it sees another size.
 *
 * A member is added behind all others and never into padding, which older callers leave undefined:
 * sizeof has to grow with it. tests/api/libllmq.abi shows that it does. */
#ifndef LLMQ_BASE_SIZED_H
#define LLMQ_BASE_SIZED_H

#include <stddef.h>

#include "llmq/error.h"

/* Take what `given`, a struct of that name, says into `own` [size], which holds the defaults:
 * members that are behind its end keep them. LLMQ_E_USAGE: it is NULL, its size is none that such a
 * struct ever had, or it has more members than there are here and they are not all zero. */
LLMQ_NODISCARD enum llmq_status sized_read(const char *name, const void *given, void *own,
                                           size_t size, llmq_error *err);
#define SIZED_READ(type, given, own, err) sized_read(#type, given, own, sizeof(type), err)

/* The other way, defaults to a caller's struct of out_size bytes: what does not fit is left out,
 * what is not known here is zero, and its size is out_size. */
void sized_write(const void *own, size_t size, void *out, size_t out_size);

#endif
