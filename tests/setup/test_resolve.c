/* SPDX-License-Identifier: Apache-2.0 */
/* From a name to the folder of a model: places in their order, caches of Hugging Face with and
 * without refs, revisions, files inside of a folder, and what is said when there is nothing. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/strbuf.h"
#include "llmq/model.h"
#include "support.h"

/* Every variable that names a place; a test sets what it needs. */
static const char *const variables[] = {
    "LLMQ_MODELS",        "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
    "TRANSFORMERS_CACHE", "HOME",         "XDG_CACHE_HOME",
};

static char *saved_home;

static void setup(void) {
    scratch_setup();
    saved_home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
}

static void teardown(void) {
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
    if (saved_home)
        setenv("HOME", saved_home, 1);
    free(saved_home);
    scratch_teardown();
}

/* A folder in the scratch folder with those above it. */
static void put_folder(const char *name) {
    char part[256];
    llmq_error err = {0};
    for (const char *p = name; p; p = strchr(p + 1, '/')) {
        const char *end = strchr(p + 1, '/');
        const size_t len = end ? (size_t)(end - name) : strlen(name);
        memcpy(part, name, len);
        part[len] = '\0';
        ck_assert_ok(dir_make(scratch_path(part), true, &err), &err);
    }
}

/* `spec` is found, at `place` in the scratch folder. */
static void assert_found(const char *spec, const char *place) {
    llmq_error err = {0};
    char *path = NULL;
    ck_assert_ok(llmq_model_resolve(spec, &path, &err), &err);
    ck_assert_str_eq(path, scratch_path(place));
    free(path);
}

/* `spec` is not found, and the hint holds `hint`. */
static void assert_missed(const char *spec, const char *hint) {
    llmq_error err = {0};
    char *path = NULL;
    ck_assert_fails(llmq_model_resolve(spec, &path, &err), LLMQ_E_NOT_FOUND, "not found", &err);
    ck_assert_msg(strstr(err.hint, hint) != NULL, "hint lacks '%s': %s", hint, err.hint);
    ck_assert_ptr_null(path);
}

START_TEST(test_the_hub_cache_by_refs_and_snapshots) {
    put_folder("hub/models--org--name/refs");
    put_folder("hub/models--org--name/snapshots");
    put_file("hub/models--org--name/refs/main", "abc123\n", 7);
    setenv("HF_HUB_CACHE", scratch_path("hub"), 1);
    assert_missed("org/name", "models--org--name/snapshots/abc123");
    put_folder("hub/models--org--name/snapshots/abc123");
    put_folder("hub/models--org--name/snapshots/def456");
    assert_found("org/name", "hub/models--org--name/snapshots/abc123");
    /* A snapshot that is a link to nothing. */
    ck_assert_int_eq(rmdir(scratch_path("hub/models--org--name/snapshots/abc123")), 0);
    ck_assert_int_eq(
        symlink("/nowhere/abc123", scratch_path("hub/models--org--name/snapshots/abc123")), 0);
    assert_missed("org/name", "abc123: a link to /nowhere/abc123, which is not");
}
END_TEST

START_TEST(test_a_revision_is_a_branch_a_tag_or_a_commit) {
    put_folder("hub/models--org--name/refs/refs/pr");
    put_folder("hub/models--org--name/snapshots/abc123");
    put_folder("hub/models--org--name/snapshots/def456");
    put_file("hub/models--org--name/refs/main", "abc123", 6);
    put_file("hub/models--org--name/refs/v1.0", "def456", 6);
    put_file("hub/models--org--name/refs/refs/pr/3", "def456", 6);
    setenv("HF_HUB_CACHE", scratch_path("hub"), 1);
    assert_found("org/name", "hub/models--org--name/snapshots/abc123");
    assert_found("org/name@main", "hub/models--org--name/snapshots/abc123");
    assert_found("org/name@v1.0", "hub/models--org--name/snapshots/def456");
    assert_found("org/name@refs/pr/3", "hub/models--org--name/snapshots/def456");
    assert_found("org/name@def456", "hub/models--org--name/snapshots/def456");
    assert_missed("org/name@v2", "hf download org/name --revision v2 fetches it");
    assert_missed("org/name@..", "looked for: ");
    assert_missed("org/name@../refs", "looked for: ");
}
END_TEST

START_TEST(test_the_only_snapshot_needs_no_refs) {
    put_folder("hub/models--org--name/snapshots/abc123");
    setenv("HF_HUB_CACHE", scratch_path("hub"), 1);
    assert_found("org/name", "hub/models--org--name/snapshots/abc123");
    put_folder("hub/models--org--name/snapshots/def456");
    assert_missed("org/name", "of the 2 snapshots beside it choose one: org/name@abc123");
}
END_TEST

