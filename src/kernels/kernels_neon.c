/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table for the Advanced SIMD of every aarch64: the templates in this instruction set.
 */
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

const struct llmq_kernels kernels_neon = {
    KERNELS_SHARED("neon", TILE_ROWS, TILE_PANELS, INT8_ROWS, INT8_STREAMS)};
