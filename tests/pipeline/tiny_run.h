/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of llmq_quantize on the tiny model: what the suites set up, and the scenes that hold for
 * every kind of run. */
#ifndef LLMQ_TESTS_TINY_RUN_H
#define LLMQ_TESTS_TINY_RUN_H

#include <stdbool.h>

#include "llmq/evaluate.h"
#include "llmq/quantize.h"

/* Paths below the scratch folder, set up for each test: the source model, 12 windows of 24 tokens
 * to calibrate with, 5 of 20 to measure losses on, and the place of the result. */
extern char *source, *calib, *text, *out;

/* Fixtures for tcase_add_checked_fixture. */
void run_setup(void);
void run_teardown(void);

/* From source to out in groups of 32, replacing what is there; rounding does not calibrate. */
llmq_quantize_options run_options(enum llmq_method method);

/* A recipe that keeps embedding and output head, whatever the family calls them, where a format
 * would round them; of the fixture. */
const llmq_recipe *run_keep_ends(void);

/* Quantize, which has to succeed. The caller frees the report. */
void run_quantize(const llmq_quantize_options *o);
llmq_quantize_report run_report(const llmq_quantize_options *o, const llmq_context *ctx);

/* Quantize, which has to fail with `code` and a message that holds `part`; refused: with nothing
 * written. Gives the error, for its hint. */
llmq_error run_fails(const llmq_quantize_options *o, enum llmq_status code, const char *part);
llmq_error run_refused(const llmq_quantize_options *o, enum llmq_status code, const char *part);

/* Mean loss on `text`. */
llmq_eval_options run_eval_options(const char *model);
double run_eval(const llmq_eval_options *o);
double run_loss(const char *model, bool dequantize);

/* The result is the same bytes for any number of threads, and with activations in a file. */
void run_with_any_threads_and_memory(const llmq_quantize_options *o);

/* Interrupt a run when its second block begins. */
void run_interrupt(const llmq_quantize_options *o);

/* Resume it: the first block is not computed again, and the result is the same bytes as without
 * the interruption. The caller frees the resumed run's report. */
llmq_quantize_report run_resume(const llmq_quantize_options *o);

/* Resuming it has to fail with `code` and a message that holds `part`. */
void run_resume_fails(const llmq_quantize_options *o, enum llmq_status code, const char *part);

/* Flip a bit of a tensor that the interrupted run wrote. */
void run_damage(const char *tensor);

#endif
