/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery of messages and progress to the caller's sink: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/sized.h"
#include "llmq/printable.h"

#define LOG_MAX_TEXT 1024

void log_message(const llmq_context *ctx, enum llmq_log_level level, const char *fmt, ...) {
    if (!ctx || !ctx->sink.message)
        return;
    char raw[LOG_MAX_TEXT], text[LOG_MAX_TEXT];
    va_list args;
    va_start(args, fmt);
    vsnprintf(raw, sizeof raw, fmt, args);
    va_end(args);
    ctx->sink.message(ctx->sink.user, level, llmq_printable(raw, text, sizeof text));
}

void log_progress(const llmq_context *ctx, int64_t done, int64_t total, const char *fmt, ...) {
    if (!ctx || !ctx->sink.progress)
        return;
    char raw[LOG_MAX_TEXT], what[LOG_MAX_TEXT];
    va_list args;
    va_start(args, fmt);
    vsnprintf(raw, sizeof raw, fmt, args);
    va_end(args);
    ctx->sink.progress(ctx->sink.user, llmq_printable(raw, what, sizeof what), done, total);
}

enum llmq_status interrupt_check(const llmq_context *ctx, llmq_error *err) {
    if (ctx && ctx->interrupt && *ctx->interrupt)
        return error_set(err, LLMQ_E_INTERRUPTED, "interrupted");
    return LLMQ_OK;
}

int context_threads(const llmq_context *ctx) {
    return ctx && ctx->threads > 0 ? ctx->threads : cpu_count();
}

void llmq_context_init_sized(llmq_context *context, size_t size) {
    const llmq_context usual = {.threads = 0};
    sized_write(&usual, sizeof usual, context, size);
}

enum llmq_status context_read(const llmq_context *given, llmq_context *own, llmq_error *err) {
    llmq_context_init(own);
    return given ? SIZED_READ(llmq_context, given, own, err) : LLMQ_OK;
}
