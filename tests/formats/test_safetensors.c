/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors reader on one file: every row of the container's rules with its own code, what
 * has to be accepted, and reading data. */
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/header_entry.h"
#include "formats/safetensors/safetensors.h"

static llmq_error err;

/* --- refusals --------------------------------------------------------------------------------- */

static void refuse_bytes(const void *bytes, size_t len, enum llmq_status code, const char *part) {
    struct st_set *set = NULL;
    put_file("x.safetensors", bytes, len);
    ck_assert_fails(st_open_file(scratch_path("x.safetensors"), &set, &err), code, part, &err);
    ck_assert_fails(err.code, code, "x.safetensors", &err); /* the file is named */
    ck_assert_ptr_null(set);
}

static void refuse(const char *header, size_t data_len, enum llmq_status code, const char *part) {
    struct st_set *set = NULL;
    put_safetensors("x.safetensors", header, NULL, data_len);
    ck_assert_fails(st_open_file(scratch_path("x.safetensors"), &set, &err), code, part, &err);
    ck_assert_fails(err.code, code, "x.safetensors", &err);
    ck_assert_ptr_null(set);
}

START_TEST(row_1_a_file_shorter_than_its_length_field) {
    refuse_bytes("", 0, LLMQ_E_ST_HEADER_TOO_SMALL, "at least 8 bytes, found a file of 0");
    refuse_bytes("\2\0\0\0\0\0\0", 7, LLMQ_E_ST_HEADER_TOO_SMALL, "of 7");
}
END_TEST

START_TEST(row_2_a_header_of_more_than_100_000_000_bytes) {
    refuse_bytes("\x3c\0\0\0\0\xff\xff\xff", 8, LLMQ_E_ST_HEADER_TOO_LARGE, "18446742974197923900");
    refuse_bytes("\x01\xe1\xf5\x05\0\0\0\0", 8, LLMQ_E_ST_HEADER_TOO_LARGE, "100000001");
    /* Exactly 100 000 000 passes this rule and fails the next one. */
    refuse_bytes("\0\xe1\xf5\x05\0\0\0\0", 8, LLMQ_E_ST_HEADER_LENGTH, "100000000");
}
END_TEST

START_TEST(row_3_a_header_beyond_the_end_of_the_file) {
    refuse_bytes("\3\0\0\0\0\0\0\0{}", 10, LLMQ_E_ST_HEADER_LENGTH, "a header of 3 bytes");
}
END_TEST

START_TEST(row_4_a_header_that_is_not_utf8) {
    refuse_bytes("\1\0\0\0\0\0\0\0\xff", 9, LLMQ_E_ST_HEADER_UTF8, "UTF-8");
    refuse("{\"\xc0\x80\":1}", 0, LLMQ_E_ST_HEADER_UTF8, "UTF-8");     /* overlong NUL */
    refuse("{\"\xed\xa0\x80\":1}", 0, LLMQ_E_ST_HEADER_UTF8, "UTF-8"); /* surrogate */
}
END_TEST

START_TEST(row_5_a_header_that_is_not_one_json_object) {
    refuse("{", 0, LLMQ_E_ST_HEADER_JSON, "header");
    refuse("", 0, LLMQ_E_ST_HEADER_JSON, "header");
    refuse("{}x", 0, LLMQ_E_ST_HEADER_JSON, "header");
    refuse("{}{}", 0, LLMQ_E_ST_HEADER_JSON, "header");
    refuse("[]", 0, LLMQ_E_ST_HEADER_JSON, "expected an object, found an array");
    refuse("null", 0, LLMQ_E_ST_HEADER_JSON, "found null");
    refuse("{\"a\":}", 0, LLMQ_E_ST_HEADER_JSON, "header");
    refuse("{" ENTRY("a", "U8", "[1]", 0, 1) ",}", 1, LLMQ_E_ST_HEADER_JSON, "header");
    refuse_bytes("\3\0\0\0\0\0\0\0{}\0", 11, LLMQ_E_ST_HEADER_JSON, "header"); /* NUL padding */
}
END_TEST

