/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the GGUF container: order of rows, experts in one tensor, values with one added, a file
 * that grows and is reopened, and what it has no place for. */
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/gguf/gguf_private.h"
#include "formats/loaders/model_folder.h"
#include "support.h"

static llmq_error err;

/* --- writing ---------------------------------------------------------------------------------- */

/* Two heads of eight rows for q, one for k; the value of an element is its row here. */
static const struct st_spec specs[] = {
    {"q.weight", DTYPE_F32, 2, {16, 3}},        {"k.bias", DTYPE_F32, 1, {8}},
    {"v.weight", DTYPE_F16, 2, {8, 3}},         {"up.blocks", DTYPE_Q4_0, 2, {2, 32}},
    {"expert.0.weight", DTYPE_F32, 2, {16, 3}}, {"norm.weight", DTYPE_F32, 1, {8}},
    {"expert.1.weight", DTYPE_F32, 2, {16, 3}},
};
enum { SPECS = sizeof specs / sizeof specs[0] };

static const struct gguf_place interleaved[SPECS] = {
    {.name = "blk.0.attn_q.weight", .heads = 2},
    {.name = "blk.0.attn_k.bias", .heads = 1},
    {.name = "blk.0.attn_v.weight"},
    {.name = "blk.0.ffn_up.blocks"},
    {.name = "blk.0.ffn_up_exps.weight", .part = 0, .parts = 2},
    {.name = "output_norm.weight", .plus_one = true},
    {.name = "blk.0.ffn_up_exps.weight", .part = 1, .parts = 2},
};

static struct gguf_plan plan_of(const struct gguf_place places[SPECS],
                                const struct gguf_metadata *m) {
    return (struct gguf_plan){specs, places, SPECS, m};
}

static void put_rows(struct st_writer *w, const struct st_spec *spec) {
    float values[48];
    const size_t width = spec->rank > 1 ? (size_t)spec->shape[1] : 1;
    const size_t count = (size_t)spec->shape[0] * width;
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(i / width);
    /* In parts that end within rows. */
    for (size_t at = 0; at < sizeof *values * count; at += 10) {
        const size_t left = sizeof *values * count - at, part = left < 10 ? left : 10;
        ck_assert_ok(st_writer_put_part(w, spec->name, at, (char *)values + at, part, &err), &err);
    }
}

static struct gguf_metadata some_metadata(void) {
    struct gguf_metadata m = {0};
    gguf_metadata_begin(&m, "llama");
    gguf_put_u32(&m, ".block_count", 1);
    gguf_put_f32(&m, ".rope.freq_base", 10000.0);
    gguf_put_bool(&m, "a.flag", true);
    gguf_put_strings(&m, "a.strings", (const char *const[]){"x", "", "yz"}, 3);
    gguf_put_f32s(&m, "a.floats", (const float[]){1.0f, 2.0f}, 2);
    gguf_put_i32s(&m, "a.ints", (const int32_t[]){-1}, 1);
    return m;
}

/* The set of the file that grows, seen as what was put into it. */
static struct st_set *open_views(const struct gguf_place places[SPECS]) {
    struct st_view views[SPECS];
    struct st_set *set = NULL;
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    for (size_t i = 0; i < SPECS; i++) {
        const struct gguf_place *p = &places[i];
        const struct st_tensor *t = st_find(set, p->name);
        ck_assert_msg(t != NULL, "no %s", p->name);
        views[i] = (struct st_view){.name = specs[i].name,
                                    .tensor = (size_t)(t - st_at(set, 0)),
                                    .part = p->part,
                                    .parts = p->parts,
                                    .heads = p->heads,
                                    .plus_one = p->plus_one};
    }
    ck_assert_ok(st_view_as(set, views, SPECS, &err), &err);
    return set;
}

/* Row i as the file has it. */
static int stored_row(const struct st_tensor *t, uint64_t i) {
    char *data = NULL;
    size_t len = 0;
    float value;
    ck_assert_ok(file_read(scratch_path("model.gguf"), 1 << 20, &data, &len, &err), &err);
    memcpy(&value, data + t->begin + i * (t->nbytes / t->shape[0]), sizeof value);
    free(data);
    return (int)value;
}

