/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints opened by a program: every module of every format is what its codes say, and three
 * ways to its numbers agree to the bit. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calib/tiny_mixture.h"
#include "formats/loaders/model_folder.h"
#include "llmq/llmq.h"
#include "pipeline/tiny_model.h"
#include "pipeline/tiny_run.h"
#include "support.h"

static llmq_error err;

static llmq_checkpoint *open_it(const char *dir) {
    llmq_checkpoint *c = NULL;
    ck_assert_ok(llmq_checkpoint_open(dir, NULL, &c, &err), &err);
    return c;
}

static float *numbers(const llmq_module *m) {
    float *w = malloc((size_t)(m->rows * m->columns) * sizeof *w);
    ck_assert_ptr_nonnull(w);
    return w;
}

/* --- packed ------------------------------------------------------------------------------------
 */

/* y = x W^T in double, and by the packed product. */
static void check_product(const llmq_module *m, const float *w, const llmq_qmat *q) {
    float *x = malloc((size_t)m->columns * sizeof *x), *y = malloc((size_t)m->rows * sizeof *y);
    for (int64_t c = 0; c < m->columns; c++)
        x[c] = (float)(c % 13) / 8 - 0.7F;
    ck_assert_ok(llmq_qmat_matmul(q, x, 1, LLMQ_ACTIVATIONS_EXACT, y, &err), &err);
    for (int64_t r = 0; r < m->rows; r++) {
        double sum = 0, size = 0;
        for (int64_t c = 0; c < m->columns; c++) {
            sum += (double)w[r * m->columns + c] * (double)x[c];
            size += fabs((double)w[r * m->columns + c] * (double)x[c]);
        }
        ck_assert_double_le(fabs(sum - (double)y[r]), 2e-6 * size);
    }
    free(x);
    free(y);
}

static void check_packed(const llmq_checkpoint *c, const llmq_module *m) {
    const size_t bytes = (size_t)(m->rows * m->columns) * sizeof(float);
    llmq_codes codes;
    llmq_qmat *q = NULL, *same = NULL;
    float *by_codes = numbers(m), *by_matrix = numbers(m), *w = numbers(m);
    ck_assert_ok(llmq_checkpoint_codes(c, m, &codes, &err), &err);
    ck_assert_ok(llmq_checkpoint_load(c, m, &q, &err), &err);
    ck_assert_ok(llmq_checkpoint_decode(c, m, w, &err), &err);
    ck_assert_ok(llmq_codes_decode(&codes, 0, m->rows, by_codes, &err), &err);
    ck_assert_ok(llmq_qmat_decode(q, 0, m->rows, by_matrix, &err), &err);
    ck_assert_mem_eq(by_codes, w, bytes);
    ck_assert_mem_eq(by_matrix, w, bytes);
    ck_assert_int_eq(codes.rows, m->rows);
    ck_assert_int_eq(codes.columns, m->columns);
    ck_assert_int_eq(llmq_qmat_rows(q), m->rows);
    ck_assert_int_eq(llmq_qmat_columns(q), m->columns);
    ck_assert_msg(codes.bits == m->bits && codes.sym == m->sym, "%s: %d bits, sym %d, not %d, %d",
                  m->name, m->bits, m->sym, codes.bits, codes.sym);
    ck_assert_int_eq(codes.group, m->group == -1 ? m->columns : m->group);
    ck_assert_ok(llmq_codes_pack(&codes, &same, &err), &err);
    ck_assert_uint_eq(llmq_qmat_bytes(same), llmq_qmat_bytes(q));
    check_product(m, w, q);
    /* a part of the rows is that part */
    ck_assert_ok(llmq_qmat_decode(q, m->rows - 1, m->rows, by_matrix, &err), &err);
    ck_assert_mem_eq(by_matrix, w + (m->rows - 1) * m->columns, bytes / (size_t)m->rows);
    ck_assert_fails(llmq_qmat_decode(q, 0, m->rows + 1, by_matrix, &err), LLMQ_E_USAGE, "rows [0",
                    &err);
    ck_assert_fails(llmq_codes_decode(&codes, -1, 1, by_codes, &err), LLMQ_E_USAGE, "rows [-1",
                    &err);
    llmq_codes_free(&codes);
    llmq_codes_free(&codes);
    llmq_qmat_free(&q);
    llmq_qmat_free(&same);
    free(by_codes);
    free(by_matrix);
    free(w);
}

