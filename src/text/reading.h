/* SPDX-License-Identifier: Apache-2.0 */
/* What reading texts may take of memory. */
#ifndef LLMQ_TEXT_READING_H
#define LLMQ_TEXT_READING_H

#include <stdint.h>

#include "llmq/error.h"

struct reading {
    uint64_t max_mem; /* bytes of the whole process; 0: no limit */
    uint64_t later;   /* that what follows takes, as far as is known */
};

/* May reading `path` take so many bytes more? LLMQ_E_MEMORY, with the size that is enough in the
 * hint: for this, and for what follows. */
LLMQ_NODISCARD enum llmq_status reading_room(const struct reading *r, const char *path,
                                             uint64_t more, llmq_error *err);

#endif
