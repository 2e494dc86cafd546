/* SPDX-License-Identifier: Apache-2.0 */
/* Text that came from a file, for people to see.
 *
 * Names in files may hold anything: line ends that fake a message, escape sequences that a terminal
 * obeys, characters that turn the order of reading around. Messages of the library show them
 * escaped already; names in its reports are as the files have them, so that they can be compared,
 * and go through here on their way to a terminal or a log. */
#ifndef LLMQ_PRINTABLE_H
#define LLMQ_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a line shows of `text`, into out[0 ... size-1] (size > 0), ended by a NUL and cut between
 * characters where it is too long; returns `out`. Control characters, invisible ones, and those
 * that change the direction of reading become \n, \t, \r, \x1b, \u202e or \U000e0001, bytes that
 * are no UTF-8 \xff; everything else stays. What was escaped once stays as it is. */
const char *llmq_printable(const char *text, char *out, size_t size);

/* The first character of `text`: its length in bytes, 0 at the end of the text. *code is its code
 * point, or that of the byte where it is no UTF-8 (*valid is then false); *visible, whether
 * llmq_printable leaves it. */
size_t llmq_character(const char *text, uint32_t *code, bool *valid, bool *visible);

/* About how long something takes, in one unit: "42 s", "5 min", "1.9 h", "4.6 days". Returns
 * `out`. */
const char *llmq_duration(double seconds, char *out, size_t size);

/* `text` so that a shell reads it back as one word; where it holds what is not seen when it is
 * pasted, in the form $'...' of bash, ksh, zsh and POSIX since 2024. Release it with llmq_free;
 * NULL when memory is short. */
char *llmq_shell_quoted(const char *text);

#ifdef __cplusplus
}
#endif
#endif
