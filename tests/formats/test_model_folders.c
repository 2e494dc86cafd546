/* SPDX-License-Identifier: Apache-2.0 */
/* Which files of a folder are its checkpoint: shards without an index, two checkpoints, what lies
 * beside, and what the message says where there are no weights to read. */
#include "support.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"

static llmq_error err;

static void put_one(const char *file, const char *tensor) {
    char header[128];
    (void)snprintf(header, sizeof header,
                   "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", tensor);
    put_safetensors(file, header, NULL, 1);
}

static void put_index(const char *map) {
    char index[512];
    (void)snprintf(index, sizeof index, "{\"weight_map\":{%s}}", map);
    put_file("model.safetensors.index.json", index, strlen(index));
}

static void opens(size_t count) {
    struct st_set *set = NULL;
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_uint_eq(st_count(set), count);
    st_close(&set);
}

static void refuses(enum llmq_status code, const char *part, const char *hint) {
    struct st_set *set = NULL;
    err = (llmq_error){0};
    ck_assert_fails(st_open_dir(scratch, &set, &err), code, part, &err);
    ck_assert_msg(strstr(err.hint, hint) != NULL, "hint lacks '%s': %s", hint, err.hint);
    ck_assert_ptr_null(set);
}

START_TEST(a_whole_set_of_shards_needs_no_index) {
    put_one("model-00002-of-00003.safetensors", "b");
    refuses(LLMQ_E_NOT_FOUND,
            "2 of 3 shards are missing: model-00001-of-00003.safetensors, "
            "model-00003-of-00003.safetensors",
            "complete the download");
    put_one("model-00001-of-00003.safetensors", "a");
    put_one("model-00003-of-00003.safetensors", "c");
    opens(3);
    put_one("consolidated.safetensors", "z");
    put_one("consolidated-00001-of-00002.safetensors", "y");
    put_one("adapter_model.safetensors", "x");
    opens(3);
    put_one("model-00003-of-00003.safetensors", "a");
    refuses(LLMQ_E_ST_DUPLICATE_TENSOR, "'a'", "");
}
END_TEST

START_TEST(shards_of_any_stem_but_of_one_checkpoint) {
    put_one("gptq_model-4bit-00001-of-00002.safetensors", "a");
    put_one("gptq_model-4bit-00002-of-00002.safetensors", "b");
    opens(2);
    put_one("model-00001-of-00002.safetensors", "a");
    refuses(LLMQ_E_INPUT, "shards of two checkpoints", "out of the folder");
}
END_TEST

START_TEST(shards_of_two_totals_are_two_checkpoints) {
    put_one("model-00001-of-00002.safetensors", "a");
    put_one("model-00002-of-00002.safetensors", "b");
    put_one("model-00001-of-00003.safetensors", "a");
    refuses(LLMQ_E_INPUT, "model-00001-of-00002.safetensors and model-00001-of-00003.safetensors",
            "out of the folder");
}
END_TEST

START_TEST(a_single_file_beside_an_index_of_others_is_two_checkpoints) {
    put_one("model.safetensors", "a");
    put_one("model-00001-of-00001.safetensors", "a");
    put_index("\"a\":\"model-00001-of-00001.safetensors\"");
    refuses(LLMQ_E_INPUT,
            "two checkpoints: model.safetensors and model.safetensors.index.json, which names "
            "model-00001-of-00001.safetensors",
            "out of the folder");
    /* the index names files that are not there: left over, and read first by some all the same */
    put_index(
        "\"a\":\"model-00001-of-00002.safetensors\",\"b\":\"model-00002-of-00002.safetensors\"");
    refuses(LLMQ_E_INPUT, "names model-00001-of-00002.safetensors and others", "out of the folder");
    /* the single file is one of several: those who read it alone miss the rest */
    put_index("\"a\":\"model.safetensors\",\"b\":\"model-00001-of-00001.safetensors\"");
    refuses(LLMQ_E_INPUT, "names model-00001-of-00001.safetensors", "out of the folder");
    /* the index names the single file: one checkpoint, provided that it tells the truth */
    put_index("\"a\":\"model.safetensors\"");
    opens(1);
    put_index("\"b\":\"model.safetensors\"");
    refuses(LLMQ_E_INPUT, "'a': expected it in model.safetensors.index.json", "");
}
END_TEST

