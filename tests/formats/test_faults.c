/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that runs out: every allocation of the format code fails once, and each time the caller
 * gets LLMQ_E_MEMORY, nothing is left open and (under AddressSanitizer) nothing leaks.
 *
 * Linked with --wrap, so that the code under test allocates through the functions below. */
#include "layout_modules.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf/gguf_file.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static long until_failure = -1; /* allocations that still succeed; negative: all */

static bool fails_now(void) {
    return until_failure >= 0 && until_failure-- == 0;
}

void *__wrap_malloc(size_t size) {
    return fails_now() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    return fails_now() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    return fails_now() ? NULL : __real_realloc(old, size);
}
char *__wrap_strdup(const char *text) {
    return fails_now() ? NULL : __real_strdup(text);
}

/* Run `job` with the first allocation failing, then the second, until it needs no more. */
static void fail_each(enum llmq_status (*job)(llmq_error *err)) {
    for (long n = 0;; n++) {
        llmq_error err = {0};
        until_failure = n;
        const enum llmq_status status = job(&err);
        const bool failed = until_failure < 0;
        until_failure = -1;
        if (!failed) {
            ck_assert_ok(status, &err);
            ck_assert_int_gt(n, 0); /* a job that allocates nothing tests nothing */
            return;
        }
        ck_assert_msg(status == LLMQ_E_MEMORY, "allocation %ld: %s: %s", n,
                      llmq_status_name(status), err.message);
    }
}

/* --- jobs ------------------------------------------------------------------------------------- */

static const struct st_spec specs[] = {
    {.name = "a", .dtype = DTYPE_U8, .rank = 1, .shape = {4}},
    {.name = "b", .dtype = DTYPE_BF16, .rank = 1, .shape = {4}},
};

static enum llmq_status write_shards(llmq_error *err) {
    struct st_writer *w = NULL;
    enum llmq_status status = st_writer_create(scratch, specs, 2, 4, &w, err);
    if (status == LLMQ_OK)
        status = st_writer_put(w, "a", "1234", 4, err);
    if (status == LLMQ_OK)
        status = st_writer_put(w, "b", "12345678", 8, err);
    if (status == LLMQ_OK)
        return st_writer_finish(&w, err);
    st_writer_abort(&w);
    return status;
}

static enum llmq_status reopen_shards(llmq_error *err) {
    struct st_writer *w = NULL;
    const enum llmq_status status = st_writer_reopen(scratch, specs, 2, 4, &w, err);
    st_writer_abort(&w);
    return status;
}

static enum llmq_status read_shards(llmq_error *err) {
    struct st_set *set = NULL;
    float values[4];
    enum llmq_status status = st_open_dir(scratch, &set, err);
    if (status == LLMQ_OK)
        status = st_read_f32(set, st_find(set, "b"), values, err);
    st_close(&set);
    return status;
}

static const struct st_spec gguf_specs[] = {
    {.name = "norm", .dtype = DTYPE_F32, .rank = 1, .shape = {2}},
    {.name = "q", .dtype = DTYPE_F32, .rank = 1, .shape = {4}},
    {.name = "e", .dtype = DTYPE_F32, .rank = 2, .shape = {2, 2}},
};
static const struct gguf_place gguf_places[] = {
    {.name = "output_norm.weight", .plus_one = true},
    {.name = "blk.0.attn_q.bias", .heads = 1},
    {.name = "blk.0.ffn_up_exps.weight", .parts = 1},
};

static enum llmq_status write_gguf(llmq_error *err) {
    static const float norm[2] = {1, 2};
    struct gguf_metadata m = {0};
    struct st_writer *w = NULL;
    const struct gguf_plan plan = {gguf_specs, gguf_places, 3, &m};
    gguf_metadata_begin(&m, "llama");
    gguf_put_strings(&m, "tokens", (const char *const[]){"a", "b"}, 2);
    enum llmq_status status = gguf_writer_create(scratch, &plan, &w, err);
    if (status == LLMQ_OK)
        status = st_writer_put(w, "norm", norm, sizeof norm, err);
    st_writer_abort(&w);
    if (status == LLMQ_OK)
        status = gguf_writer_reopen(scratch, &plan, &w, err);
    st_writer_abort(&w);
    gguf_metadata_free(&m);
    return status;
}

static enum llmq_status read_gguf(llmq_error *err) {
    static const struct st_view views[] = {{.name = "norm", .plus_one = true},
                                           {.name = "q", .tensor = 1, .heads = 1},
                                           {.name = "e", .tensor = 2, .parts = 1}};
    struct st_set *set = NULL;
    enum llmq_status status = gguf_open_file(scratch_path("model.gguf"), &set, err);
    if (status == LLMQ_OK)
        status = st_view_as(set, views, 3, err);
    st_close(&set);
    return status;
}

static struct qlinear module;
static struct encoded file;

static const struct layout *layout;

static enum llmq_status encode_module(llmq_error *err) {
    return layout->encode(&module, file.bytes, err);
}

static enum llmq_status decode_module(llmq_error *err) {
    const struct layout_config config = config_of(layout, &module);
    struct qlinear back;
    const enum llmq_status status = layout->decode(&config, file.data, &back, err);
    if (status == LLMQ_OK)
        qlinear_free(&back);
    return status;
}

static enum llmq_status write_config(llmq_error *err) {
    static const struct layout_module modules[] = {{"m.layers.0.q_proj", {64, 64, 8, 32, true}},
                                                   {"m.layers.0.o_proj", {64, 64, 4, 32, true}}};
    const struct layout_config config = {.bits = 4, .group = 32, .sym = true};
    struct json *root = layout->config_write(&config, modules, 2);
    char *text = root ? json_print(root, false) : NULL;
    const enum llmq_status status = text ? LLMQ_OK : LLMQ_E_MEMORY;
    (void)err;
    free(text);
    json_free(&root);
    return status;
}

