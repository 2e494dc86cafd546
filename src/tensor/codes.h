/* SPDX-License-Identifier: Apache-2.0 */
/* From the neutral form to what callers are given of it. */
#ifndef LLMQ_TENSOR_CODES_H
#define LLMQ_TENSOR_CODES_H

#include "llmq/codes.h"
#include "tensor/qlinear.h"

/* Hand the arrays of q, of integers, over; q is empty afterwards. */
void codes_give(struct qlinear *q, llmq_codes *out);

#endif
