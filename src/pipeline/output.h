/* SPDX-License-Identifier: Apache-2.0 */
/* The folder a run produces: <out>.partial while it grows, <out> when it is complete and has been
 * read back.
 *
 * What a run does to the two, and so what a run that is killed leaves. Every step is one system
 * call, and what it needs is on disk before it:
 *
 *     step                                          <out>             <out>.partial
 *     nothing is begun                              -                 -
 *     the folder is made, llmq.lock in it           -                 empty, begun
 *     files are written, then the journal, whole    -                 recorded
 *     blocks are finished, the result is read back  -                 recorded
 *     the marker is written, the journal removed    -                 complete
 *     the result gets its name                      complete, locked  -
 *     the lock is removed                           complete          -
 *
 * With --force <out> is the old result until the two folders change places (one step where the
 * system has it), and <out>.partial is the old result then, complete and afterwards less, until it
 * is gone. Where folders cannot change places the old one is <out>.replaced in between: either name
 * may be missing for a moment, neither result is. llmq.lock says that the run may replace.
 *
 * With --resume the same command goes on from each of these to the same end (output_settle): it
 * starts what was not recorded, continues what was, names what is complete, tidies up behind a name
 * that was given, and where all is done it says so. Without, it is refused and told so, or begins
 * if nothing is there. With --force it starts over. */
#ifndef LLMQ_PIPELINE_OUTPUT_H
#define LLMQ_PIPELINE_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "pipeline/claim.h"
#include "pipeline/companions.h"
#include "pipeline/journal.h"
#include "pipeline/plan.h"
#include "pipeline/source.h"

/* Where a result goes. Zero-initialise before use. */
struct output {
    char *final_dir;          /* <out> */
    char *partial_dir;        /* <out>.partial */
    struct model_reading as;  /* how the result is read back */
    bool force, resume;       /* may replace a result; goes on where another run stopped */
    bool resumable;           /* a run that fails leaves what it has done */
    bool exists, was_empty;   /* a folder has the final name; it is empty */
    enum claim_state partial; /* what was found under the other one */
    struct claim claim;       /* on <out>.partial, from output_prepare on */
};

/* Choose the folders and check them: nothing is made yet, and what would make the run or its last
 * step fail is found here. `out` NULL: <model>-<method>-w<bits>g<group> in the current folder.
 * LLMQ_E_USAGE: <out> or <out>.partial is, holds or lies in what place.h guards; <out> holds files
 * and neither `force` nor `resume` is set, or is not a result (marker.h); <out>.partial exists and
 * neither of them is, or it is not of a run (claim.h). LLMQ_E_IO: <out> is no folder, is a link or
 * a mount point, or no folder can be made there; a run is alive in <out>.partial. A dry run that
 * force would allow, or that a run in its way would stop, is told so in a warning. Release with
 * output_free. */
LLMQ_NODISCARD enum llmq_status output_choose(const llmq_quantize_options *options,
                                              const char *model_dir, const llmq_context *ctx,
                                              struct output *out, llmq_error *err);

/* The same names on a rank that does not write, without a look at what is there. */
LLMQ_NODISCARD enum llmq_status output_follow(const llmq_quantize_options *options,
                                              const char *model_dir, const llmq_context *ctx,
                                              struct output *out, llmq_error *err);

/* The same for a result with a name whose run leaves nothing behind when it fails. */
LLMQ_NODISCARD enum llmq_status output_choose_at(const char *dir, const char *model_dir, bool force,
                                                 bool resume, struct output *out, llmq_error *err);
void output_free(struct output *out);

/* Is <out> free, or may it be replaced? LLMQ_E_USAGE. */
LLMQ_NODISCARD enum llmq_status output_check_room(const struct output *out, llmq_error *err);

/* The run that a result is to be of. */
struct output_run {
    const struct json *record; /* what the result's marker says of it: marker_record */
    const struct model *model;
    const struct source *source; /* the model's files */
};

enum output_task {
    OUTPUT_MAKE,     /* the result, from the beginning */
    OUTPUT_CONTINUE, /* what the journal in <out>.partial records */
    OUTPUT_DONE,     /* nothing: <out> is the result */
};

/* What is left to do, by what an earlier run has left; brings what is complete to its end.
 * LLMQ_E_INPUT: the result in <out>.partial is another run's, the message says how it differs.
 * LLMQ_E_USAGE: as output_check_room. */
LLMQ_NODISCARD enum llmq_status output_settle(struct output *out, const struct output_run *run,
                                              enum output_task *task, llmq_error *err);

/* Make <out>.partial and the folders above it, and lock it; emptied unless the run is continued. */
LLMQ_NODISCARD enum llmq_status output_prepare(struct output *out, enum output_task task,
                                               llmq_error *err);

/* Remove <out>.partial if it is ours by now. */
LLMQ_NODISCARD enum llmq_status output_discard(struct output *out, llmq_error *err);

/* Create the files of the plan's tensors in <out>.partial, in the container that the layout asks
 * for, or reopen them to resume. */
LLMQ_NODISCARD enum llmq_status output_open_writer(const struct output *out,
                                                   const struct plan *plan, uint64_t shard_limit,
                                                   bool resume, struct st_writer **writer,
                                                   llmq_error *err);

/* Write config.json (the source's text with quantization_config set, or removed where the plan has
 * no layout, and the dtype if the result wants one), the layout's own config file, and copy what
 * travels with the model. Once more before the end, and when a run is resumed: who had time to
 * change or remove them leaves no trace. */
LLMQ_NODISCARD enum llmq_status output_write_config(const struct output *out, const char *model_dir,
                                                    const struct companions *companions,
                                                    const struct plan *plan, llmq_error *err);

/* Write what the layout wants beside the tensors, if anything; all of them are in place. */
LLMQ_NODISCARD enum llmq_status output_write_beside(const struct output *out,
                                                    const struct plan *plan, llmq_error *err);

/* Decode one stored module and compare with the hash of what was to be stored. LLMQ_E_CHECK when
 * it differs. */
LLMQ_NODISCARD enum llmq_status output_verify_module(const struct model *stored,
                                                     const struct plan_module *module,
                                                     uint64_t expected, llmq_error *err);

/* Check <out>.partial against the rules for headers and configs (verify.h), open it as a loader
 * would, decode every module, read the norms and biases that folds changed, and compare with the
 * hashes of what was to be stored. LLMQ_E_CHECK names the first that differs, or the first rule
 * that does not hold. */
LLMQ_NODISCARD enum llmq_status output_verify(const struct output *out, const struct plan *plan,
                                              const struct journal_blocks *blocks,
                                              const llmq_context *ctx, llmq_error *err);

/* Remove the journal and rename to <out>, in one step and only onto nothing or an empty folder;
 * with `force` a result there changes places with it and is removed. LLMQ_E_IO when something else
 * has appeared there: <out>.partial is kept. */
LLMQ_NODISCARD enum llmq_status output_commit(struct output *out, llmq_error *err);

/* The name that an old result has while folders change places in steps; NULL when memory is short.
 * The caller frees. */
char *output_aside(const struct output *out);

/* Fingerprint of a quantized module. */
uint64_t output_hash(const struct qlinear *q);

#endif
