/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the reader and the writer of safetensors: the table of tensors and the header text.
 * Not for use outside formats/ and their tests. */
#ifndef LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_PRIVATE_H
#define LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"

#define ST_LENGTH_BYTES   8          /* the header's length, before the header */
#define ST_MAX_HEADER     100000000u /* bytes, as the reference bounds it */
#define ST_MAX_NAME       4096       /* bytes of a name or a metadata string */
#define ST_MAX_TENSORS    ((size_t)1 << 20)
#define ST_SINGLE_FILE    "model.safetensors"
#define ST_INDEX_FILE     "model.safetensors.index.json"
#define ST_METADATA_KEY   "__metadata__"
#define ST_MAX_SHARD_NAME 64

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data is used as it lies on disk");

struct st_metadata {
    const char *key, *value;
};

/* Tensors of all files of a set, one file's after another's. Zero-initialise; release with
 * st_table_free. */
struct st_table {
    struct st_tensor *tensors;
    size_t count, cap;
    struct st_metadata *metadata; /* of the first file */
    size_t metadata_count, metadata_cap;
    char **strings; /* owner of every name, key and value above */
    size_t string_count, string_cap;
    const struct st_tensor **by_name; /* after st_table_index */
};

/* Append a tensor or a metadata pair. Strings come from malloc and belong to the table afterwards,
 * also on failure. */
LLMQ_NODISCARD enum llmq_status st_table_add(struct st_table *t, const struct st_tensor *tensor,
                                             char *name, llmq_error *err);
LLMQ_NODISCARD enum llmq_status st_table_add_metadata(struct st_table *t, char *key, char *value,
                                                      llmq_error *err);

/* Give tensor `index` a name from malloc, which belongs to the table afterwards, also on failure.
 * The index has to be built again. */
LLMQ_NODISCARD enum llmq_status st_table_rename(struct st_table *t, size_t index, char *name,
                                                llmq_error *err);

/* Build the index over tensors [first, count), replacing any; the tensors must not move while it
 * is used. *duplicate is a tensor whose name occurs twice, or NULL. */
LLMQ_NODISCARD enum llmq_status st_table_index(struct st_table *t, size_t first,
                                               const struct st_tensor **duplicate, llmq_error *err);

/* By name through the index over all tensors, or NULL. */
const struct st_tensor *st_table_find(const struct st_table *t, const char *name);

void st_table_free(struct st_table *t);

/* Where byte `offset` of a tensor lies in its file; *nbytes shrinks to what lies together there. */
uint64_t st_locate(const struct st_tensor *t, uint64_t offset, size_t *nbytes);

/* Can the rows of a tensor be interleaved in `heads` heads, and one be added to its elements? The
 * message does not name the tensor. */
LLMQ_NODISCARD enum llmq_status st_check_heads(const struct st_tensor *t, llmq_error *err);

/* Add a number to the float32 in `nbytes` bytes, which may lie anywhere. */
void st_shift(void *data, size_t nbytes, float number);

/* Bytes of a tensor from its dtype and shape: LLMQ_E_ST_OVERFLOW or LLMQ_E_ST_MISALIGNED. The
 * message names neither file nor tensor. */
LLMQ_NODISCARD enum llmq_status st_tensor_bytes(enum dtype dtype, const uint64_t *shape, int rank,
                                                uint64_t *out, llmq_error *err);

/* A header to parse. */
struct st_header_source {
    const char *path; /* names the file in messages */
    const char *text;
    size_t len;
    uint64_t data_bytes; /* what follows the header in the file */
    int shard;           /* becomes the tensors' shard; metadata is kept when it is 0 */
};

/* Parse a header, check every rule of the container and append its tensors by offset; their
 * `begin` is absolute. One of LLMQ_E_ST_*, LLMQ_E_UNSUPPORTED where a bound above is exceeded, or
 * LLMQ_E_MEMORY; the table may then hold some of the tensors and is only good for freeing. */
LLMQ_NODISCARD enum llmq_status st_header_parse(const struct st_header_source *source,
                                                struct st_table *table, llmq_error *err);

/* Header text of `count` tensors, whose `begin` is relative to the data here: compact JSON,
 * metadata {"format":"pt"} first, padded with spaces so that the data is 8-byte aligned. */
void st_header_format(const struct st_tensor *tensors, size_t count, struct strbuf *out);

/* File name of shard `index` (from 0) of `total`. */
void st_shard_name(int index, int total, char out[ST_MAX_SHARD_NAME]);

#endif
