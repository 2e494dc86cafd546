/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of token ids as the command line takes them: 1,2,3 or [1,2,3]. */
#ifndef LLMQ_CLI_TOKEN_IDS_H
#define LLMQ_CLI_TOKEN_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

/* Read `text`, which `what` names in errors ("--ids"); *ids is the caller's to free, also after a
 * failure. LLMQ_E_USAGE where it is no list of ids. */
LLMQ_NODISCARD enum llmq_status token_ids_parse(const char *text, const char *what, int32_t **ids,
                                                size_t *count, llmq_error *err);

#endif
