/* SPDX-License-Identifier: Apache-2.0 */
/* What llmq_eval, llmq_compare and llmq_score begin with. */
#ifndef LLMQ_API_MEASURE_H
#define LLMQ_API_MEASURE_H

#include "eval/hidden.h"
#include "eval/logprobs.h"
#include "eval/room.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"
#include "text/corpus.h"

/* Open the model that `spec` names, see llmq_model_resolve, as one of `family` (NULL: its own), and
 * tell `ctx` what is to be known of it. Release with model_close. */
LLMQ_NODISCARD enum llmq_status measure_model(const char *spec, const char *family,
                                              const llmq_context *ctx, struct model *m,
                                              llmq_error *err);

/* With which numbers a model computes, packed weights as they are. LLMQ_E_USAGE for INT8 with a
 * model that is not quantized and for BF16 with one that is; else as setup_check_compute. */
LLMQ_NODISCARD enum llmq_status measure_numbers(const struct model *m,
                                                enum llmq_activations activations,
                                                enum llmq_compute compute, struct eval_numbers *out,
                                                llmq_error *err);

/* What a measurement does with a corpus from setup_corpus before it begins: say what is not scored,
 * and, for LLMQ_CONVENTION_LLAMACPP, put the begin-of-text token in the place of the first token of
 * every window, as llama.cpp's perplexity tool does where the tokenizer puts that token before a
 * text. Windows given as ids stay as they are. LLMQ_E_USAGE when no token would count. */
LLMQ_NODISCARD enum llmq_status measure_scoring(const llmq_context *ctx,
                                                enum llmq_convention convention,
                                                const struct corpus_options *options,
                                                struct corpus *corpus, llmq_error *err);

/* What a measurement takes: rooms of its models in the order in which they run, tables in memory
 * whatever happens, and tables that may lie in a file. */
struct measure_need {
    const struct eval_room *rooms;
    int count;
    uint64_t tables, spillable;
};

/* Hold that against `max_mem` bytes (0: most of what is available): *dir is a fresh folder for
 * activations where they must lie in files, else NULL. LLMQ_E_MEMORY: even then it takes more than
 * the user allows; the hint says how much. Release with measure_end. */
LLMQ_NODISCARD enum llmq_status measure_memory(const struct measure_need *need, uint64_t max_mem,
                                               const llmq_context *ctx, char **dir,
                                               llmq_error *err);
/* The same for one model: the job's activations lie in that folder. */
LLMQ_NODISCARD enum llmq_status measure_settle(struct eval_job *job, uint64_t tables,
                                               uint64_t spillable, uint64_t max_mem,
                                               char **spill_dir, llmq_error *err);
void measure_end(char **dir); /* accepts a pointer to NULL */

/* Do several ranks share what is measured? The first of them speaks. */
bool measure_divides(void);
void measure_quiet(llmq_context *ctx);

/* Can they, and have all of them the same models and text before them? LLMQ_E_UNSUPPORTED,
 * LLMQ_E_INPUT. And at the end, what rank 0 sent. */
LLMQ_NODISCARD enum llmq_status measure_ranks(const struct model *const *models, size_t count,
                                              const struct corpus *corpus, const llmq_context *ctx,
                                              llmq_error *err);
void measure_ranks_note(const llmq_context *ctx);

/* A convention as JSON and the command line spell it, and as src/eval takes it. */
const char *measure_convention_name(enum llmq_convention convention);
enum eval_convention measure_convention(enum llmq_convention convention);

#endif
