/* SPDX-License-Identifier: Apache-2.0 */
/* How the library reports failure: set the error where it is found, add where it happened on the
 * way out, clean up once. */
#ifndef LLMQ_BASE_ERROR_H
#define LLMQ_BASE_ERROR_H

#include "llmq/error.h"

/* Leave through the function's single `cleanup:` label when `expr` fails. The function declares
 * `enum llmq_status status = LLMQ_OK;` and ends in `return status;`. */
#define LLMQ_TRY(expr)                                                                             \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != LLMQ_OK)                                                                     \
            goto cleanup;                                                                          \
    } while (0)

/* Record a failure; returns `code`. Replaces whatever `err` held; `err` may be NULL. Here and below
 * the text is kept as llmq/printable.h shows it: a message is one line, whatever names it holds. */
enum llmq_status error_set(llmq_error *err, enum llmq_status code, const char *fmt, ...)
    LLMQ_PRINTF(3, 4);

/* The same for a failed system call: LLMQ_E_IO (LLMQ_E_MEMORY for ENOMEM, LLMQ_E_NOT_FOUND for
 * ENOENT) with the text of errno appended. */
enum llmq_status error_errno(llmq_error *err, const char *fmt, ...) LLMQ_PRINTF(2, 3);

/* The same for a place that is written to: LLMQ_E_IO also for ENOENT, since what is missing there
 * is no input. */
enum llmq_status error_output(llmq_error *err, const char *fmt, ...) LLMQ_PRINTF(2, 3);

/* LLMQ_E_MEMORY for an allocation of `what`. */
enum llmq_status error_memory(llmq_error *err, const char *what);

/* Prepend "<where>: " to the message; returns `code` for use in a return statement. */
enum llmq_status error_prefix(llmq_error *err, enum llmq_status code, const char *fmt, ...)
    LLMQ_PRINTF(3, 4);

/* For parts of one piece of work that fail apart, each with an error of its own: the first failure
 * that comes here becomes *status and `err` (may be NULL). Threads take turns. */
void error_keep_first(enum llmq_status *status, llmq_error *err, enum llmq_status found,
                      const llmq_error *mine);

/* Set the hint of an error already recorded. */
void error_hint(llmq_error *err, const char *fmt, ...) LLMQ_PRINTF(2, 3);

/* What static analysis cannot see from here: none of these ever returns LLMQ_OK. */
#if defined(__clang_analyzer__) && !defined(LLMQ_BASE_ERROR_C)
#define error_set(err, code, ...) ((void)error_set(err, code, __VA_ARGS__), code)
#define error_errno(err, ...)     ((void)error_errno(err, __VA_ARGS__), LLMQ_E_IO)
#define error_output(err, ...)    ((void)error_output(err, __VA_ARGS__), LLMQ_E_IO)
#define error_memory(err, what)   ((void)error_memory(err, what), LLMQ_E_MEMORY)
#endif

#endif
