/* SPDX-License-Identifier: Apache-2.0 */
/* The GGUF container: one file of metadata pairs and tensors, as llama.cpp loads it.
 *
 * Of the tensors' names only one thing is told here: a set says `.blocks` where the file says
 * `.weight` of a tensor of blocks of codes. Which tensor of a model is which in the file is for
 * those to say who know the model: to the writer by places, and of a set by views of it
 * (st_view_as). Reading is strict: every rule of the container is an error of its own, LLMQ_E_INPUT
 * where nothing else is said. */
#ifndef LLMQ_FORMATS_GGUF_GGUF_FILE_H
#define LLMQ_FORMATS_GGUF_GGUF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"

#define GGUF_FILE_NAME "model.gguf" /* in a model folder */

/* The suffix of tensors that are blocks of codes. */
#define GGUF_BLOCKS_SUFFIX "blocks"

/* The metadata pair of a set that says what its file calls the architecture: those of no other
 * container have it. */
#define GGUF_KEY_ARCH "general.architecture"

/* Open a file as a set of one shard, with names, rows and values as they are in the file.
 * LLMQ_E_UNSUPPORTED: a version, type or bound that llmq does not read. */
LLMQ_NODISCARD enum llmq_status gguf_open_file(const char *path, struct st_set **out,
                                               llmq_error *err);

/* --- writing ---------------------------------------------------------------------------------- */

/* Metadata to come. Failure to get memory is sticky: writing reports it. Zero-initialise; release
 * with gguf_metadata_free. */
struct gguf_metadata {
    const char *arch;    /* static */
    uint64_t count;      /* pairs */
    struct strbuf pairs; /* as they lie in the file */
};

/* Start with the architecture. */
void gguf_metadata_begin(struct gguf_metadata *m, const char *arch);

/* One pair. A key that begins with a dot is the architecture's: ".block_count". */
void gguf_put_u32(struct gguf_metadata *m, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_metadata *m, const char *key, double value);
void gguf_put_bool(struct gguf_metadata *m, const char *key, bool value);
void gguf_put_string(struct gguf_metadata *m, const char *key, const char *value);
void gguf_put_strings(struct gguf_metadata *m, const char *key, const char *const *values,
                      size_t count);
void gguf_put_f32s(struct gguf_metadata *m, const char *key, const float *values, size_t count);
void gguf_put_i32s(struct gguf_metadata *m, const char *key, const int32_t *values, size_t count);

void gguf_metadata_free(struct gguf_metadata *m);

/* Where a tensor is put. */
enum { GGUF_NAME_MAX = 64 }; /* with the NUL */
struct gguf_place {
    char name[GGUF_NAME_MAX]; /* in the file; `.blocks` becomes `.weight` */
    uint64_t heads;           /* its rows are put interleaved in so many heads; 0: in order */
    bool plus_one;            /* F32: one is added to each element */
    uint64_t part, parts;     /* it is one of those, along a new first dimension; 0: it is all */
};

/* What a file is made of. places[i] is that of specs[i]. */
struct gguf_plan {
    const struct st_spec *specs;
    const struct gguf_place *places;
    size_t count;
    const struct gguf_metadata *metadata;
};

/* Create model.gguf in `dir`, tensors in the order of the specs, parts of one together; use the
 * writer as one of safetensors.h. LLMQ_E_UNSUPPORTED names a tensor that the container cannot hold,
 * or of which parts are missing. */
LLMQ_NODISCARD enum llmq_status gguf_writer_create(const char *dir, const struct gguf_plan *plan,
                                                   struct st_writer **out, llmq_error *err);

/* The same for a file that gguf_writer_create made, keeping its data. */
LLMQ_NODISCARD enum llmq_status gguf_writer_reopen(const char *dir, const struct gguf_plan *plan,
                                                   struct st_writer **out, llmq_error *err);

#endif
