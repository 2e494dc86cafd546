/* SPDX-License-Identifier: Apache-2.0 */
/* The place of a result from its choice to its name, on systems that can exchange folders and on
 * those that cannot. The suite comes between the code under test and renameat2 at link time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "pipeline/claim.h"
#include "pipeline/marker.h"
#include "pipeline/output.h"
#include "support.h"

static llmq_error err;

/* What renameat2 fails with; 0: the system's own. */
static int rename_errno;

int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    if (!rename_errno)
        return __real_renameat2(from_fd, from, to_fd, to, flags);
    errno = rename_errno;
    return -1;
}

/* What looking at this name in a folder fails with EIO at, NULL for nothing. */
static const char *unseen;

int __real_fstatat64(int fd, const char *path, struct stat *st, int flags);
int __wrap_fstatat64(int fd, const char *path, struct stat *st, int flags);

int __wrap_fstatat64(int fd, const char *path, struct stat *st, int flags) {
    if (!unseen || strcmp(path, unseen) != 0)
        return __real_fstatat64(fd, path, st, flags);
    errno = EIO;
    return -1;
}

/* Each test runs on both kinds of system. */
static const int systems[] = {0, EINVAL, ENOSYS};

static void setup(void) {
    scratch_setup();
    ck_assert_ok(dir_make(scratch_path("model"), false, &err), &err);
    put_file("model/config.json", "{}", 2);
}

static void teardown(void) {
    rename_errno = 0;
    unseen = NULL;
    scratch_teardown();
}

static bool there(const char *name) {
    struct stat st;
    return lstat(scratch_path(name), &st) == 0;
}

static bool holds(const char *name, const char *text) {
    char *data = NULL;
    size_t len = 0;
    const bool same =
        file_read(scratch_path(name), 100, &data, &len, NULL) == LLMQ_OK && strcmp(data, text) == 0;
    free(data);
    return same;
}

static enum llmq_status choose(struct output *out, bool force) {
    char *dir = strdup(scratch_path("out"));
    enum llmq_status status = output_choose_at(dir, scratch_path("model"), force, false, out, &err);
    free(dir);
    return status;
}

/* The marker of a result that holds these files beside what a run writes by itself. */
static enum llmq_status mark(const char *dir, const struct json *record,
                             const struct companions *companions) {
    struct json *files = NULL;
    ck_assert_ok(marker_files(dir, companions, NULL, &files, &err), &err);
    struct marker_end end = {
        .report = json_new_object(), .files = files, .run = marker_run(0, NULL)};
    return marker_write(dir, record, &end, &err);
}

/* Choose, prepare and write a result of one file. */
static void grow(struct output *out, bool force, const char *text) {
    ck_assert_ok(choose(out, force), &err);
    ck_assert_ok(output_prepare(out, OUTPUT_MAKE, &err), &err);
    put_file("out.partial/weights", text, strlen(text));
    struct companion written = {.name = (char[]){"weights"}};
    const struct companions companions = {.files = &written, .count = 1};
    struct json *record = marker_record("test", json_new_object(), json_new_object());
    ck_assert_ok(mark(out->partial_dir, record, &companions), &err);
    json_free(&record);
}

static void finish(const char *text, bool force) {
    struct output out = {0};
    grow(&out, force, text);
    ck_assert_ok(output_commit(&out, &err), &err);
    output_free(&out);
}

/* Names in the scratch folder: the model and the result, and nothing else. */
static void assert_tidy(size_t expected) {
    struct dir_list list;
    ck_assert_ok(dir_list_read(scratch, &list, &err), &err);
    ck_assert_uint_eq(list.count, expected);
    dir_list_free(&list);
}

START_TEST(results_are_put_in_place_and_replaced) {
    rename_errno = systems[_i];
    finish("first", false);
    ck_assert(holds("out/weights", "first") && !there("out/llmq.lock"));
    assert_tidy(2);
    finish("second", true);
    ck_assert(holds("out/weights", "second") && !there("out/llmq.lock"));
    assert_tidy(2);
    struct output out = {0};
    ck_assert_fails(choose(&out, false), LLMQ_E_USAGE, "out exists", &err);
}
END_TEST

