/* SPDX-License-Identifier: Apache-2.0 */
/* The foundation: errors, strings, files, core count. Memory and JSON have suites of their own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/log.h"
#include "base/name_index.h"
#include "base/strbuf.h"
#include "base/tally.h"
#include "llmq/printable.h"
#include "support.h"

/* --- errors ----------------------------------------------------------------------------------- */

START_TEST(errors_carry_where_and_what) {
    llmq_error err = {0};
    ck_assert_int_eq(error_set(&err, LLMQ_E_INPUT, "offset %d", 7), LLMQ_E_INPUT);
    error_hint(&err, "download it again");
    ck_assert_int_eq(error_prefix(&err, LLMQ_E_INPUT, "%s", "a.safetensors"), LLMQ_E_INPUT);
    ck_assert_str_eq(err.message, "a.safetensors: offset 7");
    ck_assert_str_eq(err.hint, "download it again");
    error_set(&err, LLMQ_E_NUMERIC, "next");
    ck_assert_str_eq(err.hint, "");
}
END_TEST

static void keep_message(void *user, enum llmq_log_level level, const char *text) {
    (void)level;
    snprintf(user, 64, "%s", text);
}

static void keep_stage(void *user, const char *what, int64_t done, int64_t total) {
    (void)done;
    (void)total;
    snprintf(user, 64, "%s", what);
}

START_TEST(names_cannot_act_on_what_shows_them) {
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"plain \\n text", "plain \\n text"},
        {"a\nllmq: all is well", "a\\nllmq: all is well"},
        {"\t\r\v", "\\t\\r\\x0b"},
        {"\033[2J\177", "\\x1b[2J\\x7f"},
        {"\xc2\x9b"
         "2J",
         "\\u009b2J"}, /* CSI as one character */
        {"caf\xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x99\x82", "caf\xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x99\x82"},
        {"\xe2\x80\xae"
         "fdp",
         "\\u202efdp"}, /* right to left from here */
        {"\xe2\x81\xa6\xe2\x80\x8b\xef\xbb\xbf", "\\u2066\\u200b\\ufeff"},
        {"\xf3\xa0\x80\x81", "\\U000e0001"},
        {"\xff\xc3", "\\xff\\xc3"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* a surrogate */
        {"\xc0\x8a", "\\xc0\\x8a"},          /* a line end in two bytes */
    };
    char out[64];
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_str_eq(llmq_printable(cases[i].text, out, sizeof out), cases[i].shown);
        ck_assert_str_eq(llmq_printable(cases[i].shown, out, sizeof out), cases[i].shown);
        error_set(&err, LLMQ_E_INPUT, "%s", cases[i].text);
        ck_assert_str_eq(err.message, cases[i].shown);
        error_hint(&err, "%s", cases[i].text);
        ck_assert_str_eq(err.hint, cases[i].shown);
        error_set(&err, LLMQ_E_INPUT, "%s", "");
        error_prefix(&err, LLMQ_E_INPUT, "%s", cases[i].text);
        ck_assert_int_eq(strncmp(err.message, cases[i].shown, strlen(cases[i].shown)), 0);
    }
    ck_assert_str_eq(llmq_printable("ab\n", out, 4), "ab"); /* no half escapes */
    ck_assert_str_eq(llmq_printable("a\xc3\xa9", out, 3), "a");
}
END_TEST

START_TEST(sinks_get_one_line) {
    char got[64] = "";
    const llmq_context ctx = {
        .size = sizeof ctx, .sink = {.user = got, .message = keep_message, .progress = keep_stage}};
    log_message(&ctx, LLMQ_LOG_INFO, "%s", "x\033]0;title\a");
    ck_assert_str_eq(got, "x\\x1b]0;title\\x07");
    log_progress(&ctx, 0, 1, "%s", "block\n1");
    ck_assert_str_eq(got, "block\\n1");
}
END_TEST

START_TEST(the_first_of_several_failures_is_kept) {
    llmq_error err = {0}, one = {0}, two = {0};
    enum llmq_status status = LLMQ_OK;
    error_set(&one, LLMQ_E_IO, "one");
    error_set(&two, LLMQ_E_MEMORY, "two");
    error_keep_first(&status, &err, LLMQ_OK, &two);
    ck_assert_int_eq(status, LLMQ_OK);
    error_keep_first(&status, &err, LLMQ_E_IO, &one);
    error_keep_first(&status, &err, LLMQ_E_MEMORY, &two);
    ck_assert_int_eq(status, LLMQ_E_IO);
    ck_assert_str_eq(err.message, "one");
    status = LLMQ_OK;
    error_keep_first(&status, NULL, LLMQ_E_MEMORY, &two);
    ck_assert_int_eq(status, LLMQ_E_MEMORY);
}
END_TEST

