/* SPDX-License-Identifier: Apache-2.0 */
/* A case of the reference implementation: a tiny model in both spellings of its config, tokens, and
 * what the reference computed from them (logits, hidden states, mean loss). */
#ifndef LLMQ_TESTS_GOLDEN_CASE_H
#define LLMQ_TESTS_GOLDEN_CASE_H

#include "base/json.h"
#include "formats/safetensors/safetensors.h"
#include "graph/model.h"
#include "llmq/error.h"
#include "text/corpus.h"

/* Gates of the reference's own noise; a wrong switch of a config costs 1e-1 and more. */
#define GOLDEN_LOGITS 3e-4
#define GOLDEN_HIDDEN 2e-4
#define GOLDEN_LOSS   2e-5

extern const char *const golden_configs[2];

struct golden {
    struct model model;
    struct st_set *expected;
    struct json *facts;
    struct corpus corpus;
};

/* Open the case in `dir` with one of golden_configs, in a folder of its own below the scratch
 * folder. Returns what model_open does; whatever else goes wrong fails the test. Release with
 * golden_close, also after a failure. */
LLMQ_NODISCARD enum llmq_status golden_open(const char *dir, const char *config, struct golden *g,
                                            llmq_error *err);
void golden_close(struct golden *g);

/* The logits by the way that evaluation takes: logits [tokens, vocab], logprobs [tokens] as of
 * eval_logprobs. The caller frees both. */
struct golden_scores {
    float *logits;
    double *logprobs;
};
struct golden_scores golden_score(const struct golden *g);

/* Largest |x - expected|; NaN where one of them is. */
double golden_deviation(const struct golden *g, const char *tensor, const float *x);

/* How far the model is off: hidden states are the embedding, the output of every block, and the
 * input of the head. */
struct golden_figures {
    double logits, hidden, loss;
};
struct golden_figures golden_measure(const struct golden *g);

#endif