START_TEST(an_empty_folder_gives_way_where_it_was_seen_before) {
    struct output out = {0};
    rename_errno = systems[_i];
    ck_assert_ok(dir_make(scratch_path("out"), false, &err), &err);
    finish("first", false);
    ck_assert_ok(dir_remove(scratch_path("out"), &err), &err);
    grow(&out, false, "second");
    ck_assert_ok(dir_make(scratch_path("out"), false, &err), &err);
    put_file("out/mine", "x", 1);
    ck_assert_fails(output_commit(&out, &err), LLMQ_E_IO, "appeared", &err);
    ck_assert(holds("out/mine", "x") && holds("out.partial/weights", "second"));
    output_free(&out);
}
END_TEST

START_TEST(what_appears_is_replaced_only_if_it_is_a_result) {
    static const char *const wrong[] = {"file", "folder", "link", "more"};
    rename_errno = systems[_i];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct output out = {0};
        finish("first", true);
        if (strcmp(wrong[i], "more") != 0)
            ck_assert_ok(dir_remove(scratch_path("out"), &err), &err);
        grow(&out, true, "second");
        if (strcmp(wrong[i], "file") == 0)
            put_file("out", "mine", 4);
        if (strcmp(wrong[i], "folder") == 0)
            ck_assert_ok(dir_make(scratch_path("out"), false, &err), &err);
        if (strcmp(wrong[i], "link") == 0)
            ck_assert_int_eq(symlink("model", scratch_path("out")), 0);
        if (strcmp(wrong[i], "folder") == 0 || strcmp(wrong[i], "more") == 0)
            put_file("out/mine", "mine", 4);
        ck_assert_int_eq(output_commit(&out, &err), LLMQ_E_IO);
        ck_assert(holds("out.partial/weights", "second") && holds("model/config.json", "{}"));
        ck_assert(there("out/mine") || !path_is_dir(scratch_path("out")) || i == 2);
        output_free(&out);
        if (unlink(scratch_path("out")) != 0)
            ck_assert_ok(dir_remove(scratch_path("out"), &err), &err);
        ck_assert_ok(dir_remove(scratch_path("out.partial"), &err), &err);
    }
}
END_TEST

START_TEST(a_system_that_refuses_leaves_both) {
    struct output out = {0};
    finish("first", false);
    grow(&out, true, "second");
    rename_errno = EACCES;
    ck_assert_fails(output_commit(&out, &err), LLMQ_E_IO, "cannot change places", &err);
    ck_assert(holds("out/weights", "first") && holds("out.partial/weights", "second"));
    ck_assert(!there("out/llmq.lock"));
    output_free(&out);
}
END_TEST

START_TEST(the_only_result_left_is_never_discarded) {
    struct output out = {0};
    finish("first", false);
    grow(&out, true, "second");
    rename_errno = EXDEV;
    ck_assert_fails(output_commit(&out, &err), LLMQ_E_IO, "cannot rename", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "complete in"));
    ck_assert_ok(output_discard(&out, &err), &err);
    ck_assert(!there("out") && holds("out.partial/weights", "second"));
    output_free(&out);
}
END_TEST

START_TEST(a_folder_that_was_swapped_is_not_made_the_result) {
    struct output out = {0};
    grow(&out, false, "mine");
    ck_assert_int_eq(rename(scratch_path("out.partial"), scratch_path("aside")), 0);
    ck_assert_int_eq(symlink("model", scratch_path("out.partial")), 0);
    ck_assert_fails(output_commit(&out, &err), LLMQ_E_IO, "moved or replaced", &err);
    ck_assert(!there("out") && holds("model/config.json", "{}"));
    ck_assert_ok(output_discard(&out, &err), &err);
    ck_assert(holds("model/config.json", "{}") && there("out.partial"));
    output_free(&out);
}
END_TEST

