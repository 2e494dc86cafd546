/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping ids: see corpus_keep.h. */
#include "text/corpus_keep.h"

#include <string.h>

#include "base/int64.h"

/* Bytes of ids from which on more room is asked for, and what is left to others then. */
#define LITTLE ((size_t)1 << 20)
#define SPARE  ((size_t)2 << 20)

static enum llmq_status push(struct id_keeper *k, const int32_t *ids, int64_t count,
                             llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < count && status == LLMQ_OK; i++)
        status = id_list_push(&k->ids, ids[i], err);
    return status;
}

/* May the list grow by so many? Where not, it is given up: the stream is only counted. */
static bool has_room(struct id_keeper *k, int64_t count) {
    const size_t all = k->ids.count + (size_t)count;
    const size_t larger = (k->ids.cap + k->ids.cap / 2) * sizeof *k->ids.ids;
    if (all <= k->ids.cap || larger < LITTLE ||
        reading_room(k->limits, "", larger + SPARE, NULL) == LLMQ_OK)
        return true;
    id_list_free(&k->ids);
    k->most = 0;
    return false;
}

static enum llmq_status take_first(struct id_keeper *k, const struct id_list *from,
                                   llmq_error *err) {
    const int64_t wanted = min_i64(k->most - k->seen, (int64_t)from->count);
    if (wanted <= 0 || !has_room(k, wanted))
        return LLMQ_OK;
    return push(k, from->ids, wanted, err);
}

static enum llmq_status take_windows(struct id_keeper *k, const struct id_list *from,
                                     llmq_error *err) {
    const struct id_windows *w = k->windows;
    enum llmq_status status = LLMQ_OK;
    for (int64_t at = 0; status == LLMQ_OK && k->next < w->count;) {
        const int64_t begin = w->window[k->next].begin - k->seen;
        const int64_t end = w->window[k->next].end - k->seen;
        at = max_i64(at, begin);
        if (at >= (int64_t)from->count)
            break;
        const int64_t here = min_i64(end, (int64_t)from->count);
        status = push(k, from->ids + at, here - at, err);
        at = here;
        k->next += here == end;
    }
    return status;
}

enum llmq_status id_keeper_take(struct id_keeper *k, struct id_list *from, llmq_error *err) {
    const enum llmq_status status =
        k->windows ? take_windows(k, from, err) : take_first(k, from, err);
    k->seen += (int64_t)from->count;
    from->count = 0;
    return status;
}

bool id_keeper_done(const struct id_keeper *k) {
    return k->windows && k->next == k->windows->count;
}
