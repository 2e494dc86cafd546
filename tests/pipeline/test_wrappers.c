/* SPDX-License-Identifier: Apache-2.0 */
/* Models of text inside of others: a tiny Llama as the text model of a Llava, in both ways that
 * checkpoints have laid it out. What is computed is the plain model's; names, config and what lies
 * beside the model stay the whole's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "edit_checkpoint.h"
#include "formats/loaders/model_folder.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

static llmq_error err;

/* Where a checkpoint has the trunk, the head and the tower. The tower's layers are called as the
 * model's are. */
struct form {
    const char *trunk, *head, *tower;
};
static const struct form forms[] = {
    {"language_model.model.", "language_model.lm_head.", "vision_tower."},
    {"model.language_model.", "lm_head.", "model.vision_tower."},
};

/* --- making them ------------------------------------------------------------------------------ */

static char *read_text(const char *dir) {
    char *path = path_join(dir, "config.json", &err), *written = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(path, 1 << 20, &written, &len, &err), &err);
    free(path);
    return written;
}

static void write_text(const char *dir, const char *config) {
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(file_write_atomic(path, config, strlen(config), &err), &err);
    free(path);
}

/* Put the config into another one, behind `more` members. */
static void wrap_config(const char *dir, const char *more) {
    char *inner = read_text(dir);
    const size_t size = strlen(inner) + strlen(more) + 256;
    char *whole = malloc(size);
    (void)snprintf(whole, size,
                   "{\"model_type\": \"llava\", \"architectures\": "
                   "[\"LlavaForConditionalGeneration\"], %s \"text_config\": %s}",
                   more, inner);
    write_text(dir, whole);
    free(whole);
    free(inner);
}

static void rename_tensors(struct edit *e, const char *from, const char *to) {
    for (size_t i = 0; i < e->count; i++) {
        const char *old = e->specs[i].name;
        char name[256];
        if (strncmp(old, from, strlen(from)) != 0)
            continue;
        (void)snprintf(name, sizeof name, "%s%s", to, old + strlen(from));
        free((char *)(uintptr_t)old);
        e->specs[i].name = strdup(name);
    }
}

static void put_beside(struct edit *e, const char *part, const char *name, uint64_t rows) {
    float values[16 * 8];
    char whole[256];
    for (int i = 0; i < 16 * 8; i++)
        values[i] = (float)(i % 7) + 0.1F;
    (void)snprintf(whole, sizeof whole, "%s%s", part, name);
    edit_put(e, whole, DTYPE_F32, rows, 8, values);
}

static void wrap(const struct form *f, const char *more) {
    struct edit e;
    edit_read(source, &e);
    rename_tensors(&e, "model.", f->trunk);
    rename_tensors(&e, "lm_head.", f->head);
    put_beside(&e, f->tower, "layers.0.self_attn.q_proj.weight", 16);
    put_beside(&e, f->tower, "layers.1.self_attn.q_proj.weight", 16);
    put_beside(&e, f->tower, "norm.weight", 0);
    put_beside(&e, "multi_modal_projector.", "linear_1.weight", 16);
    edit_write(source, &e, 1u << 30);
    wrap_config(source, more);
}

/* --- looking at them -------------------------------------------------------------------------- */

static struct json *config_of(const char *dir) {
    struct json *config = NULL;
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(json_read(path, &config, &err), &err);
    free(path);
    return config;
}

/* Every tensor of the source beside the model is in the result, byte for byte. */
static void assert_carried(int wanted) {
    static const char *const parts[] = {"vision_tower.", "multi_modal_projector."};
    struct edit a, b;
    int found = 0;
    edit_read(source, &a);
    edit_read(out, &b);
    for (size_t i = 0; i < a.count; i++) {
        size_t bytes = 0;
        if (!strstr(a.specs[i].name, parts[0]) && !strstr(a.specs[i].name, parts[1]))
            continue;
        const void *data = edit_data(&b, a.specs[i].name, &bytes);
        ck_assert_uint_eq(bytes, a.bytes[i]);
        ck_assert_int_eq(memcmp(data, a.data[i], bytes), 0);
        found++;
    }
    ck_assert_int_eq(found, wanted);
    edit_write(source, &a, 1u << 30);
    edit_write(out, &b, 1u << 30);
}