START_TEST(mistrals_own_file_beside_a_single_file_is_not_read) {
    put_one("model.safetensors", "a");
    put_one("consolidated.safetensors", "b");
    opens(1);
}
END_TEST

START_TEST(pytorch_files_are_named_with_the_command_that_converts) {
    put_file("training_args.bin", "x", 1);
    put_file("pytorch_model-00001-of-00002.bin", "x", 1);
    put_file("pytorch_model-00002-of-00002.bin", "x", 1);
    refuses(LLMQ_E_NOT_FOUND,
            "found pytorch_model-00001-of-00002.bin, pytorch_model-00002-of-00002.bin",
            "save_pretrained(");
    ck_assert_ptr_nonnull(strstr(err.hint, "safe_serialization=True"));
    ck_assert_ptr_null(strstr(err.message, "training_args"));
}
END_TEST

START_TEST(a_foreign_gguf_file_is_named) {
    put_file("llama-q4_k_m.gguf", "GGUF", 4);
    refuses(LLMQ_E_NOT_FOUND, "found llama-q4_k_m.gguf", "original checkpoint");
}
END_TEST

static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146"
                              "14ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
                              "size 4976698672\n";

START_TEST(git_lfs_pointers_are_named_as_such) {
    struct json *document = NULL;
    put_file("model.safetensors", pointer, sizeof pointer - 1);
    refuses(LLMQ_E_INPUT, "model.safetensors: a Git LFS pointer", "lfs pull");
    put_file("model.safetensors.index.json", pointer, sizeof pointer - 1);
    refuses(LLMQ_E_INPUT, "index.json: a Git LFS pointer", "lfs pull");
    put_file("tokenizer.json", pointer, sizeof pointer - 1);
    ck_assert_fails(json_read(scratch_path("tokenizer.json"), &document, &err), LLMQ_E_INPUT,
                    "tokenizer.json: a Git LFS pointer", &err);
}
END_TEST

START_TEST(shards_that_are_pointers_are_named_as_such) {
    put_one("model-00001-of-00002.safetensors", "a");
    put_file("model-00002-of-00002.safetensors", pointer, sizeof pointer - 1);
    refuses(LLMQ_E_INPUT, "00002-of-00002.safetensors: a Git LFS pointer", "lfs pull");
}
END_TEST

START_TEST(a_gguf_file_that_is_a_pointer) {
    put_file("model.gguf", pointer, sizeof pointer - 1);
    refuses(LLMQ_E_INPUT, "model.gguf: a Git LFS pointer", "lfs pull");
}
END_TEST

START_TEST(a_file_cut_short_says_so) {
    put_safetensors("model.safetensors",
                    "{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}", NULL, 4);
    refuses(LLMQ_E_ST_INCOMPLETE_BUFFER, "expected 9 bytes of data, found 4", "cut short");
    put_file("model.safetensors", "\xff\0\0\0\0\0\0\0{", 9);
    refuses(LLMQ_E_ST_HEADER_LENGTH, "expected a header of 255 bytes", "cut short");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model folders");
    TCase *t = tcase_create("folders");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, a_whole_set_of_shards_needs_no_index);
    tcase_add_test(t, shards_of_any_stem_but_of_one_checkpoint);
    tcase_add_test(t, shards_of_two_totals_are_two_checkpoints);
    tcase_add_test(t, a_single_file_beside_an_index_of_others_is_two_checkpoints);
    tcase_add_test(t, mistrals_own_file_beside_a_single_file_is_not_read);
    tcase_add_test(t, pytorch_files_are_named_with_the_command_that_converts);
    tcase_add_test(t, a_foreign_gguf_file_is_named);
    tcase_add_test(t, git_lfs_pointers_are_named_as_such);
    tcase_add_test(t, shards_that_are_pointers_are_named_as_such);
    tcase_add_test(t, a_gguf_file_that_is_a_pointer);
    tcase_add_test(t, a_file_cut_short_says_so);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
