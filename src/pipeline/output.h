/* The folder a run produces: <out>.partial while it grows, <out> when it is complete and has been
 * read back. */
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

/* Where a result goes. Zero-initialise before use. */
struct output {
    char *final_dir;    /* <out> */
    char *partial_dir;  /* <out>.partial */
    const char *family; /* that the result is read back as, NULL: by its model_type */
    bool force, resume;
    bool resumable;           /* a run that stops can be continued */
    bool exists, was_empty;   /* a folder has the final name; it is empty */
    enum claim_state partial; /* what was found under the other one */
    struct claim claim;       /* on <out>.partial, from output_prepare on */
};

/* Choose the folders and check them: nothing is made yet, and what would make the run or its last
 * step fail is found here. `out` NULL: <model>-<method>-w<bits>g<group> in the current folder.
 * LLMQ_E_USAGE: <out> or <out>.partial is, holds or lies in what place.h guards; <out> holds files
 * and `force` is not set, or is not a result (marker.h); <out>.partial exists and neither `resume`
 * nor `force` is, or it is not of a run (claim.h). LLMQ_E_IO: <out> is no folder, is a link or a
 * mount point, or no folder can be made there; a run is alive in <out>.partial. A dry run that
 * force would allow, or that a run in its way would stop, is told so in a warning. Release with
 * output_free. */
LLMQ_NODISCARD enum llmq_status output_choose(const llmq_quantize_options *options,
                                              const char *model_dir, const llmq_context *ctx,
                                              struct output *out, llmq_error *err);

/* The same for a result with a name whose run cannot be resumed. */
LLMQ_NODISCARD enum llmq_status output_choose_at(const char *dir, const char *model_dir, bool force,
                                                 struct output *out, llmq_error *err);
void output_free(struct output *out);

/* Make <out>.partial and the folders above it, and lock it; emptied unless the run is resumed. */
LLMQ_NODISCARD enum llmq_status output_prepare(struct output *out, llmq_error *err);

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

/* Rename to <out>, in one step and only onto nothing or an empty folder; with `force` a result
 * there changes places with it and is removed. LLMQ_E_IO when something else has appeared there:
 * <out>.partial is kept. The journal is removed last of all. */
LLMQ_NODISCARD enum llmq_status output_commit(struct output *out, llmq_error *err);

/* Fingerprint of a quantized module. */
uint64_t output_hash(const struct qlinear *q);

#endif
