/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table for AVX-512 F, BW, DQ, VL, VNNI and BF16: the templates in this instruction set,
 * and the products of bfloat16 (bf16.h), which only it has. */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/kernels_tables.h"
#include "kernels/qmat.h"
#include "kernels/simd_avx512.h"

#include "kernels/kernels_qmat.inc"
#include "kernels/kernels_qmat_int8.inc"
#include "kernels/kernels_qmat_peak.inc"
#include "kernels/kernels_vec.inc"

enum {
    /* 28 accumulators, 2 weights, 1 activation: 31 of 32 registers. */
    BF16_ROWS = 14,
    PANEL_PARTS = BF16_LANES / V_LANES, /* 2 */
    SQUARE = 16,                        /* rows, and pairs of columns, packed at a time */
    /* Pairs to ask for ahead: weights come from the second-level cache, activations from memory,
     * where the next tile lies behind this one. */
    WEIGHTS_AHEAD = 16,
    ROWS_AHEAD = 64,
};

/* Exchange rows and lanes. In step d, rows i and i + d swap the blocks off the diagonal: lane l of
 * row i comes from lane l - d of row i + d where l has the bit d, and the other way round. */
INLINE void transpose(__m512i rows[SQUARE]) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    UNROLL for (int d = 1; d < SQUARE; d *= 2) {
        const __m512i bit = _mm512_set1_epi32(d);
        const __mmask16 set = _mm512_test_epi32_mask(lane, bit);
        /* Indices of SQUARE and above choose from the second row. */
        const __m512i low = _mm512_mask_add_epi32(lane, set, lane, _mm512_set1_epi32(SQUARE - d));
        const __m512i high = _mm512_mask_add_epi32(_mm512_add_epi32(lane, bit), set, lane,
                                                   _mm512_set1_epi32(SQUARE));
        UNROLL for (int i = 0; i < SQUARE; i++) {
            if (i & d)
                continue;
            __m512i a = rows[i], b = rows[i + d];
            rows[i] = _mm512_permutex2var_epi32(a, low, b);
            rows[i + d] = _mm512_permutex2var_epi32(a, high, b);
        }
    }
}

/* The first n lanes; none below n = 1, all from n = 16. */
INLINE __mmask16 lanes_below(int64_t n) {
    return n >= V_LANES ? 0xffff : n <= 0 ? 0 : v_mask(n);
}

/* Sixteen pairs of columns of one row, of which `columns` exist. */
INLINE __m512i load_pairs(const float *x, int64_t columns) {
    __m512 low = _mm512_maskz_loadu_ps(lanes_below(columns), x);
    __m512 high = _mm512_maskz_loadu_ps(lanes_below(columns - V_LANES), x + V_LANES);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* Sixteen rows at most, of which `rows` exist and `lanes` are wanted. */
static void pack_rows(const float *x, int64_t ldx, int rows, int64_t columns, int lanes, int stride,
                      uint32_t *out) {
    const __mmask16 wanted = lanes_below(lanes);
    for (int64_t c = 0; c < columns; c += 2 * SQUARE) {
        const int64_t left = columns - c, pairs = (left + 1) / 2;
        __m512i square[SQUARE];
        UNROLL for (int r = 0; r < SQUARE; r++) {
            square[r] = r < rows ? load_pairs(x + r * ldx + c, left) : _mm512_setzero_si512();
        }
        transpose(square);
        UNROLL for (int j = 0; j < SQUARE; j++) {
            if (j < pairs)
                _mm512_mask_storeu_epi32(out + (c / 2 + j) * stride, wanted, square[j]);
        }
    }
}

static void bf16_pack(const float *x, int64_t ldx, int rows, int64_t columns, int lanes,
                      uint32_t *out) {
    for (int r = 0; r < lanes; r += SQUARE)
        pack_rows(x + r * ldx, ldx, rows - r, columns, lanes - r, lanes, out + r);
}

static void bf16_tile(const struct bf16_tile *t) {
    __m512 acc[BF16_ROWS][PANEL_PARTS];
    __mmask16 exists[PANEL_PARTS];
    UNROLL for (int v = 0; v < PANEL_PARTS; v++) {
        exists[v] = lanes_below(t->outputs - v * V_LANES);
        UNROLL for (int r = 0; r < BF16_ROWS; r++) {
            acc[r][v] = _mm512_setzero_ps();
        }
    }
    for (int r = 0; r < t->rows; r++)
        for (int v = 0; v < PANEL_PARTS; v++)
            v_prefetch(t->y + r * t->ldy + v * V_LANES);
    const uint32_t *x = t->x, *w = t->w;
    for (int64_t p = 0; p < t->pairs; p++, x += BF16_ROWS, w += BF16_LANES) {
        __m512bh weights[PANEL_PARTS];
        UNROLL for (int v = 0; v < PANEL_PARTS; v++) {
            weights[v] = (__m512bh)_mm512_loadu_si512(w + v * V_LANES);
            v_prefetch((const void *)(w + WEIGHTS_AHEAD * BF16_LANES + v * V_LANES));
        }
        v_prefetch((const void *)(x + ROWS_AHEAD * BF16_ROWS));
        UNROLL for (int r = 0; r < BF16_ROWS; r++) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32((int)x[r]);
            UNROLL for (int v = 0; v < PANEL_PARTS; v++) {
                acc[r][v] = _mm512_dpbf16_ps(acc[r][v], pair, weights[v]);
            }
        }
    }
    UNROLL for (int r = 0; r < BF16_ROWS; r++) {
        UNROLL for (int v = 0; v < PANEL_PARTS; v++) {
            float *y = t->y + r * t->ldy + v * V_LANES;
            if (r >= t->rows)
                continue;
            if (!t->first)
                acc[r][v] = _mm512_add_ps(_mm512_maskz_loadu_ps(exists[v], y), acc[r][v]);
            _mm512_mask_storeu_ps(y, exists[v], acc[r][v]);
        }
    }
}

static int64_t peak_bf16(int64_t rounds, float *sink) {
    const uint32_t pair = 0x3f003f00; /* 0.5 twice */
    __m512 acc[PEAK_CHAINS];
    __m512bh a = (__m512bh)_mm512_set1_epi32((int)pair);
    UNROLL for (int i = 0; i < PEAK_CHAINS; i++) {
        acc[i] = _mm512_set1_ps(*sink + (float)i);
    }
    for (int64_t round = 0; round < rounds; round++) {
        UNROLL for (int i = 0; i < PEAK_CHAINS; i++) {
            FORGET(a);
            acc[i] = _mm512_dpbf16_ps(acc[i], a, a);
        }
    }
    UNROLL for (int i = 1; i < PEAK_CHAINS; i++) {
        acc[0] = _mm512_add_ps(acc[0], acc[i]);
    }
    *sink = _mm512_cvtss_f32(acc[0]);
    return rounds * PEAK_CHAINS * V_LANES * 4;
}

const struct llmq_kernels kernels_avx512bf16 = {
    KERNELS_SHARED("avx512bf16", TILE_ROWS, TILE_PANELS, INT8_ROWS, INT8_STREAMS),
    .bf16_pack = bf16_pack,
    .bf16_tile = bf16_tile,
    .bf16_rows = BF16_ROWS,
    .peak_bf16 = peak_bf16,
};
