/* Models that are not plain from their files: a tied config beside a head of its own, names behind
 * another prefix, tensors that no part of the model uses, scales of an 8-bit cache. What is
 * computed is the plain model's, and results are what every loader reads alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "base/json.h"
#include "edit_checkpoint.h"
#include "formats/gguf/gguf_file.h"
#include "formats/loaders/model_folder.h"
#include "graph/model.h"
#include "llmq/convert.h"
#include "llmq/verify.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

#define Q0   "model.layers.0.self_attn.q_proj"
#define HEAD "lm_head.weight"
#define EMBD "model.embed_tokens.weight"

static llmq_error err;

/* --- making them ------------------------------------------------------------------------------ */

static void tie(const char *dir) {
    edit_text(dir, "config.json", "\"my_key\": 1.50",
              "\"my_key\": 1.50, \"tie_word_embeddings\": true");
}

static void put(const char *dir, const char *name, enum dtype dtype, uint64_t rows,
                uint64_t columns, uint16_t first) {
    struct edit e;
    uint16_t *data = calloc((size_t)((rows ? rows : 1) * columns), 8);
    data[0] = first;
    edit_read(dir, &e);
    edit_put(&e, name, dtype, rows, columns, data);
    edit_write(dir, &e, 1u << 30);
    free(data);
}

static void copy_tensor(const char *dir, const char *from, const char *to) {
    struct edit e;
    size_t bytes = 0;
    edit_read(dir, &e);
    const void *data = edit_data(&e, from, &bytes);
    void *copy = malloc(bytes);
    memcpy(copy, data, bytes);
    edit_put(&e, to, DTYPE_BF16, TINY_VOCAB, 64, copy);
    edit_write(dir, &e, 1u << 30);
    free(copy);
}

static void take(const char *dir, const char *name) {
    struct edit e;
    edit_read(dir, &e);
    edit_remove(&e, name);
    edit_write(dir, &e, 1u << 30);
}

/* Put `to` in place of the first `from` that names begin with. */
static void rename_prefix(const char *dir, const char *from, const char *to) {
    struct edit e;
    edit_read(dir, &e);
    for (size_t i = 0; i < e.count; i++) {
        const char *old = e.specs[i].name;
        char name[256];
        if (strncmp(old, from, strlen(from)) != 0)
            continue;
        (void)snprintf(name, sizeof name, "%s%s", to, old + strlen(from));
        free((char *)(uintptr_t)old);
        e.specs[i].name = strdup(name);
    }
    edit_write(dir, &e, 1u << 30);
}

/* --- looking at them -------------------------------------------------------------------------- */

/* Messages of a run, one after another. */
static char messages[8192];

static void note(void *user, enum llmq_log_level level, const char *message) {
    (void)user;
    (void)level;
    strncat(messages, message, sizeof messages - strlen(messages) - 2);
    strcat(messages, "\n");
}

static llmq_context listening(void) {
    messages[0] = '\0';
    return (llmq_context){.sink = {.message = note}};
}

static void says(const char *part) {
    ck_assert_msg(strstr(messages, part) != NULL, "no '%s' in: %s", part, messages);
}

static double loss_of(const char *dir) {
    llmq_eval_options o = run_eval_options(dir);
    llmq_context ctx = listening();
    llmq_eval_result r;
    ck_assert_ok(llmq_eval(&o, &ctx, &r, &err), &err);
    return r.nll;
}

static void quantize(const char *format) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_context ctx = listening();
    o.format = format;
    llmq_quantize_report r = run_report(&o, &ctx);
    llmq_quantize_report_free(&r);
}

static void convert(const char *from, const char *format, const char *to) {
    llmq_convert_options o;
    llmq_convert_report r;
    llmq_context ctx = listening();
    llmq_convert_options_init(&o);
    o.model = from;
    o.out = to;
    o.format = format;
    o.force = true;
    ck_assert_ok(llmq_convert(&o, &ctx, &r, &err), &err);
    llmq_convert_report_free(&r);
}

