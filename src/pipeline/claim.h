/* The folder in which a result grows, <out>.partial, and the right to work in it.
 *
 * Whoever writes there holds the lock on llmq.lock in it, which is made first and taken before
 * anything is removed: two runs never work in one folder, and a run that was killed at any moment
 * leaves a folder that is known for what it is by that file (or is empty). */
#ifndef LLMQ_PIPELINE_CLAIM_H
#define LLMQ_PIPELINE_CLAIM_H

#include <stdbool.h>

#include "llmq/error.h"

/* Zero-initialise before use. */
struct claim {
    bool held;
    int folder, lock; /* descriptors */
};

enum claim_state {
    CLAIM_ABSENT, /* nothing has the name */
    CLAIM_EMPTY,  /* a folder that is empty */
    CLAIM_LEFT,   /* what a run left, which is not alive */
    CLAIM_BUSY,   /* a run is alive in it */
};

/* Look at the place of a growing result. LLMQ_E_IO: it is a link, a file or a mount point.
 * LLMQ_E_USAGE: a folder that is not of a run; the message names what is in it. */
LLMQ_NODISCARD enum llmq_status claim_look(const char *dir, enum claim_state *state,
                                           llmq_error *err);

/* Make the folder, unless it is there, and take the lock. Errors as for claim_look, and LLMQ_E_IO
 * when another process holds it. Release with claim_release. */
LLMQ_NODISCARD enum llmq_status claim_take(const char *dir, struct claim *out, llmq_error *err);

/* Take the lock of a folder that holds a complete result, so that it can be removed. LLMQ_E_USAGE
 * when the folder is no result or holds more than that (marker.h). */
LLMQ_NODISCARD enum llmq_status claim_take_result(const char *dir, struct claim *out,
                                                  llmq_error *err);

/* Is the folder that is held still the one with this name? */
bool claim_is_at(const struct claim *c, const char *dir);

/* Remove what the folder holds, but for the lock. */
LLMQ_NODISCARD enum llmq_status claim_clear(const struct claim *c, const char *dir,
                                            llmq_error *err);

/* Remove the folder, which has the name `dir` now, and release it. */
LLMQ_NODISCARD enum llmq_status claim_remove(struct claim *c, const char *dir, llmq_error *err);

/* Another process works in `dir`: LLMQ_E_IO. */
enum llmq_status claim_busy(const char *dir, llmq_error *err);

/* Remove the lock's file and the journal, and release a folder that is complete. */
LLMQ_NODISCARD enum llmq_status claim_finish(struct claim *c, const char *dir, llmq_error *err);

/* Release, leaving the folder as it is; again is fine. */
void claim_release(struct claim *c);

#endif
