/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that a signal may interrupt before they have done anything: they are made again. */
#ifndef LLMQ_BASE_RETRY_H
#define LLMQ_BASE_RETRY_H

#include <errno.h>

/* result = call, as often as it fails with EINTR. Not for close(2): on Linux it has closed the
 * descriptor also then, and the number may be another file's by now. */
#define RETRY(result, call)                                                                        \
    do                                                                                             \
        (result) = (call);                                                                         \
    while ((result) < 0 && errno == EINTR)

#endif
