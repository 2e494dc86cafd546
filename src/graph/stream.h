/* SPDX-License-Identifier: Apache-2.0 */
/* One stream of activations: the tokens of a corpus on their way through a model's blocks. What
 * must be kept of them between the rounds of a block has homes (graph/schedule.h), in memory or in
 * files; passes advance the stream batch by batch. */
#ifndef LLMQ_GRAPH_STREAM_H
#define LLMQ_GRAPH_STREAM_H

#include <stdint.h>

#include "base/arena.h"
#include "graph/acts.h"
#include "graph/pass.h"
#include "llmq/error.h"

/* Home 1 holds the residual stream at the beginning and at the end of a block. */
enum { HOME_RESIDUAL = 1 };

struct stream {
    int homes; /* those kept for all tokens; they come first */
    struct acts acts[HOMES_KEPT + 1];
    float *buffer[HOMES + 1];  /* one batch: when the homes are files, and of the last two */
    const struct block *block; /* the one being run; the caller's */
};

struct stream_size {
    struct homes homes;
    int64_t total, max_rows; /* tokens, and those of a batch */
    const char *spill_dir;   /* NULL: in memory */
};

/* Buffers come from `arena`. Release with stream_free. */
LLMQ_NODISCARD enum llmq_status stream_create(const struct stream_size *size, struct arena *arena,
                                              struct stream *out, llmq_error *err);
void stream_free(struct stream *s); /* accepts a zeroed struct */

/* Use it for fewer tokens than it was made for; what it held is lost. */
void stream_set_rows(struct stream *s, int64_t rows);

/* Where to produce the residual stream of a batch, and giving it back. */
float *stream_target(const struct stream *s, int64_t begin);
LLMQ_NODISCARD enum llmq_status stream_put(const struct stream *s, int64_t begin, int64_t rows,
                                           const float *x, llmq_error *err);

/* Before the first batch of a pass: the homes of what it makes take its width. */
void stream_begin_pass(struct stream *s, const struct schedule *schedule);

/* One batch of a pass; `out` gives access to the values (pass_value) until the next one. */
LLMQ_NODISCARD enum llmq_status stream_pass(struct stream *s, struct forward *forward,
                                            const struct schedule *schedule,
                                            const struct batch *batch, struct pass *out,
                                            llmq_error *err);

#endif
