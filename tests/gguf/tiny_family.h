/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny random model of any family: the tensors that its config.json implies. */
#ifndef LLMQ_TESTS_TINY_FAMILY_H
#define LLMQ_TESTS_TINY_FAMILY_H

#include <stdint.h>

/* Write config.json and model.safetensors (F32) into the folder `dir`. Norms have weights about 1,
 * biases are small. */
void tiny_family_write(const char *dir, const char *config, uint64_t seed);

#endif
