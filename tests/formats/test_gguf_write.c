/* Writing the GGUF container: names, order of rows, a file that grows and is reopened, and what it
 * has no place for. */
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/gguf/gguf_private.h"
#include "formats/loaders/model_folder.h"
#include "support.h"

static llmq_error err;

/* --- names ------------------------------------------------------------------------------------ */

START_TEST(names_correspond_one_to_one) {
    static const char *const pairs[][2] = {
        {"model.embed_tokens.weight", "token_embd.weight"},
        {"model.norm.weight", "output_norm.weight"},
        {"lm_head.weight", "output.weight"},
        {"model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"},
        {"model.layers.31.self_attn.q_proj.bias", "blk.31.attn_q.bias"},
        {"model.layers.7.self_attn.k_norm.weight", "blk.7.attn_k_norm.weight"},
        {"model.layers.100.self_attn.o_proj.weight", "blk.100.attn_output.weight"},
        {"model.layers.2.post_attention_layernorm.weight", "blk.2.ffn_norm.weight"},
        {"model.layers.2.mlp.down_proj.weight", "blk.2.ffn_down.weight"},
    };
    char name[GGUF_MAX_NAME + 1];
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        ck_assert(gguf_name_of(pairs[i][0], name));
        ck_assert_str_eq(name, pairs[i][1]);
        char *back = gguf_name_back(name, DTYPE_F32);
        ck_assert_str_eq(back, pairs[i][0]);
        free(back);
    }
    ck_assert(gguf_name_of("model.layers.3.mlp.up_proj.blocks", name));
    ck_assert_str_eq(name, "blk.3.ffn_up.weight");
    char *back = gguf_name_back(name, DTYPE_Q8_0);
    ck_assert_str_eq(back, "model.layers.3.mlp.up_proj.blocks");
    free(back);
}
END_TEST

START_TEST(other_names_have_no_place) {
    static const char *const none[] = {"model.layers.0.self_attn.bias_mask.weight",
                                       "model.layers.00.mlp.up_proj.weight",
                                       "model.layers..mlp.up_proj.weight",
                                       "model.layers.0",
                                       "lm_head.qweight",
                                       "weight",
                                       ""};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        ck_assert_msg(!gguf_has_name(none[i]), "%s", none[i]);
    char *back = gguf_name_back("blk.01.ffn_up.weight", DTYPE_F32);
    ck_assert_str_eq(back, "blk.01.ffn_up.weight");
    free(back);
}
END_TEST

/* --- writing ---------------------------------------------------------------------------------- */

/* Two heads of eight rows for q, one for k; the value of an element is its row here. */
static const struct st_spec specs[] = {
    {"model.layers.0.self_attn.q_proj.weight", DTYPE_F32, 2, {16, 3}},
    {"model.layers.0.self_attn.k_proj.bias", DTYPE_F32, 1, {8}},
    {"model.layers.0.self_attn.v_proj.weight", DTYPE_F16, 2, {8, 3}},
    {"model.layers.0.mlp.up_proj.blocks", DTYPE_Q4_0, 2, {2, 32}},
};
enum { SPECS = sizeof specs / sizeof specs[0] };

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

static struct gguf_metadata metadata_for(const char *arch) {
    struct gguf_metadata m = {0};
    gguf_metadata_begin(&m, arch, 2, 1);
    gguf_put_u32(&m, ".block_count", 1);
    gguf_put_f32(&m, ".rope.freq_base", 10000.0);
    gguf_put_bool(&m, "a.flag", true);
    gguf_put_strings(&m, "a.strings", (const char *const[]){"x", "", "yz"}, 3);
    gguf_put_f32s(&m, "a.floats", (const float[]){1.0f, 2.0f}, 2);
    gguf_put_i32s(&m, "a.ints", (const int32_t[]){-1}, 1);
    return m;
}

/* Rows of the data section's first tensor, as the file has them. */
static void stored_rows(const struct st_tensor *t, int rows[16]) {
    char *data = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(scratch_path("model.gguf"), 1 << 20, &data, &len, &err), &err);
    for (int i = 0; i < 16; i++) {
        float value;
        memcpy(&value, data + t->begin + (size_t)i * 12, sizeof value);
        rows[i] = (int)value;
    }
    free(data);
}

