/* SPDX-License-Identifier: Apache-2.0 */
/* Which token follows: the most likely one, or one drawn by its probability. */
#ifndef LLMQ_DECODE_SAMPLER_H
#define LLMQ_DECODE_SAMPLER_H

#include <stdint.h>

#include "llmq/error.h"

struct sampler {
    double temperature;     /* logits are divided by it; 0: the most likely token, always */
    int64_t top_k;          /* of the most likely alone; 0: of all */
    double top_p;           /* of the fewest most likely that have this much together; 1: of all */
    uint64_t state;         /* of the random numbers: the seed at first */
    struct candidate *room; /* [vocab] */
};

/* A token and its logit. */
struct candidate {
    int32_t id;
    float logit;
};

/* Room for a vocabulary; the other fields are the caller's to set. Release with sampler_free. */
LLMQ_NODISCARD enum llmq_status sampler_create(int64_t vocab, struct sampler *out, llmq_error *err);
void sampler_free(struct sampler *s);

/* The next token; of equal logits the first. Restrictions apply in the order top_k, temperature,
 * top_p. LLMQ_E_NUMERIC: the logits are not finite. */
LLMQ_NODISCARD enum llmq_status sampler_next(struct sampler *s, const float *logits, int64_t vocab,
                                             int32_t *id, llmq_error *err);

/* The two most likely tokens, in order; the most likely one; and the logarithm of the probability
 * that logits give a token. */
void sampler_best_two(const float *logits, int64_t vocab, int32_t best[2]);
int32_t sampler_best(const float *logits, int64_t vocab);
double sampler_logprob(const float *logits, int64_t vocab, int32_t id);

#endif
