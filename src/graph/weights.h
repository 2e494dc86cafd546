/* Matrices that a checkpoint stores the other way round. */
#ifndef LLMQ_GRAPH_WEIGHTS_H
#define LLMQ_GRAPH_WEIGHTS_H

#include <stdint.h>

#include "formats/safetensors/safetensors.h"
#include "llmq/error.h"

/* to [columns, rows] = the transpose of from [rows, columns], which does not overlap it. */
void weights_turn(const float *from, int64_t rows, int64_t columns, float *to);

/* A tensor [k, n] as out [n, k]. */
LLMQ_NODISCARD enum llmq_status weights_read_turned(const struct st_set *set,
                                                    const struct st_tensor *t, float *out,
                                                    llmq_error *err);

#endif