static void assert_sound(const char *against) {
    const llmq_verify_options o = {.size = sizeof o, .model = out, .against = against};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    for (size_t i = 0; i < r.violations.count; i++)
        printf("%s: %s\n", r.violations.items[i].tensor, r.violations.items[i].message);
    ck_assert(r.ok);
    for (size_t i = 0; i < r.warnings.count; i++)
        ck_assert_str_ne(r.warnings.items[i].rule, "in-block-plain");
    llmq_verify_report_free(&r);
}

static llmq_quantize_report quantize(const char *format) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.format = format;
    return run_report(&o, NULL);
}

static bool stored(const char *dir, const char *begin) {
    struct st_set *set = NULL;
    bool found = false;
    ck_assert_ok(st_open_dir(dir, &set, &err), &err);
    for (size_t i = 0; i < st_count(set); i++)
        found = found || strncmp(st_at(set, i)->name, begin, strlen(begin)) == 0;
    st_close(&set);
    return found;
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(the_model_inside_is_quantized_and_the_rest_carried) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors"};
    const double plain = run_loss(source, false);
    double packed[3];
    for (int i = 0; i < 3; i++) {
        llmq_quantize_report r = quantize(formats[i]);
        ck_assert_uint_eq(r.carried_count, 0);
        llmq_quantize_report_free(&r);
        packed[i] = run_loss(out, false);
    }
    wrap(&forms[_i], "");
    ck_assert_double_eq(run_loss(source, false), plain);
    for (int i = 0; i < 3; i++) {
        llmq_quantize_report r = quantize(formats[i]);
        ck_assert_uint_eq(r.carried_count, 2);
        for (int p = 0; p < 2; p++) {
            const llmq_part *part = &r.carried[p];
            const bool tower = strcmp(part->name, "vision_tower") == 0;
            ck_assert(tower || strcmp(part->name, "multi_modal_projector") == 0);
            ck_assert_int_eq(part->tensors, tower ? 3 : 1);
            ck_assert_uint_eq(part->bytes, tower ? 1056 : 512);
        }
        llmq_quantize_report_free(&r);
        ck_assert_double_eq(run_loss(out, false), packed[i]);
        ck_assert(stored(out, forms[_i].trunk));
        ck_assert(stored(out, forms[_i].head));
        assert_carried(4);
        assert_sound(source);
    }
}
END_TEST

/* A layer of the tower has the name of one of the model's: an expression for the one must not mean
 * the other. */
START_TEST(the_gptq_config_names_what_lies_beside_by_its_parts) {
    wrap(&forms[_i], "");
    llmq_quantize_report r = quantize("gptq");
    llmq_quantize_report_free(&r);
    struct json *config = config_of(out);
    const struct json *rules = json_get(json_get(config, "quantization_config"), "dynamic");
    ck_assert_uint_eq(json_count(rules), 2);
    ck_assert_ptr_nonnull(json_get(rules, "-:(.*\\.)?vision_tower\\..*$"));
    ck_assert_ptr_nonnull(json_get(rules, "-:(.*\\.)?multi_modal_projector\\..*$"));
    json_free(&config);
}
END_TEST

START_TEST(the_other_formats_name_its_linears) {
    static const char *const formats[] = {"awq", "compressed-tensors"};
    char name[128];
    wrap(&forms[_i], "");
    for (int f = 0; f < 2; f++) {
        llmq_quantize_report r = quantize(formats[f]);
        llmq_quantize_report_free(&r);
        struct json *config = config_of(out);
        const struct json *quant = json_get(config, "quantization_config");
        const struct json *list = json_get(quant, f ? "ignore" : "modules_to_not_convert");
        bool found = false;
        (void)snprintf(name, sizeof name, "%slayers.1.self_attn.q_proj", forms[_i].tower);
        for (const struct json *v = json_first(list); v; v = json_next(v)) {
            found = found || strcmp(json_string(v), name) == 0;
            ck_assert_ptr_null(strstr(json_string(v), "norm"));
        }
        ck_assert_msg(found, "%s: %s", formats[f], name);
        json_free(&config);
    }
}
END_TEST