START_TEST(rows_of_heads_are_interleaved_where_a_place_says_so) {
    static const int order[16] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15};
    for (int heads = 0; heads < 2; heads++) {
        struct gguf_metadata m = some_metadata();
        struct gguf_place places[SPECS];
        memcpy(places, interleaved, sizeof places);
        places[0].heads = heads ? 2 : 0;
        const struct gguf_plan plan = plan_of(places, &m);
        struct st_writer *w = NULL;
        float back[48];
        ck_assert_ok(gguf_writer_create(scratch, &plan, &w, &err), &err);
        put_rows(w, &specs[0]);
        put_rows(w, &specs[1]);
        struct st_set *set = open_views(places);
        const struct st_tensor *q = st_find(set, specs[0].name), *k = st_find(set, specs[1].name);
        for (int i = 0; i < 16; i++)
            ck_assert_int_eq(stored_row(q, (uint64_t)i), heads ? order[i] : i);
        ck_assert_ok(st_read_f32(set, q, back, &err), &err);
        for (int i = 0; i < 48; i++)
            ck_assert_int_eq((int)back[i], i / 3);
        ck_assert_ok(st_read_f32(set, k, back, &err), &err);
        for (int i = 0; i < 8; i++)
            ck_assert_int_eq((int)back[i], i);
        unsigned char part[20];
        ck_assert_ok(st_read(set, q, 30, sizeof part, part, &err), &err); /* rows 2 to 4 */
        const float row = 3.0f;
        ck_assert_mem_eq(part + 6, &row, sizeof row);
        st_close(&set);
        st_writer_abort(&w);
        gguf_metadata_free(&m);
    }
}
END_TEST

/* Experts that are put one by one are one tensor, whatever lies between them in the plan. */
START_TEST(experts_are_parts_of_one_tensor) {
    struct gguf_metadata m = some_metadata();
    const struct gguf_plan plan = plan_of(interleaved, &m);
    struct st_writer *w = NULL;
    struct st_set *set = NULL;
    float values[48], back[96];
    ck_assert_ok(gguf_writer_create(scratch, &plan, &w, &err), &err);
    for (int e = 1; e >= 0; e--) {
        for (int i = 0; i < 48; i++)
            values[i] = (float)(100 * e + i);
        ck_assert_ok(st_writer_put(w, specs[e ? 6 : 4].name, values, sizeof values, &err), &err);
    }
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_uint_eq(st_count(set), SPECS - 1);
    const struct st_tensor *t = st_find(set, "blk.0.ffn_up_exps.weight");
    ck_assert(t->rank == 3 && t->shape[0] == 2 && t->shape[1] == 16 && t->shape[2] == 3);
    ck_assert_ok(st_read_f32(set, t, back, &err), &err);
    for (int i = 0; i < 96; i++)
        ck_assert_int_eq((int)back[i], 100 * (i / 48) + i % 48);
    st_close(&set);
    set = open_views(interleaved);
    t = st_find(set, "expert.1.weight");
    ck_assert(t->rank == 2 && t->shape[0] == 16 && t->shape[1] == 3);
    ck_assert_ok(st_read_f32(set, t, back, &err), &err);
    ck_assert_int_eq((int)back[5], 105);
    st_close(&set);
    st_writer_abort(&w);
    gguf_metadata_free(&m);
}
END_TEST

START_TEST(one_is_added_on_the_way_out_and_taken_on_the_way_in) {
    static const float values[8] = {0, 1, -1, 0.5f, -0.25f, 2, 1e-3f, -0.75f};
    struct gguf_metadata m = some_metadata();
    const struct gguf_plan plan = plan_of(interleaved, &m);
    struct st_writer *w = NULL;
    struct st_set *set = NULL;
    float back[8];
    ck_assert_ok(gguf_writer_create(scratch, &plan, &w, &err), &err);
    ck_assert_ok(st_writer_put(w, "norm.weight", values, sizeof values, &err), &err);
    ck_assert_ok(st_open_dir(scratch, &set, &err), &err);
    ck_assert_ok(st_read_f32(set, st_find(set, "output_norm.weight"), back, &err), &err);
    for (int i = 0; i < 8; i++)
        ck_assert_double_eq((double)back[i], (double)(values[i] + 1.0f));
    st_close(&set);
    set = open_views(interleaved);
    ck_assert_ok(st_read_f32(set, st_find(set, "norm.weight"), back, &err), &err);
    for (int i = 0; i < 8; i++)
        ck_assert_double_eq((double)back[i], (double)((values[i] + 1.0f) - 1.0f));
    st_close(&set);
    st_writer_abort(&w);
    gguf_metadata_free(&m);
}
END_TEST

