/* SPDX-License-Identifier: Apache-2.0 */
/* The plan and the result of a quantization in human words, on stdout. */
#ifndef LLMQ_CLI_QUANTIZE_REPORT_H
#define LLMQ_CLI_QUANTIZE_REPORT_H

#include <stdbool.h>

#include "llmq/quantize.h"

/* What a run would do: memory, disk, work; when `verbose` every module and rule. */
void quantize_report_plan(const llmq_quantize_options *options, const llmq_quantize_report *report,
                          bool verbose);

/* What a run did: summary, worst modules (all of them when `verbose`), events. */
void quantize_report_result(const llmq_quantize_options *options,
                            const llmq_quantize_report *report, bool verbose);

#endif
