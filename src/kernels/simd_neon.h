/* SPDX-License-Identifier: Apache-2.0 */
/* The vocabulary of the kernel templates in Advanced SIMD of aarch64: four float lanes, so that a
 * panel of sixteen rows is four vectors. Names and meanings are those of simd_avx512.h and
 * simd_x86.h. A file compiled for the dot product instructions uses them. */
#ifndef LLMQ_KERNELS_SIMD_NEON_H
#define LLMQ_KERNELS_SIMD_NEON_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

enum {
    V_LANES = 4,
    W_POSITIONS_4BIT = 4,
    I_OFFSET_8BIT = 128, /* all multiply signed by signed or unsigned by unsigned */
    PEAK_CHAINS = 16,    /* four cycles, four a cycle */
};
#define V_REGISTER "w"

/* 24 accumulators, 4 weights, 1 activation: 29 of 32 registers. */
#define TILE_ROWS   6
#define TILE_PANELS 1
/* 16 accumulators, 4 weights packed and 4 unpacked, 1 activation; besides, without dot products,
 * what is on its way to 32 bits. */
#define INT8_ROWS    4
#define INT8_STREAMS 2

typedef float32x4_t vfloat;
typedef uint32_t vword __attribute__((vector_size(16)));
typedef int32x4_t vint;
typedef struct {
    float64x2_t lo, hi;
} vdouble;

static inline vfloat v_set1(float a) {
    return vdupq_n_f32(a);
}
static inline vfloat v_load(const float *p) {
    return vld1q_f32(p);
}
static inline __attribute__((always_inline)) void v_prefetch(const float *p) {
    __builtin_prefetch(p);
}
static inline void v_store(float *p, vfloat a) {
    vst1q_f32(p, a);
}

/* There are no masked loads and stores: the ends of rows go through memory. */
static inline uint32x4_t v_mask(int64_t n) {
    const int32x4_t lane = {0, 1, 2, 3};
    return vcltq_s32(lane, vdupq_n_s32((int32_t)n));
}
static inline vfloat v_load_n(const float *p, int64_t n) {
    float lanes[V_LANES] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vld1q_f32(lanes);
}
static inline void v_store_n(float *p, vfloat a, int64_t n) {
    float lanes[V_LANES];
    vst1q_f32(lanes, a);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}
static inline vfloat v_keep_n(vfloat a, vfloat rest, int64_t n) {
    return vbslq_f32(v_mask(n), a, rest);
}

static inline vfloat v_add(vfloat a, vfloat b) {
    return vaddq_f32(a, b);
}
static inline vfloat v_sub(vfloat a, vfloat b) {
    return vsubq_f32(a, b);
}
static inline vfloat v_mul(vfloat a, vfloat b) {
    return vmulq_f32(a, b);
}
static inline vfloat v_div(vfloat a, vfloat b) {
    return vdivq_f32(a, b);
}
static inline vfloat v_fma(vfloat a, vfloat b, vfloat c) {
    return vfmaq_f32(c, a, b);
}
static inline vfloat v_fnma(vfloat a, vfloat b, vfloat c) {
    return vfmsq_f32(c, a, b);
}
/* Not fmax and fmin, which give NaN, and not fmaxnm and fminnm, which drop it. */
static inline vfloat v_max(vfloat a, vfloat b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline vfloat v_min(vfloat a, vfloat b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
static inline vfloat v_round(vfloat a) {
    return vrndnq_f32(a);
}
/* In two steps, so that results below 2^-126 and above 2^127 come out right: |n| < 250. */
static inline vfloat v_scale(vfloat a, vfloat n) {
    int32x4_t whole = vcvtq_s32_f32(n), bias = vdupq_n_s32(127);
    int32x4_t half = vshrq_n_s32(whole, 1), rest = vsubq_s32(whole, half);
    vfloat p = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
    vfloat q = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
    return v_mul(v_mul(a, p), q);
}

static inline vdouble d_zero(void) {
    return (vdouble){vdupq_n_f64(0), vdupq_n_f64(0)};
}
static inline vdouble d_widen(vfloat a) {
    return (vdouble){vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a)};
}
static inline vdouble d_add(vdouble sum, vfloat a) {
    vdouble w = d_widen(a);
    return (vdouble){vaddq_f64(sum.lo, w.lo), vaddq_f64(sum.hi, w.hi)};
}
static inline vdouble d_add_square(vdouble sum, vfloat a) {
    vdouble w = d_widen(a);
    return (vdouble){vfmaq_f64(sum.lo, w.lo, w.lo), vfmaq_f64(sum.hi, w.hi, w.hi)};
}
static inline void d_store(double *p, vdouble a) {
    vst1q_f64(p, a.lo);
    vst1q_f64(p + V_LANES / 2, a.hi);
}

static inline vword w_set1(uint32_t a) {
    return (vword)vdupq_n_u32(a);
}
static inline vword w_load(const void *p) {
    return (vword)vreinterpretq_u32_u8(vld1q_u8(p));
}
/* One selection does it where `bits` has none of the mask's. */
static inline vfloat w_pick(vword a, vword mask, vword bits) {
    return vreinterpretq_f32_u32(vbslq_u32((uint32x4_t)mask, (uint32x4_t)a, (uint32x4_t)bits));
}
static inline uint32x4_t w_from_bytes(const uint8_t *p) {
    uint32_t word = 0;
    memcpy(&word, p, sizeof word);
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(word))));
}
static inline vfloat v_from_bytes(const uint8_t *p) {
    return vcvtq_f32_u32(w_from_bytes(p));
}

