/* The open set of files behind st_open_file and st_open_dir.
 * Not for use outside formats/safetensors_*.c. */
#ifndef LLMQ_FORMATS_SAFETENSORS_SET_H
#define LLMQ_FORMATS_SAFETENSORS_SET_H

#include "base/fileio.h"
#include "formats/safetensors_private.h"

struct st_set {
    struct st_table table;
    struct file *files; /* file_count are open */
    int file_count;
};

/* An empty set with room for `shards` files; st_close releases it in any state. */
LLMQ_NODISCARD enum llmq_status st_set_create(int shards, struct st_set **out, llmq_error *err);

/* Open a file and append its tensors. */
LLMQ_NODISCARD enum llmq_status st_set_add_file(struct st_set *set, const char *path,
                                                llmq_error *err);

/* After the last file: make tensors findable. LLMQ_E_ST_DUPLICATE_TENSOR across files. */
LLMQ_NODISCARD enum llmq_status st_set_index(struct st_set *set, llmq_error *err);

#endif
