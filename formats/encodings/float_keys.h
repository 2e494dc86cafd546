/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of a compressed-tensors config that every form of its floats has; rows of a struct
 * config_key table. `formats`: what "format" may be. */
#ifndef LLMQ_FORMATS_ENCODINGS_FLOAT_KEYS_H
#define LLMQ_FORMATS_ENCODINGS_FLOAT_KEYS_H

#include "formats/layouts/quant_config_keys.h"

/* clang-format off */
/* Of the whole config; kv_cache_scheme is of the cache, not of the weights. */
#define FLOAT_CONFIG_KEYS(formats)                                      \
    {"quant_method", KEY_TEXT, NULL, NULL},                             \
    {"format", KEY_TEXT, formats, NULL},                                \
    {"quantization_status", KEY_TEXT, "compressed frozen ", NULL},      \
    {"config_groups", KEY_OBJECT, NULL, NULL},                          \
    {"ignore", KEY_LIST, NULL, NULL},                                   \
    {"kv_cache_scheme", KEY_OBJECT, NULL, NULL},                        \
    {"sparsity_config", KEY_OBJECT, NULL, NULL},                        \
    {"global_compression_ratio", KEY_NUMBER, NULL, NULL},               \
    {"run_compressed", KEY_ANY, NULL, NULL},                            \
    {"version", KEY_ANY, NULL, NULL},                                   \
    {.name = NULL}

/* Of a group; activations are rounded by servers, not in the weights. */
#define FLOAT_GROUP_KEYS(formats)                                       \
    {"input_activations", KEY_OBJECT, NULL, NULL},                      \
    {"output_activations", KEY_OBJECT, NULL, NULL},                     \
    {"targets", KEY_LIST, NULL, NULL},                                  \
    {"weights", KEY_OBJECT, NULL, NULL},                                \
    {"format", KEY_TEXT, formats, NULL},                                \
    {.name = NULL}
/* clang-format on */

#endif
