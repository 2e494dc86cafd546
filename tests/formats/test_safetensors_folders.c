/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors reader on folders: honest and dishonest indexes, which file is the checkpoint,
 * and content that changes while a set is watched. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "formats/header_entry.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"
#include "formats/safetensors/safetensors_watch.h"

static llmq_error err;

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"

static void put_shards(void) {
    put_safetensors(SHARD_1,
                    "{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("b", "U8", "[1]", 0, 1) "}",
                    "\1", 1);
    put_safetensors(SHARD_2,
                    "{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("c", "U8", "[1]", 1, 2) "}", "\2\3",
                    2);
}

static void refuse_index(const char *index, enum llmq_status code, const char *part) {
    struct st_set *set = NULL;
    put_file("model.safetensors.index.json", index, strlen(index));
    ck_assert_fails(st_open_dir(scratch, &set, &err), code, part, &err);
    ck_assert_ptr_null(set);
}

#define GOOD_MAP "\"a\":\"" SHARD_2 "\",\"b\":\"" SHARD_1 "\",\"c\":\"" SHARD_2 "\""

START_TEST(a_sharded_folder_reads_as_one_set) {
    static const char index[] = "{\"metadata\":{\"total_size\":77},\"weight_map\":{" GOOD_MAP "}}";
    static const char *const names[] = {"b", "a", "c"};
    struct st_set *set = NULL;
    put_shards();
    put_file("model.safetensors.index.json", index, strlen(index));
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_int_eq(st_shard_count(set), 2);
    ck_assert_str_eq(st_metadata(set, "format"), "pt");
    for (size_t i = 0; i < 3; i++) {
        unsigned char byte = 0;
        const struct st_tensor *t = st_at(set, i);
        ck_assert_str_eq(t->name, names[i]);
        ck_assert_ptr_eq(st_find(set, names[i]), t);
        ck_assert_int_eq(t->shard, i > 0);
        ck_assert_ptr_nonnull(strstr(st_shard_path(set, t->shard), i > 0 ? SHARD_2 : SHARD_1));
        ck_assert_ok(st_read(set, t, 0, 1, &byte, &err), &err);
        ck_assert_uint_eq(byte, i + 1);
    }
    st_close(&set);
}
END_TEST

START_TEST(an_index_that_lies_is_refused) {
    put_shards();
    refuse_index("{\"weight_map\":{" GOOD_MAP ",\"d\":\"../d.safetensors\"}}", LLMQ_E_INPUT,
                 "'d': expected the name of a file in the same folder");
    refuse_index("{\"weight_map\":{\"a\":\"/etc/passwd\"}}", LLMQ_E_INPUT, "'/etc/passwd'");
    refuse_index("{\"weight_map\":{\"a\":\"..\"}}", LLMQ_E_INPUT, "found '..'");
    refuse_index("{\"weight_map\":{\"a\":\"\"}}", LLMQ_E_INPUT, "'a'");
    refuse_index("{\"weight_map\":{" GOOD_MAP ",\"d\":\"gone.safetensors\"}}", LLMQ_E_NOT_FOUND,
                 "gone.safetensors");
    ck_assert_ptr_nonnull(strstr(err.hint, "index.json"));
    refuse_index("{\"weight_map\":{" GOOD_MAP ",\"d\":\"" SHARD_1 "\"}}", LLMQ_E_NOT_FOUND,
                 SHARD_1 ": tensor 'd'");
    refuse_index("{\"weight_map\":{\"a\":\"" SHARD_2 "\",\"b\":\"" SHARD_1 "\"}}", LLMQ_E_INPUT,
                 SHARD_2 ": tensor 'c'");
    refuse_index("{\"weight_map\":{\"a\":\"" SHARD_1 "\",\"b\":\"" SHARD_1 "\",\"c\":\"" SHARD_2
                 "\"}}",
                 LLMQ_E_INPUT, "'a': expected it in " SHARD_1);
    refuse_index("{\"weight_map\":{" GOOD_MAP ",\"a\":\"" SHARD_1 "\"}}", LLMQ_E_INPUT,
                 "'weight_map.a'");
    refuse_index("{\"weight_map\":{\"a\":1}}", LLMQ_E_INPUT, "'a': expected a file name");
    refuse_index("{\"weight_map\":{}}", LLMQ_E_INPUT, "weight_map");
    refuse_index("{\"weight_map\":[\"a\"]}", LLMQ_E_INPUT, "weight_map");
    refuse_index("{}", LLMQ_E_INPUT, "weight_map");
    refuse_index("{", LLMQ_E_INPUT, "index.json");
    ck_assert_int_eq(mkdir(scratch_path("folder"), 0700), 0);
    refuse_index("{\"weight_map\":{\"a\":\"folder\"}}", LLMQ_E_INPUT, "found a folder");
}
END_TEST