START_TEST(row_6_an_entry_of_the_wrong_form) {
    static const struct {
        const char *entry, *part;
    } cases[] = {
        {"{\"dtype\":\"I33\",\"shape\":[1],\"data_offsets\":[0,4]}", "dtype"},
        {"{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}", "found a number"},
        {"{\"shape\":[1],\"data_offsets\":[0,4]}", "dtype: expected a value, found none"},
        {"{\"dtype\":\"I32\",\"data_offsets\":[0,4]}", "shape: expected a value, found none"},
        {"{\"dtype\":\"I32\",\"shape\":[1]}", "data_offsets: expected a value, found none"},
        {"{\"dtype\":\"I32\",\"shape\":[-1],\"data_offsets\":[0,4]}", "found -1"},
        {"{\"dtype\":\"I32\",\"shape\":[1.0],\"data_offsets\":[0,4]}", "found 1.0"},
        {"{\"dtype\":\"I32\",\"shape\":[1e0],\"data_offsets\":[0,4]}", "found 1e0"},
        {"{\"dtype\":\"I32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}", "found a string"},
        {"{\"dtype\":\"I32\",\"shape\":1,\"data_offsets\":[0,4]}", "shape: expected an array"},
        {"{\"dtype\":\"I32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,4]}", "2^64"},
        {"{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0]}", "2 integers, found 1"},
        {"{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4,4]}", "2 integers, found 3"},
        {"{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,null]}", "found null"},
        {"{\"dtype\":\"I32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}", "it twice"},
        {"[]", "expected an object, found an array"},
        {"null", "expected an object, found null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char header[256];
        snprintf(header, sizeof header, "{\"weird.name\":%s}", cases[i].entry);
        refuse(header, 4, LLMQ_E_ST_HEADER_JSON, cases[i].part);
        ck_assert_fails(err.code, LLMQ_E_ST_HEADER_JSON, "weird.name", &err);
    }
}
END_TEST

START_TEST(row_7_metadata_of_the_wrong_form) {
    refuse("{\"__metadata__\":{},\"__metadata__\":{}}", 0, LLMQ_E_ST_HEADER_JSON, "__metadata__");
    refuse("{\"__metadata__\":{},\"__\\u006detadata__\":{}}", 0, LLMQ_E_ST_HEADER_JSON, "twice");
    refuse("{\"__metadata__\":{\"a\":\"1\",\"\\u0061\":\"2\"}}", 0, LLMQ_E_ST_HEADER_JSON,
           "the key '__metadata__.\\u0061' is given twice");
    refuse("{" ENTRY("a", "U8", "[0],\"x\":{\"y\":1,\"y\":2}", 0, 0) "}", 0, LLMQ_E_ST_HEADER_JSON,
           "'a.x.y' is given twice");
    refuse("{\"__metadata__\":{\"format\":1}}", 0, LLMQ_E_ST_HEADER_JSON, "string values");
    refuse("{\"__metadata__\":{\"format\":null}}", 0, LLMQ_E_ST_HEADER_JSON, "string values");
    refuse("{\"__metadata__\":[]}", 0, LLMQ_E_ST_HEADER_JSON, "found an array");
}
END_TEST

START_TEST(row_8_offsets_that_do_not_tile_the_data) {
    refuse("{" ENTRY("late", "U8", "[4]", 1, 5) "}", 5, LLMQ_E_ST_OFFSET, "'late'");
    refuse("{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 5, 9) "}", 9,
           LLMQ_E_ST_OFFSET, "'b': expected its data at offset 4");
    refuse("{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 2, 6) "}", 6,
           LLMQ_E_ST_OFFSET, "'b'");
    refuse("{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 0, 4) "}", 4,
           LLMQ_E_ST_OFFSET, "'b'");
    refuse("{" ENTRY("back", "U8", "[4]", 4, 0) "}", 4, LLMQ_E_ST_OFFSET, "in order, found [4, 0]");
}
END_TEST

START_TEST(row_9_shapes_whose_size_overflows) {
    refuse("{" ENTRY("a", "U8", "[2,18446744073709551614]", 0, 4) "}", 4, LLMQ_E_ST_OVERFLOW,
           "'a'");
    refuse("{" ENTRY("a", "I32", "[2,9223372036854775807]", 0, 4) "}", 4, LLMQ_E_ST_OVERFLOW,
           "'a'");
    refuse("{" ENTRY("a", "F4", "[9223372036854775807]", 0, 4) "}", 4, LLMQ_E_ST_OVERFLOW, "F4");
}
END_TEST