/* In a GGUF file, under the family's name for what has another one there. */
static bool stored_gguf(const char *dir, const char *name) {
    struct model m;
    ck_assert_ok(model_open(dir, &m, &err), &err);
    const bool found = st_find(m.tensors, name) != NULL;
    model_close(&m);
    return found;
}

static bool stored(const char *dir, const char *name) {
    struct st_set *set = NULL;
    ck_assert_ok(st_open_dir(dir, &set, &err), &err);
    if (st_metadata(set, GGUF_KEY_ARCH)) {
        st_close(&set);
        return stored_gguf(dir, name);
    }
    const bool found = st_find(set, name) != NULL;
    st_close(&set);
    return found;
}

/* Does verify report the rule, as a violation when `violation`? */
static bool finds(const char *dir, const char *rule, bool violation) {
    llmq_verify_options o = {.model = dir};
    llmq_verify_report r;
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    const llmq_findings *list = violation ? &r.violations : &r.warnings;
    bool found = false;
    for (size_t i = 0; i < list->count; i++)
        found = found || strcmp(list->items[i].rule, rule) == 0;
    ck_assert(!violation || r.ok == (r.violations.count == 0));
    llmq_verify_report_free(&r);
    return found;
}

/* 1, 0, or -1 when the key is absent. */
static int tied_in(const char *dir) {
    struct json *config = NULL;
    bool tied = false;
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(json_read(path, &config, &err), &err);
    const int found = json_as_bool(json_get(config, "tie_word_embeddings"), &tied) ? tied : -1;
    json_free(&config);
    free(path);
    return found;
}

static void refused(const char *part, const char *hint) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    llmq_error found = run_fails(&o, LLMQ_E_UNSUPPORTED, part);
    ck_assert_msg(strstr(found.hint, hint) != NULL, "hint lacks '%s': %s", hint, found.hint);
    ck_assert(!path_is_dir(out));
}

/* --- the output head -------------------------------------------------------------------------- */

START_TEST(a_stored_head_that_differs_counts_whatever_the_config_says) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors", "gguf", "onnx"};
    const double plain = loss_of(source);
    double packed[5];
    for (size_t i = 0; i < 5; i++) {
        quantize(formats[i]);
        packed[i] = loss_of(out);
    }
    tie(source);
    ck_assert_double_eq(loss_of(source), plain);
    says("the stored head counts");
    ck_assert(finds(source, "tied-head", true));
    for (size_t i = 0; i < 5; i++) {
        quantize(formats[i]);
        says("tie_word_embeddings false");
        ck_assert(stored(out, HEAD));
        ck_assert_int_eq(tied_in(out), 0);
        ck_assert_double_eq(loss_of(out), packed[i]);
        ck_assert(!finds(out, "tied-head", true));
    }
}
END_TEST

START_TEST(conversions_untie_what_their_source_ties_wrongly) {
    quantize("gptq");
    const double packed = loss_of(out);
    edit_text(out, "config.json", "\"my_key\": 1.50",
              "\"my_key\": 1.50, \"tie_word_embeddings\": true");
    ck_assert_double_eq(loss_of(out), packed);
    convert(out, "awq", scratch_path("awq"));
    ck_assert_int_eq(tied_in(scratch_path("awq")), 0);
    ck_assert_double_eq(loss_of(scratch_path("awq")), packed);
    convert(out, "bf16", scratch_path("plain"));
    ck_assert_int_eq(tied_in(scratch_path("plain")), 0);
    ck_assert(stored(scratch_path("plain"), HEAD));
}
END_TEST

START_TEST(a_head_that_is_the_embedding_is_no_news) {
    copy_tensor(source, EMBD, HEAD);
    const double plain = loss_of(source);
    tie(source);
    ck_assert_double_eq(loss_of(source), plain);
    ck_assert_str_eq(messages, "");
    ck_assert(!finds(source, "tied-head", true));
    quantize("gptq");
    ck_assert_int_eq(tied_in(out), 1);
    quantize("gguf");
    ck_assert(!stored(out, HEAD));
    take(source, HEAD);
    ck_assert_double_eq(loss_of(source), plain);
}
END_TEST

