/* SPDX-License-Identifier: Apache-2.0 */
/* The windows that scales are tuned on: from the calibration's texts, others than the calibration's
 * where there are any. */
#ifndef LLMQ_PIPELINE_TUNE_WINDOWS_H
#define LLMQ_PIPELINE_TUNE_WINDOWS_H

#include "llmq/error.h"
#include "text/corpus.h"

struct run;

/* Most windows that are held back to judge by. */
enum { TUNE_HELD = 16 };

struct tune_windows {
    struct corpus corpus; /* in a random order: those held back, then those to learn from */
    int64_t held;
    int64_t fresh; /* of all, no window of the calibration */
};

/* As many as plan_tune_windows says to learn from, if the texts have so many; then windows of the
 * calibration are among them. Windows that were given as ids may be longer than any of the
 * calibration: they are cut to the length of its longest. LLMQ_E_USAGE: there are not even two.
 * Free the corpus. */
LLMQ_NODISCARD enum llmq_status tune_windows_load(const struct run *run, struct tune_windows *out,
                                                  llmq_error *err);

#endif
