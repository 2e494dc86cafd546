/* SPDX-License-Identifier: Apache-2.0 */
/* Variants of families that the reference has no case of: a case is written as the variant that
 * computes the same, and has to. The cases are in the shared data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/strbuf.h"
#include "golden_case.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "pipeline/edit_checkpoint.h"
#include "support.h"

static llmq_error err;

static void copy_file(const char *from, const char *to, const char *name) {
    char *a = path_join(from, name, &err), *b = path_join(to, name, &err);
    ck_assert_ok(file_copy(a, b, &err), &err);
    free(a);
    free(b);
}

/* A folder of its own with the case's config and tensors, to be edited; NULL: there is no such
 * case. */
static char *take_case(const char *name, const char *folder) {
    char path[64];
    (void)snprintf(path, sizeof path, "golden/%s", name);
    char *from = shared_path(path), *dir = from ? strdup(scratch_path(folder)) : NULL;
    if (from) {
        ck_assert_ok(dir_make(dir, false, &err), &err);
        copy_file(from, dir, "config.json");
        copy_file(from, dir, "model.safetensors");
    }
    free(from);
    return dir;
}

/* Open what became of the case. */
static void open_variant(const char *name, const char *dir, struct golden *g) {
    char path[64];
    (void)snprintf(path, sizeof path, "golden/%s", name);
    char *from = shared_path(path);
    ck_assert_ptr_nonnull(from);
    copy_file(from, dir, "expected.json");
    copy_file(from, dir, "expected.safetensors");
    free(from);
    ck_assert_ok(golden_open(dir, "config.json", g, &err), &err);
}

static void assert_same(const char *name, const char *dir) {
    struct golden g;
    open_variant(name, dir, &g);
    const struct golden_figures off = golden_measure(&g);
    printf("%-20s logits %.1e  hidden %.1e\n", name, off.logits, off.hidden);
    ck_assert_double_le(off.logits, GOLDEN_LOGITS);
    ck_assert_double_le(off.hidden, GOLDEN_HIDDEN);
    golden_close(&g);
}

/* --- Gemma 3 ---------------------------------------------------------------------------------- */

/* The text model as the larger ones are released: inside of one that sees. */
START_TEST(a_gemma_inside_of_a_multimodal_one_is_the_same) {
    char *dir = take_case("gemma3-text", "variant"), name[192];
    char *path = dir ? path_join(dir, "config.json", &err) : NULL, *text = NULL;
    const float tower[4] = {1, 2, 3, 4};
    struct strbuf whole = {0};
    struct edit e;
    size_t len = 0;
    if (!dir)
        return;
    edit_read(dir, &e);
    for (size_t i = 0; i < e.count; i++) {
        (void)snprintf(name, sizeof name, "language_model.%s", e.specs[i].name);
        free((char *)(uintptr_t)e.specs[i].name);
        e.specs[i].name = strdup(name);
    }
    edit_put(&e, "vision_tower.vision_model.post_layernorm.weight", DTYPE_F32, 0, 4, tower);
    edit_write(dir, &e, 1u << 30);
    ck_assert_ok(file_read(path, 1 << 16, &text, &len, &err), &err);
    strbuf_printf(&whole,
                  "{\"model_type\": \"gemma3\", \"architectures\": "
                  "[\"Gemma3ForConditionalGeneration\"], \"text_config\": %s}",
                  text);
    ck_assert_ok(file_write_atomic(path, whole.data, whole.len, &err), &err);
    assert_same("gemma3-text", dir);
    strbuf_free(&whole);
    free(text);
    free(path);
    free(dir);
}
END_TEST

/* --- Falcon ----------------------------------------------------------------------------------- */

/* Two norms with the weights of one, as Falcon 40B has them. */
START_TEST(two_norms_that_are_alike_are_one) {
    static const char *const parts[] = {"weight", "bias"};
    char *dir = take_case("falcon-11b-style", "variant"), name[96];
    struct edit e;
    if (!dir)
        return;
    edit_read(dir, &e);
    for (int i = 0; i < 4; i++) {
        const int block = i / 2;
        size_t bytes = 0;
        (void)snprintf(name, sizeof name, "transformer.h.%d.input_layernorm.%s", block,
                       parts[i % 2]);
        float *values = malloc(64 * sizeof *values);
        memcpy(values, edit_data(&e, name, &bytes), 64 * sizeof *values);
        ck_assert_uint_eq(bytes, 64 * sizeof *values);
        edit_remove(&e, name);
        (void)snprintf(name, sizeof name, "transformer.h.%d.ln_attn.%s", block, parts[i % 2]);
        edit_put(&e, name, DTYPE_F32, 0, 64, values);
        (void)snprintf(name, sizeof name, "transformer.h.%d.ln_mlp.%s", block, parts[i % 2]);
        edit_put(&e, name, DTYPE_F32, 0, 64, values);
        free(values);
    }
    edit_write(dir, &e, 1u << 30);
    edit_text(dir, "config.json", "\"num_ln_in_parallel_attn\": 1",
              "\"num_ln_in_parallel_attn\": null");
    assert_same("falcon-11b-style", dir);
    free(dir);
}
END_TEST

