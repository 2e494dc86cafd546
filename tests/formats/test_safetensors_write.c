/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors writer: bytes of a known file, shard cutting, the index, resuming, refusals. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/json.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"

static llmq_error err;

/* The worked file of the format description: header padded to 160 bytes, I32 before F16. */
START_TEST(the_worked_file_is_written_byte_for_byte) {
    static const char expected[] =
        "\xa0\0\0\0\0\0\0\0"
        "{\"__metadata__\":{\"format\":\"pt\"},\"a.qweight\":{\"dtype\":\"I32\",\"shape\":[1,2],"
        "\"data_offsets\":[0,8]},\"a.scales\":{\"dtype\":\"F16\",\"shape\":[1,2],"
        "\"data_offsets\":[8,12]}}  "
        "\xa3\xf8\x70\x5c\xff\xff\xff\xff\x00\x38\x00\x3c";
    const struct st_spec specs[] = {
        {.name = "a.scales", .dtype = DTYPE_F16, .rank = 2, .shape = {1, 2}},
        {.name = "a.qweight", .dtype = DTYPE_I32, .rank = 2, .shape = {1, 2}},
    };
    struct st_writer *w = NULL;
    char *data = NULL;
    size_t len = 0;
    ck_assert_ok(st_writer_create(scratch, specs, 2, 1000, &w, &err), &err);
    ck_assert_uint_eq(st_writer_data_bytes(w), 12);
    ck_assert_ok(st_writer_put(w, "a.scales", expected + 176, 4, &err), &err);
    ck_assert_ok(st_writer_put(w, "a.qweight", expected + 168, 8, &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ptr_null(w);
    ck_assert_ok(file_read(scratch_path("model.safetensors"), 1000, &data, &len, &err), &err);
    ck_assert_uint_eq(len, 180);
    ck_assert_mem_eq(data, expected, 180);
    free(data);
    ck_assert(!path_is_file(scratch_path("model.safetensors.index.json")));
}
END_TEST

/* --- a plan with every dtype ------------------------------------------------------------------ */

/* Names in an order that neither dtype nor name explains; 4 elements make whole bytes always. */
static void fill_specs(struct st_spec specs[DTYPE_COUNT], char names[DTYPE_COUNT][16]) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        snprintf(names[i], sizeof names[i], "t%02d", (i * 7) % DTYPE_COUNT);
        specs[i] = (struct st_spec){
            .name = names[i], .dtype = (enum dtype)i, .rank = 2, .shape = {4, (uint64_t)i % 3 + 1}};
    }
}

static size_t spec_bytes(const struct st_spec *s) {
    return (size_t)(s->shape[0] * s->shape[1] * dtype_bits(s->dtype) / 8);
}

static void fill_data(const struct st_spec *s, unsigned char data[128]) {
    for (size_t i = 0; i < spec_bytes(s); i++)
        data[i] = (unsigned char)(s->name[2] * 31 + (int)s->dtype * 7 + (int)i);
}

static void put_all(struct st_writer *w, const struct st_spec *specs, int count) {
    for (int i = count; i-- > 0;) { /* backwards: the order of puts does not matter */
        unsigned char data[128];
        fill_data(&specs[i], data);
        ck_assert_ok(st_writer_put(w, specs[i].name, data, spec_bytes(&specs[i]), &err), &err);
    }
}

static void check_all(const struct st_spec *specs, int count, int shards) {
    struct st_set *set = NULL;
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_int_eq(st_shard_count(set), shards);
    ck_assert_uint_eq(st_count(set), (size_t)count);
    ck_assert_str_eq(st_metadata(set, "format"), "pt");
    for (int i = 0; i < count; i++) {
        unsigned char data[128], found[128];
        const struct st_tensor *t = st_find(set, specs[i].name);
        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(t->dtype, specs[i].dtype);
        ck_assert_int_eq(t->rank, specs[i].rank);
        ck_assert_mem_eq(t->shape, specs[i].shape, (size_t)t->rank * sizeof t->shape[0]);
        ck_assert_uint_eq(t->nbytes, spec_bytes(&specs[i]));
        ck_assert_uint_eq(t->begin % (dtype_bits(t->dtype) < 8 ? 1 : dtype_bits(t->dtype) / 8), 0);
        fill_data(&specs[i], data);
        ck_assert_ok(st_read(set, t, 0, (size_t)t->nbytes, found, &err), &err);
        ck_assert_mem_eq(found, data, (size_t)t->nbytes);
    }
    st_close(&set);
}