START_TEST(a_claim_excludes_every_other) {
    struct claim a = {0}, b = {0};
    enum claim_state state;
    char *dir = strdup(scratch_path("out.partial"));
    ck_assert_ok(claim_look(dir, &state, &err), &err);
    ck_assert_int_eq(state, CLAIM_ABSENT);
    ck_assert_ok(claim_take(dir, &a, &err), &err);
    ck_assert_fails(claim_take(dir, &b, &err), LLMQ_E_IO, "another process", &err);
    ck_assert(!b.held);
    ck_assert_ok(claim_look(dir, &state, &err), &err);
    ck_assert_int_eq(state, CLAIM_BUSY);
    claim_release(&a);
    claim_release(&a);
    ck_assert_ok(claim_look(dir, &state, &err), &err);
    ck_assert_int_eq(state, CLAIM_BEGUN);
    ck_assert_ok(claim_take(dir, &b, &err), &err);
    put_file("out.partial/f", "x", 1);
    ck_assert_ok(claim_remove(&b, dir, &err), &err);
    ck_assert(!there("out.partial") && !b.held);
    free(dir);
}
END_TEST

START_TEST(only_folders_of_runs_are_claimed) {
    static const char *const ours[] = {"llmq.lock", "llmq-journal.jsonl"};
    struct claim c = {0};
    enum claim_state state;
    char *dir = strdup(scratch_path("out.partial"));
    ck_assert_ok(dir_make(dir, false, &err), &err);
    put_file("out.partial/thesis", "x", 1);
    ck_assert_fails(claim_take(dir, &c, &err), LLMQ_E_USAGE, "'thesis'", &err);
    ck_assert(!there("out.partial/llmq.lock"));
    /* A link by the name of the lock, and a folder by the journal's, say nothing. */
    ck_assert_int_eq(symlink("thesis", scratch_path("out.partial/llmq.lock")), 0);
    ck_assert_ok(dir_make(scratch_path("out.partial/llmq-journal.jsonl"), false, &err), &err);
    ck_assert_fails(claim_take(dir, &c, &err), LLMQ_E_USAGE, "'thesis'", &err);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_ok(dir_remove(dir, &err), &err);
        ck_assert_ok(dir_make(dir, false, &err), &err);
        ck_assert_ok(claim_look(dir, &state, &err), &err);
        ck_assert_int_eq(state, CLAIM_EMPTY);
        put_file("out.partial/weights", "x", 1);
        char name[64] = "out.partial/";
        put_file(strcat(name, ours[i]), "", 0);
        ck_assert_ok(claim_take(dir, &c, &err), &err);
        ck_assert_ok(claim_clear(&c, dir, &err), &err);
        ck_assert(!there("out.partial/weights") && there("out.partial/llmq.lock"));
        claim_release(&c);
    }
    free(dir);
}
END_TEST

START_TEST(markers_do_not_claim_what_somebody_put_there) {
    const struct companions none = {0};
    struct json *record = marker_record("rtn", json_new_object(), json_new_object());
    ck_assert_ok(dir_make(scratch_path("r"), false, &err), &err);
    ck_assert_ok(dir_make(scratch_path("r/sub"), false, &err), &err);
    put_file("r/config.json", "x", 1);
    put_file("r/model-00001-of-00002.safetensors", "x", 1);
    put_file("r/model.safetensors.index.json", "x", 1);
    put_file("r/model.layers.0.mlp.up_proj.onnx", "x", 1);
    put_file("r/model.gguf", "x", 1);
    put_file("r/quantize_config.json", "x", 1);
    ck_assert_ok(mark(scratch_path("r"), record, &none), &err);
    const int fd = dir_open(scratch_path("r"));
    ck_assert_ok(marker_check(fd, "r", &err), &err);
    static const char *const theirs[] = {"r/notes.txt", "r/sub/model.safetensors"};
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++) {
        put_file(theirs[i], "x", 1);
        ck_assert_ok(mark(scratch_path("r"), record, &none), &err);
        ck_assert_fails(marker_check(fd, "r", &err), LLMQ_E_USAGE, strchr(theirs[i], '/') + 1,
                        &err);
        ck_assert_int_eq(unlink(scratch_path(theirs[i])), 0);
    }
    json_free(&record);
    close(fd);
}
END_TEST

