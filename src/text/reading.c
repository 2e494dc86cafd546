/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that reading takes, held against the user's limit: see reading.h. */
#include "text/reading.h"

#include <inttypes.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/int64.h"

enum llmq_status reading_room(const struct reading *r, const char *path, uint64_t more,
                              llmq_error *err) {
    if (r->max_mem == 0)
        return LLMQ_OK;
    const uint64_t needed = memory_resident() + more;
    if (needed <= r->max_mem)
        return LLMQ_OK;
    error_set(err, LLMQ_E_MEMORY,
              "--max-mem %" PRIu64 " bytes: reading %s takes about %" PRIu64 " bytes", r->max_mem,
              path, needed);
    /* what is resident differs by some pages from one start to the next */
    error_hint(err, "give at least --max-mem %" PRIu64 "M", (max_u64(needed, r->later) >> 20) + 2);
    return LLMQ_E_MEMORY;
}