/* The same values in another dtype are the same head. */
START_TEST(a_head_of_equal_values_in_another_dtype_is_no_news) {
    struct edit e;
    copy_tensor(source, EMBD, HEAD);
    edit_read(source, &e);
    edit_widen(&e, HEAD);
    edit_write(source, &e, 1u << 30);
    tie(source);
    (void)loss_of(source);
    ck_assert_str_eq(messages, "");
}
END_TEST

START_TEST(a_tied_embedding_that_is_stored_as_the_head_loads) {
    copy_tensor(source, EMBD, HEAD);
    tie(source);
    const double plain = loss_of(source);
    take(source, EMBD);
    ck_assert_double_eq(loss_of(source), plain);
    says("stored alone and tied");
    ck_assert(finds(source, "tensor-names", true));
    quantize("gptq");
    ck_assert(stored(out, EMBD) && !stored(out, HEAD));
    ck_assert_int_eq(tied_in(out), 1);
    ck_assert(!finds(out, "tensor-names", true) && !finds(out, "model-tensors", true));
}
END_TEST

START_TEST(a_head_that_is_missing_is_told_with_what_helps) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    take(source, HEAD);
    llmq_error found = run_fails(&o, LLMQ_E_INPUT, "'lm_head.weight' is missing");
    ck_assert_ptr_nonnull(strstr(found.hint, "\"tie_word_embeddings\": true"));
    put(source, "score.weight", DTYPE_BF16, 2, 64, 0);
    found = run_fails(&o, LLMQ_E_INPUT, "'lm_head.weight' is missing");
    ck_assert_ptr_nonnull(strstr(found.hint, "score.weight"));
}
END_TEST

START_TEST(code_of_the_checkpoints_own_is_told) {
    const double plain = loss_of(source);
    ck_assert_str_eq(messages, "");
    edit_text(source, "config.json", "\"my_key\": 1.50",
              "\"my_key\": 1.50, \"auto_map\": {\"AutoModelForCausalLM\": \"m.Mine\"}");
    ck_assert_double_eq(loss_of(source), plain);
    says("auto_map names code of the checkpoint's own");
    quantize("gptq");
    says("it computes LlamaForCausalLM");
}
END_TEST

/* --- names ------------------------------------------------------------------------------------ */

static void reads_as(const char *trunk, const char *head) {
    const double plain = loss_of(source);
    char packed[64];
    quantize("gptq");
    const double expected = loss_of(out);
    rename_prefix(source, "model.", trunk);
    rename_prefix(source, "lm_head.", head);
    ck_assert_double_eq(loss_of(source), plain);
    says("are read as those of a llama model");
    ck_assert(finds(source, *trunk ? "tensor-prefix" : "tensor-names", true));
    quantize("gptq");
    (void)snprintf(packed, sizeof packed, "%s.qweight", Q0);
    ck_assert(stored(out, packed) && stored(out, EMBD) && stored(out, HEAD));
    ck_assert_double_eq(loss_of(out), expected);
    ck_assert(!finds(out, "tensor-names", true) && !finds(out, "tensor-prefix", true));
}

START_TEST(names_of_the_model_without_its_head) {
    reads_as("", "lm_head.");
}
END_TEST

START_TEST(names_of_a_model_inside_of_another) {
    reads_as("language_model.model.", "language_model.lm_head.");
}
END_TEST

START_TEST(names_of_a_model_inside_of_another_as_of_late) {
    reads_as("model.language_model.", "lm_head.");
}
END_TEST

START_TEST(names_of_a_wrapper) {
    reads_as("module.model.", "module.lm_head.");
}
END_TEST

START_TEST(two_models_in_one_are_refused) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    put(source, "language_model.model.layers.0.input_layernorm.weight", DTYPE_BF16, 0, 64, 0);
    (void)run_fails(&o, LLMQ_E_INPUT, "two models");
    ck_assert(finds(source, "tensor-prefix", true));
}
END_TEST

