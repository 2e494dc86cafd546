/* SPDX-License-Identifier: Apache-2.0 */
/* Templates rendered, for the tests of what they give and how they fail. */
#ifndef LLMQ_TESTS_CHAT_RENDERED_H
#define LLMQ_TESTS_CHAT_RENDERED_H

#include "llmq/error.h"

/* Render with the members of a JSON object as variables, and bos_token "<s>" and eos_token "</s>";
 * the caller frees *text, which stays as it is after an error. */
enum llmq_status rendered(const char *template, const char *variables, char **text,
                          llmq_error *err);

#endif
