/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing for the tokenizer's in-memory tables. Values never reach a file. */
#ifndef LLMQ_TEXT_TABLE_HASH_H
#define LLMQ_TEXT_TABLE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Finalizer of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit. */
static inline uint64_t table_hash_u64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Eight bytes a step; the length goes in first so that zero padding cannot collide. */
static inline uint64_t table_hash_bytes(const char *text, size_t len) {
    uint64_t h = len * 0x9e3779b97f4a7c15u, word = 0;
    for (; len >= 8; text += 8, len -= 8) {
        memcpy(&word, text, 8);
        h = (h ^ word) * 0xbf58476d1ce4e5b9u;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, text, len);
    return table_hash_u64(h ^ word);
}

/* Smallest power of two that keeps a table of `count` entries at most half full. */
static inline size_t table_hash_capacity(size_t count) {
    size_t capacity = 16;
    while (capacity / 2 < count)
        capacity *= 2;
    return capacity;
}

#endif