START_TEST(test_variables_of_the_cache_in_their_order) {
    static const struct {
        const char *variable, *value, *place;
    } places[] = {
        {"HOME", "a", "a/.cache/huggingface/hub/models--name/snapshots/1"},
        {"XDG_CACHE_HOME", "b", "b/huggingface/hub/models--name/snapshots/1"},
        {"TRANSFORMERS_CACHE", "c", "c/models--name/snapshots/1"},
        {"HF_HOME", "d", "d/hub/models--name/snapshots/1"},
        {"HUGGINGFACE_HUB_CACHE", "e", "e/models--name/snapshots/1"},
        {"HF_HUB_CACHE", "f", "f/models--name/snapshots/1"},
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        setenv(places[i].variable, scratch_path(places[i].value), 1);
        put_folder(places[i].place);
        assert_found("name", places[i].place);
    }
}
END_TEST

START_TEST(test_a_folder_comes_before_names_and_files_stand_for_theirs) {
    llmq_error err = {0};
    char *path = NULL;
    put_folder("models/name");
    put_folder("bare");
    put_file("models/name/config.json", "{}", 2);
    put_file("models/name/model.safetensors", "x", 1);
    put_file("bare/model.safetensors", "x", 1);
    setenv("LLMQ_MODELS", scratch_path("models"), 1);
    assert_found("name", "models/name");
    assert_found(scratch_path("models/name"), "models/name");
    assert_found(scratch_path("models/name/model.safetensors"), "models/name");
    assert_found(scratch_path("models/name/config.json"), "models/name");
    ck_assert_fails(llmq_model_resolve(scratch_path("bare/model.safetensors"), &path, &err),
                    LLMQ_E_USAGE, "is a file; a model is the folder", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "no config.json beside it"));
    ck_assert_fails(llmq_model_resolve("", &path, &err), LLMQ_E_USAGE, "is empty", &err);
}
END_TEST

START_TEST(test_what_fetches_a_model_is_said_of_names_only) {
    llmq_error err = {0};
    char *path = NULL;
    assert_missed("org/name", "hf download org/name fetches it; looked for: org/name");
    static const char *const no_names[] = {"name", "./org/name", "a/b/c", "org/", "/name"};
    for (size_t i = 0; i < sizeof no_names / sizeof no_names[0]; i++) {
        ck_assert_fails(llmq_model_resolve(no_names[i], &path, &err), LLMQ_E_NOT_FOUND, "not found",
                        &err);
        ck_assert_msg(!strstr(err.hint, "hf download"), "%s: %s", no_names[i], err.hint);
    }
}
END_TEST

START_TEST(test_a_place_that_cannot_be_looked_at_is_not_passed_over) {
    llmq_error err = {0};
    char *path = NULL;
    put_folder("places");
    put_folder("hub/models--loop/snapshots/1");
    ck_assert_int_eq(symlink("loop", scratch_path("places/loop")), 0);
    setenv("HF_HUB_CACHE", scratch_path("hub"), 1);
    assert_found("loop", "hub/models--loop/snapshots/1");
    setenv("LLMQ_MODELS", scratch_path("places"), 1);
    ck_assert_fails(llmq_model_resolve("loop", &path, &err), LLMQ_E_IO, "/places/loop: ", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "it comes before "));
    ck_assert_fails(llmq_model_resolve(scratch_path("places/loop"), &path, &err), LLMQ_E_IO,
                    "/places/loop: ", &err);
}
END_TEST

static void append_name(void *user, const char *name) {
    strbuf_printf(user, "%s\n", name);
}

START_TEST(test_names_are_of_all_the_places) {
    struct strbuf told = {0};
    llmq_error err = {0};
    put_folder("places/org/empty");
    put_folder("places/org/inside");
    put_folder("places/alone");
    put_file("places/org/inside/config.json", "{}", 2);
    put_file("places/alone/config.json", "{}", 2);
    put_file("places/file", "", 0);
    put_folder("hub/models--org--name");
    put_folder("hub/models--plain");
    put_folder("hub/datasets--org--name");
    setenv("LLMQ_MODELS", scratch_path("places"), 1);
    setenv("HF_HUB_CACHE", scratch_path("hub"), 1);
    setenv("HF_HOME", scratch_path("absent"), 1);
    ck_assert_ok(llmq_model_names(append_name, &told, &err), &err);
    /* Between them are those of ./models, where the suite runs. */
    static const char first[] = "alone\norg/inside\n", last[] = "org/name\nplain\n";
    ck_assert_uint_ge(told.len, sizeof first + sizeof last - 2);
    ck_assert_int_eq(memcmp(told.data, first, sizeof first - 1), 0);
    ck_assert_str_eq(told.data + told.len - (sizeof last - 1), last);
    strbuf_free(&told);
}
END_TEST

int main(void) {
    Suite *s = suite_create("resolve");
    TCase *t = tcase_create("names");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_the_hub_cache_by_refs_and_snapshots);
    tcase_add_test(t, test_a_revision_is_a_branch_a_tag_or_a_commit);
    tcase_add_test(t, test_the_only_snapshot_needs_no_refs);
    tcase_add_test(t, test_variables_of_the_cache_in_their_order);
    tcase_add_test(t, test_a_folder_comes_before_names_and_files_stand_for_theirs);
    tcase_add_test(t, test_what_fetches_a_model_is_said_of_names_only);
    tcase_add_test(t, test_a_place_that_cannot_be_looked_at_is_not_passed_over);
    tcase_add_test(t, test_names_are_of_all_the_places);
    suite_add_tcase(s, t);
    return run_suite(s);
}
