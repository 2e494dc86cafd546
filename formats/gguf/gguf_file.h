/* The GGUF container: one file of metadata pairs and tensors, as llama.cpp loads it.
 *
 * Tensors go by their Hugging Face names on this side: `model.layers.0.self_attn.q_proj.weight` is
 * blk.0.attn_q.weight in the file, and `.blocks` instead of `.weight` where it holds blocks of
 * codes. Rows that an architecture keeps interleaved are put in order. Reading is strict: every
 * rule of the container is an error of its own, LLMQ_E_INPUT where nothing else is said. */
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

/* Open a file as a set of one shard. LLMQ_E_UNSUPPORTED: a version, type or bound that llmq does
 * not read. */
LLMQ_NODISCARD enum llmq_status gguf_open_file(const char *path, struct st_set **out,
                                               llmq_error *err);

/* --- writing ---------------------------------------------------------------------------------- */

/* Metadata to come. Failure to get memory is sticky: writing reports it. Zero-initialise; release
 * with gguf_metadata_free. */
struct gguf_metadata {
    const char *arch;         /* static: the family's */
    uint64_t heads, kv_heads; /* of attention */
    uint64_t count;           /* pairs */
    struct strbuf pairs;      /* as they lie in the file */
};

/* Start with the architecture and its numbers of heads, by which rows may have to be interleaved.
 */
void gguf_metadata_begin(struct gguf_metadata *m, const char *arch, uint32_t heads,
                         uint32_t kv_heads);

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

/* Has the container a place for a tensor of this name? */
bool gguf_has_name(const char *name);

/* A tensor that Hugging Face checkpoints lack: divisors of the rotary frequencies, F32
 * [head_dim / 2]. It can be written; sets leave it out. */
#define GGUF_ROPE_FREQS "rope_freqs.weight"

/* Create model.gguf in `dir`, tensors in the order of `specs`; use the writer as one of
 * safetensors.h. LLMQ_E_UNSUPPORTED names a tensor that the container cannot hold. */
LLMQ_NODISCARD enum llmq_status gguf_writer_create(const char *dir, const struct st_spec *specs,
                                                   size_t count,
                                                   const struct gguf_metadata *metadata,
                                                   struct st_writer **out, llmq_error *err);

/* The same for a file that gguf_writer_create made, keeping its data. */
LLMQ_NODISCARD enum llmq_status gguf_writer_reopen(const char *dir, const struct st_spec *specs,
                                                   size_t count,
                                                   const struct gguf_metadata *metadata,
                                                   struct st_writer **out, llmq_error *err);

#endif