static const struct {
    const char *format;
    int bits;
    bool sym;
    int64_t group;
} made[] = {
    {"gptq", 4, true, 32},
    {"gptq", 3, true, -1},
    {"gptq_v2", 4, false, 32},
    {"awq", 4, false, 32},
    {"compressed-tensors", 8, true, 32},
    {"gguf", 4, true, 32},
    {"gguf", 8, true, 32},
    {"onnx", 4, false, 32},
    {"gptq", 2, true, 16},
};

/* _i: how the checkpoint was made. */
START_TEST(packed_modules_are_what_their_codes_say) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.format = made[_i].format;
    o.bits = made[_i].bits;
    o.sym = made[_i].sym;
    o.group = made[_i].group;
    if (strcmp(o.format, "gguf") == 0)
        o.recipe = run_keep_ends();
    run_quantize(&o);
    llmq_checkpoint *c = open_it(out);
    const llmq_module *m = NULL;
    size_t count = 0;
    for (; (m = llmq_checkpoint_module(c, count)); count++) {
        ck_assert_ptr_eq(llmq_checkpoint_find(c, m->name), m);
        if (m->block < 0)
            continue;
        ck_assert_int_eq(m->block, (int64_t)(count / 7));
        ck_assert(m->packed);
        ck_assert_str_eq(m->format, made[_i].format);
        ck_assert_int_eq(m->bits, made[_i].bits);
        ck_assert_uint_gt(m->bytes, (uint64_t)(m->rows * m->columns * m->bits / 8));
        check_packed(c, m);
    }
    ck_assert_uint_eq(count, 2 * 7 + 1);
    ck_assert_ptr_null(llmq_checkpoint_find(c, "model.layers.9.mlp.up_proj"));
    ck_assert_int_eq(llmq_checkpoint_blocks(c), 2);
    ck_assert_str_eq(llmq_checkpoint_family(c), "llama");
    ck_assert_str_eq(llmq_checkpoint_path(c), out);
    llmq_checkpoint_close(&c);
    llmq_checkpoint_close(&c);
}
END_TEST

START_TEST(a_head_may_be_packed_and_modules_may_deviate) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_recipe *recipe = NULL;
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_add(recipe, "lm_head:bits=8", &err), &err);
    ck_assert_ok(llmq_recipe_add(recipe, "down_proj:bits=8,group=16", &err), &err);
    ck_assert_ok(llmq_recipe_add(recipe, "layers\\.1\\.self_attn:keep", &err), &err);
    o.format = "gptq";
    o.recipe = recipe;
    run_quantize(&o);
    llmq_recipe_free(&recipe);
    llmq_checkpoint *c = open_it(out);
    const llmq_module *head = llmq_checkpoint_find(c, "lm_head");
    const llmq_module *down = llmq_checkpoint_find(c, "model.layers.1.mlp.down_proj");
    const llmq_module *kept = llmq_checkpoint_find(c, "model.layers.1.self_attn.q_proj");
    ck_assert(head && head->packed && head->block == -1 && head->bits == 8);
    ck_assert_int_eq(head->rows, TINY_VOCAB);
    check_packed(c, head);
    ck_assert(down && down->packed && down->bits == 8 && down->group == 16);
    check_packed(c, down);
    ck_assert(kept && !kept->packed);
    ck_assert_str_eq(kept->format, "none");
    llmq_checkpoint_close(&c);
}
END_TEST

/* --- plain -------------------------------------------------------------------------------------
 */

START_TEST(plain_modules_are_their_tensors) {
    struct st_set *tensors = NULL;
    llmq_checkpoint *c = open_it(source);
    ck_assert_ok(st_open_dir(source, &tensors, &err), &err);
    const llmq_module *m = NULL;
    for (size_t i = 0; (m = llmq_checkpoint_module(c, i)); i++) {
        char name[256];
        float *w = numbers(m), *wanted = numbers(m);
        snprintf(name, sizeof name, "%s.weight", m->name);
        const struct st_tensor *t = st_find(tensors, name);
        ck_assert_ptr_nonnull(t);
        ck_assert(!m->packed && m->bits == 16 && m->group == 0 && m->bytes == t->nbytes);
        ck_assert_str_eq(m->dtype, "BF16");
        ck_assert_ok(st_read_f32(tensors, t, wanted, &err), &err);
        ck_assert_ok(llmq_checkpoint_decode(c, m, w, &err), &err);
        ck_assert_mem_eq(w, wanted, (size_t)(m->rows * m->columns) * sizeof *w);
        free(w);
        free(wanted);
    }
    st_close(&tensors);
    llmq_checkpoint_close(&c);
}
END_TEST

