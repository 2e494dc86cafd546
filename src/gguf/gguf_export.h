/* SPDX-License-Identifier: Apache-2.0 */
/* What a GGUF result has besides quantized linears: metadata that lets llama.cpp run the model by
 * itself, the tokenizer among it. Everything that cannot be expressed is refused here, before any
 * work starts. */
#ifndef LLMQ_GGUF_GGUF_EXPORT_H
#define LLMQ_GGUF_GGUF_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/gguf/gguf_file.h"
#include "formats/layouts/layout.h"
#include "graph/model.h"
#include "llmq/error.h"

struct gguf_export;

/* Describe an open model, which has to outlive it. LLMQ_E_UNSUPPORTED: a family, rotary scaling or
 * tokenizer that llama.cpp has no equal for. Release with gguf_export_free. */
LLMQ_NODISCARD enum llmq_status gguf_export_create(const struct model *m,
                                                   const struct layout_config *config,
                                                   struct gguf_export **out, llmq_error *err);
void gguf_export_free(struct gguf_export **e);

/* What the user should know of the result, in one sentence, or NULL. */
const char *gguf_export_caveat(const struct gguf_export *e);

/* Memory that it takes while it is there and the file is created, in bytes. */
uint64_t gguf_export_bytes(const struct gguf_export *e);

/* Is a tensor that is not quantized left out: a tied output head, or a buffer that the metadata
 * stands for? */
bool gguf_export_drops(const struct gguf_export *e, const struct st_tensor *t);

/* Has the container a place for such a tensor? LLMQ_E_UNSUPPORTED names it. */
LLMQ_NODISCARD enum llmq_status gguf_export_check(const struct gguf_export *e,
                                                  const struct st_tensor *t, llmq_error *err);

/* The type such a tensor is stored in: its own, blocks of codes where it is decoded from them, but
 * float32 for vectors, which llama.cpp wants. */
enum dtype gguf_export_dtype(const struct st_tensor *t);

/* Create (or reopen) model.gguf in `dir`; what is not in the source is put already. */
LLMQ_NODISCARD enum llmq_status gguf_export_open(const struct gguf_export *e, const char *dir,
                                                 const struct st_spec *specs, size_t count,
                                                 bool resume, struct st_writer **out,
                                                 llmq_error *err);

/* --- gguf_tokenizer.c ------------------------------------------------------------------------- */

/* Add the tokenizer of the folder `dir` for a model of `vocab` tokens; *found is false when the
 * folder has no tokenizer.json, and then the metadata says that there is none. */
LLMQ_NODISCARD enum llmq_status gguf_tokenizer_put(const char *dir, int64_t vocab,
                                                   const struct json *config,
                                                   struct gguf_metadata *metadata, bool *found,
                                                   llmq_error *err);

#endif
