/* SPDX-License-Identifier: Apache-2.0 */
/* Products with plain weights whose operands are rounded to bfloat16: half the bits, twice the
 * speed of float32 where the CPU multiplies bfloat16 itself.
 *
 * Operands are rounded to nearest, ties to even, when they are packed, once a product; weights that
 * came as bfloat16 are exact. Magnitudes below 2^-126 become 0. The products of two such numbers
 * are exact in float32, and so are added.
 *
 * Packed form. The instruction multiplies two pairs of neighbouring columns and adds both products
 * to one float32 lane. A 32-bit word holds such a pair, the even column in its low half; lane =
 * row: word [p][r] has the columns 2p and 2p + 1 of row r. Rows and columns that are not there are
 * zeros. Sixteen weight rows fill a vector register, a word of activations is broadcast, and no sum
 * across lanes is ever needed.
 *
 * Order. A block of columns is summed from 0, pair by pair, in each the odd column first, every
 * addition rounded; blocks are added to y in order. The error of an output is at most
 * (BF16_BLOCK + blocks) 2^-24 of the sum of |w x|, and 2^-126 for each addition: the instruction
 * may round sums below that to 0. */
#ifndef LLMQ_KERNELS_BF16_H
#define LLMQ_KERNELS_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum {
    BF16_LANES = 32,  /* weight rows of a panel */
    BF16_BLOCK = 1024 /* columns of a block at most */
};

/* Arguments of one register tile. */
struct bf16_tile {
    int64_t pairs;     /* of columns, in this block */
    const uint32_t *x; /* [pairs][bf16_rows] */
    const uint32_t *w; /* [pairs][BF16_LANES] */
    int rows;          /* of y that exist, 1 ... bf16_rows */
    int outputs;       /* columns of y that exist, 1 ... BF16_LANES */
    bool first;        /* store to y instead of adding */
    float *y;
    int64_t ldy;
};

/* Can this table multiply bfloat16? */
bool bf16_supported(const struct llmq_kernels *kernels);

/* y [m, n] = x [m, k] * w [n, k]^T, all row-major and contiguous, no overlap; k >= 1. `scratch` has
 * bf16_scratch_bytes(m, k), 64-byte aligned; the table must be bf16_supported. Uses the OpenMP
 * threads of the caller's setting, whose number does not show in the result. */
void bf16_matmul(const struct llmq_kernels *kernels, int64_t m, int64_t n, int64_t k,
                 const float *x, const float *w, float *y, void *scratch);

/* Bytes of scratch for products with at most m rows of activations and k columns, with any table
 * and as many threads as OpenMP would start now. */
size_t bf16_scratch_bytes(int64_t m, int64_t k);

#endif
