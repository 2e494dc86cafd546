/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch files, data, random numbers and SHA-256 for the suites: see support.h. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"

char scratch[256];

void scratch_setup(void) {
    const char *base = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/llmq-test-XXXXXX", base && base[0] ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(scratch));
}

void scratch_teardown(void) {
    llmq_error err = {0};
    ck_assert_ok(dir_remove(scratch, &err), &err);
}

const char *scratch_path(const char *name) {
    static char paths[2][512];
    static int turn;
    turn = !turn;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", scratch, name);
    return paths[turn];
}

void put_file(const char *name, const void *data, size_t len) {
    FILE *f = fopen(scratch_path(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

void put_safetensors(const char *name, const char *header, const void *data, size_t data_len) {
    const uint64_t n = strlen(header);
    unsigned char *file = calloc(1, sizeof n + n + data_len + 1);
    ck_assert_ptr_nonnull(file);
    memcpy(file, &n, sizeof n);
    memcpy(file + sizeof n, header, n);
    if (data)
        memcpy(file + sizeof n + n, data, data_len);
    put_file(name, file, sizeof n + n + data_len);
    free(file);
}

/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
uint64_t random_next(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* --- SHA-256 (FIPS 180-4) --------------------------------------------------------------------- */

static uint32_t rotate(uint32_t x, int n) {
    return x >> n | x << (32 - n);
}

/* Fractional bits of the cube roots of the first 64 primes, and of the square roots of the first
 * eight. */
static const uint32_t rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static void sha256_block(uint32_t state[8], const unsigned char *block) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | (uint32_t)block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        const uint32_t e = v[4], a = v[0];
        const uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                            ((e & v[5]) ^ (~e & v[6])) + rounds[i] + w[i];
        const uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                            ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

void sha256_hex(const void *data, size_t len, char out[65]) {
    const unsigned char *bytes = data;
    unsigned char tail[128] = {0};
    uint32_t state[8];
    memcpy(state, initial, sizeof state);
    for (size_t i = 0; i < len / 64; i++)
        sha256_block(state, bytes + 64 * i);
    const size_t rest = len % 64, blocks = rest < 56 ? 1 : 2;
    memcpy(tail, bytes + len - rest, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        tail[blocks * 64 - 1 - (size_t)i] = (unsigned char)((uint64_t)len * 8 >> (8 * i));
    for (size_t i = 0; i < blocks; i++)
        sha256_block(state, tail + 64 * i);
    for (int i = 0; i < 8; i++)
        snprintf(out + 8 * i, 9, "%08x", state[i]);
}

int run_suite(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

char *source_path(const char *path) {
    const char *root = getenv("LLMQ_SOURCE_ROOT");
    char *full = path_join(root && *root ? root : ".", path, NULL);
    ck_assert_ptr_nonnull(full);
    return full;
}

char *shared_path(const char *path) {
    const char *shared = getenv("LLMQ_SHARED");
    char *full = NULL;
    if (shared && *shared) {
        full = path_join(shared, path, NULL);
    } else {
        char *root = source_path("../shared");
        full = path_join(root, path, NULL);
        free(root);
    }
    ck_assert_ptr_nonnull(full);
    if (access(full, R_OK) == 0)
        return full;
    printf("SKIP: %s is not here\n", path);
    free(full);
    return NULL;
}
