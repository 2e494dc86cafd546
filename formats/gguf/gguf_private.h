/* Shared by the reader and the writer of GGUF files: numbers of the format and names of tensors.
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
#define GGUF_MAX_NAME     63 /* bytes of a tensor's name */
#define GGUF_MAX_KEY      65535
#define GGUF_MAX_PAIRS    65536
#define GGUF_MAX_TENSORS  ((uint64_t)1 << 20)
#define GGUF_MAX_ELEMENTS ((uint64_t)1 << 30) /* of an array, bytes of a string */

#define GGUF_KEY_ALIGNMENT "general.alignment"
#define GGUF_KEY_ARCH      "general.architecture"
#define GGUF_KEY_HEADS     ".attention.head_count"
#define GGUF_KEY_KV_HEADS  ".attention.head_count_kv"

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

/* Whose heads a tensor's rows are cut into. */
enum gguf_rows { GGUF_ROWS_IN_ORDER, GGUF_ROWS_OF_HEADS, GGUF_ROWS_OF_KV_HEADS };

/* "model.layers.3.self_attn.q_proj.weight" to "blk.3.attn_q.weight". False: there is no such name,
 * or it is longer than the container allows. */
bool gguf_name_of(const char *name, char out[GGUF_MAX_NAME + 1]);

/* And back, a fresh string; names without a counterpart stay what they are. NULL: no memory. */
char *gguf_name_back(const char *name, enum dtype t);

/* What rows of a tensor, by its name here, are rows of. */
enum gguf_rows gguf_rows_of(const char *name);

/* Does the architecture keep the rows of q and k interleaved, because its rotary embedding turns
 * neighbours instead of halves? */
bool gguf_interleaves(const char *arch);

#endif
