/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that are encoded in parts: the ids are those of the whole, whatever the parts. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "support.h"
#include "text/tokenizer.h"

static llmq_error err;

/* Encode in parts of `size` bytes, longer where need be; how many there were. */
static int encode_parts(const struct tokenizer *tok, const char *text, size_t len, size_t size,
                        struct id_list *out) {
    int parts = 0;
    size_t longer = size;
    for (size_t at = 0, used = 0; at < len; at += used) {
        size_t n = len - at < longer ? len - at : longer;
        while (at + n < len && ((unsigned char)text[at + n] & 0xc0) == 0x80)
            n--;
        const struct text_part part = {text + at, n, at == 0, at + n == len};
        ck_assert_ok(tokenizer_encode_part(tok, &part, out, &used, &err), &err);
        ck_assert_uint_le(used, n);
        longer = used > 0 ? size : 2 * longer;
        parts += used > 0;
    }
    return parts;
}

static void assert_parts_equal(const struct tokenizer *tok, const char *text, size_t len,
                               int parts_least) {
    static const size_t sizes[] = {8192, 9001, 40000};
    struct id_list whole = {0};
    ck_assert_ok(tokenizer_encode(tok, text, len, LLMQ_SPECIAL_NONE, &whole, &err), &err);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct id_list ids = {0};
        const int parts = encode_parts(tok, text, len, sizes[i], &ids);
        ck_assert_uint_eq(ids.count, whole.count);
        ck_assert_mem_eq(ids.ids, whole.ids, whole.count * sizeof *ids.ids);
        if (sizes[i] < len / 4)
            ck_assert_int_ge(parts, parts_least);
        id_list_free(&ids);
    }
    id_list_free(&whole);
}

/* --- tokenizers of all kinds ------------------------------------------------------------------ */

#define LETTERS                                                                                    \
    "\"a\":0,\"b\":1,\"c\":2,\"d\":3,\" \":4,\"\\u2581\":5,\"ab\":6,\"\\u2581a\":7,"               \
    "\"ba\":8,\"\\n\":9,\"1\":10,\"\\u2581\\u2581\":11,\".\":12,\"\\u010a\":13,\"\\u0120\":14,"    \
    "\"\\u0120a\":15,\"\\u00e9\":16,\"11\":17"
#define MERGES "[\"a b\",\"\\u2581 a\",\"b a\",\"\\u2581 \\u2581\",\"\\u0120 a\",\"1 1\"]"
#define MODEL  "\"model\":{\"type\":\"BPE\",\"vocab\":{" LETTERS "},\"merges\":" MERGES "}"
#define SPLIT(expression, behavior)                                                                \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" expression "\"},\"behavior\":\"" behavior "\"" \
    "}"
#define SEQUENCE(a, b) "{\"type\":\"Sequence\",\"pretokenizers\":[" a "," b "]}"
#define BYTES(regex)   "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" regex "}"
#define LLAMA3                                                                                     \
    "(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+" \
    "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true}"
#define META(scheme)                                                                               \
    "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"" scheme "\"}"
#define PREPEND                                                                                    \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},"      \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]}"
#define ADDED                                                                                      \
    "\"added_tokens\":[{\"id\":17,\"content\":\"<ab cd>\",\"normalized\":false,\"special\":true}," \
    "{\"id\":18,\"content\":\"\\n\\n\",\"normalized\":true,\"special\":false},"                    \
    "{\"id\":19,\"content\":\"<m>\",\"lstrip\":true,\"rstrip\":true,\"normalized\":false},"        \
    "{\"id\":20,\"content\":\"dd\",\"single_word\":true,\"normalized\":false}],"

/* Parts are found in all of these, or have to be the whole. */
static const struct kind {
    const char *normalizer, *pretokenizer, *added;
    bool has_parts;
} kinds[] = {
    {"null", "null", "", true},
    {"null", "null", ADDED, true},
    {PREPEND, "null", ADDED, true},
    {"{\"type\":\"NFC\"}", BYTES("true"), ADDED, true},
    {"{\"type\":\"NFKD\"}", BYTES("true"), "", true},
    {"{\"type\":\"Lowercase\"}", SEQUENCE(DIGITS, BYTES("true")), ADDED, true},
    {"null", SEQUENCE(SPLIT(LLAMA3, "Isolated"), BYTES("false")), ADDED, true},
    {"null", SEQUENCE(SPLIT("\\\\n+", "Isolated"), SPLIT(LLAMA3, "Isolated")), "", true},
    {"null", SPLIT("[ab]+", "MergedWithNext"), ADDED, true},
    {"null", SPLIT("[ab]+", "Contiguous"), "", true},
    {"null", SPLIT("a+b|a", "MergedWithPrevious"), "", true},
    {"null", META("always"), ADDED, true},
    {"null", META("first"), ADDED, true},
    {"null", "{\"type\":\"WhitespaceSplit\"}", "", true},
    {"null", "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}", "", true},
    {"null", SPLIT("(?<=a) |\\\\bb", "Isolated"), "", false},
    {"null", SPLIT(" +", "Removed"), "", false},
    {"null", SPLIT("x*", "Isolated"), "", false},
    {"{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}", BYTES("true"), "", false},
    {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\" \"}", "null", "", false},
    {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\"a\"}", "null", "", false},
};

