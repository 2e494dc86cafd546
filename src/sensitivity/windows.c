/* SPDX-License-Identifier: Apache-2.0 */
/* Windows that are measured on and those that are calibrated on: see study.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "sensitivity/study.h"

/* Tokens that are measured on unless the user says otherwise: what is drawn for each makes the
 * curvature noisy, and measured divergences cost many passes. */
enum { TOKENS_CURVATURE = 16384, TOKENS_OTHERS = 4096 };

static int64_t usual_windows(const struct study *s) {
    const struct corpus *all = &s->run.corpus;
    const int64_t tokens =
        s->options->estimate == LLMQ_ESTIMATE_CURVATURE ? TOKENS_CURVATURE : TOKENS_OTHERS;
    const int64_t count = all->count - all->held;
    const int64_t length = max_i64(1, all->offsets[count] / count);
    return max_i64(1, min_i64((tokens + length - 1) / length, count / 4));
}

static enum llmq_status corpus_room(const struct corpus *of, struct corpus *out, llmq_error *err) {
    out->ids = malloc((size_t)of->tokens_used * sizeof *out->ids);
    out->offsets = calloc((size_t)of->count + 1, sizeof *out->offsets);
    return out->ids && out->offsets ? LLMQ_OK : error_memory(err, "windows to measure on");
}

static void append(struct corpus *to, const int32_t *ids, int64_t length) {
    memcpy(to->ids + to->tokens_used, ids, (size_t)length * sizeof *ids);
    to->tokens_used += length;
    to->offsets[++to->count] = to->tokens_used;
    to->max_len = max_i64(to->max_len, length);
}

/* Files stand one after the other: windows that are spread over all are of each its share. */
enum llmq_status study_part_windows(struct study *s, llmq_error *err) {
    const struct corpus *all = &s->run.corpus;
    const int64_t wanted = s->options->windows ? s->options->windows : usual_windows(s);
    const int64_t count = all->count - all->held;
    enum llmq_status status = LLMQ_OK;
    if (wanted >= count) {
        error_set(err, LLMQ_E_USAGE,
                  "--windows %" PRId64 ": the calibration has %" PRId64
                  ", and some have to be left "
                  "to calibrate on",
                  wanted, count);
        error_hint(err, "give more with --calib and --samples");
        return LLMQ_E_USAGE;
    }
    LLMQ_TRY(corpus_room(all, &s->measured, err));
    LLMQ_TRY(corpus_room(all, &s->rest, err));
    for (int64_t i = 0; i < all->count; i++) {
        const bool taken = i < count && (i + 1) * wanted / count > i * wanted / count;
        append(taken ? &s->measured : &s->rest, all->ids + all->offsets[i],
               all->offsets[i + 1] - all->offsets[i]);
    }
    s->run.tokens = (struct calib_tokens){s->rest.ids, s->rest.offsets, s->rest.count, all->held};
    s->out->windows = s->measured.count;
    s->out->tokens = s->measured.tokens_used;
cleanup:
    return status;
}
