/* SPDX-License-Identifier: Apache-2.0 */
/* A model's files as a run found them, so that it can tell in the end whether what it made is made
 * of one model. */
#ifndef LLMQ_PIPELINE_SOURCE_H
#define LLMQ_PIPELINE_SOURCE_H

#include "base/filestate.h"
#include "graph/model.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "pipeline/companions.h"

struct source {
    struct companion config; /* config.json, of which the result has an edited copy */
    struct companions companions;
    struct companion index;       /* of the shards; no name: the model has none */
    struct file_stamp *shards;    /* [st_shard_count] */
    char (*headers)[SHA256_TEXT]; /* likewise: of what comes before a file's tensors */
};

/* Look at the files of an open model and tell what is left behind. Errors as companions_find.
 * Release with source_free. */
LLMQ_NODISCARD enum llmq_status source_find(const struct model *m, const llmq_context *ctx,
                                            struct source *out, llmq_error *err);

/* LLMQ_E_INPUT names the first file that was changed or replaced since. */
LLMQ_NODISCARD enum llmq_status source_check(const struct source *s, const struct model *m,
                                             llmq_error *err);

void source_free(struct source *s); /* accepts a zeroed struct */

#endif
