/* SPDX-License-Identifier: Apache-2.0 */
/* Where a checkpoint states how it is quantized: in config.json, or in a file of its own beside it,
 * as older tools write. */
#ifndef LLMQ_FORMATS_LOADERS_QUANT_CONFIG_H
#define LLMQ_FORMATS_LOADERS_QUANT_CONFIG_H

#include "base/json.h"
#include "llmq/error.h"

struct quant_config {
    const struct json *object; /* NULL: the checkpoint is plain */
    const char *file;          /* static name of the file that holds it */
    struct json *document;     /* of that file when it is not config.json; owned */
};

/* Files beside config.json that may hold the object, in the order loaders look; NULL-terminated. */
extern const char *const quant_config_files[];

/* The object in config.json, or NULL: old compressed-tensors checkpoints name it
 * compression_config, and inside of a wrapper it may be the text_config's. */
const struct json *quant_config_object(const struct json *config);

/* Look in `config` (the parsed config.json of `dir`, which must outlive the result), then in the
 * files beside it. Release with quant_config_free. */
LLMQ_NODISCARD enum llmq_status quant_config_find(const char *dir, const struct json *config,
                                                  struct quant_config *out, llmq_error *err);
void quant_config_free(struct quant_config *q); /* accepts a zeroed struct */

#endif
