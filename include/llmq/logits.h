/* SPDX-License-Identifier: Apache-2.0 */
/* What a model, original or quantized, predicts after every token of some windows: all of its
 * logits. (Log-probabilities of the tokens that follow: llmq_score in llmq/evaluate.h.) */
#ifndef LLMQ_LOGITS_H
#define LLMQ_LOGITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llmq/compute.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tokens that are read from their first on, each window by itself. */
typedef struct llmq_token_window {
    const int32_t *ids;
    size_t count; /* one at least */
} llmq_token_window;

/* A token and what is predicted after it. */
typedef struct llmq_logits_row {
    size_t window, position; /* from 0 */
    const float *logits;     /* [vocab]; gone when the call returns */
    int64_t vocab;
} llmq_logits_row;

typedef struct llmq_logits_options {
    size_t size;        /* of this struct, see llmq/llmq.h */
    const char *model;  /* folder or name, see llmq_model_resolve */
    const char *family; /* read it as a model of this family; NULL: as its model_type says */
    enum llmq_activations activations; /* these and the next as in llmq_eval_options */
    enum llmq_compute compute;
    uint64_t max_mem;
    /* Called for every token, window by window, from the thread that called the library; false ends
     * it there, and the call succeeds. */
    void *user;
    bool (*row)(void *user, const llmq_logits_row *row);
} llmq_logits_options;

void llmq_logits_options_init_sized(llmq_logits_options *options, size_t size);
static inline void llmq_logits_options_init(llmq_logits_options *options) {
    llmq_logits_options_init_sized(options, sizeof *options);
}

/* Read windows [count] with a model, one block in memory at a time, and give all logits to
 * options->row. They are kept until all are there, 4 * vocab bytes a token, in a file where memory
 * does not reach (see llmq_eval_options). LLMQ_E_USAGE: no windows, one that is empty or longer
 * than the model reads, an id that the vocabulary lacks, a missing callback; else as llmq_eval. */
LLMQ_NODISCARD enum llmq_status llmq_logits(const llmq_logits_options *options,
                                            const llmq_token_window *windows, size_t count,
                                            const llmq_context *ctx, llmq_error *err);

#ifdef __cplusplus
}
#endif
#endif
