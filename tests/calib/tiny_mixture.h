/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny random mixture of experts, made on the spot. */
#ifndef LLMQ_TESTS_TINY_MIXTURE_H
#define LLMQ_TESTS_TINY_MIXTURE_H

#include <stdint.h>

enum {
    MIXTURE_BLOCKS = 2,
    MIXTURE_HIDDEN = 32,
    MIXTURE_FFN = 24,
    MIXTURE_VOCAB = 64,
    MIXTURE_EXPERTS = 5,
    MIXTURE_TOP_K = 2,
    MIXTURE_IDLE = 4, /* the expert that no token is sent to */
};

/* Write config.json and model.safetensors into the folder `dir`. */
void mixture_write(const char *dir, uint64_t seed);

#endif