START_TEST(experts_are_modules_of_their_own) {
    mixture_write(source, 3);
    llmq_checkpoint *c = open_it(source);
    const llmq_module *m = NULL;
    int64_t experts = 0;
    for (size_t i = 0; (m = llmq_checkpoint_module(c, i)); i++) {
        ck_assert_int_lt(m->expert, MIXTURE_EXPERTS);
        experts += m->expert >= 0;
        float *w = numbers(m);
        ck_assert_ok(llmq_checkpoint_decode(c, m, w, &err), &err);
        free(w);
    }
    ck_assert_int_eq(experts, MIXTURE_BLOCKS * MIXTURE_EXPERTS * 3);
    llmq_checkpoint_close(&c);
}
END_TEST

/* --- what is refused ---------------------------------------------------------------------------
 */

START_TEST(wrong_requests_are_refused) {
    llmq_checkpoint *c = NULL;
    llmq_codes codes;
    llmq_qmat *q = NULL;
    float none = 0;
    ck_assert_fails(llmq_checkpoint_open(NULL, NULL, &c, &err), LLMQ_E_USAGE, "missing", &err);
    ck_assert_fails(llmq_checkpoint_open(scratch_path("nowhere"), NULL, &c, &err), LLMQ_E_NOT_FOUND,
                    "nowhere", &err);
    ck_assert_fails(llmq_checkpoint_open(source, "no-family", &c, &err), LLMQ_E_USAGE, "no-family",
                    &err);
    ck_assert_ptr_null(c);
    c = open_it(source);
    const llmq_module *m = llmq_checkpoint_module(c, 0);
    const llmq_module copy = *m;
    ck_assert_fails(llmq_checkpoint_codes(c, m, &codes, &err), LLMQ_E_USAGE, "is not packed", &err);
    ck_assert_ptr_nonnull(strstr(err.hint, "llmq_checkpoint_decode"));
    ck_assert_fails(llmq_checkpoint_load(c, m, &q, &err), LLMQ_E_USAGE, "is not packed", &err);
    ck_assert_ptr_null(q);
    ck_assert_fails(llmq_checkpoint_decode(c, &copy, &none, &err), LLMQ_E_USAGE,
                    "a module that is not one of", &err);
    ck_assert_fails(llmq_checkpoint_decode(c, NULL, &none, &err), LLMQ_E_USAGE,
                    "a module that is not one of", &err);
    llmq_codes_free(&codes);
    llmq_checkpoint_close(&c);
}
END_TEST

START_TEST(a_damaged_file_is_named) {
    static const char header[] = "not a header";
    llmq_checkpoint *c = NULL;
    FILE *f = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", source);
    f = fopen(path, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(header, 1, sizeof header, f), sizeof header);
    fclose(f);
    const enum llmq_status status = llmq_checkpoint_open(source, NULL, &c, &err);
    ck_assert_int_ne(status, LLMQ_OK);
    ck_assert_int_eq(llmq_exit_code(status), 3);
    ck_assert_ptr_nonnull(strstr(err.message, "model.safetensors"));
    ck_assert_ptr_null(c);
}
END_TEST

int main(void) {
    Suite *s = suite_create("api_checkpoint");
    TCase *t = tcase_create("checkpoint");
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, packed_modules_are_what_their_codes_say, 0,
                        (int)(sizeof made / sizeof made[0]));
    tcase_add_test(t, a_head_may_be_packed_and_modules_may_deviate);
    tcase_add_test(t, plain_modules_are_their_tensors);
    tcase_add_test(t, experts_are_modules_of_their_own);
    tcase_add_test(t, wrong_requests_are_refused);
    tcase_add_test(t, a_damaged_file_is_named);
    suite_add_tcase(s, t);
    return run_suite(s);
}