START_TEST(rows_of_heads_are_interleaved_where_the_architecture_says_so) {
    static const int interleaved[16] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15};
    for (int llama = 0; llama < 2; llama++) {
        struct gguf_metadata m = metadata_for(llama ? "llama" : "qwen2");
        struct st_writer *w = NULL;
        struct st_set *set = NULL;
        float back[48];
        int rows[16];
        ck_assert_ok(gguf_writer_create(scratch, specs, SPECS, &m, &w, &err), &err);
        put_rows(w, &specs[0]);
        put_rows(w, &specs[1]);
        ck_assert_ok(st_open_dir(scratch, &set, &err), &err); /* while it grows */
        const struct st_tensor *q = st_find(set, specs[0].name), *k = st_find(set, specs[1].name);
        stored_rows(q, rows);
        for (int i = 0; i < 16; i++)
            ck_assert_int_eq(rows[i], llama ? interleaved[i] : i);
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

START_TEST(a_file_is_finished_and_reopened) {
    struct gguf_metadata m = metadata_for("llama"), other = metadata_for("llama");
    struct st_writer *w = NULL;
    char data[256] = {1};
    ck_assert_ok(gguf_writer_create(scratch, specs, SPECS, &m, &w, &err), &err);
    ck_assert_fails(st_writer_finish(&w, &err), LLMQ_E_CHECK, "was planned but never written",
                    &err);
    gguf_put_u32(&other, ".vocab_size", 5);
    ck_assert_fails(gguf_writer_reopen(scratch, specs, SPECS, &other, &w, &err), LLMQ_E_INPUT,
                    "model.gguf: expected", &err);
    ck_assert_ok(gguf_writer_reopen(scratch, specs, SPECS, &m, &w, &err), &err);
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
        const char *part;
    } cases[] = {
        {{"model.layers.0.mask", DTYPE_F32, 1, {4}}, "have no place for it as F32"},
        {{"model.norm.weight", DTYPE_I64, 1, {4}}, "have no place for it as I64"},
        {{"model.norm.weight", DTYPE_F32, 0, {0}}, "expected 1 to 4 dimensions for GGUF, found 0"},
        {{"model.norm.weight", DTYPE_F32, 5, {1, 1, 1, 1, 1}}, "expected 1 to 4 dimensions"},
        {{"model.norm.weight", DTYPE_F32, 1, {0}}, "expected a size that GGUF can express"},
        {{"lm_head.blocks", DTYPE_Q4_0, 2, {2, 48}}, "expected a size that GGUF can express"},
        {{"lm_head.weight", DTYPE_F32, 2, {UINT64_C(1) << 40, UINT64_C(1) << 40}},
         "expected a size that GGUF can express"},
        {{"model.layers.0.self_attn.q_proj.weight", DTYPE_F32, 2, {6, 4}}, "2 heads of an even"},
    };
    struct gguf_metadata m = metadata_for("llama");
    struct st_writer *w = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_fails(gguf_writer_create(scratch, &cases[i].spec, 1, &m, &w, &err),
                        LLMQ_E_UNSUPPORTED, cases[i].part, &err);
    const struct st_spec twice[2] = {specs[0], specs[0]};
    ck_assert_fails(gguf_writer_create(scratch, twice, 2, &m, &w, &err), LLMQ_E_INPUT,
                    "found it twice", &err);
    ck_assert(!path_is_file(scratch_path("model.gguf")));
    gguf_metadata_free(&m);
}
END_TEST

int main(void) {
    Suite *s = suite_create("gguf write");
    TCase *t = tcase_create("container");
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, names_correspond_one_to_one);
    tcase_add_test(t, other_names_have_no_place);
    tcase_add_test(t, rows_of_heads_are_interleaved_where_the_architecture_says_so);
    tcase_add_test(t, a_file_is_finished_and_reopened);
    tcase_add_test(t, tensors_without_a_place_are_not_written);
    suite_add_tcase(s, t);
    return run_suite(s);
}
