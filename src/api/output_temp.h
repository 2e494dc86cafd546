/* SPDX-License-Identifier: Apache-2.0 */
/* What a file is called while it is written: .llmq-PROCESS-N beside its place. The process that
 * writes it holds a lock on it, so one that nobody has locked is what a killed process left behind.
 */
#ifndef LLMQ_API_OUTPUT_TEMP_H
#define LLMQ_API_OUTPUT_TEMP_H

/* Create one in the folder of `path`, open for writing: its name in *temp, for the caller to free.
 * -1, and errno, when that fails. */
int output_temp_create(const char *path, char **temp);

/* Remove those that killed processes left in the folder of `path`, as far as that is possible. */
void output_temp_sweep(const char *path);

#endif
