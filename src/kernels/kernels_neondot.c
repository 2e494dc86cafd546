/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table for Advanced SIMD with dot products of bytes: the templates in it. */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels_tables.h"
#include "kernels/qmat.h"
#include "kernels/simd_neon.h"

#include "kernels/kernels_qmat.inc"
#include "kernels/kernels_qmat_int8.inc"
#include "kernels/kernels_qmat_peak.inc"
#include "kernels/kernels_vec.inc"

const struct llmq_kernels kernels_neondot = {
    KERNELS_SHARED("neondot", TILE_ROWS, TILE_PANELS, INT8_ROWS, INT8_STREAMS)};
