/* Messages and progress of a run on stderr: a bar on a terminal, a line per block elsewhere. */
#ifndef LLMQ_CLI_PROGRESS_H
#define LLMQ_CLI_PROGRESS_H

#include <stdbool.h>

#include "cli/command.h"
#include "llmq/context.h"

enum progress_style { PROGRESS_NONE, PROGRESS_LINES, PROGRESS_BAR };

/* State of the display; progress_begin fills it, nothing else touches it. */
struct progress {
    enum progress_style style;
    bool quiet;
    bool verbose;
    bool drawn;       /* a bar stands on the current line */
    char what[96];    /* stage shown last */
    double start;     /* seconds on the monotonic clock */
    double last_draw; /* of the bar */
};

/* The context to lend to the library: threads as the user said, messages and progress to `p`, which
 * must outlive it, in the style that suits the user's options and what stderr is. */
llmq_context progress_begin(struct progress *p, const struct common_args *args,
                            const volatile sig_atomic_t *interrupt);

/* Take the bar off the line. Before any other output, and before `p` goes. */
void progress_end(struct progress *p);

#endif
