/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the layouts that the compressed-tensors library reads; see compressed_tensors.c. Not
 * for use outside formats/layouts, but for ct_check_sparsity. */
#ifndef LLMQ_FORMATS_LAYOUTS_COMPRESSED_TENSORS_H
#define LLMQ_FORMATS_LAYOUTS_COMPRESSED_TENSORS_H

#include "formats/layouts/layout.h"

/* What the library calls a layout, and what the config says of the weights. */
struct ct_form {
    const char *format, *type;
    const char *strategy; /* NULL: by the group size, group or channel */
    int bits;             /* 0: 2 to 8 */
    int64_t group;        /* group_size; -1: none; 0: any */
    bool tokens;          /* servers round activations too, token by token, to the same numbers */
};
extern const struct ct_form ct_packed_integers;

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

/* The same of another form. It matches where every group has what the form has. */
bool ct_form_matches(const struct ct_form *form, const struct json *quantization_config);
enum llmq_status ct_form_rules(const struct json *quantization_config,
                               const struct layout_config *settings, struct module_rules *out,
                               llmq_error *err);
struct json *ct_form_write(const struct ct_form *form, const struct layout_config *config,
                           const struct layout_module *modules, int64_t count);

#endif
