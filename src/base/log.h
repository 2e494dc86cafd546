/* SPDX-License-Identifier: Apache-2.0 */
/* Messages and progress to the sink the caller lent; nothing is printed by the library. */
#ifndef LLMQ_BASE_LOG_H
#define LLMQ_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "llmq/context.h"
#include "llmq/error.h"

/* `ctx` may be NULL: then nothing happens. The sink gets the text as llmq/printable.h shows it. */
void log_message(const llmq_context *ctx, enum llmq_log_level level, const char *fmt, ...)
    LLMQ_PRINTF(3, 4);
void log_progress(const llmq_context *ctx, int64_t done, int64_t total, const char *fmt, ...)
    LLMQ_PRINTF(4, 5);

/* LLMQ_E_INTERRUPTED when the caller asked to stop, else LLMQ_OK. */
LLMQ_NODISCARD enum llmq_status interrupt_check(const llmq_context *ctx, llmq_error *err);

/* What an entry of the library was lent, in *own: of NULL nothing is. LLMQ_E_USAGE as sized_read.
 */
LLMQ_NODISCARD enum llmq_status context_read(const llmq_context *given, llmq_context *own,
                                             llmq_error *err);

/* Threads to use: ctx->threads, or all cores this process may use. */
int context_threads(const llmq_context *ctx);

#endif
