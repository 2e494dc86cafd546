/* SPDX-License-Identifier: Apache-2.0 */
/* A model of the reference as the source of runs (pipeline/tiny_run.h). */
#ifndef LLMQ_TESTS_GOLDEN_SOURCE_H
#define LLMQ_TESTS_GOLDEN_SOURCE_H

#include <stdbool.h>

/* Put a copy of golden/<model> of the shared data in the place of the source; false: it is not
 * here. */
bool golden_source(const char *model);

#endif