/* What loaders read stands where they look for it; the rest of the config keeps its bytes. */
START_TEST(the_config_stays_the_wrappers) {
    wrap(&forms[0], "\"image_token_index\": 63, \"torch_dtype\": \"bfloat16\",");
    edit_text(source, "config.json", "\"text_config\": {",
              "\"text_config\": {\"dtype\": \"bfloat16\", \"quantization_config\": null,");
    llmq_quantize_report r = quantize("awq");
    llmq_quantize_report_free(&r);
    struct json *config = config_of(out);
    const struct json *inner = json_get(config, "text_config");
    ck_assert_str_eq(json_string(json_get(config, "model_type")), "llava");
    ck_assert_int_eq(json_type(json_get(config, "quantization_config")), JSON_OBJECT);
    ck_assert_ptr_null(json_get(inner, "quantization_config"));
    ck_assert_str_eq(json_string(json_get(config, "torch_dtype")), "float16");
    ck_assert_str_eq(json_string(json_get(inner, "dtype")), "float16");
    ck_assert_str_eq(json_string(json_get(inner, "model_type")), "llama");
    json_free(&config);
}
END_TEST

/* What vLLM falls back to is read, too. */
START_TEST(the_quantization_is_found_in_the_text_config) {
    wrap(&forms[1], "");
    llmq_quantize_report r = quantize("gptq");
    llmq_quantize_report_free(&r);
    const double packed = run_loss(out, false);
    struct json *config = config_of(out);
    char *quant = json_print(json_get(config, "quantization_config"), false);
    char *whole = read_text(out), *removed = NULL, inner[4096];
    ck_assert_ok(json_text_remove(whole, strlen(whole), "quantization_config", &removed, &err),
                 &err);
    write_text(out, removed);
    (void)snprintf(inner, sizeof inner, "\"text_config\": {\"quantization_config\": %s,", quant);
    edit_text(out, "config.json", "\"text_config\": {", inner);
    ck_assert_double_eq(run_loss(out, false), packed);
    json_free(&config);
    free(quant);
    free(whole);
    free(removed);
}
END_TEST

START_TEST(a_wrapper_is_converted_and_expanded) {
    llmq_convert_options o;
    wrap(&forms[_i], "");
    llmq_quantize_report q = quantize("gptq");
    llmq_quantize_report_free(&q);
    const double packed = run_loss(out, true);
    char *first = strdup(scratch_path("first"));
    ck_assert_int_eq(rename(out, first), 0);
    static const char *const formats[] = {"compressed-tensors", "f32"};
    for (int f = 0; f < 2; f++) {
        llmq_convert_report r;
        llmq_convert_options_init(&o);
        o.model = first;
        o.out = out;
        o.format = formats[f];
        o.force = true;
        ck_assert_ok(llmq_convert(&o, NULL, &r, &err), &err);
        llmq_convert_report_free(&r);
        ck_assert_double_eq(run_loss(out, true), packed);
        assert_carried(4);
        if (f == 0)
            assert_sound(source);
    }
    free(first);
}
END_TEST

/* GGUF files hold the model of text; what lies beside it has files of its own there. */
START_TEST(a_gguf_file_holds_the_model_inside) {
    llmq_quantize_report plain = quantize("gguf");
    const double wanted = run_loss(out, false);
    llmq_quantize_report_free(&plain);
    wrap(&forms[0], "");
    llmq_quantize_report r = quantize("gguf");
    ck_assert_uint_eq(r.carried_count, 0);
    ck_assert_uint_eq(r.dropped_count, 4);
    llmq_quantize_report_free(&r);
    ck_assert_double_eq(run_loss(out, false), wanted);
    const llmq_verify_options o = {.size = sizeof o, .model = out, .against = source};
    llmq_verify_report report;
    ck_assert_fails(llmq_verify(&o, NULL, &report, &err), LLMQ_E_UNSUPPORTED,
                    "expected the same names", &err);
    llmq_verify_report_free(&report);
}
END_TEST