START_TEST(row_10_sub_byte_tensors_that_end_inside_a_byte) {
    refuse("{" ENTRY("a", "F4", "[3]", 0, 2) "}", 2, LLMQ_E_ST_MISALIGNED, "found 12");
    refuse("{" ENTRY("a", "F6_E2M3", "[2]", 0, 2) "}", 2, LLMQ_E_ST_MISALIGNED, "F6_E2M3");
}
END_TEST

START_TEST(row_11_offsets_that_disagree_with_the_shape) {
    refuse("{" ENTRY("a", "I32", "[2,2]", 0, 4) "}", 4, LLMQ_E_ST_TENSOR_SIZE,
           "'a': expected 16 bytes by dtype I32 and shape, found 4");
    refuse("{" ENTRY("a", "I32", "[0]", 0, 4) "}", 4, LLMQ_E_ST_TENSOR_SIZE, "expected 0 bytes");
    refuse("{" ENTRY("a", "I32", "[]", 0, 8) "}", 8, LLMQ_E_ST_TENSOR_SIZE, "expected 4 bytes");
}
END_TEST

START_TEST(row_12_data_that_ends_elsewhere) {
    static const char reference[] = "{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],"
                                    "\"data_offsets\":[0,16]}}";
    ck_assert_uint_eq(strlen(reference), 60);
    refuse(reference, 17, LLMQ_E_ST_INCOMPLETE_BUFFER,
           "'test': expected 16 bytes of data, found 17");
    refuse(reference, 14, LLMQ_E_ST_INCOMPLETE_BUFFER, "found 14");
    refuse("{}", 1, LLMQ_E_ST_INCOMPLETE_BUFFER, "no tensor: expected 0 bytes of data, found 1");
}
END_TEST

START_TEST(a_name_that_occurs_twice_is_refused) {
    refuse("{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("a", "U8", "[1]", 1, 2) "}", 2,
           LLMQ_E_ST_DUPLICATE_TENSOR, "'a'");
    refuse("{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("\\u0061", "U8", "[1]", 1, 2) "}", 2,
           LLMQ_E_ST_DUPLICATE_TENSOR, "'a'");
}
END_TEST

START_TEST(what_c_cannot_carry_is_refused) {
    char header[8192], name[5000], shape[256] = "[1";
    refuse("{" ENTRY("a\\u0000b", "U8", "[1]", 0, 1) "}", 1, LLMQ_E_UNSUPPORTED, "NUL");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", name);
    refuse(header, 1, LLMQ_E_UNSUPPORTED, "4999 bytes");
    for (int i = 0; i < ST_MAX_RANK; i++)
        strcat(shape, ",1");
    snprintf(header, sizeof header,
             "{\"deep\":{\"dtype\":\"U8\",\"shape\":%s],\"data_offsets\":[0,1]}}", shape);
    refuse(header, 1, LLMQ_E_UNSUPPORTED, "'deep': expected at most 8 dimensions, found 9");
}
END_TEST

/* --- acceptance ------------------------------------------------------------------------------- */

static struct st_set *open_ok(const char *name) {
    struct st_set *set = NULL;
    ck_assert_ok(st_open_file(scratch_path(name), &set, &err), &err);
    return set;
}

static struct st_set *accept(const char *header, const void *data, size_t data_len) {
    put_safetensors("x.safetensors", header, data, data_len);
    return open_ok("x.safetensors");
}

START_TEST(headers_without_tensors_are_accepted) {
    static const char *const headers[] = {"{}", "{}\r \t\n", "\t\n{}\r ",
                                          "{\"__metadata__\":null}"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        struct st_set *set = accept(headers[i], NULL, 0);
        ck_assert_uint_eq(st_count(set), 0);
        ck_assert_ptr_null(st_find(set, "a"));
        st_close(&set);
        ck_assert_ptr_null(set);
    }
}
END_TEST

START_TEST(the_reference_vector_loads) {
    struct st_set *set =
        accept("{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", NULL, 16);
    const struct st_tensor *t = st_find(set, "test");
    ck_assert_ptr_nonnull(t);
    ck_assert_ptr_eq(t, st_at(set, 0));
    ck_assert_int_eq(t->dtype, DTYPE_I32);
    ck_assert_int_eq(t->rank, 2);
    ck_assert_uint_eq(t->shape[0], 2);
    ck_assert_uint_eq(t->shape[1], 2);
    ck_assert_uint_eq(t->begin, 68);
    ck_assert_uint_eq(t->nbytes, 16);
    ck_assert_ptr_null(st_metadata(set, "format"));
    st_close(&set);
}
END_TEST

