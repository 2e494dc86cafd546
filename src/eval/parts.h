/* SPDX-License-Identifier: Apache-2.0 */
/* Which tokens of a corpus fall to which rank, where several share an evaluation.
 *
 * A product's last bits depend on how many rows it has, so what is divided is what one rank does at
 * a time: blocks run whole batches of windows, heads whole tiles of rows. Each rank has room for
 * all tokens and fills in its own; then the ranks put together what the next step needs of all, and
 * every rank comes to the same figures, by the same additions in the same order as one alone. */
#ifndef LLMQ_EVAL_PARTS_H
#define LLMQ_EVAL_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "graph/acts.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "text/corpus.h"

struct parts {
    int64_t *begin; /* [ranks + 1] tokens; NULL: this rank has all, and nothing is put together */
    int64_t total;
};

/* By batches as batch_next makes them; by tiles of so many rows. Where `divided` is false, or there
 * is one rank, it has all. LLMQ_E_MEMORY. Release with parts_free. */
LLMQ_NODISCARD enum llmq_status parts_of_batches(const struct corpus *c, bool divided,
                                                 struct parts *out, llmq_error *err);
LLMQ_NODISCARD enum llmq_status parts_of_tiles(int64_t total, int64_t rows, bool divided,
                                               struct parts *out, llmq_error *err);
void parts_free(struct parts *p); /* accepts a zeroed struct */

/* This rank's tokens are [parts_first, parts_end). */
int64_t parts_first(const struct parts *p);
int64_t parts_end(const struct parts *p);

/* entries [total] of `bytes` each: every rank has its own; then all have all. */
LLMQ_NODISCARD enum llmq_status parts_gather(const struct parts *p, void *entries, size_t bytes,
                                             const llmq_context *ctx, llmq_error *err);

/* The same of entries [count] in the order of the tokens [count] that they are of. */
LLMQ_NODISCARD enum llmq_status parts_gather_some(const struct parts *p, const int64_t *tokens,
                                                  int64_t count, void *entries, size_t bytes,
                                                  const llmq_context *ctx, llmq_error *err);

/* The same of rows, in memory or in a file. */
LLMQ_NODISCARD enum llmq_status parts_gather_rows(const struct parts *p, const struct acts *rows,
                                                  const llmq_context *ctx, llmq_error *err);

#endif
