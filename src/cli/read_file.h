/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files, and standard input, as texts. */
#ifndef LLMQ_CLI_READ_FILE_H
#define LLMQ_CLI_READ_FILE_H

#include <signal.h>
#include <stddef.h>

#include "llmq/error.h"

/* Read the file, or standard input where `path` is "-", into memory that the caller frees; a NUL is
 * appended and not counted. LLMQ_E_INTERRUPTED: Ctrl-C came while it was waiting for input. */
LLMQ_NODISCARD enum llmq_status cli_read_file(const char *path,
                                              const volatile sig_atomic_t *interrupt, char **text,
                                              size_t *len, llmq_error *err);

#endif
