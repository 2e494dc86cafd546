/* SPDX-License-Identifier: Apache-2.0 */
/* What the reference routed, and what the linears of one block of a mixture of experts read: the
 * folders golden/<model>-taps of the shared data. */
#ifndef LLMQ_TESTS_EXPERT_TAPS_H
#define LLMQ_TESTS_EXPERT_TAPS_H

#include <stdint.h>

#include "base/json.h"
#include "formats/safetensors/safetensors.h"

enum { TAPS_MAX_TOKENS = 64 };

struct expert_taps {
    struct json *facts;
    struct st_set *tensors;
    int64_t tokens, experts;
    int32_t ids[TAPS_MAX_TOKENS];
};

/* Read the taps in `dir`; close with expert_taps_close. */
void expert_taps_open(const char *dir, struct expert_taps *out);
void expert_taps_close(struct expert_taps *taps);

/* Was the token sent to the expert? And with which weight: 0 when not, NaN where the taps have no
 * weights. */
bool expert_taps_sent(const struct expert_taps *taps, int64_t token, int64_t expert);
double expert_taps_weight(const struct expert_taps *taps, int64_t token, int64_t expert);

/* The tensor with what a module of the block reads, by its name ("H.model...."), or NULL. */
const char *expert_taps_find(const struct expert_taps *taps, const char *module, char name[128]);

/* ||x - tap|| / ||tap|| (Frobenius) of a tensor [rows, columns] in float32 or float64. */
double expert_taps_error(const struct expert_taps *taps, const char *tensor, const float *x,
                         int64_t rows, int64_t columns);

#endif