START_TEST(any_order_of_entries_any_alignment_zero_sizes_and_scalars) {
    struct st_set *set = accept(
        "{" ENTRY("z", "F64", "[1]", 1, 9) "," ENTRY("e", "I32", "[2,0]", 1, 1) "," ENTRY(
            "a", "U8", "[]", 0, 1) "," ENTRY("f", "F32", "[0,18446744073709551615]", 0, 0) "}",
        "\7\0\0\0\0\0\0\xf0\x3f", 9);
    unsigned char scalar = 0;
    float one = 0;
    ck_assert_uint_eq(st_count(set), 4);
    ck_assert_str_eq(st_at(set, 0)->name, "f");
    ck_assert_str_eq(st_at(set, 1)->name, "a");
    ck_assert_str_eq(st_at(set, 2)->name, "e");
    ck_assert_str_eq(st_at(set, 3)->name, "z");
    ck_assert_int_eq(st_find(set, "a")->rank, 0);
    ck_assert_ok(st_read(set, st_find(set, "a"), 0, 1, &scalar, &err), &err);
    ck_assert_uint_eq(scalar, 7);
    ck_assert_ok(st_read_f32(set, st_find(set, "z"), &one, &err), &err);
    ck_assert(one == 1.0f);
    ck_assert_ok(st_read_f32(set, st_find(set, "f"), &one, &err), &err);
    st_close(&set);
}
END_TEST

START_TEST(unknown_members_are_skipped_and_names_unescaped) {
    struct st_set *set =
        accept("{\"__metadata__\":{\"format\":\"p\\u0074\",\"a\":\"2\"},"
               "\"\\ud83d\\ude00\":{\"x\":{\"shape\":[[1,{}]]},\"dtype\":\"U8\",\"y\":null,"
               "\"shape\":[1],\"data_offsets\":[0,1],\"z\":-1.5e3}}",
               NULL, 1);
    ck_assert_ptr_nonnull(st_find(set, "\xf0\x9f\x98\x80"));
    ck_assert_str_eq(st_metadata(set, "format"), "pt");
    ck_assert_str_eq(st_metadata(set, "a"), "2");
    ck_assert_ptr_null(st_metadata(set, "b"));
    st_close(&set);
}
END_TEST

START_TEST(the_worked_file_reads_as_described) {
    struct st_set *set = accept(
        "{\"__metadata__\":{\"format\":\"pt\"},\"a.qweight\":{\"dtype\":\"I32\",\"shape\":[1,2],"
        "\"data_offsets\":[0,8]},\"a.scales\":{\"dtype\":\"F16\",\"shape\":[1,2],"
        "\"data_offsets\":[8,12]}}  ",
        "\xa3\xf8\x70\x5c\xff\xff\xff\xff\x00\x38\x00\x3c", 12);
    uint32_t words[2];
    float scales[2];
    ck_assert_ok(st_read(set, st_find(set, "a.qweight"), 0, 8, words, &err), &err);
    ck_assert_uint_eq(words[0], 0x5C70F8A3u);
    ck_assert_uint_eq(words[1], 0xFFFFFFFFu);
    ck_assert_ok(st_read(set, st_find(set, "a.qweight"), 4, 4, words, &err), &err);
    ck_assert_uint_eq(words[0], 0xFFFFFFFFu);
    ck_assert_ok(st_read_f32(set, st_find(set, "a.scales"), scales, &err), &err);
    ck_assert(scales[0] == 0.5f);
    ck_assert(scales[1] == 1.0f);
    ck_assert_fails(st_read_f32(set, st_find(set, "a.qweight"), scales, &err), LLMQ_E_UNSUPPORTED,
                    "'a.qweight': expected F16, BF16, F32 or F64, found I32", &err);
    st_close(&set);
}
END_TEST

