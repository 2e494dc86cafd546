/* SPDX-License-Identifier: Apache-2.0 */
/* AutoRound checkpoints: other layouts under a config of their own. Read, never written. */
#ifndef LLMQ_FORMATS_LAYOUTS_AUTO_ROUND_H
#define LLMQ_FORMATS_LAYOUTS_AUTO_ROUND_H

#include "base/json.h"
#include "formats/layouts/module_rules.h"
#include "llmq/error.h"

/* Is this the quantization_config of an AutoRound checkpoint? */
bool auto_round_config(const struct json *quantization_config);

/* Is it one whose packing is that of the layout `name`? */
bool auto_round_packs(const struct json *quantization_config, const char *name);

/* Has it keys or values that llmq cannot honour? They are named in LLMQ_E_UNSUPPORTED and
 * LLMQ_E_INPUT; bits, group_size and sym are for the layout to read. */
LLMQ_NODISCARD enum llmq_status auto_round_check(const struct json *quantization_config,
                                                 llmq_error *err);

/* What it says of each module: see module_rules_read. */
LLMQ_NODISCARD enum llmq_status auto_round_rules(const struct json *quantization_config,
                                                 const struct layout_config *settings,
                                                 struct module_rules *out, llmq_error *err);

#endif
