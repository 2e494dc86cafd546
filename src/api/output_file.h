/* SPDX-License-Identifier: Apache-2.0 */
/* A file that a command writes beside what it prints. */
#ifndef LLMQ_API_OUTPUT_FILE_H
#define LLMQ_API_OUTPUT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "llmq/error.h"

/* OUTPUT_FILE_NONE before use. */
struct output_file {
    const char *option; /* that names it, without dashes, for messages */
    char *path;         /* links followed */
    bool stream;        /* a pipe or a character device: written as it is */
    mode_t mode;        /* of the file that is replaced; 0: there is none */
    int fd;             /* while it is written */
    char *temp;         /* the name that it has until then */
};
#define OUTPUT_FILE_NONE                                                                           \
    { .fd = -1 }

/* Choose the place and check it before anything is computed: a new file, a regular file that is
 * replaced (where a link leads to one, that one), a pipe or a character device. LLMQ_E_IO for a
 * folder, anything else that is there, and a folder that takes no files; LLMQ_E_USAGE for a place
 * that place.h guards and for this process's own output. Release with output_file_free. */
LLMQ_NODISCARD enum llmq_status output_file_choose(const char *option, const char *path,
                                                   const char *model_dir, struct output_file *out,
                                                   llmq_error *err);

/* Closes it; what was not finished is gone. */
void output_file_free(struct output_file *place);

/* Write it: a regular file appears whole, when it is finished, or not at all; nothing else is
 * removed or replaced. */
LLMQ_NODISCARD enum llmq_status output_file_begin(struct output_file *place, llmq_error *err);
LLMQ_NODISCARD enum llmq_status output_file_put(const struct output_file *place, const void *data,
                                                size_t len, llmq_error *err);
LLMQ_NODISCARD enum llmq_status output_file_finish(struct output_file *place, llmq_error *err);

#endif