START_TEST(a_tensor_in_two_shards_is_refused) {
    put_shards();
    put_safetensors(
        SHARD_1, "{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("b", "U8", "[1]", 1, 2) "}", NULL, 2);
    refuse_index("{\"weight_map\":{" GOOD_MAP "}}", LLMQ_E_ST_DUPLICATE_TENSOR,
                 "'a': expected it in one shard");
}
END_TEST

/* More than one part, of a type that is read in place and of one that is converted. */
START_TEST(a_watched_set_refuses_what_it_did_not_read_before) {
    enum { COUNT = 100000 };
    static float values[COUNT];
    static const char *const headers[] = {ENTRY("a", "F32", "[100000]", 0, 400000),
                                          ENTRY("a", "BF16", "[200000]", 0, 400000)};
    float *read = calloc(2 * COUNT, sizeof *read);
    for (size_t i = 0; i < 2; i++) {
        struct st_set *set = NULL;
        struct file f;
        char header[128];
        const float other = -1;
        (void)snprintf(header, sizeof header, "{%s}", headers[i]);
        put_safetensors("model.safetensors", header, values, sizeof values);
        ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
        const struct st_tensor *t = st_find(set, "a");
        ck_assert_ok(st_read_f32(set, t, read, &err), &err);
        ck_assert_uint_eq(st_noted(set, t), 0);
        ck_assert_ok(st_watch(set, &err), &err);
        ck_assert_ok(st_read_f32(set, t, read, &err), &err);
        ck_assert_ok(st_read_f32(set, t, read, &err), &err);
        ck_assert_uint_eq(st_noted(set, t), st_hash_part(0, values, sizeof values));
        ck_assert_ok(file_open_update(scratch_path("model.safetensors"), &f, &err), &err);
        ck_assert_ok(file_pwrite(&f, &other, 4, t->begin + t->nbytes - 4, &err), &err);
        ck_assert_fails(st_read_f32(set, t, read, &err), LLMQ_E_INPUT,
                        "model.safetensors: tensor 'a': its content is not what was read before",
                        &err);
        file_close(&f, &err);
        st_close(&set);
    }
    free(read);
}
END_TEST

START_TEST(a_folder_without_safetensors_says_what_it_holds) {
    struct st_set *set = NULL;
    ck_assert_fails(st_open_dir(scratch, &set, &err), LLMQ_E_NOT_FOUND, "found 0 files", &err);
    put_file("pytorch_model.bin", "x", 1);
    put_file("config.json", "{}", 2);
    ck_assert_fails(st_open_dir(scratch, &set, &err), LLMQ_E_NOT_FOUND, "found pytorch_model.bin",
                    &err);
    ck_assert_fails(st_open_dir(scratch_path("nowhere"), &set, &err), LLMQ_E_NOT_FOUND, "nowhere",
                    &err);
    ck_assert_int_eq(symlink("gone", scratch_path("model.safetensors")), 0);
    ck_assert_fails(st_open_dir(scratch, &set, &err), LLMQ_E_INPUT,
                    "/model.safetensors: a link to gone, which is not there", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "download"));
    ck_assert_int_eq(unlink(scratch_path("model.safetensors")), 0);
    put_safetensors("model.safetensors", "{" ENTRY("a", "U8", "[1]", 0, 1) "}", NULL, 1);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_uint_eq(st_count(set), 1);
    st_close(&set);
}
END_TEST

START_TEST(the_only_file_of_weights_is_the_checkpoint) {
    struct st_set *set = NULL;
    put_safetensors("adapter_model.safetensors", "{}", NULL, 0);
    ck_assert_fails(st_open_dir(scratch, &set, &err), LLMQ_E_NOT_FOUND, "adapter_model", &err);
    put_safetensors("gptq_model-4bit-128g.safetensors", "{" ENTRY("a", "U8", "[1]", 0, 1) "}", NULL,
                    1);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_uint_eq(st_count(set), 1);
    st_close(&set);
    put_safetensors("other.safetensors", "{}", NULL, 0);
    ck_assert_fails(st_open_dir(scratch, &set, &err), LLMQ_E_NOT_FOUND, "gptq_model-4bit", &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("safetensors folders");
    TCase *folders = tcase_create("folders");
    tcase_add_checked_fixture(folders, scratch_setup, scratch_teardown);
    tcase_add_test(folders, a_sharded_folder_reads_as_one_set);
    tcase_add_test(folders, an_index_that_lies_is_refused);
    tcase_add_test(folders, a_tensor_in_two_shards_is_refused);
    tcase_add_test(folders, a_watched_set_refuses_what_it_did_not_read_before);
    tcase_add_test(folders, a_folder_without_safetensors_says_what_it_holds);
    tcase_add_test(folders, the_only_file_of_weights_is_the_checkpoint);
    suite_add_tcase(suite, folders);
    return run_suite(suite);
}