START_TEST(a_stored_head_that_differs_unties_both_configs) {
    wrap(&forms[1], "\"tie_word_embeddings\": true,");
    edit_text(source, "config.json", "\"text_config\": {",
              "\"text_config\": {\"tie_word_embeddings\": true,");
    llmq_quantize_report r = quantize("gptq");
    llmq_quantize_report_free(&r);
    struct json *config = config_of(out);
    bool outer = true, inner = true;
    ck_assert(json_as_bool(json_get(config, "tie_word_embeddings"), &outer));
    ck_assert(
        json_as_bool(json_get(json_get(config, "text_config"), "tie_word_embeddings"), &inner));
    ck_assert(!outer && !inner);
    json_free(&config);
}
END_TEST

/* Only the wrapper says that the head is the embedding. */
START_TEST(a_wrapper_ties_the_head_inside) {
    struct edit e;
    wrap(&forms[0], "\"tie_word_embeddings\": true,");
    edit_read(source, &e);
    edit_remove(&e, "language_model.lm_head.weight");
    edit_write(source, &e, 1u << 30);
    llmq_quantize_report r = quantize("compressed-tensors");
    llmq_quantize_report_free(&r);
    struct json *config = config_of(out);
    const struct json *ignore = json_get(json_get(config, "quantization_config"), "ignore");
    ck_assert_str_eq(json_string(json_first(ignore)), "language_model.lm_head");
    json_free(&config);
}
END_TEST

START_TEST(a_prefix_that_no_loader_knows_is_refused) {
    static const struct form form = {"module.model.", "module.lm_head.", "vision_tower."};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    wrap(&form, "");
    llmq_error found = run_refused(&o, LLMQ_E_INPUT, "begin with 'module.model.': loaders know");
    ck_assert_ptr_nonnull(strstr(found.hint, "trainer's wrapper"));
}
END_TEST

START_TEST(an_unknown_model_inside_is_named) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    wrap(&forms[0], "");
    edit_text(source, "config.json", "\"llama\"", "\"llamoid\"");
    (void)run_refused(&o, LLMQ_E_UNSUPPORTED, "text_config: model_type 'llamoid' is not supported");
}
END_TEST

/* A config of the model of text alone takes its tensors out of the wrapper: as before, results have
 * the usual names and no towers. */
START_TEST(a_config_of_text_alone_leaves_the_towers_out) {
    char *plain_config = read_text(source);
    const double plain = run_loss(source, false);
    wrap(&forms[1], "");
    write_text(source, plain_config);
    ck_assert_double_eq(run_loss(source, false), plain);
    llmq_quantize_report r = quantize("gptq");
    ck_assert_uint_eq(r.carried_count, 0);
    ck_assert_uint_eq(r.dropped_count, 4);
    llmq_quantize_report_free(&r);
    ck_assert(stored(out, "model.layers.0."));
    ck_assert(!stored(out, "model.vision_tower."));
    free(plain_config);
}
END_TEST

int main(void) {
    Suite *s = suite_create("wrappers");
    TCase *t = tcase_create("wrappers");
    const int count = sizeof forms / sizeof forms[0];
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_loop_test(t, the_model_inside_is_quantized_and_the_rest_carried, 0, count);
    tcase_add_loop_test(t, the_gptq_config_names_what_lies_beside_by_its_parts, 0, count);
    tcase_add_loop_test(t, the_other_formats_name_its_linears, 0, count);
    tcase_add_test(t, the_config_stays_the_wrappers);
    tcase_add_test(t, the_quantization_is_found_in_the_text_config);
    tcase_add_loop_test(t, a_wrapper_is_converted_and_expanded, 0, count);
    tcase_add_test(t, a_gguf_file_holds_the_model_inside);
    tcase_add_test(t, a_stored_head_that_differs_unties_both_configs);
    tcase_add_test(t, a_wrapper_ties_the_head_inside);
    tcase_add_test(t, a_prefix_that_no_loader_knows_is_refused);
    tcase_add_test(t, an_unknown_model_inside_is_named);
    tcase_add_test(t, a_config_of_text_alone_leaves_the_towers_out);
    suite_add_tcase(s, t);
    return run_suite(s);
}
