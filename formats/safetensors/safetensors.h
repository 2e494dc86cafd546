/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors container: reading a file, and writing a planned set of shards tensor by tensor.
 * Sets and writers serve the GGUF container too, which gguf_file.h opens and creates; from a model
 * folder to its set leads model_folder.h.
 *
 * Strict reading: see the error codes LLMQ_E_ST_* of llmq/error.h, one per rule of the container.
 * Tensors are read with positioned reads into the caller's buffers, so that resident memory is the
 * caller's choice, never the file's size. */
#ifndef LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_H
#define LLMQ_FORMATS_SAFETENSORS_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "llmq/error.h"
#include "tensor/dtype.h"

#define ST_MAX_RANK 8 /* models have up to 5 */

/* One tensor. `name` is owned by the set. */
struct st_tensor {
    const char *name;
    enum dtype dtype;
    int rank;
    uint64_t shape[ST_MAX_RANK];
    uint64_t begin; /* absolute offset in its file */
    uint64_t nbytes;
    int shard;      /* index of its file */
    uint64_t heads; /* 0: rows lie in order. GGUF: the rows of each of so many heads lie with their
                       halves interleaved; st_read puts them back */
    bool plus_one;  /* GGUF: of F32, with one added to each element; st_read takes it away */
    const struct st_coded
        *coded; /* NULL: stored as it is shown. Else F32 here, and in the files
                   codes and scales (safetensors_coded.h), which st_read decodes */
};

/* The type in which a copy of a tensor is stored: its own; for one that is decoded BF16, or F32
 * where only that holds its numbers. */
enum dtype st_copy_dtype(const struct st_tensor *t);

/* The type in the files: that of its codes for one that is decoded. */
enum dtype st_stored_dtype(const struct st_tensor *t);

/* Bytes that it takes in the files. */
uint64_t st_stored_bytes(const struct st_tensor *t);

/* The tensors of one file or of a folder of shards. */
struct st_set;

/* Open one .safetensors file. */
LLMQ_NODISCARD enum llmq_status st_open_file(const char *path, struct st_set **out,
                                             llmq_error *err);

void st_close(struct st_set **set);

/* Give every tensor another name: names[i], which is copied, for st_at(set, i). Pointers to names
 * stay valid until the set is closed. LLMQ_E_ST_DUPLICATE_TENSOR leaves a set that is only good for
 * closing. */
LLMQ_NODISCARD enum llmq_status st_rename(struct st_set *set, const char *const *names,
                                          llmq_error *err);

/* A tensor of a set under another name, or one of `parts` equal parts of its first dimension. */
struct st_view {
    const char *name;     /* copied */
    size_t tensor;        /* st_at's index */
    uint64_t part, parts; /* parts 0: all of it, with that dimension */
    uint64_t heads;       /* as of st_tensor */
    bool plus_one;
};

/* Let the set have these in place of its tensors. Pointers to names stay valid until the set is
 * closed. LLMQ_E_INPUT names a tensor whose shape or type is not one for it; that, and
 * LLMQ_E_ST_DUPLICATE_TENSOR, leave a set that is only good for closing. */
LLMQ_NODISCARD enum llmq_status st_view_as(struct st_set *set, const struct st_view *views,
                                           size_t count, llmq_error *err);

/* Tensors in the order of file, then offset. */
size_t st_count(const struct st_set *set);
const struct st_tensor *st_at(const struct st_set *set, size_t index);

/* By name, or NULL. Logarithmic or better. */
const struct st_tensor *st_find(const struct st_set *set, const char *name);

/* Path of a shard, and how many there are. */
const char *st_shard_path(const struct st_set *set, int shard);
int st_shard_count(const struct st_set *set);

/* State of a shard's file at this moment (base/filestate.h). */
struct file_stamp;
LLMQ_NODISCARD enum llmq_status st_shard_stamp(const struct st_set *set, int shard,
                                               struct file_stamp *out, llmq_error *err);

/* A value of the __metadata__ of shard 0, or NULL. */
const char *st_metadata(const struct st_set *set, const char *key);

