/* SPDX-License-Identifier: Apache-2.0 */
/* Runs whose messages are heard, and looks at what they leave: for suites of models that are not
 * plain (pipeline/tiny_run.h has the folders). */
#ifndef LLMQ_TESTS_LOOK_H
#define LLMQ_TESTS_LOOK_H

#include <stdbool.h>

/* Mean loss of a model; quantize the source to `out`; convert. All of them listen. */
double look_loss(const char *dir);
void look_quantize(const char *format);
void look_convert(const char *from, const char *format, const char *to);

/* The latest of these has said so; has said nothing. */
void look_says(const char *part);
void look_silent(void);

/* Is the tensor in the folder, under this name or what its format calls it? */
bool look_stored(const char *dir, const char *name);

/* Does verify report the rule, as a violation when `violation`? */
bool look_finds(const char *dir, const char *rule, bool violation);

#endif
