/* SPDX-License-Identifier: Apache-2.0 */
/* The folder in which a result grows, <out>.partial, and the right to work in it.
 *
 * Whoever writes there holds the lock on llmq.lock in it, which is made first and taken before
 * anything is removed: two runs never work in one folder, and a run that was killed at any moment
 * leaves a folder that is known for what it is by that file (or is empty). The file is empty, or
 * says that the run may replace a result (--force). */
#ifndef LLMQ_PIPELINE_CLAIM_H
#define LLMQ_PIPELINE_CLAIM_H

#include <stdbool.h>

#include "llmq/error.h"

/* Zero-initialise before use. */
struct claim {
    bool held;
    int folder, lock; /* descriptors */
};

/* What is in the place: see output.h for how it comes to be there. */
enum claim_state {
    CLAIM_ABSENT,   /* nothing has the name */
    CLAIM_EMPTY,    /* a folder that is empty */
    CLAIM_BEGUN,    /* what a run left that is not alive; nothing is recorded to go on from */
    CLAIM_RECORDED, /* the same with a journal */
    CLAIM_COMPLETE, /* a whole result, with its marker, in which no run is alive */
    CLAIM_BUSY,     /* a run is alive in it */
};

/* Look at the place of a growing result. LLMQ_E_IO: it is a link, a file or a mount point.
 * LLMQ_E_USAGE: a folder that is not of a run; the message names what is in it. */
LLMQ_NODISCARD enum llmq_status claim_look(const char *dir, enum claim_state *state,
                                           llmq_error *err);

/* Make the folder, unless it is there, and take the lock. Errors as for claim_look, and LLMQ_E_IO
 * when another process holds it. Release with claim_release. */
LLMQ_NODISCARD enum llmq_status claim_take(const char *dir, struct claim *out, llmq_error *err);

/* What is in a folder that is held, as claim_look. */
LLMQ_NODISCARD enum llmq_status claim_look_held(const struct claim *c, const char *dir,
                                                enum claim_state *state, llmq_error *err);

/* Write down that the run may replace a result; and did the run that left `dir` write it? */
LLMQ_NODISCARD enum llmq_status claim_allow_replacing(const struct claim *c, const char *dir,
                                                      llmq_error *err);
bool claim_replaces(const char *dir);

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

/* The same for a result, locked by claim_take_result: killed at any moment, what is left is a
 * result or an empty folder still. */
LLMQ_NODISCARD enum llmq_status claim_remove_result(struct claim *c, const char *dir,
                                                    llmq_error *err);

/* Remove the journal of a run whose result is complete: nothing is to be done but to name it. */
LLMQ_NODISCARD enum llmq_status claim_drop_record(const struct claim *c, const char *dir,
                                                  llmq_error *err);

/* Remove the lock's file, and the journal if there is one, and release a folder that is complete.
 */
LLMQ_NODISCARD enum llmq_status claim_finish(struct claim *c, const char *dir, llmq_error *err);

/* The same for a result whose run was killed before it could; LLMQ_E_IO when it is alive. A folder
 * with nothing of the kind in it is left alone. */
LLMQ_NODISCARD enum llmq_status claim_tidy(const char *dir, llmq_error *err);

/* Is it a folder that a run was alive in: with llmq.lock in it, and nobody holds it? */
bool claim_was_held(const char *dir);

/* Release, leaving the folder as it is; again is fine. */
void claim_release(struct claim *c);

#endif
