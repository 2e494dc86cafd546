/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can do at most: arithmetic without memory, memory without arithmetic. One
 * sample a call, short enough to be taken beside what it is compared with. The threads all begin
 * together, and the sample ends with the last of them. */
#ifndef LLMQ_BENCH_LIMITS_H
#define LLMQ_BENCH_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

/* Memory to read, more than the caches hold, on huge pages where the system has them. */
struct limits_memory {
    uint8_t *bytes;
    size_t size;
};
LLMQ_NODISCARD enum llmq_status limits_memory_create(struct limits_memory *m, llmq_error *err);
void limits_memory_free(struct limits_memory *m); /* accepts a zeroed struct */

/* Bytes a second of reading a sixteenth of it, each thread a part; in turn 0, 1, 2, ... another, so
 * that what is read is in no cache. */
double limits_read(const struct limits_memory *m, int turn, int threads);

/* Operations a second, in float32, with int8 and (where the table has it) in bfloat16, by the
 * chosen kernel table. */
double limits_fma(int threads);
double limits_int8(int threads);
double limits_bf16(int threads);

#endif
