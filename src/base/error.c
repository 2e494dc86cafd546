/* SPDX-License-Identifier: Apache-2.0 */
/* The one error type: see error.h. */
#define LLMQ_BASE_ERROR_C
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json_scan.h"
#include "llmq/printable.h"

#define MESSAGE_BYTES sizeof(((llmq_error *)NULL)->message)

/* The text of a message into out[0 ... size-1], with the names in it as they may be shown: the one
 * place where what files call things becomes part of what people read. */
static void LLMQ_PRINTF(3, 0) put_text(char *out, size_t size, const char *fmt, va_list args) {
    char raw[MESSAGE_BYTES];
    int len = vsnprintf(raw, sizeof raw, fmt, args);
    if (len < 0)
        raw[0] = '\0';
    else if ((size_t)len >= sizeof raw)
        raw[utf8_complete(raw, sizeof raw - 1)] = '\0';
    llmq_printable(raw, out, size);
}

static const struct {
    enum llmq_status status;
    const char *name;
    int exit_code;
} statuses[] = {
    /* clang-format off */
    {LLMQ_OK,                     "LLMQ_OK",                     0},
    {LLMQ_E_CHECK,                "LLMQ_E_CHECK",                1},
    {LLMQ_E_USAGE,                "LLMQ_E_USAGE",                2},
    {LLMQ_E_INPUT,                "LLMQ_E_INPUT",                3},
    {LLMQ_E_UNSUPPORTED,          "LLMQ_E_UNSUPPORTED",          3},
    {LLMQ_E_NOT_FOUND,            "LLMQ_E_NOT_FOUND",            3},
    {LLMQ_E_IO,                   "LLMQ_E_IO",                   4},
    {LLMQ_E_MEMORY,               "LLMQ_E_MEMORY",               5},
    {LLMQ_E_NUMERIC,              "LLMQ_E_NUMERIC",              6},
    {LLMQ_E_INTERRUPTED,          "LLMQ_E_INTERRUPTED",          130},
    {LLMQ_E_ST_HEADER_TOO_SMALL,  "LLMQ_E_ST_HEADER_TOO_SMALL",  3},
    {LLMQ_E_ST_HEADER_TOO_LARGE,  "LLMQ_E_ST_HEADER_TOO_LARGE",  3},
    {LLMQ_E_ST_HEADER_LENGTH,     "LLMQ_E_ST_HEADER_LENGTH",     3},
    {LLMQ_E_ST_HEADER_UTF8,       "LLMQ_E_ST_HEADER_UTF8",       3},
    {LLMQ_E_ST_HEADER_JSON,       "LLMQ_E_ST_HEADER_JSON",       3},
    {LLMQ_E_ST_OFFSET,            "LLMQ_E_ST_OFFSET",            3},
    {LLMQ_E_ST_OVERFLOW,          "LLMQ_E_ST_OVERFLOW",          3},
    {LLMQ_E_ST_MISALIGNED,        "LLMQ_E_ST_MISALIGNED",        3},
    {LLMQ_E_ST_TENSOR_SIZE,       "LLMQ_E_ST_TENSOR_SIZE",       3},
    {LLMQ_E_ST_INCOMPLETE_BUFFER, "LLMQ_E_ST_INCOMPLETE_BUFFER", 3},
    {LLMQ_E_ST_DUPLICATE_TENSOR,  "LLMQ_E_ST_DUPLICATE_TENSOR",  3},
    /* clang-format on */
};

const char *llmq_status_name(enum llmq_status status) {
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].status == status)
            return statuses[i].name;
    return "unknown status";
}

int llmq_exit_code(enum llmq_status status) {
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (statuses[i].status == status)
            return statuses[i].exit_code;
    return 3;
}

enum llmq_status error_set(llmq_error *err, enum llmq_status code, const char *fmt, ...) {
    if (err) {
        va_list args;
        va_start(args, fmt);
        err->code = code;
        err->sys_errno = 0;
        err->hint[0] = '\0';
        put_text(err->message, sizeof err->message, fmt, args);
        va_end(args);
    }
    return code;
}

/* What leads out of what the system says, where that is the same for every file. */
static const char *advice(int number) {
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return "make room there and repeat the command; with --resume, a run that was interrupted "
               "goes on";
    case EIO:
        return "the device cannot read or write it: the system's log tells more; copy or download "
               "the file again, or use another disk";
    case EMFILE:
    case ENFILE:
        return "allow more open files, as with 'ulimit -n 4096'";
    default:
        return NULL;
    }
}

static enum llmq_status LLMQ_PRINTF(3, 0) system_error(llmq_error *err, enum llmq_status code,
                                                       const char *fmt, va_list args, int number) {
    char what[MESSAGE_BYTES];
    vsnprintf(what, sizeof what, fmt, args);
    code = number == ENOMEM ? LLMQ_E_MEMORY : code;
    error_set(err, code, "%s: %s", what, strerror(number));
    if (advice(number))
        error_hint(err, "%s", advice(number));
    if (err)
        err->sys_errno = number;
    return code;
}

enum llmq_status error_errno(llmq_error *err, const char *fmt, ...) {
    const int number = errno;
    va_list args;
    va_start(args, fmt);
    enum llmq_status code =
        system_error(err, number == ENOENT ? LLMQ_E_NOT_FOUND : LLMQ_E_IO, fmt, args, number);
    va_end(args);
    return code;
}

enum llmq_status error_output(llmq_error *err, const char *fmt, ...) {
    const int number = errno;
    va_list args;
    va_start(args, fmt);
    enum llmq_status code = system_error(err, LLMQ_E_IO, fmt, args, number);
    va_end(args);
    return code;
}

enum llmq_status error_memory(llmq_error *err, const char *what) {
    return error_set(err, LLMQ_E_MEMORY, "out of memory for %s", what);
}

enum llmq_status error_prefix(llmq_error *err, enum llmq_status code, const char *fmt, ...) {
    if (err) {
        char where[MESSAGE_BYTES];
        va_list args;
        va_start(args, fmt);
        put_text(where, sizeof where - 2, fmt, args);
        va_end(args);
        size_t prefix = strlen(where), room = sizeof err->message - 1;
        memcpy(where + prefix, ": ", 2);
        prefix += 2;
        size_t kept = strlen(err->message);
        if (kept > room - prefix)
            kept = utf8_complete(err->message, room - prefix);
        memmove(err->message + prefix, err->message, kept);
        memcpy(err->message, where, prefix);
        err->message[prefix + kept] = '\0';
    }
    return code;
}

void error_hint(llmq_error *err, const char *fmt, ...) {
    if (!err)
        return;
    va_list args;
    va_start(args, fmt);
    put_text(err->hint, sizeof err->hint, fmt, args);
    va_end(args);
}

void error_keep_first(enum llmq_status *status, llmq_error *err, enum llmq_status found,
                      const llmq_error *mine) {
#pragma omp critical(error_keep_first)
    if (found != LLMQ_OK && *status == LLMQ_OK) {
        *status = found;
        if (err)
            *err = *mine;
    }
}
