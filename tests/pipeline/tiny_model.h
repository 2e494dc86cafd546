/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny random Llama checkpoint, made on the spot: 2 blocks, hidden 64, intermediate 96. */
#ifndef LLMQ_TESTS_TINY_MODEL_H
#define LLMQ_TESTS_TINY_MODEL_H

#include <stdint.h>

#define TINY_VOCAB 64

/* Write config.json and model.safetensors (BF16) into the folder `dir`, and a stray integer
 * buffer when `stray`. */
void tiny_model_write(const char *dir, uint64_t seed, int stray);

/* The same with biases (about 1) on q, k, v and o. */
void tiny_model_write_biased(const char *dir, uint64_t seed);

/* A tiny GPT-2: linears stored as [in, out], names without "transformer.", masks among the tensors.
 */
void tiny_gpt2_write(const char *dir, uint64_t seed);

/* Write a tensor of random values: matrices around 0, vectors around 1. */
struct st_writer;
struct st_spec;
void tiny_tensor_put(struct st_writer *w, const struct st_spec *spec, uint64_t *state);

/* Give every seventh channel of the norms the weight 8: channels that are worth a scale. */
void tiny_model_add_salience(const char *dir);

/* Write `windows` windows of `length` random token ids as .json. */
void tiny_windows_write(const char *path, int windows, int length, uint64_t seed);

#endif
