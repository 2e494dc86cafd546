/* SPDX-License-Identifier: Apache-2.0 */
/* The identity of a run: everything that the bytes of its result depend on, by named parts, so that
 * a run that goes on after an interruption can tell what differs. The journal's first line is it:
 *
 *     {"llmq": version, "build": llmq_build_id, "kernels": ..., "blas": ...,
 *      "options": {name: value}, "calibration": {"windows", "tokens", "hash"} or null,
 *      "result": hash of its tensors and their groups,
 *      "weights": {file: its size and times}, "files": {file: its SHA-256}}
 *
 * Weights enter by what the system says of their files; what was read of them is in the journal's
 * other lines. */
#ifndef LLMQ_PIPELINE_IDENTITY_H
#define LLMQ_PIPELINE_IDENTITY_H

#include "base/json.h"
#include "graph/model.h"
#include "llmq/error.h"
#include "pipeline/source.h"

struct run;

/* The options of a run that change its result, as quantize_fields_json gives them. */
struct json *identity_options(const struct run *run);

/* What a result is made from, for its marker, by content and without times: {"weights": {file:
 * {"bytes", "header_sha256"}}, "files": {file: its SHA-256}}; for a run that is planned
 * "calibration" and "result" as above, too. */
struct json *identity_source(const struct source *source, const struct model *m);
struct json *identity_made_from(const struct run *run);

/* Of a run that is planned; a fresh JSON object, which does not print when memory is short. */
struct json *identity_make(const struct run *run);

/* LLMQ_E_INPUT when a run `now` cannot go on where one `before` stopped; the message names every
 * difference that it has room for. */
LLMQ_NODISCARD enum llmq_status identity_compare(const struct json *before, const struct json *now,
                                                 llmq_error *err);

/* LLMQ_E_INPUT when a result whose marker is `marker` is not of the run that writes `record` into
 * its marker (marker.h); the message names the differences. */
LLMQ_NODISCARD enum llmq_status identity_compare_result(const struct json *marker,
                                                        const struct json *record, llmq_error *err);

#endif
