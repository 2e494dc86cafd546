/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the reader and the writer of GGUF files: numbers of the format.
 * Not for use outside formats/gguf/ and their tests. */
#ifndef LLMQ_FORMATS_GGUF_GGUF_PRIVATE_H
#define LLMQ_FORMATS_GGUF_GGUF_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/gguf/gguf_file.h"
#include "tensor/dtype.h"

#define GGUF_MAGIC        "GGUF"
#define GGUF_VERSION      3
#define GGUF_ALIGNMENT    32 /* of tensor data, unless the file says otherwise */
#define GGUF_MAX_RANK     4
#define GGUF_MAX_KEY      65535
#define GGUF_MAX_PAIRS    65536
#define GGUF_MAX_TENSORS  ((uint64_t)1 << 20)
#define GGUF_MAX_ELEMENTS ((uint64_t)1 << 30) /* of an array, bytes of a string */

#define GGUF_KEY_ALIGNMENT "general.alignment"

/* Types of metadata values, by their numbers. */
enum gguf_type {
    GGUF_UINT8,
    GGUF_INT8,
    GGUF_UINT16,
    GGUF_INT16,
    GGUF_UINT32,
    GGUF_INT32,
    GGUF_FLOAT32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_UINT64,
    GGUF_INT64,
    GGUF_FLOAT64,
    GGUF_TYPES
};

/* The number of a tensor type, -1: the container has none for it; and back. */
int gguf_type_of(enum dtype t);
bool gguf_dtype_of(uint32_t type, enum dtype *out);

/* A tensor's name as the file has it, of blocks of codes like any weight, and as sets have it; a
 * fresh string. NULL: no memory. */
char *gguf_name_out(const char *name);
char *gguf_name_in(const char *name, enum dtype t);

#endif
