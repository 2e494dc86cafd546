/* SPDX-License-Identifier: Apache-2.0 */
/* A reference's predictions kept as a sample of each distribution, so that models can be compared
 * with it later, without it.
 *
 * Of a token's distribution p are kept: every id with p >= 1 / KEPT_DENSITY, with log p; of the
 * others, the tail, its mass and some ids, drawn with the probability KEPT_DENSITY p (systematic
 * sampling in the order of ids from a start that depends on the token's place alone), with log p.
 * Each drawn id stands for a mass of 1 / KEPT_DENSITY, so that
 *
 *     KL(p || q) = sum over the first kind of p (log p - log q)
 *                + P log(P / Q)                                     P, Q: the masses of the tail
 *                + sum over the drawn of (log p - log q - log(P / Q)) / KEPT_DENSITY
 *
 * is right on average: the first two terms are exact, and only how the tail is shaped is sampled. A
 * token takes at most about KEPT_DENSITY entries, one that is nearly certain a few.
 *
 * Entries are bytes: their number, then of each the distance from the id before (both as LEB128),
 * and 16 bits of x = -log p: 65535 sqrt(x / 32), rounded, which is fine where p is large. */
#ifndef LLMQ_EVAL_KEPT_H
#define LLMQ_EVAL_KEPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "eval/candidates.h"
#include "eval/divergence.h"

#define KEPT_DENSITY 2048

/* Of every token of a corpus, [tokens]; a window's last has an empty entry. */
struct kept_reference {
    int64_t tokens, vocab;
    int32_t *tops;    /* the first id that is most likely */
    float *logprobs;  /* of the token that follows */
    float *tails;     /* mass of the ids that are not certain to be kept */
    uint64_t *begins; /* [tokens + 1]: of a token's entries in `bytes` */
    unsigned char *bytes;
    struct arena *arena; /* holds all of it but, while it is made, the bytes */
    struct strbuf made;  /* these */
};

/* Sample what the head makes of `hidden` [tokens_used, hidden]. Release with kept_free, also after
 * a failure. */
LLMQ_NODISCARD enum llmq_status kept_make(const struct model *m, const struct corpus *corpus,
                                          const struct acts *hidden, const llmq_context *ctx,
                                          struct kept_reference *out, llmq_error *err);

/* About the bytes that making it takes. */
uint64_t kept_bytes(const struct model *m, const struct corpus *corpus);

void kept_free(struct kept_reference *k); /* accepts a zeroed struct */

/* Set `begins` from the other fields of what was read from a file, and check all of them: whatever
 * the bytes hold, afterwards they can be compared with. LLMQ_E_INPUT says what is wrong. */
LLMQ_NODISCARD enum llmq_status kept_check(struct kept_reference *k, uint64_t byte_count,
                                           const struct corpus *corpus, llmq_error *err);

/* As eval_divergence, of a pair without a reference: `reverse` and `blocks` are not known, and `kl`
 * may be a little below 0. */
LLMQ_NODISCARD enum llmq_status eval_divergence_kept(const struct eval_pair *pair,
                                                     const struct kept_reference *kept,
                                                     struct divergence *out, llmq_error *err);

/* What that takes. */
LLMQ_NODISCARD enum llmq_status eval_divergence_kept_room(const struct eval_pair *pair,
                                                          struct eval_room *room, uint64_t *tables,
                                                          llmq_error *err);

/* The most likely tokens at a place, as far as they are certain to be kept. */
void kept_candidates(const struct kept_reference *k, int64_t token, struct candidates *out);

#endif
