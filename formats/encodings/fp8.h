/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the FP8 encoding. Not for use outside formats/encodings/fp8*.c. */
#ifndef LLMQ_FORMATS_ENCODINGS_FP8_H
#define LLMQ_FORMATS_ENCODINGS_FP8_H

#include "formats/encodings/encoding.h"

/* vtable entries of fp8_config.c. */
bool fp8_config_matches(const struct json *quantization_config);
enum llmq_status fp8_config_read(const struct json *quantization_config,
                                 struct encoding_settings *out, llmq_error *err);

/* An st_decode, and the bytes it takes. */
enum llmq_status fp8_decode(const struct st_set *set, const struct st_coded *c, uint64_t begin,
                            size_t count, float *out, llmq_error *err);
uint64_t fp8_workspace(const struct st_coded *c);

#endif
