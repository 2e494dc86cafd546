/* The marker of a result: llmq.json in its folder names the program's version, the command, its
 * options, and the files that are the result's. It says what --force may replace: a folder that has
 * it and holds nothing else. */
#ifndef LLMQ_PIPELINE_MARKER_H
#define LLMQ_PIPELINE_MARKER_H

#include "base/json.h"
#include "llmq/error.h"
#include "pipeline/companions.h"

#define MARKER_NAME "llmq.json"

/* What a run keeps in the folder of its result while it works (claim.h, journal.h); a result may
 * hold them when it was killed in its last moment. */
#define MARKER_LOCK_NAME "llmq.lock"

/* Write the marker of the complete result in `dir`: its tensors in every form, what states how they
 * are quantized, and the companions are listed as the result's; anything else there is somebody's
 * who put it there meanwhile. The same bytes for the same result: no times and no names of
 * machines. `options`, NULL for none, belongs to this function. */
LLMQ_NODISCARD enum llmq_status marker_write(const char *dir, const char *command,
                                             const struct companions *companions,
                                             struct json *options, llmq_error *err);

/* Is the folder, open as `fd`, a result with nothing in it that is not the result's? LLMQ_E_USAGE
 * names what is there otherwise. `dir` names the folder in messages. */
LLMQ_NODISCARD enum llmq_status marker_check(int fd, const char *dir, llmq_error *err);

#endif
