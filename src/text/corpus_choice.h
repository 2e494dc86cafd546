/* SPDX-License-Identifier: Apache-2.0 */
/* Which windows of a stream of ids are used, and which of them are held back. */
#ifndef LLMQ_TEXT_CORPUS_CHOICE_H
#define LLMQ_TEXT_CORPUS_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/error.h"

struct corpus_options;

/* A window: ids [begin, end) of the stream. */
struct id_window {
    int64_t begin, end;
    bool held;
};

/* Chosen windows, which do not overlap, as they come in the stream. */
struct id_windows {
    struct id_window *window;
    int64_t count;
    int64_t end; /* ids that windows are cut from */
};

/* Choose windows of a stream of `tokens` ids. Those that are held back are drawn first, by the seed
 * alone, so that they are the same whatever else is asked for; none where the stream is too short
 * for both. The caller frees out->window. */
LLMQ_NODISCARD enum llmq_status corpus_choose(const struct corpus_options *o, int64_t tokens,
                                              struct id_windows *out, llmq_error *err);

/* Ids of all windows. */
int64_t id_windows_total(const struct id_windows *w);

#endif
