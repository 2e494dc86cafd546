/* SPDX-License-Identifier: Apache-2.0 */
/* What every computing command does first. */
#ifndef LLMQ_SETUP_SETUP_H
#define LLMQ_SETUP_SETUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/datadir.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"
#include "text/corpus.h"
#include "text/corpus_file.h"
#include "text/reading.h"
#include "text/tokenizer.h"

/* Threads and kernels, for commands that decode but do not compute. LLMQ_E_USAGE for an unknown
 * LLMQ_CPU; LLMQ_E_MEMORY: the system has not so many threads. */
LLMQ_NODISCARD enum llmq_status setup_threads(const llmq_context *ctx, llmq_error *err);

/* The same and BLAS; LLMQ_E_MEMORY: not on so many threads; LLMQ_E_UNSUPPORTED: its results are
 * wrong. */
LLMQ_NODISCARD enum llmq_status setup_compute(const llmq_context *ctx, llmq_error *err);

/* Tokens per window when the user names none: the model's context, at most 2048. */
int64_t setup_context(const struct model_config *config);

/* Load the tokenizer of a model folder; LLMQ_E_NOT_FOUND when it has no tokenizer.json. */
LLMQ_NODISCARD enum llmq_status setup_tokenizer(const char *dir, struct tokenizer **tok,
                                                llmq_error *err);

/* Cut a file into windows for a model, with the model's tokenizer when the file holds text, and say
 * what became of its texts. Windows longer than the model's context are LLMQ_E_USAGE unless its
 * rotary scaling stretches with length. */
LLMQ_NODISCARD enum llmq_status setup_corpus(const llmq_context *ctx, const struct model *m,
                                             struct corpus_file *file,
                                             const struct corpus_options *options,
                                             struct corpus *out, llmq_error *err);

/* LLMQ_E_USAGE when the corpus at `path` has windows longer than the model can read. */
LLMQ_NODISCARD enum llmq_status setup_check_windows(const struct model *m, const char *path,
                                                    const struct corpus *corpus, llmq_error *err);

/* Can the tokenizer of the model `dir` be read within the limits? LLMQ_E_MEMORY as of reading_room,
 * before anything is read. `once_more`: it is read again while it is there, for a result that takes
 * it in. */
LLMQ_NODISCARD enum llmq_status setup_check_tokenizer(const char *dir, const struct reading *limits,
                                                      bool once_more, llmq_error *err);

/* Path of a text that comes with llmq; static storage. NULL and an error when it is not there. */
const char *setup_bundled_text(enum data_file which, llmq_error *err);

/* LLMQ_E_UNSUPPORTED when the kernels in use cannot compute so. */
LLMQ_NODISCARD enum llmq_status setup_check_compute(enum llmq_compute compute, llmq_error *err);

/* Activations and compute as JSON and the command line spell them. */
const char *setup_activations_name(enum llmq_activations activations);
const char *setup_compute_name(enum llmq_compute compute);

#endif
