/* SPDX-License-Identifier: Apache-2.0 */
/* The tables there may be; kernel_levels.h says which were built. Only kernels_select.c picks. */
#ifndef LLMQ_KERNELS_KERNELS_TABLES_H
#define LLMQ_KERNELS_KERNELS_TABLES_H

#include "kernels/kernels.h"

extern const struct llmq_kernels kernels_ref;
extern const struct llmq_kernels kernels_avx2;
extern const struct llmq_kernels kernels_avx512;
extern const struct llmq_kernels kernels_avx512vnni;
extern const struct llmq_kernels kernels_avx512bf16;
extern const struct llmq_kernels kernels_neon;
extern const struct llmq_kernels kernels_neondot;

/* What every table has: each kernels_<level>.c names its functions alike. */
#define KERNELS_SHARED(level, rows, panels, int8, streams)                                         \
    .name = (level), .softmax_row = softmax_row, .logsumexp_row = logsumexp_row,                   \
    .silu_mul = silu_mul, .logistic_mul = logistic_mul, .gelu = gelu, .decay = decay,              \
    .soft_cap = soft_cap, .rmsnorm_row = rmsnorm_row, .range = range, .round_codes = round_codes,  \
    .residual = residual, .range_errors = range_errors, .add_scaled = add_scaled,                  \
    .round_planes = round_planes, .qmat_dot = qmat_dot, .qmat_decode = qmat_decode,                \
    .qmat_tile = qmat_tile, .tile_rows = (rows), .tile_panels = (panels),                          \
    .qmat_quantize = qmat_quantize, .qmat_int8_tile = qmat_int8_tile, .int8_rows = (int8),         \
    .int8_streams = (streams), .peak_fma = peak_fma, .peak_int8 = peak_int8,                       \
    .peak_read = peak_read

#endif