/* One group of heads in the new architecture is the old one with multi_query. */
START_TEST(one_group_of_heads_is_multi_query) {
    char *dir = take_case("falcon-7b-style", "variant");
    if (!dir)
        return;
    edit_text(dir, "config.json", "\"new_decoder_architecture\": false",
              "\"new_decoder_architecture\": true");
    edit_text(dir, "config.json", "\"num_kv_heads\": 4", "\"num_kv_heads\": 1");
    edit_text(dir, "config.json", "\"num_ln_in_parallel_attn\": null",
              "\"num_ln_in_parallel_attn\": 1");
    assert_same("falcon-7b-style", dir);
    free(dir);
}
END_TEST

/* --- GPTBigCode ------------------------------------------------------------------------------- */

enum { HEADS = 4, HEAD = 12 };

/* Rows of q of all heads, then one head of k and v, as q, k, v head by head. */
static void repeat_keys(struct edit *e, const char *name, size_t columns) {
    size_t bytes = 0;
    const float *from = edit_data(e, name, &bytes);
    ck_assert_uint_eq(bytes, (HEADS + 2) * HEAD * columns * sizeof *from);
    float *to = malloc((size_t)3 * HEADS * HEAD * columns * sizeof *to);
    for (size_t h = 0; h < HEADS; h++) {
        const size_t parts[] = {h, HEADS, HEADS + 1};
        for (size_t p = 0; p < 3; p++)
            memcpy(to + (3 * h + p) * HEAD * columns, from + parts[p] * HEAD * columns,
                   HEAD * columns * sizeof *to);
    }
    edit_put(e, name, DTYPE_F32, columns > 1 ? 3 * HEADS * HEAD : 0,
             columns > 1 ? columns : 3 * HEADS * HEAD, to);
    free(to);
}

START_TEST(keys_of_one_head_repeated_are_those_of_all) {
    char *dir = take_case("gpt-bigcode-mqa", "variant"), name[96];
    struct edit e;
    if (!dir)
        return;
    edit_read(dir, &e);
    for (int block = 0; block < 2; block++) {
        (void)snprintf(name, sizeof name, "transformer.h.%d.attn.c_attn.weight", block);
        repeat_keys(&e, name, HEADS * HEAD);
        (void)snprintf(name, sizeof name, "transformer.h.%d.attn.c_attn.bias", block);
        repeat_keys(&e, name, 1);
    }
    edit_write(dir, &e, 1u << 30);
    edit_text(dir, "config.json", "\"multi_query\": true", "\"multi_query\": false");
    assert_same("gpt-bigcode-mqa", dir);
    free(dir);
}
END_TEST

/* --- OPT -------------------------------------------------------------------------------------- */

static bool is_linear_bias(const char *name) {
    const char *dot = strrchr(name, '.');
    return strcmp(dot, ".bias") == 0 && !strstr(name, "norm");
}

/* The biases of its linears zero, or taken away. */
static char *without_biases(const char *folder, bool keep_zeros) {
    char *dir = take_case("opt", folder);
    struct edit e;
    if (!dir)
        return NULL;
    edit_read(dir, &e);
    for (size_t i = e.count; i-- > 0;)
        if (is_linear_bias(e.specs[i].name) && keep_zeros)
            memset(e.data[i], 0, e.bytes[i]);
        else if (is_linear_bias(e.specs[i].name))
            edit_remove(&e, e.specs[i].name);
    edit_write(dir, &e, 1u << 30);
    if (!keep_zeros)
        edit_text(dir, "config.json", "\"enable_bias\": true", "\"enable_bias\": false");
    return dir;
}

START_TEST(no_biases_are_zero_biases) {
    char *zeros = without_biases("zeros", true), *none = without_biases("none", false);
    struct golden a, b;
    if (!zeros)
        return;
    open_variant("opt", zeros, &a);
    const struct golden_scores first = golden_score(&a);
    open_variant("opt", none, &b);
    const struct golden_scores second = golden_score(&b);
    const size_t count = (size_t)(a.corpus.tokens_used * a.model.config.vocab);
    ck_assert_mem_eq(first.logits, second.logits, count * sizeof *first.logits);
    free(first.logits);
    free(first.logprobs);
    free(second.logits);
    free(second.logprobs);
    golden_close(&a);
    golden_close(&b);
    free(zeros);
    free(none);
}
END_TEST

int main(void) {
    Suite *s = suite_create("golden_variants");
    TCase *t = tcase_create("golden_variants");
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_test(t, a_gemma_inside_of_a_multimodal_one_is_the_same);
    tcase_add_test(t, two_norms_that_are_alike_are_one);
    tcase_add_test(t, one_group_of_heads_is_multi_query);
    tcase_add_test(t, keys_of_one_head_repeated_are_those_of_all);
    tcase_add_test(t, no_biases_are_zero_biases);
    suite_add_tcase(s, t);
    return run_suite(s);
}
