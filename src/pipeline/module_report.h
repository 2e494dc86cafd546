/* SPDX-License-Identifier: Apache-2.0 */
/* Reporting a module of a run. */
#ifndef LLMQ_PIPELINE_MODULE_REPORT_H
#define LLMQ_PIPELINE_MODULE_REPORT_H

#include "pipeline/run.h"
#include "quant/correct.h"
#include "quant/quant.h"

/* What a module was calibrated on: see struct calib_task. */
struct module_tokens {
    int64_t tokens, borrowed;
};

/* Add a module that was quantized; what is out of the ordinary is told too. `seen` NULL: without
 * calibration. */
LLMQ_NODISCARD enum llmq_status module_report_add(struct run *run, const struct plan_module *module,
                                                  const struct quant_outcome *outcome,
                                                  struct correction strength,
                                                  const struct module_tokens *seen,
                                                  llmq_error *err);

/* Add one that stays as it is in the source. */
LLMQ_NODISCARD enum llmq_status
module_report_kept(struct run *run, const struct plan_module *module, llmq_error *err);

#endif
