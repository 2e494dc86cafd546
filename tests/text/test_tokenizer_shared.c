/* SPDX-License-Identifier: Apache-2.0 */
/* Small tokenizers that were read wrong once, with ids computed by the reference library. They are
 * not part of the project: without them these tests are skipped. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/strbuf.h"
#include "support.h"
#include "text/tokenizer.h"

static const char *const folders[] = {"unicode_version", "script_extensions", "nul_in_token",
                                      "lstrip_after_rstrip", "bloom_set_in_set"};

static llmq_error err;

static char *read_shared(const char *folder, const char *name, size_t *len) {
    char relative[128], *text = NULL;
    snprintf(relative, sizeof relative, "cases/%s/%s", folder, name);
    char *path = shared_path(relative);
    if (path)
        ck_assert_ok(file_read(path, 1 << 20, &text, len, &err), &err);
    free(path);
    return text;
}

static unsigned nibble(char c) {
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* "1,2,3|0,1,2,3" for a text in hexadecimal. */
static char *ids_of(const struct tokenizer *tok, const char *hex, size_t hex_len) {
    struct strbuf out = {0};
    char text[256];
    size_t len = hex_len / 2;
    ck_assert_uint_le(len, sizeof text);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    for (int special = 0; special < 2; special++) {
        struct id_list ids = {0};
        ck_assert_ok(tokenizer_encode(tok, text, len,
                                      special ? LLMQ_SPECIAL_MODEL : LLMQ_SPECIAL_NONE, &ids, &err),
                     &err);
        strbuf_puts(&out, special ? "|" : "");
        for (size_t i = 0; i < ids.count; i++)
            strbuf_printf(&out, "%s%d", i ? "," : "", (int)ids.ids[i]);
        id_list_free(&ids);
    }
    return strbuf_take(&out);
}

START_TEST(test_small_tokenizers_equal_the_reference) {
    size_t hex_len = 0, reference_len = 0;
    char *hex = read_shared(folders[_i], "cases.hex", &hex_len);
    char *reference = read_shared(folders[_i], "reference.txt", &reference_len);
    char relative[128];
    struct tokenizer *tok = NULL;
    if (!hex || !reference)
        return;
    snprintf(relative, sizeof relative, "cases/%s/tokenizer.json", folders[_i]);
    char *path = shared_path(relative);
    ck_assert_ok(tokenizer_load(path, &tok, &err), &err);
    int lines = 0;
    for (char *h = hex, *r = reference; *h && *r; lines++) {
        size_t n = strcspn(h, "\n"), m = strcspn(r, "\n");
        char *found = ids_of(tok, h, n);
        ck_assert_msg(strlen(found) == m && memcmp(found, r, m) == 0, "%.*s: %s, expected %.*s",
                      (int)n, h, found, (int)m, r);
        free(found);
        h += n + (h[n] == '\n');
        r += m + (r[m] == '\n');
    }
    ck_assert_int_gt(lines, 0);
    free(path);
    free(hex);
    free(reference);
    tokenizer_free(&tok);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer_shared");
    TCase *tcase = tcase_create("shared");
    tcase_add_loop_test(tcase, test_small_tokenizers_equal_the_reference, 0,
                        (int)(sizeof folders / sizeof folders[0]));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
