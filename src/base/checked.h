/* SPDX-License-Identifier: Apache-2.0 */
/* Overflow-checked size arithmetic. Every product of sizes that a file or a user can influence
 * goes through here before it reaches an allocator. */
#ifndef LLMQ_BASE_CHECKED_H
#define LLMQ_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The compiler builtins are exact and available in gcc and clang alike. */
static inline bool checked_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool checked_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
static inline bool checked_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool checked_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* A number of bytes in a file as one in memory, which may be too small for it (32-bit machines). */
static inline bool checked_size(uint64_t bytes, size_t *out) {
    return !__builtin_add_overflow(bytes, 0U, out);
}

#endif
