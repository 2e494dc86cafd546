/* Shared by the files of the compressed-tensors layout; see compressed_tensors.c. Not for use
 * outside formats/layouts/compressed_tensors*.c. */
#ifndef LLMQ_FORMATS_LAYOUTS_COMPRESSED_TENSORS_H
#define LLMQ_FORMATS_LAYOUTS_COMPRESSED_TENSORS_H

#include "formats/layouts/layout.h"

/* vtable entries of compressed_tensors_config.c. */
bool ct_config_matches(const struct json *quantization_config);
enum llmq_status ct_config_read(const struct json *quantization_config, struct layout_config *out,
                                llmq_error *err);
enum llmq_status ct_rules(const struct json *quantization_config,
                          const struct layout_config *settings, struct module_rules *out,
                          llmq_error *err);
struct json *ct_config_write(const struct layout_config *config,
                             const struct layout_module *modules, int64_t count);

#endif