START_TEST(long_tensors_convert_in_pieces) {
    enum { COUNT = 200001 }; /* several pieces, the last one odd */
    static uint16_t halves[COUNT];
    static float floats[COUNT];
    char header[128];
    for (int i = 0; i < COUNT; i++)
        halves[i] = f32_to_bf16((float)(i % 251));
    snprintf(header, sizeof header,
             "{\"w\":{\"dtype\":\"BF16\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", COUNT,
             2 * COUNT);
    struct st_set *set = accept(header, halves, sizeof halves);
    ck_assert_ok(st_read_f32(set, st_at(set, 0), floats, &err), &err);
    for (int i = 0; i < COUNT; i++)
        ck_assert(floats[i] == (float)(i % 251));
    st_close(&set);
}
END_TEST

START_TEST(a_file_cut_after_opening_is_told_with_the_tensor) {
    unsigned char data[16];
    struct st_set *set = accept("{" ENTRY("w", "U8", "[16]", 0, 16) "}", NULL, 16);
    ck_assert_int_eq(truncate(scratch_path("x.safetensors"), (off_t)st_at(set, 0)->begin + 8), 0);
    ck_assert_ok(st_read(set, st_at(set, 0), 0, 8, data, &err), &err);
    ck_assert_fails(st_read(set, st_at(set, 0), 0, 16, data, &err), LLMQ_E_INPUT, "'w'", &err);
    ck_assert_ptr_nonnull(strstr(err.message, "changed while it was being read"));
    st_close(&set);
}
END_TEST

START_TEST(only_regular_files_are_opened_and_symlinks_followed) {
    struct st_set *set = NULL;
    put_safetensors("blob", "{}", NULL, 0);
    ck_assert_int_eq(symlink("blob", scratch_path("link.safetensors")), 0);
    set = open_ok("link.safetensors");
    st_close(&set);
    ck_assert_int_eq(mkfifo(scratch_path("pipe"), 0600), 0);
    ck_assert_fails(st_open_file(scratch_path("pipe"), &set, &err), LLMQ_E_INPUT,
                    "expected a regular file", &err);
    ck_assert_fails(st_open_file(scratch, &set, &err), LLMQ_E_INPUT, "found a folder", &err);
    ck_assert_fails(st_open_file(scratch_path("none"), &set, &err), LLMQ_E_NOT_FOUND, "none", &err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("safetensors reader");
    TCase *rows = tcase_create("refused"), *good = tcase_create("accepted");
    tcase_add_checked_fixture(rows, scratch_setup, scratch_teardown);
    tcase_add_checked_fixture(good, scratch_setup, scratch_teardown);
    tcase_add_test(rows, row_1_a_file_shorter_than_its_length_field);
    tcase_add_test(rows, row_2_a_header_of_more_than_100_000_000_bytes);
    tcase_add_test(rows, row_3_a_header_beyond_the_end_of_the_file);
    tcase_add_test(rows, row_4_a_header_that_is_not_utf8);
    tcase_add_test(rows, row_5_a_header_that_is_not_one_json_object);
    tcase_add_test(rows, row_6_an_entry_of_the_wrong_form);
    tcase_add_test(rows, row_7_metadata_of_the_wrong_form);
    tcase_add_test(rows, row_8_offsets_that_do_not_tile_the_data);
    tcase_add_test(rows, row_9_shapes_whose_size_overflows);
    tcase_add_test(rows, row_10_sub_byte_tensors_that_end_inside_a_byte);
    tcase_add_test(rows, row_11_offsets_that_disagree_with_the_shape);
    tcase_add_test(rows, row_12_data_that_ends_elsewhere);
    tcase_add_test(rows, a_name_that_occurs_twice_is_refused);
    tcase_add_test(rows, what_c_cannot_carry_is_refused);
    tcase_add_test(good, headers_without_tensors_are_accepted);
    tcase_add_test(good, the_reference_vector_loads);
    tcase_add_test(good, any_order_of_entries_any_alignment_zero_sizes_and_scalars);
    tcase_add_test(good, unknown_members_are_skipped_and_names_unescaped);
    tcase_add_test(good, the_worked_file_reads_as_described);
    tcase_add_test(good, long_tensors_convert_in_pieces);
    tcase_add_test(good, a_file_cut_after_opening_is_told_with_the_tensor);
    tcase_add_test(good, only_regular_files_are_opened_and_symlinks_followed);
    suite_add_tcase(suite, rows);
    suite_add_tcase(suite, good);
    return run_suite(suite);
}
