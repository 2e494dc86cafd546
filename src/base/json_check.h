/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that mean one thing: the grammar of json_scan.h, and every key of an object once. */
#ifndef LLMQ_BASE_JSON_CHECK_H
#define LLMQ_BASE_JSON_CHECK_H

#include "base/json_scan.h"
#include "llmq/error.h"

/* Scan a whole document, from a scanner that has not begun. LLMQ_E_INPUT with line and column for
 * what the grammar forbids, and for an object with two members of the same name (escapes decoded):
 * readers differ in which of them counts, so that the message names the key with its path and
 * both lines. Likewise for more values than scan->most_values. The time is linear in the length of
 * the document. */
LLMQ_NODISCARD enum llmq_status json_check(struct json_scan *scan, llmq_error *err);

#endif
