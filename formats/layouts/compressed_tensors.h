/* Shared by the files of the compressed-tensors layout; see compressed_tensors.c. Not for use
 * outside formats/layouts/compressed_tensors*.c, but for ct_check_sparsity. */
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

/* Are all weights stored, whatever else the library does to them? */
enum llmq_status ct_check_sparsity(const struct json *quantization_config, llmq_error *err);
struct json *ct_config_write(const struct layout_config *config,
                             const struct layout_module *modules, int64_t count);

#endif
