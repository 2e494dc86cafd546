/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, colours and human-readable figures: see console.h. */
#include "cli/console.h"
#include "llmq/memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the user typed is shown like what files hold: see llmq/printable.h. */
static void LLMQ_PRINTF(3, 0) put_text(char *out, size_t size, const char *fmt, va_list args) {
    char raw[CONSOLE_LINE];
    vsnprintf(raw, sizeof raw, fmt, args);
    llmq_printable(raw, out, size);
}

enum llmq_status cli_fail(llmq_error *err, enum llmq_status code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    err->code = code;
    err->sys_errno = 0;
    err->hint[0] = '\0';
    put_text(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return code;
}

enum llmq_status cli_fail_errno(llmq_error *err, const char *path) {
    int saved = errno;
    enum llmq_status code = saved == ENOMEM   ? LLMQ_E_MEMORY
                            : saved == ENOENT ? LLMQ_E_NOT_FOUND
                                              : LLMQ_E_IO;
    cli_fail(err, code, "%s: %s", path, strerror(saved));
    err->sys_errno = saved;
    return code;
}

void cli_hint(llmq_error *err, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    put_text(err->hint, sizeof err->hint, fmt, args);
    va_end(args);
}

bool console_colours(bool no_color) {
    const char *unwanted = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    if (no_color || (unwanted && *unwanted) || !term || strcmp(term, "dumb") == 0)
        return false;
    return isatty(STDERR_FILENO) == 1;
}

void console_error(const llmq_error *err, bool colours) {
    const char *red = colours ? "\033[1;31m" : "";
    const char *cyan = colours ? "\033[1;36m" : "";
    const char *plain = colours ? "\033[0m" : "";
    const char *message = err->message[0] ? err->message : llmq_status_name(err->code);
    fprintf(stderr, "%sllmq:%s %s\n", red, plain, message);
    if (err->hint[0])
        fprintf(stderr, "%shint:%s %s\n", cyan, plain, err->hint);
}

/* JSON escapes what is below a space by itself; the rest of what a terminal might obey is escaped
 * here, and bytes that are no UTF-8, which only paths can hold, become U+FFFD. */
static void put_json(const char *json) {
    uint32_t code;
    bool valid, visible;
    for (size_t len; (len = llmq_character(json, &code, &valid, &visible)) > 0; json += len) {
        if (visible || code < ' ')
            fwrite(json, 1, len, stdout);
        else if (!valid)
            fputs("\\ufffd", stdout);
        else if (code <= 0xffff)
            printf("\\u%04x", (unsigned)code);
        else
            printf("\\u%04x\\u%04x", 0xd7c0U + (unsigned)(code >> 10),
                   0xdc00U + (unsigned)(code & 0x3ff));
    }
}

enum llmq_status console_json(char *json, llmq_error *err) {
    if (!json)
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for the result");
    size_t len = strlen(json);
    put_json(json);
    if (len == 0 || json[len - 1] != '\n')
        fputc('\n', stdout);
    llmq_free(json);
    return LLMQ_OK;
}

void console_text(const char *text, size_t len) {
    uint32_t code;
    bool valid, visible;
    if (!isatty(STDOUT_FILENO)) {
        fwrite(text, 1, len, stdout);
        return;
    }
    for (size_t at = 0; at < len;) {
        const size_t step = text[at] ? llmq_character(text + at, &code, &valid, &visible) : 0;
        if (step > 0 && (visible || code == '\n' || code == '\t'))
            fwrite(text + at, 1, step, stdout);
        at += step > 0 ? step : 1;
    }
}

void console_finished(const char *out) {
    printf("%s is finished: an interrupted run had made it, nothing was left to do\n",
           CONSOLE_SHOWN(out));
}

/* Scale `value` down by `step` until it is below it; *unit counts the divisions. */
static double scale(double value, double step, size_t units, size_t *unit) {
    for (*unit = 0; value >= step && *unit + 1 < units; (*unit)++)
        value /= step;
    return value;
}

const char *console_bytes(uint64_t bytes, char buf[CONSOLE_TEXT]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit;
    double value = scale((double)bytes, 1024, sizeof units / sizeof units[0], &unit);
    int decimals = unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
    snprintf(buf, CONSOLE_TEXT, "%.*f %s", decimals, value, units[unit]);
    return buf;
}

const char *console_count(double count, char buf[CONSOLE_TEXT]) {
    static const char *const units[] = {"", " k", " M", " G", " T"};
    size_t unit;
    double value = scale(count, 1000, sizeof units / sizeof units[0], &unit);
    if (unit == 0 || value >= 1000)
        snprintf(buf, CONSOLE_TEXT, "%.4g%s", value, units[unit]);
    else
        snprintf(buf, CONSOLE_TEXT, "%.3g%s", value, units[unit]);
    return buf;
}

const char *console_seconds(double seconds, char buf[CONSOLE_TEXT]) {
    if (!(seconds < 1e9)) {
        snprintf(buf, CONSOLE_TEXT, "?");
    } else if (seconds < 9.95) {
        snprintf(buf, CONSOLE_TEXT, "%.1f s", seconds);
    } else if (seconds < 59.5) {
        snprintf(buf, CONSOLE_TEXT, "%.0f s", seconds);
    } else if (seconds < 3599.5) {
        long whole = (long)(seconds + 0.5);
        snprintf(buf, CONSOLE_TEXT, "%ld min %02ld s", whole / 60, whole % 60);
    } else {
        long minutes = (long)(seconds / 60 + 0.5);
        snprintf(buf, CONSOLE_TEXT, "%ld h %02ld min", minutes / 60, minutes % 60);
    }
    return buf;
}

void console_quote(FILE *stream, const char *text) {
    char *quoted = llmq_shell_quoted(text);
    fputs(quoted ? quoted : "?", stream);
    llmq_free(quoted);
}
