/* SPDX-License-Identifier: Apache-2.0 */
/* See sha256.h. Names of the rounds are those of FIPS 180-4, section 6.2.2. */
#include "base/sha256.h"

#include <string.h>

const uint32_t sha256_rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n) {
    return x >> n | x << (32 - n);
}

static void schedule(const unsigned char *block, uint32_t W[64]) {
    for (int t = 0; t < 16; t++, block += 4)
        W[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
               block[3];
    for (int t = 16; t < 64; t++) {
        const uint32_t x = W[t - 15], y = W[t - 2];
        W[t] = W[t - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + W[t - 7] +
               (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
}

void sha256_compress_plain(uint32_t state[8], const unsigned char *data, size_t blocks) {
    uint32_t W[64];
    for (; blocks > 0; blocks--, data += SHA256_BLOCK) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        schedule(data, W);
        for (int t = 0; t < 64; t++) {
            const uint32_t T1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                                ((e & f) ^ (~e & g)) + sha256_rounds[t] + W[t];
            const uint32_t T2 =
                (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            h = g, g = f, f = e, e = d + T1;
            d = c, c = b, b = a, a = T1 + T2;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

void sha256_begin(struct sha256 *s) {
    *s = (struct sha256){.compress = sha256_compress_best(),
                         .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                   0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *s, const void *data, size_t len) {
    const unsigned char *p = data;
    const size_t held = (size_t)(s->len % SHA256_BLOCK);
    const size_t missing = SHA256_BLOCK - held;
    s->len += len;
    if (held > 0 && len >= missing) {
        memcpy(s->rest + held, p, missing);
        s->compress(s->state, s->rest, 1);
        p += missing;
        len -= missing;
    } else if (held > 0) {
        memcpy(s->rest + held, p, len);
        return;
    }
    s->compress(s->state, p, len / SHA256_BLOCK);
    if (len % SHA256_BLOCK > 0)
        memcpy(s->rest, p + len - len % SHA256_BLOCK, len % SHA256_BLOCK);
}

void sha256_end(struct sha256 *s, char text[SHA256_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    const uint64_t bits = 8 * s->len;
    unsigned char tail[SHA256_BLOCK + 8] = {0x80};
    /* A one, zeros up to eight bytes before the end of a block, the length. */
    const size_t zeros = (size_t)((2 * SHA256_BLOCK - 9 - s->len % SHA256_BLOCK) % SHA256_BLOCK);
    for (size_t i = 0; i < 8; i++)
        tail[1 + zeros + i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_add(s, tail, 9 + zeros);
    for (int i = 0; i < 64; i++)
        text[i] = digits[s->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    text[64] = '\0';
}

void sha256_text(const void *data, size_t len, char text[SHA256_TEXT]) {
    struct sha256 s;
    sha256_begin(&s);
    sha256_add(&s, data, len);
    sha256_end(&s, text);
}