START_TEST(long_messages_are_cut_not_overrun) {
    llmq_error err = {0};
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_set(&err, LLMQ_E_INPUT, "%s", text);
    for (int i = 0; i < 3; i++)
        error_prefix(&err, LLMQ_E_INPUT, "%s", i ? "file" : text);
    ck_assert_uint_eq(strlen(err.message), sizeof err.message - 1);
    ck_assert_int_eq(strncmp(err.message, "file: file: xxx", 15), 0);
}
END_TEST

START_TEST(errno_decides_the_code) {
    llmq_error err = {0};
    errno = ENOENT;
    ck_assert_int_eq(error_errno(&err, "f"), LLMQ_E_NOT_FOUND);
    errno = ENOMEM;
    ck_assert_int_eq(error_errno(&err, "f"), LLMQ_E_MEMORY);
    errno = ENOSPC;
    ck_assert_int_eq(error_errno(&err, "f"), LLMQ_E_IO);
    ck_assert_int_eq(err.sys_errno, ENOSPC);
    ck_assert_int_eq(error_set(NULL, LLMQ_E_IO, "nobody listens"), LLMQ_E_IO);
}
END_TEST

START_TEST(what_the_system_says_comes_with_a_way_out) {
    static const struct {
        int number;
        const char *hint;
    } cases[] = {{ENOSPC, "make room there"}, {EDQUOT, "make room there"},
                 {EIO, "the system's log"},   {EMFILE, "ulimit -n"},
                 {ENFILE, "ulimit -n"},       {EACCES, ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        llmq_error err = {0};
        errno = cases[i].number;
        error_output(&err, "f");
        ck_assert_ptr_nonnull(strstr(err.hint, cases[i].hint));
        ck_assert(!*err.hint == !*cases[i].hint);
    }
}
END_TEST

START_TEST(exit_codes_are_the_contract) {
    static const struct {
        enum llmq_status status;
        int code;
    } rows[] = {{LLMQ_OK, 0},          {LLMQ_E_CHECK, 1},        {LLMQ_E_USAGE, 2},
                {LLMQ_E_INPUT, 3},     {LLMQ_E_UNSUPPORTED, 3},  {LLMQ_E_NOT_FOUND, 3},
                {LLMQ_E_ST_OFFSET, 3}, {LLMQ_E_IO, 4},           {LLMQ_E_MEMORY, 5},
                {LLMQ_E_NUMERIC, 6},   {LLMQ_E_INTERRUPTED, 130}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_int_eq(llmq_exit_code(rows[i].status), rows[i].code);
    ck_assert_str_eq(llmq_status_name(LLMQ_E_ST_OVERFLOW), "LLMQ_E_ST_OVERFLOW");
}
END_TEST

/* --- strings ---------------------------------------------------------------------------------- */

START_TEST(strbuf_grows) {
    struct strbuf b = {0};
    for (int i = 0; i < 1000; i++)
        strbuf_printf(&b, "%d,", i);
    strbuf_append(&b, "\0end", 4);
    ck_assert(strbuf_ok(&b));
    ck_assert_uint_eq(b.len, 10 * 2 + 90 * 3 + 900 * 4 + 4);
    char *text = strbuf_take(&b);
    ck_assert_int_eq(strncmp(text, "0,1,2,", 6), 0);
    free(text);
    text = strbuf_take(&b);
    ck_assert_str_eq(text, "");
    free(text);
}
END_TEST

/* --- files ------------------------------------------------------------------------------------ */

START_TEST(paths_join) {
    char *joined = path_join("a", "b", NULL);
    ck_assert_str_eq(joined, "a/b");
    free(joined);
    joined = path_join("a/", "b", NULL);
    ck_assert_str_eq(joined, "a/b");
    free(joined);
    ck_assert_str_eq(path_base("a/b/c"), "c");
    ck_assert_str_eq(path_base("c"), "c");
}
END_TEST

START_TEST(atomic_write_replaces_and_leaves_nothing_beside) {
    llmq_error err = {0};
    char *data = NULL;
    size_t len = 0;
    ck_assert_ok(file_write_atomic(scratch_path("f"), "old", 3, &err), &err);
    ck_assert_ok(file_write_atomic(scratch_path("f"), "newer", 5, &err), &err);
    ck_assert_ok(file_read(scratch_path("f"), 100, &data, &len, &err), &err);
    ck_assert_uint_eq(len, 5);
    ck_assert_str_eq(data, "newer");
    free(data);
    struct dir_list list = {0};
    ck_assert_ok(dir_list_read(scratch_path(""), &list, &err), &err);
    ck_assert_uint_eq(list.count, 1);
    dir_list_free(&list);
    enum llmq_status status = file_write_atomic(scratch_path("absent/f"), "x", 1, &err);
    ck_assert_fails(status, LLMQ_E_IO, "absent/f", &err);
}
END_TEST

START_TEST(reads_are_bounded_and_complete) {
    llmq_error err = {0};
    char *data = NULL;
    size_t len = 0;
    put_file("f", "0123456789", 10);
    ck_assert_fails(file_read(scratch_path("f"), 9, &data, &len, &err), LLMQ_E_INPUT, "at most 9",
                    &err);
    ck_assert_fails(file_read(scratch_path("g"), 9, &data, &len, &err), LLMQ_E_NOT_FOUND, "g",
                    &err);
    ck_assert_fails(file_read(scratch_path(""), 9, &data, &len, &err), LLMQ_E_INPUT,
                    "expected a regular file, found a folder", &err);
    struct file f;
    char buf[10];
    ck_assert_ok(file_open_read(scratch_path("f"), &f, &err), &err);
    ck_assert_uint_eq(f.size, 10);
    ck_assert_ok(file_pread(&f, buf, 4, 6, &err), &err);
    ck_assert_int_eq(memcmp(buf, "6789", 4), 0);
    ck_assert_fails(file_pread(&f, buf, 5, 6, &err), LLMQ_E_IO, "ends at byte 10", &err);
    put_file("f", "0123", 4); /* somebody cuts it off meanwhile */
    ck_assert_fails(file_pread(&f, buf, 4, 6, &err), LLMQ_E_INPUT,
                    "changed while it was being read: it had 10 bytes, and ends at byte 6 now",
                    &err);
    file_close(&f, &err);
    file_close(&f, &err);
}
END_TEST

START_TEST(folders_are_removed_with_content_and_without_following_links) {
    llmq_error err = {0};
    char *keep = path_join(scratch_path(""), "keep", NULL);
    char *gone = path_join(scratch_path(""), "gone", NULL);
    char *inner = path_join(gone, "inner", NULL), *link = path_join(gone, "link", NULL);
    ck_assert_ok(dir_make(keep, false, &err), &err);
    put_file("keep/f", "x", 1);
    ck_assert_ok(dir_make(gone, false, &err), &err);
    ck_assert_fails(dir_make(gone, false, &err), LLMQ_E_IO, "gone", &err);
    ck_assert_ok(dir_make(gone, true, &err), &err);
    ck_assert_ok(dir_make(inner, false, &err), &err);
    put_file("gone/inner/f", "x", 1);
    ck_assert_int_eq(symlink(keep, link), 0);
    ck_assert_ok(dir_remove(gone, &err), &err);
    ck_assert(!path_is_dir(gone));
    ck_assert(path_is_file(scratch_path("keep/f")));
    ck_assert_ok(dir_remove(gone, &err), &err);
    free(keep);
    free(gone);
    free(inner);
    free(link);
}
END_TEST

START_TEST(only_a_name_that_is_not_there_is_absent) {
    llmq_error err = {0};
    static const struct {
        const char *name;
        enum path_kind kind;
    } known[] = {{"f", PATH_FILE},    {"good", PATH_FILE},      {"d", PATH_FOLDER},
                 {"n", PATH_ABSENT},  {"f/below", PATH_ABSENT}, {"n/below", PATH_ABSENT},
                 {"pipe", PATH_OTHER}};
    bool exists = true;
    put_file("f", "x", 1);
    ck_assert_ok(dir_make(scratch_path("d"), false, &err), &err);
    ck_assert_int_eq(mkfifo(scratch_path("pipe"), 0600), 0);
    ck_assert_int_eq(symlink("f", scratch_path("good")), 0);
    ck_assert_int_eq(symlink("../blobs/0a1b", scratch_path("dangling")), 0);
    ck_assert_int_eq(symlink("loop", scratch_path("loop")), 0);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        enum path_kind kind = PATH_OTHER;
        ck_assert_ok(path_look(scratch_path(known[i].name), &kind, &err), &err);
        ck_assert_msg(kind == known[i].kind, "%s", known[i].name);
    }
    ck_assert_ok(file_exists(scratch_path("good"), &exists, &err), &err);
    ck_assert(exists);
    ck_assert_ok(file_exists(scratch_path("n"), &exists, &err), &err);
    ck_assert(!exists);
    ck_assert_fails(file_exists(scratch_path("dangling"), &exists, &err), LLMQ_E_INPUT,
                    "/dangling: a link to ../blobs/0a1b, which is not there", &err);
    ck_assert_fails(file_exists(scratch_path("loop"), &exists, &err), LLMQ_E_IO, "/loop: ", &err);
    ck_assert_fails(file_exists(scratch_path("d"), &exists, &err), LLMQ_E_INPUT,
                    "expected a regular file, found a folder", &err);
    ck_assert_fails(file_exists(scratch_path("pipe"), &exists, &err), LLMQ_E_INPUT, "a device",
                    &err);
}
END_TEST

START_TEST(copies_follow_symlinks_to_regular_files) {
    llmq_error err = {0};
    struct stat st;
    put_file("blob", "content", 7);
    char *blob = path_join(scratch_path(""), "blob", NULL);
    char *link = path_join(scratch_path(""), "link", NULL);
    char *copy = path_join(scratch_path(""), "copy", NULL);
    ck_assert_int_eq(symlink(blob, link), 0);
    ck_assert_ok(file_copy(link, copy, &err), &err);
    ck_assert_int_eq(lstat(copy, &st), 0);
    ck_assert(S_ISREG(st.st_mode));
    ck_assert_int_eq((int)st.st_size, 7);
    free(blob);
    free(link);
    free(copy);
}
END_TEST

START_TEST(cpu_and_memory_are_sane) {
    ck_assert_int_ge(cpu_count(), 1);
    ck_assert_uint_gt(memory_available(), 0);
    ck_assert_uint_gt(memory_peak(), 1 << 20);
}
END_TEST

START_TEST(a_tally_puts_all_time_down) {
    struct tally t;
    tally_start(&t);
    const double start = t.last;
    tally_read(&t, TALLY_LINEAR, 10);
    tally_read(&t, TALLY_READ, 0);
    tally_read(&t, TALLY_LINEAR, 5);
    double sum = 0;
    for (enum tally_kind kind = 0; kind < TALLY_KINDS; kind++) {
        sum += t.seconds[kind];
        ck_assert_ptr_nonnull(tally_name(kind));
    }
    ck_assert_double_eq_tol(sum, t.last - start, 1e-9);
    ck_assert(t.flops[TALLY_LINEAR] == 15 && t.flops[TALLY_READ] == 0);
    tally_read(NULL, TALLY_READ, 0); /* nobody asks */
}
END_TEST

/* --- names ------------------------------------------------------------------------------------ */

static const char *listed(const void *list, int64_t i) {
    return ((const char *const *)list)[i];
}

START_TEST(names_are_found_by_their_first_place) {
    static const char *const list[] = {"b", "a.w", "", "a", "a.w.x", "a.w"};
    llmq_error err = {0};
    struct name_index names;
    ck_assert_ok(name_index_create(list, 6, listed, &names, &err), &err);
    ck_assert_int_eq(name_index_find(&names, "a.w", 3), 1);
    ck_assert_int_eq(name_index_find(&names, "a.w.x", 1), 3); /* of so many bytes */
    ck_assert_int_eq(name_index_find(&names, "", 0), 2);
    ck_assert_int_eq(name_index_find(&names, "a.", 2), -1);
    ck_assert_int_eq(name_index_find(&names, "c", 1), -1);
    name_index_free(&names);
    ck_assert_ok(name_index_create(list, 0, listed, &names, &err), &err);
    ck_assert_int_eq(name_index_find(&names, "a", 1), -1);
    name_index_free(&names);
}
END_TEST

int main(void) {
    Suite *s = suite_create("base");
    TCase *plain = tcase_create("plain"), *files = tcase_create("files");
    tcase_add_test(plain, errors_carry_where_and_what);
    tcase_add_test(plain, names_cannot_act_on_what_shows_them);
    tcase_add_test(plain, sinks_get_one_line);
    tcase_add_test(plain, the_first_of_several_failures_is_kept);
    tcase_add_test(plain, long_messages_are_cut_not_overrun);
    tcase_add_test(plain, errno_decides_the_code);
    tcase_add_test(plain, what_the_system_says_comes_with_a_way_out);
    tcase_add_test(plain, exit_codes_are_the_contract);
    tcase_add_test(plain, strbuf_grows);
    tcase_add_test(plain, paths_join);
    tcase_add_test(plain, a_tally_puts_all_time_down);
    tcase_add_test(plain, cpu_and_memory_are_sane);
    suite_add_tcase(s, plain);
    tcase_add_checked_fixture(files, scratch_setup, scratch_teardown);
    tcase_add_test(files, atomic_write_replaces_and_leaves_nothing_beside);
    tcase_add_test(files, reads_are_bounded_and_complete);
    tcase_add_test(files, folders_are_removed_with_content_and_without_following_links);
    tcase_add_test(files, only_a_name_that_is_not_there_is_absent);
    tcase_add_test(files, copies_follow_symlinks_to_regular_files);
    tcase_add_test(files, names_are_found_by_their_first_place);
    suite_add_tcase(s, files);
    return run_suite(s);
}
