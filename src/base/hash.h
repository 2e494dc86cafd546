/* FNV-1a, 64 bits: fingerprints that tell whether something changed. Not for security. */
#ifndef LLMQ_BASE_HASH_H
#define LLMQ_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_INIT UINT64_C(0xcbf29ce484222325)

static inline uint64_t hash_bytes(uint64_t hash, const void *data, size_t len) {
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* For large arrays: the same step over eight bytes at a time, as many times as fast. Each step is a
 * bijection, so that a single change never goes unnoticed. An array must be hashed in one call:
 * in parts, the tails would be taken by bytes. */
static inline uint64_t hash_array(uint64_t hash, const void *data, size_t len) {
    const unsigned char *p = data;
    const size_t words = len / sizeof(uint64_t);
    for (size_t i = 0; i < words; i++, p += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
    }
    return hash_bytes(hash, p, len % sizeof(uint64_t));
}

#endif
