/* SPDX-License-Identifier: Apache-2.0 */
/* How a forward pass computes. */
#ifndef LLMQ_COMPUTE_H
#define LLMQ_COMPUTE_H

#ifdef __cplusplus
extern "C" {
#endif

/* Products of activations with plain weights in the decoder blocks; norms, rotary embedding,
 * attention, activation functions and the output head are float32 always, packed weights have a
 * product of their own (llmq/matmul.h).
 * F32   in float32
 * BF16  both operands rounded to bfloat16, their products summed in float32: about twice as fast,
 *       on CPUs with AVX512_BF16 (and, slowly, with LLMQ_CPU=ref); elsewhere LLMQ_E_UNSUPPORTED */
enum llmq_compute { LLMQ_COMPUTE_F32, LLMQ_COMPUTE_BF16 };

#ifdef __cplusplus
}
#endif
#endif
