/* SPDX-License-Identifier: Apache-2.0 */
/* Removing folders and telling places apart: links, mounts of names, and somebody who swaps names
 * meanwhile. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/location.h"
#include "support.h"

static llmq_error err;

static void make(const char *name) {
    ck_assert_ok(dir_make(scratch_path(name), false, &err), &err);
}

static void make_link(const char *target, const char *name) {
    ck_assert_int_eq(symlink(target, scratch_path(name)), 0);
}

static bool there(const char *name) {
    struct stat st;
    return lstat(scratch_path(name), &st) == 0;
}

/* --- removal ---------------------------------------------------------------------------------- */

START_TEST(a_link_or_a_file_in_place_of_the_folder_stays) {
    make("keep");
    put_file("keep/f", "x", 1);
    make_link("keep", "link");
    ck_assert_fails(dir_remove(scratch_path("link"), &err), LLMQ_E_IO, "link", &err);
    ck_assert(there("link") && there("keep/f"));
    ck_assert_fails(dir_remove(scratch_path("keep/f"), &err), LLMQ_E_IO, "f", &err);
    ck_assert(there("keep/f"));
    ck_assert_ok(dir_remove(scratch_path("absent"), &err), &err);
}
END_TEST

START_TEST(trees_are_removed_and_what_links_lead_to_is_not) {
    enum { DEPTH = 200 };
    char path[2 * DEPTH + 8] = "deep";
    make("keep");
    put_file("keep/f", "x", 1);
    make("deep");
    for (int i = 0; i < DEPTH; i++) {
        strcat(path, "/d");
        make(path);
    }
    strcat(path, "/l");
    ck_assert_int_eq(symlink(scratch_path("keep"), scratch_path(path)), 0);
    make_link("../keep", "deep/l");
    make_link("nowhere", "deep/dangling");
    ck_assert_int_eq(mkfifo(scratch_path("deep/pipe"), 0600), 0);
    ck_assert_ok(dir_remove(scratch_path("deep"), &err), &err);
    ck_assert(!there("deep") && there("keep/f"));
}
END_TEST

START_TEST(clearing_keeps_names_at_the_top_only) {
    static const char *const keep[] = {"lock", NULL};
    make("d");
    make("d/sub");
    put_file("d/lock", "x", 1);
    put_file("d/other", "x", 1);
    put_file("d/sub/lock", "x", 1);
    const int fd = dir_open(scratch_path("d"));
    ck_assert_int_ge(fd, 0);
    ck_assert_ok(dir_clear(fd, "d", keep, &err), &err);
    close(fd);
    ck_assert(there("d/lock") && !there("d/other") && !there("d/sub"));
}
END_TEST

/* Swap the folder `d/sub` for a link to `keep` and back, as fast as it goes. */
static void swap_for_ever(void) {
    char sub[512], aside[512], link[512];
    strcpy(sub, scratch_path("d/sub"));
    strcpy(aside, scratch_path("d/aside"));
    strcpy(link, scratch_path("keep"));
    for (;;) {
        if (rename(sub, aside) == 0 && symlink(link, sub) == 0)
            (void)unlink(sub);
        (void)rename(aside, sub);
    }
}

