/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a conversion, shared by the files that carry it out. */
#ifndef LLMQ_CONVERT_CONVERT_H
#define LLMQ_CONVERT_CONVERT_H

#include "graph/model.h"
#include "llmq/convert.h"
#include "pipeline/origin.h"
#include "pipeline/output.h"
#include "pipeline/plan.h"
#include "pipeline/source.h"

/* What --format asks for. */
struct convert_target {
    const char *name;            /* static */
    const struct layout *layout; /* NULL: plain weights of `dtype` */
    enum dtype dtype;
};

struct convert {
    const llmq_convert_options *options;
    const llmq_context *ctx;
    llmq_convert_report *report;
    struct convert_target target;
    struct model model;
    struct source source;
    struct plan plan;
    struct output output;
    struct st_writer *writer;
    uint64_t *hashes;    /* of what was stored, one for each module */
    struct json *record; /* what the result's marker will say */
    enum output_task task;
    double start;         /* on the clock of tally_now */
    struct origin origin; /* of the model */
};

/* --- convert_plan.c --------------------------------------------------------------------------- */

/* What a name of --format stands for. LLMQ_E_USAGE. */
LLMQ_NODISCARD enum llmq_status convert_target_find(const char *format, struct convert_target *out,
                                                    llmq_error *err);

/* Fill c->plan for the open model, whose every module is decoded and tried in the target layout. */
LLMQ_NODISCARD enum llmq_status convert_plan(struct convert *c, llmq_error *err);

/* --- convert_card.c --------------------------------------------------------------------------- */

/* Write the result's model card (pipeline/card.h). */
LLMQ_NODISCARD enum llmq_status convert_card_write(const struct convert *c, llmq_error *err);

/* --- dequantize.c ----------------------------------------------------------------------------- */

/* Write module i as a plain tensor, a slice of rows at a time; notes its hash and the largest
 * rounding. LLMQ_E_NUMERIC: a weight beyond the range of the dtype. */
LLMQ_NODISCARD enum llmq_status dequantize_module(struct convert *c, int64_t i, llmq_error *err);

/* Read the plain tensors back from <out>.partial. LLMQ_E_CHECK when one differs. */
LLMQ_NODISCARD enum llmq_status dequantize_verify(struct convert *c, llmq_error *err);

#endif
