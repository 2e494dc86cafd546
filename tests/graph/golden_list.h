/* SPDX-License-Identifier: Apache-2.0 */
/* The models of the reference. */
#ifndef LLMQ_TESTS_GOLDEN_LIST_H
#define LLMQ_TESTS_GOLDEN_LIST_H

enum { GOLDEN_CASES = 109 };

extern const struct golden_entry { const char *name, *model_type; } golden_cases[GOLDEN_CASES];

/* The folder of one of them in the shared data; NULL: it is not here, which is told. The caller
 * frees. */
char *golden_dir(int index);

#endif
