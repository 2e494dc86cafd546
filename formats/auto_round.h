/* AutoRound checkpoints: other layouts under a config of their own. Read, never written. */
#ifndef LLMQ_FORMATS_AUTO_ROUND_H
#define LLMQ_FORMATS_AUTO_ROUND_H

#include "base/json.h"

/* Is this the quantization_config of an AutoRound checkpoint? */
bool auto_round_config(const struct json *quantization_config);

/* Is it one whose packing_format is that of the layout `name`? */
bool auto_round_packs(const struct json *quantization_config, const char *name);

#endif
