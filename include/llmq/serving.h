/* SPDX-License-Identifier: Apache-2.0 */
/* Who serves a result. */
#ifndef LLMQ_SERVING_H
#define LLMQ_SERVING_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A stack that loads a result. */
typedef struct llmq_serving {
    const char *stack;  /* static: "vLLM" */
    const char *kernel; /* static: what it computes with */
    const char *note;   /* static: a reservation, "" when there is none */
    char *command;      /* that starts it, as a shell reads it; NULL: none takes this format */
} llmq_serving;

/* All that do, those without a reservation first. */
typedef struct llmq_servings {
    llmq_serving *items;
    size_t count;
} llmq_servings;

#ifdef __cplusplus
}
#endif
#endif