/* `nbytes` bytes of the tensor's data starting at byte `offset` within it. Thread-safe. */
LLMQ_NODISCARD enum llmq_status st_read(const struct st_set *set, const struct st_tensor *t,
                                        uint64_t offset, size_t nbytes, void *buf, llmq_error *err);

/* Elements [begin, begin + count) of a floating tensor as float32. Not noted by a watched set
 * (safetensors_watch.h). Thread-safe. */
LLMQ_NODISCARD enum llmq_status st_read_part_f32(const struct st_set *set,
                                                 const struct st_tensor *t, uint64_t begin,
                                                 size_t count, float *out, llmq_error *err);

/* Let the system begin to read a tensor that will be wanted soon. */
void st_read_ahead(const struct st_set *set, const struct st_tensor *t);

/* All elements as float32 (t->dtype must be floating: LLMQ_E_UNSUPPORTED names the tensor). */
LLMQ_NODISCARD enum llmq_status st_read_f32(const struct st_set *set, const struct st_tensor *t,
                                            float *dst, llmq_error *err);

/* --- writing ---------------------------------------------------------------------------------- */

/* A tensor to come. */
struct st_spec {
    const char *name;
    enum dtype dtype;
    int rank;
    uint64_t shape[ST_MAX_RANK];
};

/* A writer knows every tensor beforehand, so headers are final when it is created and tensors may
 * be filled in any order. Shards follow the order of `specs` and are cut when the next tensor
 * would exceed `shard_limit` bytes of data (a larger tensor gets a shard of its own); inside a
 * shard tensors lie in the reference writer's order. One shard: model.safetensors. Several:
 * model-%05d-of-%05d.safetensors and model.safetensors.index.json. Metadata {"format":"pt"}. */
struct st_writer;

/* Create the files in `dir` (which exists): headers and index written, data space reserved, so that
 * st_open_dir reads what has been put while the rest is still to come. Specs are copied; duplicate
 * names are LLMQ_E_ST_DUPLICATE_TENSOR. */
LLMQ_NODISCARD enum llmq_status st_writer_create(const char *dir, const struct st_spec *specs,
                                                 size_t count, uint64_t shard_limit,
                                                 struct st_writer **out, llmq_error *err);

/* Reopen files that st_writer_create made with the same specs and limit, keeping their data;
 * LLMQ_E_INPUT when the headers on disk differ from the plan. */
LLMQ_NODISCARD enum llmq_status st_writer_reopen(const char *dir, const struct st_spec *specs,
                                                 size_t count, uint64_t shard_limit,
                                                 struct st_writer **out, llmq_error *err);

/* Write a whole tensor's data (nbytes must be its size). */
LLMQ_NODISCARD enum llmq_status st_writer_put(struct st_writer *w, const char *name,
                                              const void *data, size_t nbytes, llmq_error *err);

/* Write a part of a tensor's data, starting at byte `offset` within it. Parts come in order: the
 * tensor counts as put when its last byte is. */
LLMQ_NODISCARD enum llmq_status st_writer_put_part(struct st_writer *w, const char *name,
                                                   uint64_t offset, const void *data, size_t nbytes,
                                                   llmq_error *err);

/* Make what was put so far durable. */
LLMQ_NODISCARD enum llmq_status st_writer_sync(struct st_writer *w, llmq_error *err);

/* Sum of tensor bytes, and bytes of all files. */
uint64_t st_writer_data_bytes(const struct st_writer *w);

/* Sync and close. LLMQ_E_CHECK names a tensor of the plan that was never put (since creation, not
 * known after a reopen). Frees the writer and sets *w to NULL in every case. */
LLMQ_NODISCARD enum llmq_status st_writer_finish(struct st_writer **w, llmq_error *err);

/* Close without finishing; accepts a pointer to NULL. */
void st_writer_abort(struct st_writer **w);

/* What comes before the data in a file of one tensor: appended to `head`. */
LLMQ_NODISCARD enum llmq_status st_single_head(const struct st_spec *spec, struct strbuf *head,
                                               llmq_error *err);

#endif
