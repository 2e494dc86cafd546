/* SPDX-License-Identifier: Apache-2.0 */
/* The output head over every token of a corpus, tile by tile: slices of the vocabulary, and for
 * each of them some tokens at a time, so that neither the head nor the logits are ever whole in
 * memory. */
#ifndef LLMQ_EVAL_HEAD_H
#define LLMQ_EVAL_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "eval/parts.h"
#include "graph/acts.h"
#include "graph/head_panel.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "text/corpus.h"

/* Logits of tokens [begin, begin + rows) for the ids [first, first + columns). */
struct head_tile {
    int64_t begin, rows, first, columns;
};

/* A model's head at work. Models that share corpus and vocabulary share their tiles. */
struct head {
    const struct model *m;
    const struct corpus *corpus;
    const struct acts *hidden; /* [tokens_used, hidden], see hidden.h */
    struct arena *arena;
    struct head_panel panel; /* the current slice */
    float *rows;             /* [LOGIT_ROWS, hidden] where `hidden` is in a file, or NULL */
    float *logits;           /* [rows, columns] of the current tile */
    double *lse;             /* [tokens_used]: log-sum-exp of the logits so far */
    struct parts parts;      /* by tiles of tokens, this rank's are visited */
};

/* The arguments must outlive the result. `divided`: ranks share the tokens. Release with head_free.
 */
LLMQ_NODISCARD enum llmq_status head_create(const struct model *m, const struct corpus *corpus,
                                            const struct acts *hidden, bool divided,
                                            struct head *out, llmq_error *err);
/* Bytes that it takes, but for a head that is stored packed. */
uint64_t head_bytes(const struct model *m, const struct corpus *corpus);

void head_free(struct head *h); /* accepts a zeroed struct */

/* The next tile; all tokens of a slice come before the next slice. Start with a zeroed tile; false
 * when every logit of the rank's tokens was visited. */
bool head_next(const struct head *h, struct head_tile *tile);

/* Form the tile's logits in h->logits and fold them into the scores of its tokens: logprobs
 * [tokens_used] takes the logit of each next id when it comes by. Visit the tiles in order. */
LLMQ_NODISCARD enum llmq_status head_visit(struct head *h, const struct head_tile *tile,
                                           double *logprobs, llmq_error *err);

/* After the last tile: logits of next ids to log-probabilities, of all ranks' tokens; the entry of
 * a window's last token becomes 0. LLMQ_E_NUMERIC when an activation overflowed. */
LLMQ_NODISCARD enum llmq_status head_finish(const struct head *h, double *logprobs,
                                            const llmq_context *ctx, llmq_error *err);

#endif
