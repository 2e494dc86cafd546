/* SPDX-License-Identifier: Apache-2.0 */
/* PACKSEQ: the worked examples of the format description, and its definition bit by bit. */
#include "support.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "formats/layouts/pack.h"

static uint64_t seed = 20260824; /* printed by main */

START_TEST(worked_words_are_reproduced) {
    static const uint8_t four[8] = {3, 10, 8, 15, 0, 7, 12, 5}, eight[4] = {1, 128, 255, 64};
    uint8_t two[16], three[32], back[32];
    uint32_t words[3];
    struct pack_map map = pack_map_rows(4, 1, 8);
    pack_seq(&map, four, words);
    ck_assert_uint_eq(words[0], 0x5C70F8A3u);
    map = pack_map_rows(8, 1, 4);
    pack_seq(&map, eight, words);
    ck_assert_uint_eq(words[0], 0x40FF8001u);
    for (int i = 0; i < 16; i++)
        two[i] = (uint8_t)(i % 4);
    map = pack_map_rows(2, 1, 16);
    pack_seq(&map, two, words);
    ck_assert_uint_eq(words[0], 0xE4E4E4E4u);
    for (int i = 0; i < 32; i++)
        three[i] = (uint8_t)(i % 8);
    map = pack_map_rows(3, 1, 32);
    pack_seq(&map, three, words);
    ck_assert_uint_eq(words[0], 0x88FAC688u);
    ck_assert_uint_eq(words[1], 0xC688FAC6u);
    ck_assert_uint_eq(words[2], 0xFAC688FAu);
    unpack_seq(&map, words, back);
    ck_assert_mem_eq(back, three, 32);
}
END_TEST

/* u[n][k] = (n + 2k) mod 16, z[n] = n + 1: smaller than accepts() allows, so packed directly. */
START_TEST(the_tiny_matrix_is_reproduced) {
    static const uint32_t expected[8] = {0xECA86420, 0xFDB97531, 0x0ECA8642, 0x1FDB9753,
                                         0x20ECA864, 0x31FDB975, 0x420ECA86, 0x531FDB97};
    const struct pack_map map = pack_map_transposed(pack_map_rows(4, 8, 8));
    const struct pack_map zeros_map = pack_map_rows(4, 1, 8);
    uint8_t codes[64], stored[2][8];
    uint32_t words[8], zeros[2];
    for (int n = 0; n < 8; n++) {
        for (int k = 0; k < 8; k++)
            codes[n * 8 + k] = (uint8_t)((n + 2 * k) % 16);
        stored[0][n] = (uint8_t)n;
        stored[1][n] = (uint8_t)(n + 1);
    }
    pack_seq(&map, codes, words);
    ck_assert_mem_eq(words, expected, sizeof words);
    for (int version = 0; version < 2; version++)
        pack_seq(&zeros_map, stored[version], &zeros[version]);
    ck_assert_uint_eq(zeros[0], 0x76543210u);
    ck_assert_uint_eq(zeros[1], 0x87654321u);
}
END_TEST

/* Bit i * bits + b of the stream, straight from the definition. */
static void pack_plain(const struct pack_map *m, const uint8_t *codes, uint32_t *words) {
    for (int64_t s = 0; s < m->streams; s++)
        for (int64_t bit = 0; bit < m->count * m->bits; bit++) {
            const int code = codes[s * m->code_stream + bit / m->bits * m->code_step];
            const int64_t w = s * m->word_stream + bit / 32 * m->word_step;
            if (bit % 32 == 0)
                words[w] = 0;
            words[w] |= (uint32_t)(code >> (bit % m->bits) & 1) << (bit % 32);
        }
}

/* Streams and counts around every block boundary; rows, columns and transposed words. */
static void check_made(const struct pack_map *m, bool transposed, bool columns) {
    struct pack_map made = columns ? pack_map_columns(m->bits, m->count, m->streams)
                                   : pack_map_rows(m->bits, m->streams, m->count);
    if (transposed)
        made = pack_map_transposed(made);
    ck_assert_int_eq(made.bits, m->bits);
    ck_assert_int_eq(made.streams, m->streams);
    ck_assert_int_eq(made.count, m->count);
    ck_assert_int_eq(made.code_stream, m->code_stream);
    ck_assert_int_eq(made.code_step, m->code_step);
    ck_assert_int_eq(made.word_stream, m->word_stream);
    ck_assert_int_eq(made.word_step, m->word_step);
}

START_TEST(packing_equals_its_definition) {
    static const int64_t sizes[] = {1, 2, 7, 31, 32, 33, 63, 64, 65, 127, 255, 256, 257, 300, 513};
    enum { SIZES = sizeof sizes / sizeof sizes[0], MOST = 513 * 66 };
    static const int widths[] = {2, 3, 4, 8};
    static uint8_t codes[MOST], back[MOST];
    static uint32_t words[MOST], plain[MOST];
    const int bits = widths[_i];
    for (int i = 0; i < SIZES; i++)
        for (int64_t streams = 1; streams <= 66; streams += i % 2 ? 13 : 65)
            for (int layout = 0; layout < 4; layout++) {
                const int64_t count = sizes[i], n = (int64_t)pack_words(bits, (uint64_t)count);
                const bool turned = layout & 1, columns = layout & 2;
                const struct pack_map m = {.bits = bits,
                                           .streams = streams,
                                           .count = count,
                                           .code_stream = columns ? 1 : count,
                                           .code_step = columns ? streams : 1,
                                           .word_stream = turned ? 1 : n,
                                           .word_step = turned ? streams : 1};
                check_made(&m, turned, columns);
                for (int64_t c = 0; c < streams * count; c++)
                    codes[c] = (uint8_t)(random_next(&seed) % (1u << bits));
                memset(words, 0xA5, sizeof words);
                memset(plain, 0xA5, sizeof plain);
                pack_plain(&m, codes, plain);
                pack_seq(&m, codes, words);
                ck_assert_mem_eq(words, plain, sizeof words); /* nothing outside is touched */
                memset(back, 0x5A, sizeof back);
                unpack_seq(&m, words, back);
                ck_assert_mem_eq(back, codes, (size_t)(streams * count));
                ck_assert(streams * count == MOST || back[streams * count] == 0x5A);
            }
}
END_TEST

START_TEST(word_counts_do_not_overflow) {
    ck_assert_uint_eq(pack_words(3, 10), 1);
    ck_assert_uint_eq(pack_words(3, 11), 2);
    ck_assert_uint_eq(pack_words(4, 0), 0);
    ck_assert_uint_eq(pack_words(8, UINT64_MAX / 4), UINT64_MAX / 16 + 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("packing");
    TCase *tests = tcase_create("packing");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, worked_words_are_reproduced);
    tcase_add_test(tests, the_tiny_matrix_is_reproduced);
    tcase_add_loop_test(tests, packing_equals_its_definition, 0, 4);
    tcase_add_test(tests, word_counts_do_not_overflow);
    suite_add_tcase(suite, tests);
    printf("seed %" PRIu64 "\n", seed);
    return run_suite(suite);
}