START_TEST(a_file_is_finished_and_reopened) {
    struct gguf_metadata m = some_metadata(), other = some_metadata();
    const struct gguf_plan plan = plan_of(interleaved, &m), changed = plan_of(interleaved, &other);
    struct st_writer *w = NULL;
    char data[256] = {1};
    ck_assert_ok(gguf_writer_create(scratch, &plan, &w, &err), &err);
    ck_assert_fails(st_writer_finish(&w, &err), LLMQ_E_CHECK, "was planned but never written",
                    &err);
    gguf_put_u32(&other, ".vocab_size", 5);
    ck_assert_fails(gguf_writer_reopen(scratch, &changed, &w, &err), LLMQ_E_INPUT,
                    "model.gguf: expected", &err);
    ck_assert_ok(gguf_writer_reopen(scratch, &plan, &w, &err), &err);
    ck_assert_ok(st_writer_put(w, specs[3].name, data, 36, &err), &err);
    ck_assert_fails(st_writer_put(w, specs[3].name, data, 35, &err), LLMQ_E_USAGE,
                    "expected 36 bytes", &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    gguf_metadata_free(&m);
    gguf_metadata_free(&other);
}
END_TEST

START_TEST(tensors_without_a_place_are_not_written) {
    static const struct {
        struct st_spec spec;
        struct gguf_place place;
        const char *part;
    } cases[] = {
        {{"n.weight", DTYPE_I64, 1, {4}}, {.name = "n.weight"}, "have no place for it as I64"},
        {{"n.weight", DTYPE_F32, 0, {0}}, {.name = "n.weight"}, "expected 1 to 4 dimensions for"},
        {{"n.weight", DTYPE_F32, 5, {1, 1, 1, 1, 1}}, {.name = "n.weight"}, "found 5"},
        {{"n.weight", DTYPE_F32, 1, {0}}, {.name = "n.weight"}, "a size that GGUF can express"},
        {{"o.blocks", DTYPE_Q4_0, 2, {2, 48}}, {.name = "o.blocks"}, "a size that GGUF can"},
        {{"o.weight", DTYPE_F32, 2, {UINT64_C(1) << 40, UINT64_C(1) << 40}},
         {.name = "o.weight"},
         "a size that GGUF can express"},
        {{"q.weight", DTYPE_F32, 2, {6, 4}},
         {.name = "q.weight", .heads = 2},
         "expected 2 heads of an even width, found 6 rows"},
        {{"n.weight", DTYPE_F16, 1, {4}},
         {.name = "n.weight", .plus_one = true},
         "expected F32, found F16"},
        {{"e.1.weight", DTYPE_F32, 2, {4, 4}},
         {.name = "e.weight", .part = 1, .parts = 2},
         "e.weight: expected 2 experts alike, found 1"},
    };
    struct gguf_metadata m = some_metadata();
    struct st_writer *w = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct gguf_plan plan = {&cases[i].spec, &cases[i].place, 1, &m};
        ck_assert_fails(gguf_writer_create(scratch, &plan, &w, &err), LLMQ_E_UNSUPPORTED,
                        cases[i].part, &err);
    }
    const struct st_spec twice[2] = {specs[0], specs[0]}, unlike[2] = {specs[4], specs[0]};
    const struct gguf_place same[2] = {interleaved[0], interleaved[0]};
    const struct gguf_place parts[2] = {interleaved[4], interleaved[6]};
    const struct gguf_plan repeated = {twice, same, 2, &m};
    ck_assert_fails(gguf_writer_create(scratch, &repeated, &w, &err), LLMQ_E_INPUT,
                    "found it twice", &err);
    struct st_spec others[2] = {unlike[0], unlike[1]};
    others[1].shape[0] = 8;
    const struct gguf_plan uneven = {others, parts, 2, &m};
    ck_assert_fails(gguf_writer_create(scratch, &uneven, &w, &err), LLMQ_E_UNSUPPORTED,
                    "the type and shape that the other experts' have", &err);
    ck_assert(!path_is_file(scratch_path("model.gguf")));
    gguf_metadata_free(&m);
}
END_TEST

int main(void) {
    Suite *s = suite_create("gguf write");
    TCase *t = tcase_create("container");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, rows_of_heads_are_interleaved_where_a_place_says_so);
    tcase_add_test(t, experts_are_parts_of_one_tensor);
    tcase_add_test(t, one_is_added_on_the_way_out_and_taken_on_the_way_in);
    tcase_add_test(t, a_file_is_finished_and_reopened);
    tcase_add_test(t, tensors_without_a_place_are_not_written);
    suite_add_tcase(s, t);
    return run_suite(s);
}