START_TEST(packed_models_are_read_under_other_names_too) {
    quantize("gptq");
    const double packed = loss_of(out);
    rename_prefix(out, "model.", "language_model.model.");
    rename_prefix(out, "lm_head.", "language_model.lm_head.");
    ck_assert_double_eq(loss_of(out), packed);
    convert(out, "awq", scratch_path("awq"));
    ck_assert(stored(scratch_path("awq"), Q0 ".qweight"));
    ck_assert_double_eq(loss_of(scratch_path("awq")), packed);
}
END_TEST

/* --- tensors that no part of the model uses ----------------------------------------------------
 */

START_TEST(adapters_that_are_not_merged_are_refused) {
    put(source, Q0 ".lora_A.default.weight", DTYPE_BF16, 8, 64, 1);
    put(source, Q0 ".lora_B.default.weight", DTYPE_BF16, 64, 8, 1);
    refused("lora_A.default.weight", "merge_and_unload");
    ck_assert(finds(source, "foreign-tensors", true));
}
END_TEST

START_TEST(wrapped_weights_are_refused) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    rename_prefix(source, Q0 ".", Q0 ".base_layer.");
    llmq_error found = run_fails(&o, LLMQ_E_INPUT, Q0 ".weight' is missing");
    ck_assert_ptr_nonnull(strstr(found.hint, "merge_and_unload"));
}
END_TEST

/* As bitsandbytes and FP8 leave them: before the shape, which is another one too, the type. */
START_TEST(weights_that_are_not_of_floating_type_are_refused) {
    static const enum dtype types[] = {DTYPE_U8, DTYPE_I8, DTYPE_F8_E4M3};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char expected[160];
        (void)snprintf(expected, sizeof expected, Q0 ".weight' is %s: expected F64, F32, F16",
                       dtype_name(types[i]));
        put(source, Q0 ".weight", types[i], 2048, 1, 1);
        refused(expected, "in 16 or 32 bits");
    }
}
END_TEST

START_TEST(parts_that_the_family_does_not_have_are_refused) {
    put(source, "model.layers.1.self_attn.q_norm.weight", DTYPE_BF16, 0, 16, 0x3f80);
    refused("self_attn.q_norm.weight", "model_type");
    ck_assert(finds(source, "foreign-tensors", true));
    take(source, "model.layers.1.self_attn.q_norm.weight");
    put(source, "model.embed_positions.weight", DTYPE_BF16, 64, 64, 0x3f80);
    refused("model.embed_positions.weight", "model_type");
}
END_TEST

START_TEST(biases_that_say_something_are_refused) {
    static const struct {
        const char *name, *hint;
        uint64_t columns;
    } rows[] = {{Q0 ".bias", "attention_bias", 64},
                {"model.layers.1.mlp.down_proj.bias", "mlp_bias", 64},
                {"model.layers.0.input_layernorm.bias", "llama models have no such bias", 64},
                {"model.layers.0.bias", "llama models have no such bias", 64},
                {"model.layers.0.mlp.bias", "llama models have no such bias", 64},
                {"lm_head.bias", "llama models have no such bias", TINY_VOCAB}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put(source, rows[i].name, DTYPE_F16, 0, rows[i].columns, 0x3c00);
        refused(rows[i].name, rows[i].hint);
        ck_assert(finds(source, "bias-unknown", true));
        put(source, rows[i].name, DTYPE_F16, 0, rows[i].columns, 0x8000); /* minus zero */
        quantize("gptq");
        says("all zero");
        ck_assert(!stored(out, rows[i].name));
        ck_assert_ok(dir_remove(out, &err), &err);
        take(source, rows[i].name);
    }
}
END_TEST

