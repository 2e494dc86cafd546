/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table for AVX2 and FMA: the templates in this instruction set. */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels_tables.h"
#include "kernels/qmat.h"
#include "kernels/simd_avx2.h"

#include "kernels/kernels_qmat.inc"
#include "kernels/kernels_qmat_int8.inc"
#include "kernels/kernels_qmat_peak.inc"
#include "kernels/kernels_vec.inc"

const struct llmq_kernels kernels_avx2 = {
    KERNELS_SHARED("avx2", TILE_ROWS, TILE_PANELS, INT8_ROWS, INT8_STREAMS)};
