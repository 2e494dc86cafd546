/* What every computing command does first. */
#ifndef LLMQ_PIPELINE_SETUP_H
#define LLMQ_PIPELINE_SETUP_H

#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "text/corpus.h"

/* Threads, kernels and BLAS. LLMQ_E_USAGE for an unknown LLMQ_CPU. */
LLMQ_NODISCARD enum llmq_status setup_compute(const llmq_context *ctx, llmq_error *err);

/* Tokens per window when the user names none: the model's context, at most 2048. */
int64_t setup_context(const struct model_config *config);

/* Load a corpus for a model, with the model's tokenizer when the file holds text. Windows longer
 * than the model's context are LLMQ_E_USAGE unless its rotary scaling stretches with length. */
LLMQ_NODISCARD enum llmq_status setup_corpus(const struct model *m, const char *path,
                                             const struct corpus_options *options,
                                             struct corpus *out, llmq_error *err);

/* Texts that come with llmq: excerpts of the demo model's training and held-out text. */
enum bundled_text { BUNDLED_CALIBRATION, BUNDLED_EVALUATION };

/* Path of such a text (installed, or in the source tree llmq was built from); static storage. NULL
 * and an error when it is in neither place. */
const char *setup_bundled_text(enum bundled_text which, llmq_error *err);

/* Seconds of a monotonic clock. */
double setup_now(void);

#endif