START_TEST(what_is_beside_the_model_is_left_out) {
    static const struct {
        const char *name, *words;
        bool violation;
    } rows[] = {
        {"model.layers.2.input_layernorm.weight", "beyond num_hidden_layers", true},
        {"vision_tower.patch_embed.weight", "no part of the model uses", true},
        {"model.vision_tower.blocks.0.norm.weight", "no part of the model uses", true},
        {"optimizer.state.exp_avg", "no part of the model uses", true},
        {"score.weight", "no part of the model uses", true},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", "buffer", false},
        {"model.layers.0.self_attn.masked_bias", "buffer", true},
        {"model.rotary_emb.cos_cached", "buffer", false},
    };
    const double plain = loss_of(source);
    quantize("gptq");
    const double packed = loss_of(out);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put(source, rows[i].name, DTYPE_F32, 0, 16, 1);
        ck_assert_double_eq(loss_of(source), plain);
        ck_assert_msg(finds(source, "unused-tensors", true) == rows[i].violation, "%s",
                      rows[i].name);
        quantize("gptq");
        says(rows[i].words);
        says(rows[i].name);
        ck_assert(!stored(out, rows[i].name));
        ck_assert_double_eq(loss_of(out), packed);
        ck_assert(!finds(out, "unused-tensors", true));
        quantize("gguf"); /* is not refused for its sake */
        take(source, rows[i].name);
    }
}
END_TEST

/* A packed model whose config.json names fewer layers than it has. */
START_TEST(packed_layers_beyond_the_configs_are_left_out) {
    quantize("gptq");
    edit_text(out, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    const double shallow = loss_of(out);
    says("beyond num_hidden_layers");
    ck_assert(finds(out, "unused-tensors", true));
    convert(out, "awq", scratch_path("awq"));
    says("beyond num_hidden_layers");
    ck_assert_double_eq(loss_of(scratch_path("awq")), shallow);
    ck_assert(!stored(scratch_path("awq"), "model.layers.1.self_attn.q_proj.qweight"));
    ck_assert(!finds(scratch_path("awq"), "unused-tensors", true));
}
END_TEST

START_TEST(the_plan_lists_what_is_left_out) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    put(source, "vision_tower.patch_embed.weight", DTYPE_F32, 0, 16, 1);
    o.dry_run = true;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_eq(r.dropped_count, 1);
    ck_assert_str_eq(r.dropped[0], "vision_tower.patch_embed.weight");
    llmq_quantize_report_free(&r);
}
END_TEST

/* --- scales of the cache -----------------------------------------------------------------------
 */

#define SCHEME                                                                                     \
    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\",\"symmetric\":true,\"dynamic\":"   \
    "false}"

static char *text_of(const char *dir, const char *key) {
    struct json *config = NULL;
    char *path = path_join(dir, "config.json", &err);
    ck_assert_ok(json_read(path, &config, &err), &err);
    char *text_found = json_print(json_get(json_get(config, "quantization_config"), key), false);
    json_free(&config);
    free(path);
    return text_found;
}

START_TEST(scales_of_the_cache_stay_where_their_scheme_does) {
    static const char scale[] = "model.layers.0.self_attn.k_scale";
    static const char *const others[] = {"gptq", "awq", "gguf", "onnx", "bf16"};
    quantize("compressed-tensors");
    const double packed = loss_of(out);
    put(out, scale, DTYPE_BF16, 0, 1, 0x3f80);
    put(out, "model.layers.1.self_attn.v_scale", DTYPE_BF16, 0, 1, 0x3f80);
    ck_assert(finds(out, "cache-scales", false));
    edit_text(out, "config.json", "\"kv_cache_scheme\": null", "\"kv_cache_scheme\": " SCHEME);
    ck_assert(!finds(out, "cache-scales", false) && !finds(out, "unused-tensors", true));
    ck_assert_double_eq(loss_of(out), packed);
    says("key and value cache");
    convert(out, "compressed-tensors", scratch_path("same"));
    ck_assert(stored(scratch_path("same"), scale));
    char *scheme = text_of(scratch_path("same"), "kv_cache_scheme");
    ck_assert_str_eq(scheme, SCHEME);
    free(scheme);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char *to = strdup(scratch_path("other"));
        convert(out, others[i], to);
        says("left out: 2 tensors with scales of an 8-bit key and value cache");
        says("kv_cache_scheme of the source is left out");
        ck_assert(!stored(to, scale));
        if (strcmp(others[i], "bf16") != 0)
            ck_assert_double_eq(loss_of(to), packed);
        free(to);
    }
}
END_TEST

