/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of conversions between folders of the scratch folder, which are given by name; the source
 * is that of runs (pipeline/tiny_run.h). */
#ifndef LLMQ_TESTS_STEPS_H
#define LLMQ_TESTS_STEPS_H

#include <stdbool.h>

#include "llmq/convert.h"

/* Quantize the source into `name`. */
void step_quantize(const char *name, const char *format, int bits, bool sym);

/* Convert, which may fail. The caller frees the report. */
enum llmq_status step_try(const char *from, const char *format, const char *to,
                          llmq_convert_report *r, llmq_error *why);

/* Convert, which has to succeed; or be refused, with nothing in the folder's place. */
void step_convert(const char *from, const char *format, const char *to);
void step_refused(const char *from, const char *format, const char *part, const char *hint);

/* The two checkpoints have the same tensors, byte for byte. */
void step_same_tensors(const char *a, const char *b);

/* Mean loss on the text of runs. */
double step_loss(const char *name, bool dequantize);

/* verify finds no violation. */
void step_no_violation(const char *name);

#endif
