/* SPDX-License-Identifier: Apache-2.0 */
/* What mixers with a state cost beside the linears of their blocks: see bench_ops.c. */
#ifndef LLMQ_TESTS_BENCH_MIXERS_H
#define LLMQ_TESTS_BENCH_MIXERS_H

/* Print a line for each, in percent, beside its recurrence token by token. Returns 0, or 1 when
 * memory is short. */
int bench_mixers(void);

#endif