/* What cannot be looked at is not taken for absent: the disk is at fault, not the command. */
START_TEST(a_folder_that_cannot_be_looked_into_is_no_foreign_one) {
    static const char *const names[] = {"llmq.lock", "llmq-journal.jsonl"};
    struct output out = {0};
    grow(&out, false, "text");
    for (size_t i = 0; i < 2; i++) {
        enum claim_state state;
        unseen = names[i];
        ck_assert_fails(claim_look(scratch_path("out.partial"), &state, &err), LLMQ_E_IO, names[i],
                        &err);
        ck_assert_fails(claim_tidy(scratch_path("out.partial"), &err), LLMQ_E_IO, names[i], &err);
    }
    output_free(&out);
}
END_TEST

/* A part that memory was short for is not written as one that is empty. */
START_TEST(a_record_without_a_part_is_none) {
    struct json *record = marker_record("rtn", NULL, json_new_object());
    const struct companions none = {.count = 0};
    ck_assert(!json_complete(record));
    ck_assert_ok(dir_make(scratch_path("r"), false, &err), &err);
    ck_assert_int_eq(mark(scratch_path("r"), record, &none), LLMQ_E_MEMORY);
    ck_assert(!there("r/llmq.json"));
    json_free(&record);
}
END_TEST

START_TEST(markers_name_what_is_the_results) {
    char *data = NULL;
    size_t len = 0;
    ck_assert_ok(dir_make(scratch_path("r"), false, &err), &err);
    ck_assert_ok(dir_make(scratch_path("r/sub"), false, &err), &err);
    put_file("r/b", "x", 1);
    put_file("r/a", "x", 1);
    put_file("r/sub/llmq.lock", "x", 1); /* of the run only at the top */
    put_file("r/llmq.lock", "x", 1);
    struct companion written[] = {
        {.name = (char[]){"a"}}, {.name = (char[]){"b"}}, {.name = (char[]){"sub/llmq.lock"}}};
    const struct companions companions = {.files = written, .count = 3};
    struct json *options = json_new_object();
    json_add_int64(options, "bits", 4);
    struct json *record = marker_record("rtn", options, json_new_object());
    ck_assert_ok(mark(scratch_path("r"), record, &companions), &err);
    json_free(&record);
    ck_assert_ok(file_read(scratch_path("r/llmq.json"), 10000, &data, &len, &err), &err);
    ck_assert_ptr_nonnull(strstr(data, "\"command\": \"rtn\""));
    ck_assert_ptr_nonnull(strstr(data, "\"bits\": 4"));
    static const char *const names[] = {"\"a\"", "\"b\"", "\"sub/llmq.lock\""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ck_assert_ptr_nonnull(strstr(data, names[i]));
    ck_assert_ptr_null(strstr(data, "\"llmq.lock\""));
    ck_assert_int_eq(record_check_seal(data, len), RECORD_SEALED);
    free(data);
    const int fd = dir_open(scratch_path("r"));
    ck_assert_ok(marker_check(fd, "r", &err), &err);
    ck_assert_int_eq(unlink(scratch_path("r/a")), 0); /* less than there was is fine */
    ck_assert_ok(marker_check(fd, "r", &err), &err);
    put_file("r/sub/c", "x", 1);
    ck_assert_fails(marker_check(fd, "r", &err), LLMQ_E_USAGE, "'sub/c'", &err);
    close(fd);
}
END_TEST

int main(void) {
    Suite *s = suite_create("output");
    TCase *t = tcase_create("place");
    const int count = (int)(sizeof systems / sizeof systems[0]);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, results_are_put_in_place_and_replaced, 0, count);
    tcase_add_loop_test(t, an_empty_folder_gives_way_where_it_was_seen_before, 0, count);
    tcase_add_loop_test(t, what_appears_is_replaced_only_if_it_is_a_result, 0, count);
    tcase_add_test(t, a_system_that_refuses_leaves_both);
    tcase_add_test(t, the_only_result_left_is_never_discarded);
    tcase_add_test(t, a_folder_that_was_swapped_is_not_made_the_result);
    tcase_add_test(t, a_claim_excludes_every_other);
    tcase_add_test(t, only_folders_of_runs_are_claimed);
    tcase_add_test(t, a_folder_that_cannot_be_looked_into_is_no_foreign_one);
    tcase_add_test(t, a_record_without_a_part_is_none);
    tcase_add_test(t, markers_name_what_is_the_results);
    tcase_add_test(t, markers_do_not_claim_what_somebody_put_there);
    suite_add_tcase(s, t);
    return run_suite(s);
}