START_TEST(every_dtype_survives_in_one_file_and_lies_aligned) {
    struct st_spec specs[DTYPE_COUNT];
    char names[DTYPE_COUNT][16];
    struct st_writer *w = NULL;
    fill_specs(specs, names);
    ck_assert_ok(st_writer_create(scratch, specs, DTYPE_COUNT, UINT64_MAX, &w, &err), &err);
    put_all(w, specs, DTYPE_COUNT);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    check_all(specs, DTYPE_COUNT, 1);
}
END_TEST

START_TEST(every_dtype_survives_in_shards) {
    struct st_spec specs[DTYPE_COUNT];
    char names[DTYPE_COUNT][16];
    struct st_writer *w = NULL;
    fill_specs(specs, names);
    ck_assert_ok(st_writer_create(scratch, specs, DTYPE_COUNT, 1, &w, &err), &err);
    put_all(w, specs, DTYPE_COUNT);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    check_all(specs, DTYPE_COUNT, DTYPE_COUNT);
}
END_TEST

/* --- cutting shards --------------------------------------------------------------------------- */

/* Shards that tensors of these sizes (U8) get under `limit`. */
static void check_cut(const uint64_t *sizes, int count, uint64_t limit, const int *shards,
                      int total) {
    struct st_spec specs[8];
    char names[8][8], shard[64];
    struct st_writer *w = NULL;
    struct st_set *set = NULL;
    for (int i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        specs[i] =
            (struct st_spec){.name = names[i], .dtype = DTYPE_U8, .rank = 1, .shape = {sizes[i]}};
    }
    ck_assert_ok(st_writer_create(scratch, specs, (size_t)count, limit, &w, &err), &err);
    for (int i = 0; i < count; i++)
        ck_assert_ok(st_writer_put(w, names[i], "0123456789abcdef", sizes[i], &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_int_eq(st_shard_count(set), total);
    for (int i = 0; i < count; i++) {
        if (total == 1)
            snprintf(shard, sizeof shard, "/model.safetensors");
        else
            snprintf(shard, sizeof shard, "/model-%05d-of-%05d.safetensors", shards[i] + 1, total);
        ck_assert_ptr_nonnull(strstr(st_shard_path(set, st_find(set, names[i])->shard), shard));
    }
    st_close(&set);
}

START_TEST(tensors_that_fill_the_limit_exactly_share_a_file) {
    check_cut((const uint64_t[]){4, 6}, 2, 10, (const int[]){0, 0}, 1);
}
END_TEST

START_TEST(one_byte_over_the_limit_starts_a_shard) {
    check_cut((const uint64_t[]){4, 7, 3}, 3, 10, (const int[]){0, 1, 1}, 2);
}
END_TEST

START_TEST(a_tensor_over_the_limit_is_alone_in_its_shard) {
    check_cut((const uint64_t[]){2, 16, 2, 3}, 4, 10, (const int[]){0, 1, 2, 2}, 3);
}
END_TEST

START_TEST(an_oversize_tensor_first_leaves_no_empty_shard) {
    check_cut((const uint64_t[]){16, 4, 6, 0}, 4, 10, (const int[]){0, 1, 1, 1}, 2);
}
END_TEST

START_TEST(the_index_lists_tensors_by_name_with_their_total) {
    static const uint64_t sizes[] = {8, 8, 8};
    struct json *index = NULL;
    int64_t total = 0;
    check_cut(sizes, 3, 16, (const int[]){0, 0, 1}, 2);
    ck_assert_ok(json_read(scratch_path("model.safetensors.index.json"), &index, &err), &err);
    ck_assert(json_as_int64(json_get(json_get(index, "metadata"), "total_size"), &total));
    ck_assert_int_eq(total, 24);
    const struct json *map = json_get(index, "weight_map");
    ck_assert_uint_eq(json_count(map), 3);
    ck_assert_str_eq(json_key(json_first(map)), "t0");
    ck_assert_str_eq(json_string(json_get(map, "t2")), "model-00002-of-00002.safetensors");
    json_free(&index);
}
END_TEST

/* --- refusals and resuming -------------------------------------------------------------------- */

static const struct st_spec pair[] = {
    {.name = "a", .dtype = DTYPE_U8, .rank = 1, .shape = {4}},
    {.name = "b", .dtype = DTYPE_U8, .rank = 1, .shape = {4}},
};

START_TEST(impossible_plans_are_refused) {
    struct st_writer *w = NULL;
    const struct st_spec twice[] = {pair[0], pair[0]};
    const struct st_spec huge = {
        .name = "h", .dtype = DTYPE_F32, .rank = 2, .shape = {UINT64_MAX, 2}};
    const struct st_spec half = {.name = "f", .dtype = DTYPE_F4, .rank = 1, .shape = {3}};
    const struct st_spec reserved = {.name = "__metadata__", .dtype = DTYPE_U8, .rank = 0};
    const struct st_spec bytes = {.name = "\xff", .dtype = DTYPE_U8, .rank = 0};
    ck_assert_fails(st_writer_create(scratch, twice, 2, 100, &w, &err), LLMQ_E_ST_DUPLICATE_TENSOR,
                    "'a'", &err);
    ck_assert_fails(st_writer_create(scratch, &huge, 1, 100, &w, &err), LLMQ_E_ST_OVERFLOW, "'h'",
                    &err);
    ck_assert_fails(st_writer_create(scratch, &half, 1, 100, &w, &err), LLMQ_E_ST_MISALIGNED, "'f'",
                    &err);
    ck_assert_fails(st_writer_create(scratch, &reserved, 1, 100, &w, &err), LLMQ_E_INPUT,
                    "__metadata__", &err);
    ck_assert_fails(st_writer_create(scratch, &bytes, 1, 100, &w, &err), LLMQ_E_INPUT, "UTF-8",
                    &err);
    ck_assert_fails(st_writer_create(scratch_path("no/folder"), pair, 2, 100, &w, &err), LLMQ_E_IO,
                    "no/folder", &err);
    ck_assert_ptr_null(w);
}
END_TEST

START_TEST(names_that_need_escapes_survive) {
    const struct st_spec spec = {
        .name = "q\"\\\n\x01\xc3\xa9", .dtype = DTYPE_U8, .rank = 1, .shape = {1}};
    struct st_writer *w = NULL;
    struct st_set *set = NULL;
    ck_assert_ok(st_writer_create(scratch, &spec, 1, 100, &w, &err), &err);
    ck_assert_ok(st_writer_put(w, spec.name, "x", 1, &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_ptr_nonnull(st_find(set, spec.name));
    st_close(&set);
}
END_TEST

START_TEST(puts_of_the_wrong_size_or_name_are_refused) {
    struct st_writer *w = NULL;
    ck_assert_ok(st_writer_create(scratch, pair, 2, 100, &w, &err), &err);
    ck_assert_fails(st_writer_put(w, "a", "12345", 5, &err), LLMQ_E_USAGE, "expected 4 bytes",
                    &err);
    ck_assert_fails(st_writer_put(w, "c", "1234", 4, &err), LLMQ_E_NOT_FOUND, "'c'", &err);
    ck_assert_fails(st_writer_put_part(w, "a", 3, "12", 2, &err), LLMQ_E_USAGE,
                    "at most 4 bytes from byte 3", &err);
    st_writer_abort(&w);
    ck_assert_ptr_null(w);
    st_writer_abort(&w);
}
END_TEST

START_TEST(finishing_without_every_tensor_fails_a_check) {
    struct st_writer *w = NULL;
    ck_assert_ok(st_writer_create(scratch, pair, 2, 100, &w, &err), &err);
    ck_assert_ok(st_writer_put(w, "a", "1234", 4, &err), &err);
    ck_assert_fails(st_writer_finish(&w, &err), LLMQ_E_CHECK, "'b'", &err);
    ck_assert_ptr_null(w);
}
END_TEST

START_TEST(a_killed_run_finds_its_data_again) {
    struct st_writer *w = NULL;
    struct st_set *set = NULL;
    char data[5] = "";
    ck_assert_ok(st_writer_create(scratch, pair, 2, 4, &w, &err), &err);
    ck_assert_ok(st_writer_put(w, "a", "1234", 4, &err), &err);
    ck_assert_ok(st_writer_sync(w, &err), &err);
    st_writer_abort(&w);
    ck_assert_ok(st_writer_reopen(scratch, pair, 2, 4, &w, &err), &err);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err); /* while it is still growing */
    ck_assert_ok(st_read(set, st_find(set, "a"), 0, 4, data, &err), &err);
    ck_assert_str_eq(data, "1234");
    st_close(&set);
    ck_assert_ok(st_writer_put_part(w, "b", 0, "56", 2, &err), &err);
    ck_assert_ok(st_writer_put_part(w, "b", 2, "78", 2, &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_ok(st_read(set, st_find(set, "a"), 0, 4, data, &err), &err);
    ck_assert_str_eq(data, "1234");
    ck_assert_ok(st_read(set, st_find(set, "b"), 0, 4, data, &err), &err);
    ck_assert_str_eq(data, "5678");
    st_close(&set);
}
END_TEST

START_TEST(another_plan_does_not_reopen) {
    struct st_spec other[] = {pair[0], pair[1]};
    struct st_writer *w = NULL;
    ck_assert_ok(st_writer_create(scratch, pair, 2, 100, &w, &err), &err);
    st_writer_abort(&w);
    other[1].shape[0] = 5;
    ck_assert_fails(st_writer_reopen(scratch, other, 2, 100, &w, &err), LLMQ_E_INPUT,
                    "expected a file of", &err);
    other[1].shape[0] = 4;
    other[1].name = "c";
    ck_assert_fails(st_writer_reopen(scratch, other, 2, 100, &w, &err), LLMQ_E_INPUT,
                    "expected the header of this plan", &err);
    ck_assert_fails(st_writer_reopen(scratch, pair, 2, 4, &w, &err), LLMQ_E_NOT_FOUND,
                    "model-00001-of-00002", &err);
    ck_assert_int_eq(truncate(scratch_path("model.safetensors"), 20), 0);
    ck_assert_fails(st_writer_reopen(scratch, pair, 2, 100, &w, &err), LLMQ_E_INPUT,
                    "model.safetensors", &err);
    ck_assert_ptr_null(w);
}
END_TEST

START_TEST(a_file_without_tensors_is_written) {
    struct st_writer *w = NULL;
    struct st_set *set = NULL;
    ck_assert_ok(st_writer_create(scratch, NULL, 0, 100, &w, &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_uint_eq(st_count(set), 0);
    st_close(&set);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("safetensors writer");
    TCase *tests = tcase_create("writer");
    tcase_add_checked_fixture(tests, scratch_setup, scratch_teardown);
    tcase_add_test(tests, the_worked_file_is_written_byte_for_byte);
    tcase_add_test(tests, every_dtype_survives_in_one_file_and_lies_aligned);
    tcase_add_test(tests, every_dtype_survives_in_shards);
    tcase_add_test(tests, tensors_that_fill_the_limit_exactly_share_a_file);
    tcase_add_test(tests, one_byte_over_the_limit_starts_a_shard);
    tcase_add_test(tests, a_tensor_over_the_limit_is_alone_in_its_shard);
    tcase_add_test(tests, an_oversize_tensor_first_leaves_no_empty_shard);
    tcase_add_test(tests, the_index_lists_tensors_by_name_with_their_total);
    tcase_add_test(tests, impossible_plans_are_refused);
    tcase_add_test(tests, names_that_need_escapes_survive);
    tcase_add_test(tests, puts_of_the_wrong_size_or_name_are_refused);
    tcase_add_test(tests, finishing_without_every_tensor_fails_a_check);
    tcase_add_test(tests, a_killed_run_finds_its_data_again);
    tcase_add_test(tests, another_plan_does_not_reopen);
    tcase_add_test(tests, a_file_without_tensors_is_written);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