START_TEST(whoever_swaps_names_meanwhile_leads_removal_nowhere) {
    make("keep");
    make("keep/in");
    put_file("keep/f", "x", 1);
    put_file("keep/in/g", "x", 1);
    make("d");
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        swap_for_ever();
    for (int i = 0; i < 500; i++) {
        /* Fails now and then, and has to: what counts is what is left. */
        (void)mkdir(scratch_path("d"), 0700);
        (void)mkdir(scratch_path("d/sub"), 0700);
        const int fd = open(scratch_path("d/sub/f"), O_CREAT | O_WRONLY | O_NOFOLLOW, 0600);
        if (fd >= 0)
            close(fd);
        (void)(dir_remove(scratch_path("d"), NULL) == LLMQ_OK);
        ck_assert(there("keep/in/g"));
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert(there("keep/in/g"));
}
END_TEST

START_TEST(a_new_file_is_never_written_through_what_has_its_name) {
    struct file f;
    char *data = NULL;
    size_t len = 0;
    put_file("precious", "precious", 8);
    make_link("precious", "f");
    ck_assert_ok(file_create(scratch_path("f"), 4, &f, &err), &err);
    ck_assert_ok(file_pwrite(&f, "mine", 4, 0, &err), &err);
    file_close(&f, &err);
    ck_assert_int_eq(link(scratch_path("precious"), scratch_path("g")), 0);
    ck_assert_ok(file_write_atomic(scratch_path("g"), "mine", 4, &err), &err);
    ck_assert_ok(file_read(scratch_path("precious"), 100, &data, &len, &err), &err);
    ck_assert_str_eq(data, "precious");
    free(data);
    make("folder");
    ck_assert_fails(file_create(scratch_path("folder"), 0, &f, &err), LLMQ_E_IO, "folder", &err);
    ck_assert_fails(file_create(scratch_path("absent/f"), 0, &f, &err), LLMQ_E_IO, "absent", &err);
}
END_TEST

/* --- places ----------------------------------------------------------------------------------- */

static struct location find(const char *name) {
    struct location l;
    ck_assert_ok(location_find(scratch_path(name), &l, &err), &err);
    return l;
}

static bool same(const char *a, const char *b) {
    struct location x = find(a), y = find(b);
    const bool found = location_same(&x, &y);
    ck_assert(location_same(&y, &x) == found);
    location_free(&x);
    location_free(&y);
    return found;
}

static bool within(const char *inner, const char *outer) {
    struct location x = find(inner), y = find(outer);
    const bool found = location_within(&x, &y);
    ck_assert(!found || !location_within(&y, &x));
    location_free(&x);
    location_free(&y);
    return found;
}

START_TEST(places_are_told_by_what_they_are) {
    make("a");
    make("a/b");
    make("ab");
    put_file("a/f", "x", 1);
    make_link("a", "l");
    make_link("../l/b", "ab/m");
    ck_assert_int_eq(link(scratch_path("a/f"), scratch_path("hard")), 0);
    ck_assert(same("a", "l") && same("a", "a/") && same("a", "a/b/..") && same("a", "./ab/.././a"));
    ck_assert(same("ab/m", "a/b") && same("a/f", "l/f") && same("hard", "a/f"));
    ck_assert(!same("a", "ab") && !same("a", "a/b"));
    ck_assert(within("a/b", "a") && within("a/b", "l") && within("ab/m", "a") && within("a/f", ""));
    ck_assert(!within("a", "a") && !within("a", "a/b") && !within("ab", "a") && !within("ab", "l"));
}
END_TEST

START_TEST(what_does_not_exist_lies_where_it_would_be_made) {
    make("a");
    make_link("a", "l");
    struct location l = find("l/x/y");
    ck_assert_uint_eq(l.missing, 2);
    ck_assert_str_eq(path_base(l.existing), "a");
    location_free(&l);
    ck_assert(within("a/x", "a") && within("l/x/y/z", "a") && within("x", ""));
    ck_assert(!within("x", "a") && !same("a/x", "a/x") && !within("a", "a/x") && !same("a", "x"));
}
END_TEST

START_TEST(paths_that_lead_nowhere_are_errors) {
    struct location l;
    put_file("f", "x", 1);
    make_link("nowhere", "dangling");
    make_link("loop", "loop");
    ck_assert_fails(location_find(scratch_path("f/x"), &l, &err), LLMQ_E_IO, "f/x", &err);
    ck_assert_fails(location_find(scratch_path("dangling"), &l, &err), LLMQ_E_IO, "leads nowhere",
                    &err);
    ck_assert_fails(location_find(scratch_path("dangling/x"), &l, &err), LLMQ_E_IO, "leads nowhere",
                    &err);
    ck_assert_fails(location_find(scratch_path("dangling//"), &l, &err), LLMQ_E_IO, "leads nowhere",
                    &err);
    ck_assert_fails(location_find(scratch_path("loop"), &l, &err), LLMQ_E_IO, "loop", &err);
    ck_assert_fails(location_find(scratch_path("x/../f"), &l, &err), LLMQ_E_IO, "x/..", &err);
}
END_TEST

START_TEST(the_root_holds_everything) {
    struct location root, here;
    ck_assert_ok(location_find("/", &root, &err), &err);
    ck_assert_ok(location_find(".", &here, &err), &err);
    ck_assert_uint_eq(root.count, 1);
    ck_assert(location_within(&here, &root) && !location_within(&root, &here));
    location_free(&root);
    location_free(&here);
    ck_assert_ok(location_find("absent", &here, &err), &err);
    ck_assert_uint_eq(here.missing, 1);
    location_free(&here);
}
END_TEST

int main(void) {
    Suite *s = suite_create("folders");
    TCase *t = tcase_create("folders");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, a_link_or_a_file_in_place_of_the_folder_stays);
    tcase_add_test(t, trees_are_removed_and_what_links_lead_to_is_not);
    tcase_add_test(t, clearing_keeps_names_at_the_top_only);
    tcase_add_test(t, whoever_swaps_names_meanwhile_leads_removal_nowhere);
    tcase_add_test(t, a_new_file_is_never_written_through_what_has_its_name);
    tcase_add_test(t, places_are_told_by_what_they_are);
    tcase_add_test(t, what_does_not_exist_lies_where_it_would_be_made);
    tcase_add_test(t, paths_that_lead_nowhere_are_errors);
    tcase_add_test(t, the_root_holds_everything);
    suite_add_tcase(s, t);
    return run_suite(s);
}
