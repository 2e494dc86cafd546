/* SPDX-License-Identifier: Apache-2.0 */
/* The marker of a result is its record (verify/record.h): llmq.json in its folder names the
 * program's version, the command, its options, what it was made from, what came of it, and the
 * files that are the result's, with their sums. It is written last: a folder with a marker and all
 * its files is a whole result. It says what --force may replace: a folder that has it and holds
 * nothing else; and by it --resume knows that a run has ended.
 *
 * All of a result is the same for the same run, but for what the marker has under "run": times,
 * memory, threads, the machine. (And so but for the marker's own sum.) */
#ifndef LLMQ_PIPELINE_MARKER_H
#define LLMQ_PIPELINE_MARKER_H

#include <stdbool.h>

#include "base/json.h"
#include "llmq/error.h"
#include "pipeline/companions.h"
#include "verify/record.h"

#define MARKER_NAME RECORD_NAME

/* What a run keeps in the folder of its result while it works (claim.h, journal.h); a result may
 * hold them when it was killed in its last moment. */
#define MARKER_LOCK_NAME "llmq.lock"

/* What a marker says of a run that is to come: {"llmq", "commit", "command", "options",
 * "made_from"}. `options` and `made_from` belong to the object. Not json_complete when memory is
 * short, as where one of them is NULL. */
struct json *marker_record(const char *command, struct json *options, struct json *made_from);

/* The files of the complete result in `dir`, for its marker: [{"name", "bytes", "sha256"}]. They
 * are its tensors in every form, what states how they are quantized, its card, and the companions;
 * anything else there is somebody's who put it there meanwhile. Reads all of them: tensors are put
 * in any order, so that no sum can be taken while they are written. The caller frees *files. */
LLMQ_NODISCARD enum llmq_status marker_files(const char *dir, const struct companions *companions,
                                             const llmq_context *ctx, struct json **files,
                                             llmq_error *err);

/* What a marker says of a run that has ended. All belong to the call, also when it fails. */
struct marker_end {
    struct json *report;  /* what came of it: the same for the same run */
    struct json *modules; /* the same of each module; NULL: nothing is said of them */
    struct json *files;   /* marker_files */
    struct json *run;     /* what may differ */
};

/* Write the marker of the complete result in `dir`: its record, and what came of it. */
LLMQ_NODISCARD enum llmq_status marker_write(const char *dir, const struct json *record,
                                             struct marker_end *end, llmq_error *err);

/* What is the same in all markers' "run": {"seconds", "peak_rss_bytes", "threads", "kernels",
 * "blas", "build"}; the seconds are those since `start` on the clock of tally_now. */
struct json *marker_run(double start, const llmq_context *ctx);

/* The marker of an open folder that has every file that the marker lists; NULL when it lacks one,
 * or there is no marker that can be read. The caller frees. And is there one? */
struct json *marker_read_whole(int fd);
bool marker_whole(int fd);

/* Is the folder, open as `fd`, a result with nothing in it that is not the result's? LLMQ_E_USAGE
 * names what is there otherwise. `dir` names the folder in messages. */
LLMQ_NODISCARD enum llmq_status marker_check(int fd, const char *dir, llmq_error *err);

#endif
