/* SPDX-License-Identifier: Apache-2.0 */
/* The vocabulary of the kernel templates in AVX2 and FMA: eight float lanes. Names and meanings
 * are those of simd_avx512.h. */
#ifndef LLMQ_KERNELS_SIMD_AVX2_H
#define LLMQ_KERNELS_SIMD_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/simd_x86.h"

enum {
    V_LANES = 8,
    W_POSITIONS_4BIT = 2, /* fewer constants than in AVX-512: there are sixteen registers */
};

/* 12 accumulators, 2 weights, 1 activation: 15 of 16 registers. */
#define TILE_ROWS    6
#define TILE_PANELS  1
#define INT8_ROWS    4
#define INT8_STREAMS 2

typedef __m256 vfloat;
typedef uint32_t vword __attribute__((vector_size(32)));
typedef __m256i vint;
typedef struct {
    __m256d lo, hi;
} vdouble;

static inline vfloat v_set1(float a) {
    return _mm256_set1_ps(a);
}
static inline vfloat v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline __attribute__((always_inline)) void v_prefetch(const float *p) {
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}
static inline void v_store(float *p, vfloat a) {
    _mm256_storeu_ps(p, a);
}

static inline __m256i v_mask(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vfloat v_load_n(const float *p, int64_t n) {
    return _mm256_maskload_ps(p, v_mask(n));
}
static inline void v_store_n(float *p, vfloat a, int64_t n) {
    _mm256_maskstore_ps(p, v_mask(n), a);
}
static inline vfloat v_keep_n(vfloat a, vfloat rest, int64_t n) {
    return _mm256_blendv_ps(rest, a, _mm256_castsi256_ps(v_mask(n)));
}

static inline vfloat v_add(vfloat a, vfloat b) {
    return _mm256_add_ps(a, b);
}
static inline vfloat v_sub(vfloat a, vfloat b) {
    return _mm256_sub_ps(a, b);
}
static inline vfloat v_mul(vfloat a, vfloat b) {
    return _mm256_mul_ps(a, b);
}
static inline vfloat v_div(vfloat a, vfloat b) {
    return _mm256_div_ps(a, b);
}
static inline vfloat v_fma(vfloat a, vfloat b, vfloat c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline vfloat v_fnma(vfloat a, vfloat b, vfloat c) {
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vfloat v_max(vfloat a, vfloat b) {
    return _mm256_max_ps(a, b);
}
static inline vfloat v_min(vfloat a, vfloat b) {
    return _mm256_min_ps(a, b);
}
static inline vfloat v_round(vfloat a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* In two steps, so that results below 2^-126 and above 2^127 come out right: |n| < 250. */
static inline vfloat v_scale(vfloat a, vfloat n) {
    __m256i whole = _mm256_cvtps_epi32(n), bias = _mm256_set1_epi32(127);
    __m256i half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
    vfloat p = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    vfloat q = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return v_mul(v_mul(a, p), q);
}

static inline vdouble d_zero(void) {
    return (vdouble){_mm256_setzero_pd(), _mm256_setzero_pd()};
}
static inline vdouble d_widen(vfloat a) {
    return (vdouble){_mm256_cvtps_pd(_mm256_castps256_ps128(a)),
                     _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1))};
}
static inline vdouble d_add(vdouble sum, vfloat a) {
    vdouble w = d_widen(a);
    return (vdouble){_mm256_add_pd(sum.lo, w.lo), _mm256_add_pd(sum.hi, w.hi)};
}
static inline vdouble d_add_square(vdouble sum, vfloat a) {
    vdouble w = d_widen(a);
    return (vdouble){_mm256_fmadd_pd(w.lo, w.lo, sum.lo), _mm256_fmadd_pd(w.hi, w.hi, sum.hi)};
}
static inline void d_store(double *p, vdouble a) {
    _mm256_storeu_pd(p, a.lo);
    _mm256_storeu_pd(p + V_LANES / 2, a.hi);
}

static inline vword w_set1(uint32_t a) {
    return (vword)_mm256_set1_epi32((int)a);
}
static inline vword w_load(const void *p) {
    return (vword)_mm256_loadu_si256(p);
}
static inline vfloat w_pick(vword a, vword mask, vword bits) {
    return _mm256_castsi256_ps((__m256i)((a & mask) | bits));
}
static inline vfloat v_from_bytes(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)));
}

static inline vint i_zero(void) {
    return _mm256_setzero_si256();
}
static inline vint i_set1(int32_t a) {
    return _mm256_set1_epi32(a);
}
static inline vint i_from_bytes(const uint8_t *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p));
}
static inline vint i_repeat(const int8_t *p) {
    int32_t word = 0;
    memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
}
static inline vint i_add(vint a, vint b) {
    return _mm256_add_epi32(a, b);
}
static inline vint i_negate16(vint a) {
    return _mm256_sub_epi16(_mm256_setzero_si256(), a);
}
static inline vint i_mul16(vint a, int32_t b) {
    return _mm256_madd_epi16(a, _mm256_set1_epi32(b));
}
static inline vint i_round(vfloat a) {
    return _mm256_cvtps_epi32(a);
}
static inline void i_store_bytes(uint8_t *p, vint a) {
    e_store_bytes(a, 1, (int8_t *)p);
}
static inline vfloat i_to_float(vint a) {
    return _mm256_cvtepi32_ps(a);
}
static inline vint i_dot4(const int width, vint sum, vword codes, vint bytes) {
    const __m256i ones = _mm256_set1_epi16(1), low = (__m256i)(codes & 0x0f0f0f0fU);
    if (width == 4)
        return i_add(sum, _mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)codes, bytes), ones));
    __m256i high = (__m256i)(codes >> 4 & 0x0f0f0f0fU);
    sum = i_add(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(low, bytes), ones));
    return i_add(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(high, bytes), _mm256_set1_epi16(16)));
}

#endif
