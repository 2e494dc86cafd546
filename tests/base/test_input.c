/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of what is read whole, by purpose; pipes and devices in the place of files. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/input.h"
#include "base/json.h"
#include "support.h"

static llmq_error err;

/* A file of so many bytes, nothing of it on disk. */
static const char *put_sparse(const char *name, size_t bytes) {
    put_file(name, "{", 1);
    const char *path = scratch_path(name);
    ck_assert_int_eq(truncate(path, (off_t)bytes), 0);
    return path;
}

/* [0,0,...,0] of so many values, the array counted. */
static const char *put_zeros(const char *name, size_t values) {
    const size_t len = 2 * values - 1;
    char *text = malloc(len);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < len; i++)
        text[i] = i % 2 ? '0' : ',';
    text[0] = '[';
    text[len - 1] = ']';
    put_file(name, text, len);
    free(text);
    return scratch_path(name);
}

START_TEST(files_above_the_limit_of_their_purpose_are_not_read) {
    for (int purpose = 0; purpose < INPUT_PURPOSES; purpose++) {
        const struct input_limit *limit = input_limit((enum input_purpose)purpose);
        char *text = NULL;
        size_t len = 0;
        ck_assert_uint_lt(limit->bytes, SIZE_MAX);
        const char *path = put_sparse("large", limit->bytes + 1);
        ck_assert_fails(input_read(path, (enum input_purpose)purpose, &text, &len, &err),
                        LLMQ_E_INPUT, "are accepted", &err);
    }
}
END_TEST

START_TEST(documents_of_too_many_values_make_no_tree) {
    const size_t most = input_limit(INPUT_SETTINGS)->values;
    struct json *root = NULL;
    ck_assert_ok(json_read(put_zeros("most", most), &root, &err), &err);
    ck_assert_uint_eq(json_count(root), most - 1);
    json_free(&root);
    const char *path = put_zeros("more", most + 1);
    ck_assert_fails(json_read(path, &root, &err), LLMQ_E_INPUT, "more than 500000 values", &err);
    ck_assert_ptr_null(root);
    ck_assert_ok(json_read_as(path, INPUT_TOKENIZER, &root, &err), &err);
    json_free(&root);
}
END_TEST

START_TEST(texts_are_not_cut_at_nul) {
    char *text = NULL;
    size_t len = 0;
    put_file("template", "{{ a }}\0{{ b }}", 15);
    ck_assert_fails(input_read(scratch_path("template"), INPUT_TEMPLATE, &text, &len, &err),
                    LLMQ_E_INPUT, "byte 7 is NUL: expected a chat template", &err);
    ck_assert_ptr_null(text);
    put_file("template", "{{ a }}", 7);
    ck_assert_ok(input_read(scratch_path("template"), INPUT_TEMPLATE, &text, &len, &err), &err);
    ck_assert_str_eq(text, "{{ a }}");
    free(text);
}
END_TEST

/* Nobody writes to the pipe: opening it would wait. The time limit of the test is the check. */
START_TEST(pipes_and_devices_are_refused_and_not_waited_for) {
    struct json *root = NULL;
    struct file f;
    bool exists = false;
    const char *pipe = scratch_path("pipe");
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    ck_assert_fails(file_open_read(pipe, &f, &err), LLMQ_E_INPUT,
                    "expected a regular file, found a device or pipe", &err);
    ck_assert_str_eq(err.hint, "write what comes from it into a file first");
    ck_assert_fails(file_open_update(pipe, &f, &err), LLMQ_E_INPUT, "pipe", &err);
    ck_assert_fails(json_read(pipe, &root, &err), LLMQ_E_INPUT, "pipe", &err);
    ck_assert_fails(file_exists(pipe, &exists, &err), LLMQ_E_INPUT, "pipe", &err);
    ck_assert_fails(file_copy(pipe, scratch_path("copy"), &err), LLMQ_E_INPUT, "pipe", &err);
    ck_assert_fails(json_read("/dev/zero", &root, &err), LLMQ_E_INPUT, "/dev/zero", &err);
}
END_TEST

int main(void) {
    Suite *s = suite_create("input");
    TCase *t = tcase_create("input");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, files_above_the_limit_of_their_purpose_are_not_read);
    tcase_add_test(t, documents_of_too_many_values_make_no_tree);
    tcase_add_test(t, texts_are_not_cut_at_nul);
    tcase_add_test(t, pipes_and_devices_are_refused_and_not_waited_for);
    suite_add_tcase(s, t);
    return run_suite(s);
}
