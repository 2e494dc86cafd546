/* SPDX-License-Identifier: Apache-2.0 */
/* See llmq/memory.h. */
#include "llmq/memory.h"

#include <stdlib.h>

void llmq_free(void *memory) {
    free(memory);
}
