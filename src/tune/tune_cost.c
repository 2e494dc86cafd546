/* SPDX-License-Identifier: Apache-2.0 */
/* What tuning scales takes: see tune.h. */
#include "base/int64.h"
#include "eval/room.h"
#include "graph/backward.h"
#include "graph/loading.h"
#include "tune/teacher.h"
#include "tune/tune.h"
#include "tune/tune_held.h"
#include "tune/tune_part.h"

/* Passes of a step: forth, forth again for inner values, and two back. */
enum { PASSES_BACK = 4 };

/* The first `count` windows; the rooms are of figures about windows, no token is read. */
static struct corpus first_windows(const struct corpus *of, int64_t count) {
    struct corpus c = *of;
    c.count = count;
    c.tokens_used = c.offsets[count];
    return c;
}

static enum llmq_status room_of(const struct model *m, const struct corpus *c,
                                struct eval_room *out, llmq_error *err) {
    const struct eval_job job = {
        .m = m, .corpus = c, .numbers = {LOAD_PLAIN, LLMQ_COMPUTE_F32}, .name = ""};
    return eval_room(&job, out, err);
}

/* A linear as it is read back: codes, and what is stored. */
static uint64_t reading_bytes(const struct tune_size *size) {
    return 2 * size->largest;
}

enum llmq_status tune_cost(const struct model *m, const struct tune_size *size,
                           struct tune_cost *out, llmq_error *err) {
    const struct corpus *c = size->windows;
    const int64_t many = tune_step_windows(c->max_len), learnt = c->count - size->held;
    const struct backward_bytes back =
        backward_bytes(m, c->offsets, min_i64(many, learnt), size->spilled);
    const uint64_t hidden = teacher_hidden_bytes(m, c->tokens_used);
    const struct corpus held = first_windows(c, size->held);
    struct eval_room original = {0}, measured = {0};
    enum llmq_status status = room_of(m, c, &original, err);
    if (status == LLMQ_OK)
        status = room_of(m, &held, &measured, err);
    if (status != LLMQ_OK)
        return status;
    const uint64_t measuring =
        max_u64(eval_room_peak(&measured, 1, size->spilled), measured.hidden + tune_held_bytes(m));
    const uint64_t kept = size->moving * (TUNE_ARRAYS + 2) * sizeof(float) +
                          2 * size->largest * sizeof(float) + reading_bytes(size);
    const uint64_t taught = teacher_bytes(m, c->tokens_used) + (size->spilled ? 0 : hidden);
    *out = (struct tune_cost){
        .memory = kept + max_u64(eval_room_peak(&original, 1, size->spilled),
                                 taught + max_u64(back.memory, measuring)),
        .file = size->spilled ? max_u64(original.stream, hidden + back.file) : 0,
        .passes =
            1 + PASSES_BACK + (double)(TUNE_MEASURED + 1) * (double)size->held / (double)learnt};
    return LLMQ_OK;
}
