/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the GPTQ layouts; see gptq.c. Not for use outside formats/layouts/gptq*.c.
 */
#ifndef LLMQ_FORMATS_LAYOUTS_GPTQ_H
#define LLMQ_FORMATS_LAYOUTS_GPTQ_H

#include "formats/layouts/layout.h"

/* Tensors of a module, in file order: data[] of encode and decode. */
enum gptq_tensor { GPTQ_QWEIGHT, GPTQ_QZEROS, GPTQ_SCALES, GPTQ_G_IDX, GPTQ_TENSORS };
extern const char *const gptq_suffixes[GPTQ_TENSORS + 1];

/* Bit widths the layouts hold: is `bits` one of them? */
bool gptq_has_bits(int64_t bits);

/* vtable entries, by file. gptq_decode.c: */
enum llmq_status gptq_decode(const struct layout_config *config,
                             const struct layout_data data[LAYOUT_MAX_TENSORS], struct qlinear *q,
                             llmq_error *err);

/* gptq_config.c: */
bool gptq_v1_config_matches(const struct json *quantization_config);
bool gptq_v2_config_matches(const struct json *quantization_config);
enum llmq_status gptq_config_read(const struct json *quantization_config, struct layout_config *out,
                                  llmq_error *err);
struct json *gptq_v1_config_write(const struct layout_config *config,
                                  const struct layout_module *modules, int64_t count);
struct json *gptq_v2_config_write(const struct layout_config *config,
                                  const struct layout_module *modules, int64_t count);

enum llmq_status gptq_rules(const struct json *quantization_config,
                            const struct layout_config *settings, struct module_rules *out,
                            llmq_error *err);

/* gptq_dynamic.c: overrides for the modules that deviate from `config` and for the linears that
 * stay plain, as the object of the key `dynamic`. NULL when none does, or (with *failed set) when
 * memory is short. */
struct json *gptq_dynamic(const struct layout_config *config, const struct layout_module *modules,
                          int64_t count, bool *failed);

#endif
