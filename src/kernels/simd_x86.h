/* SPDX-License-Identifier: Apache-2.0 */
/* Vocabulary of the kernel templates that is one for AVX2 and AVX-512: constants, and eight
 * activations to eight signed bytes. */
#ifndef LLMQ_KERNELS_SIMD_X86_H
#define LLMQ_KERNELS_SIMD_X86_H

#include <immintrin.h>
#include <stdint.h>

enum {
    I_OFFSET_8BIT = 0, /* what codes of 8 bits are lowered by, 0 or 128, to be operands of i_dot4 */
    PEAK_CHAINS = 12,  /* four or five cycles, two a cycle; and there are sixteen registers */
};
#define V_REGISTER "x" /* where inline assembly finds a vector */

typedef __m256i eight; /* int32 lanes */

static inline eight e_zero(void) {
    return _mm256_setzero_si256();
}
static inline eight e_add(eight a, eight b) {
    return _mm256_add_epi32(a, b);
}

/* Larger of `max` and the magnitudes at x, as the bits of float32: NaN is larger than infinity. */
static inline eight e_max_magnitude(eight max, const float *x) {
    __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x));
    return _mm256_max_epi32(max, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
}

/* x * factor to the nearest integer, ties to even. */
static inline eight e_round(const float *x, float factor) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), _mm256_set1_ps(factor)));
}

/* Low bytes of the lanes to out[8]: in order, or the even lanes before the odd. */
static inline void e_store_bytes(eight a, int in_order, int8_t *out) {
    const __m128i order =
        in_order ? _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1)
                 : _mm_setr_epi8(0, 8, -1, -1, 4, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m128i low = _mm_shuffle_epi8(_mm256_castsi256_si128(a), order);
    __m128i high = _mm_shuffle_epi8(_mm256_extracti128_si256(a, 1), order);
    __m128i shifted = in_order ? _mm_slli_si128(high, 4) : _mm_slli_si128(high, 2);
    _mm_storel_epi64((void *)out, _mm_or_si128(low, shifted));
}

static inline int32_t e_sum(eight a) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}
static inline int32_t e_max(eight a) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtsi128_si32(m);
}

#endif
