/* The marker of a result: llmq.json in its folder names the program's version, the command, its
 * options, what it was made from, and the files that are the result's. It is written last: a folder
 * with a marker and all its files is a whole result. It says what --force may replace: a folder
 * that has it and holds nothing else; and by it --resume knows that a run has ended. */
#ifndef LLMQ_PIPELINE_MARKER_H
#define LLMQ_PIPELINE_MARKER_H

#include <stdbool.h>

#include "base/json.h"
#include "llmq/error.h"
#include "pipeline/companions.h"

#define MARKER_NAME "llmq.json"

/* What a run keeps in the folder of its result while it works (claim.h, journal.h); a result may
 * hold them when it was killed in its last moment. */
#define MARKER_LOCK_NAME "llmq.lock"

/* What a marker says of a run: {"llmq", "command", "options", "made_from"}. `options` and
 * `made_from` belong to the object. The same for the same run: no times and no names of machines.
 * Not json_complete when memory is short, as where one of them is NULL. */
struct json *marker_record(const char *command, struct json *options, struct json *made_from);

/* Write the marker of the complete result in `dir`: its record, and as the result's files its
 * tensors in every form, what states how they are quantized, and the companions; anything else
 * there is somebody's who put it there meanwhile. */
LLMQ_NODISCARD enum llmq_status marker_write(const char *dir, const struct json *record,
                                             const struct companions *companions, llmq_error *err);

/* The marker of an open folder that has every file that the marker lists; NULL when it lacks one,
 * or there is no marker that can be read. The caller frees. And is there one? */
struct json *marker_read_whole(int fd);
bool marker_whole(int fd);

/* Is the folder, open as `fd`, a result with nothing in it that is not the result's? LLMQ_E_USAGE
 * names what is there otherwise. `dir` names the folder in messages. */
LLMQ_NODISCARD enum llmq_status marker_check(int fd, const char *dir, llmq_error *err);

#endif