static inline vint i_zero(void) {
    return vdupq_n_s32(0);
}
static inline vint i_set1(int32_t a) {
    return vdupq_n_s32(a);
}
static inline vint i_from_bytes(const uint8_t *p) {
    return vreinterpretq_s32_u32(w_from_bytes(p));
}
static inline vint i_repeat(const int8_t *p) {
    int32_t word = 0;
    memcpy(&word, p, sizeof word);
    return vdupq_n_s32(word);
}
static inline vint i_add(vint a, vint b) {
    return vaddq_s32(a, b);
}
static inline vint i_negate16(vint a) {
    return vnegq_s32(a);
}
static inline vint i_mul16(vint a, int32_t b) {
    return vmulq_n_s32(a, b);
}
static inline vint i_round(vfloat a) {
    return vcvtnq_s32_f32(a);
}
static inline void i_store_bytes(uint8_t *p, vint a) {
    const int16x4_t half = vmovn_s32(a);
    const uint32_t word =
        vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(half, half))), 0);
    memcpy(p, &word, sizeof word);
}
static inline vfloat i_to_float(vint a) {
    return vcvtq_f32_s32(a);
}
/* Without dot products, pairs are added in 16 bits: 2 * 128 * 127 fits. */
static inline vint i_dot4(const int width, vint sum, vword codes, vint bytes) {
    const int8x16_t a = (int8x16_t)codes, b = vreinterpretq_s8_s32(bytes);
    (void)width; /* the same for both */
#ifdef __ARM_FEATURE_DOTPROD
    return vdotq_s32(sum, a, b);
#else
    int16x8_t lo = vmull_s8(vget_low_s8(a), vget_low_s8(b)), hi = vmull_high_s8(a, b);
    return vpadalq_s16(sum, vpaddq_s16(lo, hi));
#endif
}

/* --- eight activations to eight signed bytes -------------------------------------------------- */

typedef struct {
    int32x4_t lo, hi;
} eight;

static inline eight e_zero(void) {
    return (eight){vdupq_n_s32(0), vdupq_n_s32(0)};
}
static inline eight e_add(eight a, eight b) {
    return (eight){vaddq_s32(a.lo, b.lo), vaddq_s32(a.hi, b.hi)};
}
static inline eight e_max_magnitude(eight max, const float *x) {
    int32x4_t lo = vreinterpretq_s32_f32(vabsq_f32(vld1q_f32(x)));
    int32x4_t hi = vreinterpretq_s32_f32(vabsq_f32(vld1q_f32(x + 4)));
    return (eight){vmaxq_s32(max.lo, lo), vmaxq_s32(max.hi, hi)};
}
static inline eight e_round(const float *x, float factor) {
    return (eight){vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), factor)),
                   vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4), factor))};
}
static inline void e_store_bytes(eight a, int in_order, int8_t *out) {
    int32x4_t first = in_order ? a.lo : vuzp1q_s32(a.lo, a.hi);
    int32x4_t second = in_order ? a.hi : vuzp2q_s32(a.lo, a.hi);
    vst1_s8(out, vmovn_s16(vmovn_high_s32(vmovn_s32(first), second)));
}
static inline int32_t e_sum(eight a) {
    return vaddvq_s32(vaddq_s32(a.lo, a.hi));
}
static inline int32_t e_max(eight a) {
    return vmaxvq_s32(vmaxq_s32(a.lo, a.hi));
}

#endif
