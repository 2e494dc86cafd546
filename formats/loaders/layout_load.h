/* SPDX-License-Identifier: Apache-2.0 */
/* From a container's tensors to a module in the neutral form. */
#ifndef LLMQ_FORMATS_LOADERS_LAYOUT_LOAD_H
#define LLMQ_FORMATS_LOADERS_LAYOUT_LOAD_H

#include "formats/layouts/layout.h"
#include "formats/safetensors/safetensors.h"

#define LAYOUT_NAME_MAX 512

/* Index into layout->suffixes of the suffix that `tensor` ("<module>.<suffix>") ends in, or -1:
 * also of "weight", which plain tensors are called too. *len is the length of the module's name. */
int layout_suffix(const struct layout *layout, const char *tensor, size_t *len);

/* Is it one of the tensors of a module that is stored in this layout? So may be a tensor called
 * "weight", which layout_suffix takes for a plain one. */
bool layout_owns(const struct st_set *tensors, const struct layout *layout, const char *tensor);

/* Is the module stored in this layout? */
bool layout_has_module(const struct st_set *tensors, const struct layout *layout,
                       const char *module);

/* Tensor `suffix` (an index into layout->suffixes) of a module, or NULL. */
const struct st_tensor *layout_tensor_of(const struct st_set *tensors, const struct layout *layout,
                                         const char *module, int suffix);

/* Are there packed modules in an order that llmq does not read, whatever the config says?
 * LLMQ_E_UNSUPPORTED names it: Marlin's, whose tensors are called B and s. */
LLMQ_NODISCARD enum llmq_status layout_check_tensors(const struct st_set *tensors, llmq_error *err);

/* Read and decode one module; the caller frees q. Errors name the tensor's suffix, not the
 * module. */
LLMQ_NODISCARD enum llmq_status layout_load(const struct st_set *tensors,
                                            const struct layout *layout,
                                            const struct layout_config *config, const char *module,
                                            struct qlinear *q, llmq_error *err);

#endif
