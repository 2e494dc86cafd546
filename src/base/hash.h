/* SPDX-License-Identifier: Apache-2.0 */
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

static inline uint64_t hash_word(uint64_t hash, uint64_t word) {
    return (hash ^ word) * UINT64_C(0x100000001b3);
}

/* A step over eight bytes. Multiplication moves differences up only: the rotation brings the upper
 * ones down to where they spread, and none of the bits that are signs of floating types to the top.
 * Without it two flips of the top bit cancel. */
static inline uint64_t hash_step(uint64_t hash, uint64_t word) {
    const uint64_t mixed = hash ^ word;
    return (mixed << 29 | mixed >> 35) * UINT64_C(0x9e3779b97f4a7c15);
}

/* For large arrays: eight bytes at a time, in four chains that do not wait for each other's
 * multiplications. Each step is a bijection, so that a single change never goes unnoticed. An array
 * must be hashed in one call: in parts, the tails would be taken by bytes. */
static inline uint64_t hash_array(uint64_t hash, const void *data, size_t len) {
    enum { CHAINS = 4 };
    uint64_t chain[CHAINS] = {hash, hash, hash, hash}, word[CHAINS];
    const unsigned char *p = data;
    for (; len >= sizeof word; len -= sizeof word, p += sizeof word) {
        memcpy(word, p, sizeof word);
        for (int i = 0; i < CHAINS; i++)
            chain[i] = hash_step(chain[i], word[i]);
    }
    for (int i = 0; i < CHAINS; i++)
        hash = hash_word(hash, chain[i]);
    return hash_bytes(hash, p, len);
}

#endif