static struct tokenizer *tokenizer_of(const struct kind *kind) {
    char text[4096];
    struct tokenizer *tok = NULL;
    const int n =
        snprintf(text, sizeof text, "{%s\"normalizer\":%s,\"pre_tokenizer\":%s," MODEL "}",
                 kind->added, kind->normalizer, kind->pretokenizer);
    put_file("tokenizer.json", text, (size_t)n);
    ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &tok, &err), &err);
    return tok;
}

/* Words of few letters, with what tokenizers treat in ways of their own: runs of white space, line
 * breaks, digits, added tokens whole and broken, marks that compose, ideographs. */
static size_t random_text(char *text, size_t size, unsigned seed) {
    static const char *const words[] = {
        "a",  "ab",  "abab",      "d",        "dd",           "c.",  "11",
        "1.", "...", "<m>",       "<ab cd>",  "<ab",          "cd>", "bad",
        "A",  "'s",  "e\xcc\x81", "\xcc\x81", "\xe6\xbc\xa2", "AB",  "<m"};
    static const char *const spaces[] = {" ",  " ",    " ", " ",  " ",       "\n",          "\n\n",
                                         "  ", "\r\n", "",  "\t", "   \n  ", "\xe3\x80\x80"};
    size_t len = 0;
    while (len + 16 < size) {
        seed = seed * 1103515245 + 12345;
        const char *word = words[(seed >> 16) % (sizeof words / sizeof words[0])];
        seed = seed * 1103515245 + 12345;
        const char *space = spaces[(seed >> 16) % (sizeof spaces / sizeof spaces[0])];
        len += (size_t)snprintf(text + len, size - len, "%s%s", word, space);
    }
    return len;
}

START_TEST(test_parts_of_every_kind_are_those_of_the_whole) {
    enum { SIZE = 100000, SEEDS = 3 };
    const struct kind *kind = &kinds[_i];
    struct tokenizer *tok = tokenizer_of(kind);
    char *text = malloc(SIZE);
    ck_assert_ptr_nonnull(text);
    ck_assert(tokenizer_has_parts(tok) == kind->has_parts);
    for (unsigned seed = 0; seed < SEEDS; seed++)
        assert_parts_equal(tok, text, random_text(text, SIZE, seed), kind->has_parts ? 5 : 1);
    free(text);
    tokenizer_free(&tok);
}
END_TEST

/* No place where a text could be cut: it is taken as a whole. */
START_TEST(test_a_text_without_a_place_to_cut_is_one_part) {
    enum { LEN = 60000 };
    struct tokenizer *tok = tokenizer_of(&kinds[3]);
    char *text = malloc(LEN);
    struct id_list ids = {0};
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', LEN);
    ck_assert_int_eq(encode_parts(tok, text, LEN, 8192, &ids), 1);
    memset(text, ' ', LEN);
    ck_assert_int_eq(encode_parts(tok, text, LEN, 8192, &ids), 1);
    id_list_free(&ids);
    free(text);
    tokenizer_free(&tok);
}
END_TEST

/* --- real ones -------------------------------------------------------------------------------- */

static const char *const shared[] = {"tokenizers/gpt2", "tokenizers/llama3", "tokenizers/qwen2_5",
                                     "models/stories15M", "models/minimind2-small"};

static char *read_text(const char *name, size_t most, size_t *len) {
    char relative[128], *text = NULL;
    snprintf(relative, sizeof relative, "text/%s", name);
    char *path = shared_path(relative);
    if (path) {
        ck_assert_ok(file_read(path, 1 << 24, &text, len, &err), &err);
        *len = *len < most ? *len : most;
        while (*len > 0 && (text[*len] & 0xc0) == 0x80)
            --*len;
    }
    free(path);
    return text;
}

START_TEST(test_real_tokenizers_give_the_ids_of_the_whole) {
    static const char *const texts[] = {"wiki.test.raw", "moby_dick.txt"};
    char relative[128];
    snprintf(relative, sizeof relative, "%s/tokenizer.json", shared[_i]);
    char *path = shared_path(relative);
    struct tokenizer *tok = NULL;
    if (!path)
        return;
    ck_assert_ok(tokenizer_load(path, &tok, &err), &err);
    ck_assert(tokenizer_has_parts(tok));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t len = 0;
        char *text = read_text(texts[i], 200000, &len);
        if (text)
            assert_parts_equal(tok, text, len, 5);
        free(text);
    }
    free(path);
    tokenizer_free(&tok);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("text_parts");
    TCase *tcase = tcase_create("parts");
    tcase_add_checked_fixture(tcase, scratch_setup, scratch_teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, test_parts_of_every_kind_are_those_of_the_whole, 0,
                        (int)(sizeof kinds / sizeof kinds[0]));
    tcase_add_test(tcase, test_a_text_without_a_place_to_cut_is_one_part);
    tcase_add_loop_test(tcase, test_real_tokenizers_give_the_ids_of_the_whole, 0,
                        (int)(sizeof shared / sizeof shared[0]));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