START_TEST(scales_of_the_cache_of_plain_models_are_left_out) {
    static const char *const names[] = {
        "model.layers.0.self_attn.k_proj.output_scale", "model.layers.0.self_attn.attn.k_scale",
        "model.layers.1.self_attn.v_proj.v_scale", "model.layers.1.self_attn.kv_scale"};
    static const char *const formats[] = {"gptq", "compressed-tensors", "gguf"};
    const double plain = loss_of(source);
    for (size_t i = 0; i < 4; i++)
        put(source, names[i], DTYPE_F32, 0, 1, 1);
    ck_assert_double_eq(loss_of(source), plain);
    says("not applied: 4 tensors");
    for (size_t f = 0; f < 3; f++) {
        quantize(formats[f]);
        says("left out: 4 tensors");
        for (size_t i = 0; i < 4; i++)
            ck_assert(!stored(out, names[i]));
    }
}
END_TEST

/* --- what has lost its settings ----------------------------------------------------------------
 */

START_TEST(packed_weights_without_settings_are_recognised) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors"};
    for (size_t i = 0; i < 3; i++) {
        llmq_eval_result r;
        quantize(formats[i]);
        edit_move_config(out, NULL);
        char *beside = path_join(out, "quantize_config.json", &err);
        (void)remove(beside);
        free(beside);
        beside = path_join(out, "quant_config.json", &err);
        (void)remove(beside);
        free(beside);
        llmq_eval_options o = run_eval_options(out);
        err = (llmq_error){0};
        ck_assert_fails(llmq_eval(&o, NULL, &r, &err), LLMQ_E_INPUT, "q_proj.weight' is missing",
                        &err);
        ck_assert_msg(strstr(err.hint, "the weights are quantized, and no config says how") != NULL,
                      "%s", err.hint);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("strange models");
    TCase *t = tcase_create("models");
    tcase_set_timeout(t, 600);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, a_stored_head_that_differs_counts_whatever_the_config_says);
    tcase_add_test(t, conversions_untie_what_their_source_ties_wrongly);
    tcase_add_test(t, a_head_that_is_the_embedding_is_no_news);
    tcase_add_test(t, a_head_of_equal_values_in_another_dtype_is_no_news);
    tcase_add_test(t, a_tied_embedding_that_is_stored_as_the_head_loads);
    tcase_add_test(t, a_head_that_is_missing_is_told_with_what_helps);
    tcase_add_test(t, code_of_the_checkpoints_own_is_told);
    tcase_add_test(t, names_of_the_model_without_its_head);
    tcase_add_test(t, names_of_a_model_inside_of_another);
    tcase_add_test(t, names_of_a_model_inside_of_another_as_of_late);
    tcase_add_test(t, names_of_a_wrapper);
    tcase_add_test(t, two_models_in_one_are_refused);
    tcase_add_test(t, packed_models_are_read_under_other_names_too);
    tcase_add_test(t, adapters_that_are_not_merged_are_refused);
    tcase_add_test(t, wrapped_weights_are_refused);
    tcase_add_test(t, weights_that_are_not_of_floating_type_are_refused);
    tcase_add_test(t, parts_that_the_family_does_not_have_are_refused);
    tcase_add_test(t, biases_that_say_something_are_refused);
    tcase_add_test(t, what_is_beside_the_model_is_left_out);
    tcase_add_test(t, packed_layers_beyond_the_configs_are_left_out);
    tcase_add_test(t, the_plan_lists_what_is_left_out);
    tcase_add_test(t, scales_of_the_cache_stay_where_their_scheme_does);
    tcase_add_test(t, scales_of_the_cache_of_plain_models_are_left_out);
    tcase_add_test(t, packed_weights_without_settings_are_recognised);
    suite_add_tcase(s, t);
    return run_suite(s);
}
