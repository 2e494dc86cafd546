/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256: sums that are published, and the two ways of computing them. */
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "support.h"

static void assert_sum(const char *text, size_t times, const char *expected) {
    struct sha256 s;
    char sum[SHA256_TEXT];
    sha256_begin(&s);
    for (size_t i = 0; i < times; i++)
        sha256_add(&s, text, strlen(text));
    sha256_end(&s, sum);
    ck_assert_str_eq(sum, expected);
}

/* Of FIPS 180-4's examples (NIST, Cryptographic Standards and Guidelines). */
START_TEST(published_sums) {
    assert_sum("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sum("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sum("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
               "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_sum("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

/* Of every length up to some blocks, in parts of every length. */
START_TEST(parts_and_instructions_change_nothing) {
    enum { MOST = 300 };
    unsigned char data[MOST];
    char sum[SHA256_TEXT], plain[SHA256_TEXT];
    for (size_t i = 0; i < MOST; i++)
        data[i] = (unsigned char)(i * 2654435761u >> 11);
    for (size_t len = 0; len <= MOST; len++) {
        struct sha256 s;
        sha256_begin(&s);
        s.compress = sha256_compress_plain;
        for (size_t at = 0, part; at < len; at += part) {
            part = len % 97 + 1 < len - at ? len % 97 + 1 : len - at;
            sha256_add(&s, data + at, part);
        }
        sha256_end(&s, plain);
        sha256_text(data, len, sum);
        ck_assert_str_eq(sum, plain);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("sha256");
    TCase *t = tcase_create("sums");
    tcase_add_test(t, published_sums);
    tcase_add_test(t, parts_and_instructions_change_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}
