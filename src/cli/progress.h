/* SPDX-License-Identifier: Apache-2.0 */
/* Messages and progress of a run on stderr: a bar on a terminal, a line per block elsewhere. */
#ifndef LLMQ_CLI_PROGRESS_H
#define LLMQ_CLI_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/command.h"
#include "llmq/context.h"

enum progress_style { PROGRESS_NONE, PROGRESS_LINES, PROGRESS_BAR };

/* State of the display; progress_begin fills it, nothing else touches it. */
struct progress {
    enum progress_style style;
    bool quiet;
    bool verbose;
    bool drawn;          /* a bar stands on the current line */
    char what[96];       /* stage shown last */
    int64_t done, total; /* steps of it */
    double start;        /* seconds on the monotonic clock */
    double stepped;      /* when `done` last grew */
    double last_draw;    /* of the bar */

    /* A bar is drawn again each second by a thread of its own: a block may take minutes. */
    bool ticking;
    pthread_t ticker;
    pthread_mutex_t lock; /* of all above */
    pthread_cond_t ended;
};

/* The context to lend to the library: threads as the user said, messages and progress to `p`, which
 * must outlive it, in the style that suits the user's options and what stderr is. */
llmq_context progress_begin(struct progress *p, const struct common_args *args,
                            const volatile sig_atomic_t *interrupt);

/* Take the bar off the line, and do not draw it each second any more. Before any other output, and
 * before `p` goes; as often as there is output. */
void progress_end(struct progress *p);

/* What the bar says at this moment, at most `width` bytes: parts that have no room are left out.
 * `elapsed` seconds since the beginning, `still` since the last step; `memory` bytes at the peak.
 */
void progress_line(const struct progress *p, double elapsed, double still, uint64_t memory,
                   size_t width, char *out, size_t size);

#endif
