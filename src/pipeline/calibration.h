/* SPDX-License-Identifier: Apache-2.0 */
/* What a run calibrates on: files, mixed by weights, as windows of tokens. */
#ifndef LLMQ_PIPELINE_CALIBRATION_H
#define LLMQ_PIPELINE_CALIBRATION_H

#include "base/json.h"
#include "llmq/error.h"
#include "llmq/quantize.h"
#include "text/corpus.h"

struct run;

/* Number of files that the options name; the `index`-th, as it is given: FILE or FILE:WEIGHT. */
size_t calibration_count(const llmq_quantize_options *options);
const char *calibration_given(const llmq_quantize_options *options, size_t index);

/* Part what is given: a path that the caller frees, and its weight, 1 where there is none or where
 * a file has the whole name. LLMQ_E_USAGE for a weight that is not above 0. */
LLMQ_NODISCARD enum llmq_status calibration_part(const char *given, char **path, double *weight,
                                                 llmq_error *err);

/* Shares of `total` windows by weights, by largest remainder: they add up to `total`, and each is 1
 * at least where total >= count. */
void calibration_share(int64_t total, const double *weights, size_t count, int64_t *shares);

/* Windows that the options ask for, or, where they leave it open, that the method wants. */
int64_t calibration_samples(const struct run *run);

/* Load run->corpus, for run->model and run->options, and say what became of the files. Each file
 * gives its share of the windows, which stand one file after the other; the bundled text where none
 * is named. The first file's windows are chosen by the seed as if it were alone. */
LLMQ_NODISCARD enum llmq_status calibration_load(struct run *run, llmq_error *err);

/* The files, for the result's marker: [{"name", "bytes", "sha256"}], names without folders, empty
 * without calibration. The caller frees *texts. */
LLMQ_NODISCARD enum llmq_status calibration_texts(const struct run *run, struct json **texts,
                                                  llmq_error *err);

/* So many windows in the same way, behind those of `to`. */
LLMQ_NODISCARD enum llmq_status calibration_read(const struct run *run, int64_t windows,
                                                 struct corpus *to, llmq_error *err);

#endif
