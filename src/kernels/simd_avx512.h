/* SPDX-License-Identifier: Apache-2.0 */
/* The vocabulary of the kernel templates in AVX-512: sixteen float lanes.
 *
 * A file that includes this is compiled for AVX-512 F, BW, DQ, VL and FMA; simd_avx2.h has the same
 * names for eight lanes, simd_neon.h for four. v_ works on float32 lanes, d_ on sums kept in
 * double, w_ on 32-bit words, i_ on int32 lanes. */
#ifndef LLMQ_KERNELS_SIMD_AVX512_H
#define LLMQ_KERNELS_SIMD_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/simd_x86.h"

enum {
    V_LANES = 16,
    W_POSITIONS_4BIT = 4, /* codes decoded from a word without another shift (qmat.h) */
};

/* 28 accumulators, 2 weights, 1 activation: 31 of 32 registers. */
#define TILE_ROWS   14
#define TILE_PANELS 2
/* With 8-bit activations. Registers would hold 12 rows: batches then take 3 to 5 % longer. */
#define INT8_ROWS    8
#define INT8_STREAMS 2

typedef __m512 vfloat;
typedef uint32_t vword __attribute__((vector_size(64)));
typedef __m512i vint;
typedef struct {
    __m512d lo, hi;
} vdouble;

static inline vfloat v_set1(float a) {
    return _mm512_set1_ps(a);
}
static inline vfloat v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
/* Ask for the cache line at p, which may lie outside any array. Inlined at once: gcc 12 takes a
 * function that does nothing else for one without effect and drops its calls. */
static inline __attribute__((always_inline)) void v_prefetch(const float *p) {
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}
static inline void v_store(float *p, vfloat a) {
    _mm512_storeu_ps(p, a);
}

/* The first n lanes, 0 < n <= V_LANES; the others are 0, or not written. */
static inline __mmask16 v_mask(int64_t n) {
    return (__mmask16)(0xffffU >> (V_LANES - n));
}
static inline vfloat v_load_n(const float *p, int64_t n) {
    return _mm512_maskz_loadu_ps(v_mask(n), p);
}
static inline void v_store_n(float *p, vfloat a, int64_t n) {
    _mm512_mask_storeu_ps(p, v_mask(n), a);
}

/* Lanes n and above replaced by those of `rest`. */
static inline vfloat v_keep_n(vfloat a, vfloat rest, int64_t n) {
    return _mm512_mask_mov_ps(rest, v_mask(n), a);
}

static inline vfloat v_add(vfloat a, vfloat b) {
    return _mm512_add_ps(a, b);
}
static inline vfloat v_sub(vfloat a, vfloat b) {
    return _mm512_sub_ps(a, b);
}
static inline vfloat v_mul(vfloat a, vfloat b) {
    return _mm512_mul_ps(a, b);
}
static inline vfloat v_div(vfloat a, vfloat b) {
    return _mm512_div_ps(a, b);
}
/* a * b + c, and c - a * b, rounded once. */
static inline vfloat v_fma(vfloat a, vfloat b, vfloat c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vfloat v_fnma(vfloat a, vfloat b, vfloat c) {
    return _mm512_fnmadd_ps(a, b, c);
}
/* When a lane of either is NaN, the result is that of b. */
static inline vfloat v_max(vfloat a, vfloat b) {
    return _mm512_max_ps(a, b);
}
static inline vfloat v_min(vfloat a, vfloat b) {
    return _mm512_min_ps(a, b);
}
/* To the nearest integer, ties to even. */
static inline vfloat v_round(vfloat a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* a * 2^n for integral n, rounded once. */
static inline vfloat v_scale(vfloat a, vfloat n) {
    return _mm512_scalef_ps(a, n);
}

static inline vdouble d_zero(void) {
    return (vdouble){_mm512_setzero_pd(), _mm512_setzero_pd()};
}
static inline vdouble d_widen(vfloat a) {
    return (vdouble){_mm512_cvtps_pd(_mm512_castps512_ps256(a)),
                     _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1))};
}
/* sum + a, and sum + a^2. */
static inline vdouble d_add(vdouble sum, vfloat a) {
    vdouble w = d_widen(a);
    return (vdouble){_mm512_add_pd(sum.lo, w.lo), _mm512_add_pd(sum.hi, w.hi)};
}
static inline vdouble d_add_square(vdouble sum, vfloat a) {
    vdouble w = d_widen(a);
    return (vdouble){_mm512_fmadd_pd(w.lo, w.lo, sum.lo), _mm512_fmadd_pd(w.hi, w.hi, sum.hi)};
}
static inline void d_store(double *p, vdouble a) {
    _mm512_storeu_pd(p, a.lo);
    _mm512_storeu_pd(p + V_LANES / 2, a.hi);
}

static inline vword w_set1(uint32_t a) {
    return (vword)_mm512_set1_epi32((int)a);
}
static inline vword w_load(const void *p) {
    return (vword)_mm512_loadu_si512(p);
}
/* (a & mask) | bits, read as float32. */
static inline vfloat w_pick(vword a, vword mask, vword bits) {
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32((__m512i)a, (__m512i)mask, (__m512i)bits, 0xea));
}
/* V_LANES bytes as float32. */
static inline vfloat v_from_bytes(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)));
}

static inline vint i_zero(void) {
    return _mm512_setzero_si512();
}
static inline vint i_set1(int32_t a) {
    return _mm512_set1_epi32(a);
}
/* V_LANES bytes, and four bytes repeated in every lane. */
static inline vint i_from_bytes(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
}
static inline vint i_repeat(const int8_t *p) {
    int32_t word = 0;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}
static inline vint i_add(vint a, vint b) {
    return _mm512_add_epi32(a, b);
}
/* -a for 0 <= a < 2^15, in the form i_mul16 takes: 16 bits, zeros above. */
static inline vint i_negate16(vint a) {
    return _mm512_sub_epi16(_mm512_setzero_si512(), a);
}
/* a * b for |b| < 2^15; a is i_negate16 of a code or a zero point, less I_OFFSET_8BIT. */
static inline vint i_mul16(vint a, int32_t b) {
    return _mm512_madd_epi16(a, _mm512_set1_epi32(b));
}
/* a to the nearest integer, ties to even; |a| < 2^31. */
static inline vint i_round(vfloat a) {
    return _mm512_cvtps_epi32(a);
}
/* Lanes below 256 to V_LANES bytes. */
static inline void i_store_bytes(uint8_t *p, vint a) {
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(a));
}
static inline vfloat i_to_float(vint a) {
    return _mm512_cvtepi32_ps(a);
}
/* sum + the four products of codes with signed bytes above -128, lane by lane, exactly. Codes are
 * unsigned and below 2^width, but those of 8 bits come less I_OFFSET_8BIT. Without VNNI pairs are
 * added in 16 bits first: codes of 8 bits go in halves to fit. The VNNI instruction is spelled out
 * because gcc 12 copies the sum of its intrinsic from register to register, which halves the speed
 * of a tile. */
static inline vint i_dot4(const int width, vint sum, vword codes, vint bytes) {
#ifdef __AVX512VNNI__
    (void)width; /* all fit 8 bits */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(bytes));
    return sum;
#else
    const __m512i ones = _mm512_set1_epi16(1), low = (__m512i)(codes & 0x0f0f0f0fU);
    if (width == 4)
        return i_add(sum, _mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)codes, bytes), ones));
    __m512i high = (__m512i)(codes >> 4 & 0x0f0f0f0fU);
    sum = i_add(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(low, bytes), ones));
    return i_add(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(high, bytes), _mm512_set1_epi16(16)));
#endif
}

#endif
