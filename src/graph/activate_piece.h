/* SPDX-License-Identifier: Apache-2.0 */
/* Activations of a piece of a row, which stays in the first cache. Not for use outside
 * src/graph/activate*.c. */
#ifndef LLMQ_GRAPH_ACTIVATE_PIECE_H
#define LLMQ_GRAPH_ACTIVATE_PIECE_H

#include <stdint.h>

#include "models/schema.h"

enum { ACTIVATE_PIECE = 512 };

/* out[i] = act(x[i]), i < n <= ACTIVATE_PIECE, acts as of activate; `out` may be `x`. */
void activate_piece(enum act act, int64_t n, const float *x, float *out);

/* x / (1 + exp(-2 u)) is x (1 + tanh(u)) / 2: u = sqrt(2 / pi) (x + 0.044715 x^3) (Hendrycks &
 * Gimpel, arXiv:1606.08415, section 2). */
#define GELU_ROOT  0.79788456080286535588F
#define GELU_CUBIC 0.044715F

/* twice[i] = 2 u of x[i] */
void activate_gelu_argument(int64_t n, const float *x, float *twice);

#endif
