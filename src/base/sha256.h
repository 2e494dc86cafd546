/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), as sha256sum prints it: hashes that others can check. */
#ifndef LLMQ_BASE_SHA256_H
#define LLMQ_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* A sum as text: 64 lower-case hexadecimal digits and a NUL. */
enum { SHA256_TEXT = 65 };

enum { SHA256_BLOCK = 64 };

/* Take `blocks` blocks of data into the state. */
typedef void sha256_compress(uint32_t state[8], const unsigned char *data, size_t blocks);

/* A sum in the making. */
struct sha256 {
    sha256_compress *compress;
    uint32_t state[8];
    uint64_t len;                     /* bytes so far */
    unsigned char rest[SHA256_BLOCK]; /* len % SHA256_BLOCK bytes that are no block yet */
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_end(struct sha256 *s, char text[SHA256_TEXT]);

/* Of one text. */
void sha256_text(const void *data, size_t len, char text[SHA256_TEXT]);

/* In plain C, and the fastest that this processor has. */
sha256_compress sha256_compress_plain;
sha256_compress *sha256_compress_best(void);

/* The constants of the 64 rounds: of FIPS 180-4, 4.2.2. */
extern const uint32_t sha256_rounds[64];

#endif
