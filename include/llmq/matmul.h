/* SPDX-License-Identifier: Apache-2.0 */
/* Products with quantized weights: y = x * W^T without expanding W.
 *
 * The weights are repacked once into a layout for this machine's instruction set. A matrix is
 * immutable after creation and may be used from many threads at once. */
#ifndef LLMQ_MATMUL_H
#define LLMQ_MATMUL_H

#include <stddef.h>
#include <stdint.h>

#include "llmq/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmq_qmat llmq_qmat;

/* A quantized matrix in the neutral form: w[n][k] = (codes[n][k] - zeros[n][g]) * scales[n][g].
 * All arrays stay the caller's and are not referenced after llmq_qmat_create returns. */
typedef struct llmq_qmat_desc {
    size_t size;             /* of this struct, see llmq/llmq.h */
    int64_t n;               /* rows: output features */
    int64_t k;               /* columns: input features */
    int bits;                /* 2, 3, 4 or 8 */
    int64_t group;           /* columns per group, or -1 for one group per row */
    const uint8_t *codes;    /* [n, k], one code a byte */
    const float *scales;     /* [n, ceil(k / group)] */
    const uint8_t *zeros;    /* [n, ceil(k / group)] */
    const int32_t *group_of; /* [k] group of each column, or NULL for k / group */
} llmq_qmat_desc;

/* All zero but for the size. */
void llmq_qmat_desc_init_sized(llmq_qmat_desc *desc, size_t size);
static inline void llmq_qmat_desc_init(llmq_qmat_desc *desc) {
    llmq_qmat_desc_init_sized(desc, sizeof *desc);
}

/* Repack. LLMQ_E_USAGE for impossible sizes or codes out of range, LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status llmq_qmat_create(const llmq_qmat_desc *desc, llmq_qmat **out,
                                                 llmq_error *err);

/* Releases and sets *q to NULL; accepts a pointer to NULL. */
void llmq_qmat_free(llmq_qmat **q);

/* Rows (output features) and columns (input features). */
int64_t llmq_qmat_rows(const llmq_qmat *q);
int64_t llmq_qmat_columns(const llmq_qmat *q);

/* Rows [row_begin, row_end) as numbers: out [row_end - row_begin, k]. They are those that the
 * product multiplies with, to the bit (codes - zero) * scale. LLMQ_E_USAGE for rows that there are
 * not. */
LLMQ_NODISCARD enum llmq_status llmq_qmat_decode(const llmq_qmat *q, int64_t row_begin,
                                                 int64_t row_end, float *out, llmq_error *err);

/* Bytes the packed matrix occupies. */
size_t llmq_qmat_bytes(const llmq_qmat *q);

/* What becomes of the activations in a product.
 * EXACT  they stay float32: relative error of a product below 2e-6 of the sum of |w x|
 * INT8   each run of at most 128 columns of a row (a group of weights, or part of one) is rounded
 *        to the 255 steps of 8 bits between minus and plus its largest magnitude a: error of a
 *        product below the sum over the runs of a / 254 * the sum of |w|, typically 0.3 to 0.5 % of
 *        a result; several times faster. Magnitudes below 2^-96 become 0; a NaN or an infinity in a
 *        row makes all its outputs NaN. All instruction sets give the same bits. */
enum llmq_activations { LLMQ_ACTIVATIONS_EXACT, LLMQ_ACTIVATIONS_INT8 };

/* y [m, n] = x [m, k] * W^T, both row-major and contiguous, no overlap. Uses the OpenMP threads of
 * the caller's setting; the result depends neither on their number nor, with INT8, on m.
 * LLMQ_E_USAGE for a negative m, LLMQ_E_MEMORY. */
LLMQ_NODISCARD enum llmq_status llmq_qmat_matmul(const llmq_qmat *q, const float *x, int64_t m,
                                                 enum llmq_activations activations, float *y,
                                                 llmq_error *err);

/* Instruction set the kernels use: "ref", "avx2", "avx512", "avx512vnni", "avx512bf16", "neon",
 * "neondot". */
const char *llmq_cpu_name(void);

#ifdef __cplusplus
}
#endif
#endif
