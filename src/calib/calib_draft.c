/* SPDX-License-Identifier: Apache-2.0 */
/* The way to layers that predict further tokens: see calib.h. */
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "calib/calib_private.h"
#include "graph/drafting.h"

/* One batch of a stream becomes what the layer's block reads. */
static enum llmq_status turn(struct stream *s, struct drafting *d, const struct batch *b,
                             llmq_error *err) {
    const int64_t begin = b->offsets[0], rows = batch_rows(b);
    float *x = NULL;
    enum llmq_status status =
        acts_load(&s->acts[HOME_RESIDUAL], begin, rows, s->buffer[HOME_RESIDUAL], &x, err);
    if (status == LLMQ_OK)
        status = drafting_rows(d, rows, x, err);
    return status == LLMQ_OK ? stream_put(s, begin, rows, x, err) : status;
}

enum llmq_status calib_begin_draft(struct calib *c, int64_t draft, llmq_error *err) {
    const struct calib_tokens *t = &c->share.own;
    struct drafting *d = NULL;
    enum llmq_status status = LLMQ_OK;
    int32_t *tokens = malloc((size_t)(calib_total_tokens(t) + 1) * sizeof *tokens);
    if (!tokens)
        return error_memory(err, "the tokens of a layer");
    drafting_tokens(t->ids, t->offsets, t->count, draft, tokens);
    LLMQ_TRY(drafting_open(c->m, draft, c->max_rows, &d, err));
    for (int64_t i = 0; i < c->share.count; i++) {
        const struct batch *b = &c->share.batch[i].own;
        LLMQ_TRY(interrupt_check(c->ctx, err));
        if (b->sequences == 0)
            continue;
        LLMQ_TRY(drafting_embed(d, tokens, b, err));
        LLMQ_TRY(turn(&c->quantized, d, b, err));
        if (c->paired)
            LLMQ_TRY(turn(&c->original, d, b, err));
    }
cleanup:
    drafting_close(&d);
    free(tokens);
    return status;
}
