/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of a run: a line of JSON for each finished block, so that an interrupted run can be
 * continued. It lies in <out>.partial beside the tensors and is removed when the result is
 * complete, before it gets its name (output.h).
 *
 * The first line holds the run's identity (identity.h); a run with another one does not continue.
 * The next one has the hashes of the source's tensors that are copied, those of blocks the hashes
 * of the source's tensors that were read for them (safetensors_watch.h): a run that continues notes
 * them, so that it does not take another content for theirs. A block counts as done when its line
 * is on disk, which happens after its tensors are: a line cut off by a crash is ignored. */
#ifndef LLMQ_PIPELINE_JOURNAL_H
#define LLMQ_PIPELINE_JOURNAL_H

#include <stdint.h>

#include "base/json.h"
#include "graph/model.h"
#include "llmq/quantize.h"

#define JOURNAL_NAME "llmq-journal.jsonl"
/* Scales as the journal has them, while others take their place (run_tune.h). */
#define JOURNAL_UNDO_NAME "llmq-untuned.bin"

struct journal;

/* What a journal says of the blocks of a run. */
struct journal_blocks {
    int64_t count;    /* blocks of the model */
    uint64_t *hashes; /* of every module, filled for the blocks done */
    uint64_t *folded; /* [count] of the norms and biases stored with a block; 0: none are */
    int64_t done;
    const struct model *source; /* what is quantized; its tensors are watched */
};

/* Start a new journal in `dir`, which the caller has claimed (claim.h). */
LLMQ_NODISCARD enum llmq_status journal_create(const char *dir, const struct json *identity,
                                               struct journal **out, llmq_error *err);

/* Continue the journal in `dir`: sets blocks->done and their hashes, appends their module reports,
 * notes what was read of the source. LLMQ_E_INPUT: it is another run's; the message says what
 * differs. */
LLMQ_NODISCARD enum llmq_status journal_resume(const char *dir, const struct json *identity,
                                               struct journal_blocks *blocks,
                                               llmq_quantize_report *report, struct journal **out,
                                               llmq_error *err);

/* Record durably what was read of the source's tensors that are copied, unless that is recorded. */
LLMQ_NODISCARD enum llmq_status journal_add_kept(struct journal *j, const struct st_set *source,
                                                 char *const *names, size_t count, llmq_error *err);

/* Record a finished block durably: the reports of its modules, and their hashes in `blocks`. */
LLMQ_NODISCARD enum llmq_status journal_add(struct journal *j, int64_t block,
                                            const llmq_module_report *modules,
                                            const struct journal_blocks *blocks, llmq_error *err);

/* Close; accepts a pointer to NULL. */
void journal_close(struct journal **j);

#endif
