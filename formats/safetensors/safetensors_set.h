/* SPDX-License-Identifier: Apache-2.0 */
/* The open files behind a set of tensors and behind a writer, which the containers share.
 * Not for use outside formats/. */
#ifndef LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_SET_H
#define LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_SET_H

#include "base/fileio.h"
#include "formats/safetensors/safetensors_coded.h"
#include "formats/safetensors/safetensors_private.h"

struct st_set {
    struct st_table table;
    struct file *files; /* file_count are open */
    int file_count;
    uint64_t *noted;        /* [table.count] when watched (safetensors_watch.h), else NULL */
    struct st_coded *coded; /* of the tensors that are decoded, NULL: none */
};

/* An empty set with room for `shards` files; st_close releases it in any state. */
LLMQ_NODISCARD enum llmq_status st_set_create(int shards, struct st_set **out, llmq_error *err);

/* Open a regular file as the set's next. */
LLMQ_NODISCARD enum llmq_status st_set_open_file(struct st_set *set, const char *path,
                                                 llmq_error *err);

/* Open a safetensors file and append its tensors. */
LLMQ_NODISCARD enum llmq_status st_set_add_file(struct st_set *set, const char *path,
                                                llmq_error *err);

/* After the last file: make tensors findable. LLMQ_E_ST_DUPLICATE_TENSOR across files. */
LLMQ_NODISCARD enum llmq_status st_set_index(struct st_set *set, llmq_error *err);

/* --- writing ---------------------------------------------------------------------------------- */

struct st_writer {
    char *dir;
    struct st_table table; /* by shard, then offset in the file */
    struct file *files;    /* file_count are open */
    int shard_count, file_count;
    bool *put; /* per tensor of the table */
    bool reopened;
    uint64_t data_bytes;
};

/* A writer without tensors and files, then room for the files once both are planned.
 * st_writer_abort releases it in any state. */
LLMQ_NODISCARD enum llmq_status st_writer_alloc(const char *dir, bool reopen,
                                                struct st_writer **out, llmq_error *err);
LLMQ_NODISCARD enum llmq_status st_writer_make_room(struct st_writer *w, llmq_error *err);

/* Create the next file: everything before the tensors, then room for their data. When reopening,
 * open it and compare: LLMQ_E_INPUT when it is not the file that would be created. */
LLMQ_NODISCARD enum llmq_status st_writer_add_file(struct st_writer *w, const char *name,
                                                   const struct strbuf *head, uint64_t data_bytes,
                                                   llmq_error *err);

#endif
