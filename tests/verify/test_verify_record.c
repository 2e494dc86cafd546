/* SPDX-License-Identifier: Apache-2.0 */
/* A result is what its record says, byte for byte: whatever is changed in whatever file of it is
 * found, and named. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "bases.h"
#include "llmq/verify.h"
#include "support.h"
#include "verify/record.h"

static llmq_error err;

/* The case is a copy of a base, record and all. */
static char *begin(const char *base) {
    char *dir = strdup(scratch_path("case"));
    char *from = path_join(scratch_path(base), RECORD_NAME, &err), *to;
    base_copy(scratch_path(base), dir);
    to = path_join(dir, RECORD_NAME, &err);
    ck_assert_ok(file_copy(from, to, &err), &err);
    free(from);
    free(to);
    return dir;
}

/* Turn a bit of the byte at `at` around. */
static void flip(const char *path, uint64_t at) {
    struct file f;
    unsigned char byte = 0;
    ck_assert_ok(file_open_update(path, &f, &err), &err);
    ck_assert_ok(file_pread(&f, &byte, 1, at, &err), &err);
    byte ^= 1;
    ck_assert_ok(file_pwrite(&f, &byte, 1, at, &err), &err);
    ck_assert_int_eq(file_close(&f, &err), LLMQ_OK);
}

static uint64_t size_of(const char *path) {
    struct file f;
    ck_assert_ok(file_open_read(path, &f, &err), &err);
    const uint64_t size = f.size;
    ck_assert_int_eq(file_close(&f, &err), LLMQ_OK);
    ck_assert_uint_gt(size, 0);
    return size;
}

/* Is the case refused by `rule`, which names the file? */
static void assert_found(const char *rule, const char *file, uint64_t at) {
    llmq_verify_report r;
    base_verify("case", false, &r);
    ck_assert_msg(!r.ok && base_lists(&r.violations, rule, file), "%s, byte %ju", file,
                  (uintmax_t)at);
    llmq_verify_report_free(&r);
}

static void assert_sound(void) {
    llmq_verify_report r;
    base_verify("case", false, &r);
    ck_assert_msg(r.ok, "%s", r.ok ? "" : r.violations.items[0].message);
    ck_assert(!base_lists(&r.warnings, "file-added", ""));
    llmq_verify_report_free(&r);
}

/* `step` bytes apart, and the last one. */
static void flip_each(const char *dir, const char *name, uint64_t step) {
    const char *rule = strcmp(name, RECORD_NAME) == 0 ? "record" : "file-changed";
    char *path = path_join(dir, name, &err);
    const uint64_t size = size_of(path);
    for (uint64_t at = 0; at < size;
         at = at + step < size || at + 1 == size ? at + step : size - 1) {
        flip(path, at);
        assert_found(rule, name, at);
        flip(path, at);
    }
    free(path);
}

START_TEST(a_flipped_bit_is_found_in_any_file) {
    static const char *const names[] = {"g", "c", "b"};
    for (size_t b = 0; b < sizeof names / sizeof names[0]; b++) {
        struct dir_list files = {0};
        char *dir = begin(names[b]);
        ck_assert_ok(dir_list_read(dir, &files, &err), &err);
        ck_assert_uint_ge(files.count, 3);
        for (size_t i = 0; i < files.count; i++) {
            char *path = path_join(dir, files.names[i], &err);
            flip_each(dir, files.names[i], size_of(path) / 7 + 1);
            free(path);
        }
        assert_sound();
        dir_list_free(&files);
        free(dir);
    }
}
END_TEST

/* Its text, its seal, the quotes of the seal. */
START_TEST(a_flipped_bit_is_found_anywhere_in_the_record) {
    char *dir = begin("g"), *path = path_join(dir, RECORD_NAME, &err);
    const uint64_t size = size_of(path);
    flip_each(dir, RECORD_NAME, 101);
    for (uint64_t at = size - 85; at < size; at++) {
        flip(path, at);
        assert_found("record", RECORD_NAME, at);
        flip(path, at);
    }
    free(path);
    free(dir);
}
END_TEST

START_TEST(files_that_are_gone_or_cut_off_are_found) {
    char *dir = begin("g"), *path = path_join(dir, "model.safetensors", &err);
    ck_assert_int_eq(truncate(path, (off_t)size_of(path) - 1), 0);
    assert_found("file-changed", "model.safetensors", 0);
    ck_assert_int_eq(unlink(path), 0);
    assert_found("file-missing", "model.safetensors", 0);
    free(path);
    free(dir);
    dir = begin("g");
    path = path_join(dir, "config.json", &err);
    ck_assert_int_eq(unlink(path), 0);
    assert_found("file-missing", "config.json", 0);
    free(path);
    free(dir);
}
END_TEST

START_TEST(files_that_were_added_are_named) {
    llmq_verify_report r;
    char *dir = begin("g"), *below = path_join(dir, "sub", &err);
    ck_assert_ok(dir_make(below, false, &err), &err);
    base_write(dir, "sub/mine.txt", "x");
    base_write(dir, ".gitattributes", "x");
    base_verify("case", false, &r);
    ck_assert(r.ok);
    ck_assert(base_lists(&r.warnings, "file-added", "sub/mine.txt"));
    ck_assert(!base_lists(&r.warnings, "file-added", ".gitattributes"));
    llmq_verify_report_free(&r);
    free(below);
    free(dir);
}
END_TEST

/* Not of llmq, or of a version that wrote no sums. */
START_TEST(folders_without_sums_are_held_to_none) {
    char *dir = begin("g"), *path = path_join(dir, RECORD_NAME, &err);
    static const char earlier[] = "{\n  \"llmq\": \"0.1.0\",\n  \"files\": [\"README.md\", "
                                  "\"config.json\", \"model.safetensors\", "
                                  "\"quantize_config.json\"]\n}\n";
    ck_assert_ok(file_write_atomic(path, earlier, sizeof earlier - 1, &err), &err);
    assert_sound();
    ck_assert_int_eq(unlink(path), 0);
    assert_sound();
    free(path);
    free(dir);
}
END_TEST

START_TEST(a_record_names_no_file_outside) {
    char *dir = begin("g");
    base_write(dir, RECORD_NAME, "{\"llmq\": \"0.1.0\", \"files\": [\"../source/config.json\"]}");
    assert_found("file-changed", "", 0);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify record");
    TCase *t = tcase_create("record");
    tcase_set_timeout(t, 300);
    tcase_add_unchecked_fixture(t, bases_setup, bases_teardown);
    tcase_add_test(t, a_flipped_bit_is_found_in_any_file);
    tcase_add_test(t, a_flipped_bit_is_found_anywhere_in_the_record);
    tcase_add_test(t, files_that_are_gone_or_cut_off_are_found);
    tcase_add_test(t, files_that_were_added_are_named);
    tcase_add_test(t, folders_without_sums_are_held_to_none);
    tcase_add_test(t, a_record_names_no_file_outside);
    suite_add_tcase(s, t);
    return run_suite(s);
}
