/* SPDX-License-Identifier: Apache-2.0 */
/* A tensor's entry in a safetensors header, as a string literal. */
#ifndef LLMQ_TESTS_HEADER_ENTRY_H
#define LLMQ_TESTS_HEADER_ENTRY_H

#define ENTRY(name, dtype, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"

#endif