/* The models beside the tensors of one linear, which are in the scratch folder. */
static enum llmq_status write_models(llmq_error *err) {
    static const struct layout_module modules[] = {{"m", {64, 64, 4, 32, false}}};
    struct st_set *tensors = NULL;
    enum llmq_status status = st_open_dir(scratch, &tensors, err);
    if (status == LLMQ_OK)
        status = layout_onnx.write_beside(scratch, tensors, modules, 1, err);
    st_close(&tensors);
    return status;
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(the_container_reports_every_failed_allocation) {
    fail_each(write_shards);
    fail_each(reopen_shards);
    fail_each(read_shards);
}
END_TEST

START_TEST(gguf_files_report_every_failed_allocation) {
    fail_each(write_gguf);
    fail_each(read_gguf);
}
END_TEST

START_TEST(the_gptq_layout_reports_every_failed_allocation) {
    uint64_t seed = 20260827;
    layout = &layout_gptq;
    random_module(&(struct module_shape){64, 64, 32, 4, false, 1}, &seed, &module);
    make_room(layout, &module, &file);
    fail_each(encode_module);
    ((int32_t *)file.bytes[G_IDX])[0] = 1; /* a map that has to be kept */
    fail_each(decode_module);
    fail_each(write_config);
    qlinear_free(&module);
    encoded_free(&file);
}
END_TEST

static const struct json *rules_config;

static enum llmq_status read_rules(llmq_error *err) {
    const struct layout_config config = {.bits = 4, .group = 32, .sym = true};
    struct module_rules rules;
    struct module_setting setting;
    enum llmq_status status = module_rules_read(rules_config, layout, &config, &rules, err);
    if (status == LLMQ_OK)
        status = module_rules_find(&rules, "model.layers.0.mlp.up_proj", &setting, err);
    module_rules_free(&rules);
    return status;
}

START_TEST(the_rules_for_modules_report_every_failed_allocation) {
    static const struct {
        const struct layout *layout;
        const char *text;
    } cases[] = {
        {&layout_gptq, "{\"dynamic\":{\"-:a.*\":{},\"b\":{\"bits\":8}}}"},
        {&layout_awq, "{\"modules_to_not_convert\":[\"lm_head\",\"x\"]}"},
        {&layout_gptq, "{\"quant_method\":\"auto-round\",\"extra_config\":{\"a\":{\"bits\":8},"
                       "\".*b\":{\"bits\":16}},\"block_name_to_quantize\":\"model.layers,c\"}"},
        {&layout_compressed_tensors,
         "{\"ignore\":[\"lm_head\",\"re:x.*\"],\"config_groups\":{\"g\":{\"targets\":[\"Linear\"],"
         "\"weights\":{\"num_bits\":4,\"strategy\":\"channel\"}}}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        llmq_error err = {0};
        struct json *root = NULL;
        ck_assert_ok(json_parse(cases[i].text, strlen(cases[i].text), "test", &root, &err), &err);
        layout = cases[i].layout;
        rules_config = root;
        fail_each(read_rules);
        json_free(&root);
    }
}
END_TEST

/* Their encoders allocate nothing, and their configs only what the JSON library does. */
START_TEST(other_layouts_report_every_failed_allocation) {
    static const struct layout *const others[] = {&layout_awq, &layout_compressed_tensors,
                                                  &layout_gguf, &layout_onnx};
    uint64_t seed = 20260828;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        layout = others[i];
        random_module(&(struct module_shape){64, 64, 32, 4, layout->asym_if_exact, 0}, &seed,
                      &module);
        encode(layout, &module, &file);
        fail_each(decode_module);
        qlinear_free(&module);
        encoded_free(&file);
    }
}
END_TEST

START_TEST(the_onnx_models_report_every_failed_allocation) {
    static const struct st_spec parts[] = {
        {.name = "m.B", .dtype = DTYPE_U8, .rank = 2, .shape = {64, 32}},
        {.name = "m.scales", .dtype = DTYPE_F32, .rank = 2, .shape = {64, 2}},
        {.name = "m.zero_points", .dtype = DTYPE_U8, .rank = 2, .shape = {64, 1}},
    };
    static const char zeros[64 * 32];
    const size_t sizes[] = {2048, 512, 64};
    struct st_writer *w = NULL;
    llmq_error err = {0};
    ck_assert_ok(st_writer_create(scratch, parts, 3, UINT64_MAX, &w, &err), &err);
    for (int i = 0; i < 3; i++)
        ck_assert_ok(st_writer_put(w, parts[i].name, zeros, sizes[i], &err), &err);
    ck_assert_ok(st_writer_finish(&w, &err), &err);
    fail_each(write_models);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("format faults");
    TCase *tests = tcase_create("memory");
    tcase_add_checked_fixture(tests, scratch_setup, scratch_teardown);
    tcase_add_test(tests, the_container_reports_every_failed_allocation);
    tcase_add_test(tests, gguf_files_report_every_failed_allocation);
    tcase_add_test(tests, the_gptq_layout_reports_every_failed_allocation);
    tcase_add_test(tests, other_layouts_report_every_failed_allocation);
    tcase_add_test(tests, the_rules_for_modules_report_every_failed_allocation);
    tcase_add_test(tests, the_onnx_models_report_every_failed_allocation);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
