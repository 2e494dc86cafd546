/* SPDX-License-Identifier: Apache-2.0 */
/* Building the report of a run. */
#ifndef LLMQ_PIPELINE_REPORT_H
#define LLMQ_PIPELINE_REPORT_H

#include "base/json.h"
#include "base/tally.h"
#include "llmq/quantize.h"
#include "pipeline/marker.h"

/* The method of a module that was packed in the source and is kept. */
#define REPORT_KEPT "kept"

/* The method of one that is not quantized. */
#define REPORT_PLAIN "plain"

/* The method a run with these options aims at: one of a module's. */
const char *report_method(const llmq_quantize_options *options);

/* The report of a planned module: without errors and events, and of no method's own where one is
 * still to be applied with `options`. `plain_bits`: of one that is not quantized. The caller frees;
 * name or events are NULL when memory is short. */
struct plan_module;
llmq_module_report report_planned(const struct plan_module *module,
                                  const llmq_quantize_options *options, int plain_bits);

/* Append a module, whose strings now belong to the report; they are freed when it fails. */
LLMQ_NODISCARD enum llmq_status
report_add_module(llmq_quantize_report *report, const llmq_module_report *module, llmq_error *err);

/* Fill in what the time went to: the kinds that took any. */
void report_work(llmq_quantize_report *report, const struct tally *tally);

/* What a run's marker says when it has ended, but for the files. */
struct marker_end report_end(const llmq_quantize_report *report, double start,
                             const llmq_context *ctx);

/* One module as a JSON object, as reports and the journal write it. */
struct json *report_module_json(const llmq_module_report *module);

/* Read it back. LLMQ_E_INPUT when something is missing. */
LLMQ_NODISCARD enum llmq_status report_module_parse(const struct json *json,
                                                    llmq_module_report *out, llmq_error *err);

void report_module_free(llmq_module_report *module);

#endif
