/* SPDX-License-Identifier: Apache-2.0 */
/* Which stacks load what a plan makes, and how they are started. */
#ifndef LLMQ_PIPELINE_SERVING_H
#define LLMQ_PIPELINE_SERVING_H

#include "base/json.h"
#include "base/strbuf.h"
#include "formats/loaders/compat.h"
#include "llmq/error.h"
#include "llmq/serving.h"
#include "models/family.h"
#include "pipeline/plan.h"

/* Fill `out` with the stacks that load the plan's result, of a model of that family, those without
 * a reservation first; its commands are NULL. Returns how many there are; none for a result that is
 * not quantized. */
size_t serving_find(const struct plan *p, const struct family *f, llmq_serving out[COMPAT_STACKS]);

/* Append the command that starts a stack on a folder, as a shell reads it. False: no command of the
 * stack takes the format. */
bool serving_put_command(struct strbuf *out, const char *stack, const struct layout *layout,
                         const char *folder);

/* The stacks for a report, with their commands on `folder`; the list as JSON. Release with
 * serving_free, also after an error. */
LLMQ_NODISCARD enum llmq_status serving_report(const struct plan *p, const struct family *f,
                                               const char *folder, llmq_servings *out,
                                               llmq_error *err);
void serving_free(llmq_servings *s); /* accepts a zeroed one */
struct json *serving_json(const llmq_servings *s);

#endif
