/* SPDX-License-Identifier: Apache-2.0 */
/* How the program speaks: errors to stderr, colours only where they are wanted, sizes and times
 * as people read them. */
#ifndef LLMQ_CLI_CONSOLE_H
#define LLMQ_CLI_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "llmq/error.h"
#include "llmq/printable.h"

/* Record a failure found by the command line itself; returns `code`. */
enum llmq_status cli_fail(llmq_error *err, enum llmq_status code, const char *fmt, ...)
    LLMQ_PRINTF(3, 4);

/* The same for a failed system call on `path`, with the text of errno. */
enum llmq_status cli_fail_errno(llmq_error *err, const char *path);

/* Set the hint of a failure already recorded. */
void cli_hint(llmq_error *err, const char *fmt, ...) LLMQ_PRINTF(2, 3);

/* Whether stderr may be coloured: it is a terminal, TERM is not "dumb", NO_COLOR is empty or
 * absent, and the user did not say --no-color. */
bool console_colours(bool no_color);

/* "llmq: <message>" and, where there is one, "hint: <hint>" on stderr. */
void console_error(const llmq_error *err, bool colours);

/* Print `json` on stdout, ended by one line end, and free it; NULL is LLMQ_E_MEMORY. What a
 * terminal might obey is escaped. */
LLMQ_NODISCARD enum llmq_status console_json(char *json, llmq_error *err);

/* A text that tokens make on stdout, byte for byte; on a terminal, what it might obey is left out.
 */
void console_text(const char *text, size_t len);

/* Tell on stdout that an earlier run has made this result, and nothing was left to do. */
void console_finished(const char *out);

/* Most of a line that a table or a message shows of one text. */
enum { CONSOLE_LINE = 1024 };

/* A text that comes from a file, as printf may show it (llmq/printable.h); lives to the end of the
 * block. */
#define CONSOLE_SHOWN(text) llmq_printable(text, (char[CONSOLE_LINE]){0}, CONSOLE_LINE)

/* Room for any of the texts below. */
enum { CONSOLE_TEXT = 48 };

/* Bytes with a binary unit and three digits: "9.51 MiB". */
const char *console_bytes(uint64_t bytes, char buf[CONSOLE_TEXT]);

/* Count with a decimal unit: "4.88 M", "2.1e+15" beyond T. */
const char *console_count(double count, char buf[CONSOLE_TEXT]);

/* Time as "0.8 s", "12 s", "3 min 05 s", "2 h 07 min". */
const char *console_seconds(double seconds, char buf[CONSOLE_TEXT]);

/* Write `text` so that a shell reads it back as one word (llmq_shell_quoted). */
void console_quote(FILE *stream, const char *text);

#endif
