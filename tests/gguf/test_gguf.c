/* SPDX-License-Identifier: Apache-2.0 */
/* --format gguf through the whole run on a tiny model: the same model as in the gptq format, bit
 * for bit, also after an interruption; the metadata and tokenizer; and what is refused beforehand.
 */
#define _GNU_SOURCE /* memmem */
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/loaders/model_folder.h"
#include "formats/safetensors/safetensors.h"
#include "graph/model.h"
#include "llmq/convert.h"
#include "llmq/model.h"
#include "llmq/quantize.h"
#include "pipeline/edit_checkpoint.h"
#include "pipeline/tiny_model.h"
#include "pipeline/tiny_run.h"
#include "support.h"

static llmq_quantize_options gguf_options(enum llmq_method method) {
    llmq_quantize_options o = run_options(method);
    o.format = "gguf";
    return o;
}

/* A file of the result; the caller frees. */
static char *read_file(const char *path, size_t *len) {
    llmq_error err = {0};
    char *data = NULL;
    ck_assert_ok(file_read(path, (size_t)64 << 20, &data, len, &err), &err);
    return data;
}

/* --- the same model --------------------------------------------------------------------------- */

START_TEST(the_result_is_the_model_of_the_gptq_format) {
    static const struct {
        int bits;
        int64_t group;
    } cases[] = {{4, 32}, {8, 32}, {4, -1}};
    char *gptq = strdup(scratch_path("gptq"));
    llmq_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        llmq_quantize_options o = gguf_options(LLMQ_METHOD_GPTQ);
        llmq_inspect_report r;
        o.bits = cases[i].bits;
        o.group = cases[i].group;
        o.recipe = run_keep_ends();
        run_quantize(&o);
        o.format = "gptq";
        o.out = gptq;
        run_quantize(&o);
        ck_assert_double_eq(run_loss(out, false), run_loss(gptq, false));
        ck_assert_double_eq(run_loss(out, true), run_loss(gptq, true));
        ck_assert_ok(llmq_inspect(out, NULL, &r, &err), &err);
        ck_assert_str_eq(r.layout, "gguf");
        ck_assert_int_eq(r.bits, cases[i].bits);
        ck_assert_int_eq(r.quantized_modules, 14);
        const double block = 2.0 * 8 / 32; /* a scale for 32 codes */
        ck_assert_double_eq(r.bits_per_quantized_weight, cases[i].bits + block);
        llmq_inspect_report_free(&r);
    }
    free(gptq);
}
END_TEST

static enum dtype dtype_of(const struct st_set *set, const char *name) {
    const struct st_tensor *t = st_find(set, name);
    ck_assert_msg(t != NULL, "no %s", name);
    return t->dtype;
}

START_TEST(what_is_not_quantized_keeps_its_values) {
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    llmq_error err = {0};
    struct st_set *before = NULL;
    struct model after;
    float a[64], b[64];
    o.recipe = run_keep_ends();
    run_quantize(&o);
    ck_assert_ok(st_open_dir(source, &before, &err), &err);
    ck_assert_ok(model_open(out, &after, &err), &err);
    ck_assert_int_eq(dtype_of(after.tensors, "model.embed_tokens.weight"), DTYPE_BF16);
    ck_assert_int_eq(dtype_of(after.tensors, "lm_head.weight"), DTYPE_BF16);
    ck_assert_int_eq(dtype_of(after.tensors, "model.layers.1.mlp.up_proj.blocks"), DTYPE_Q4_0);
    ck_assert_int_eq(dtype_of(after.tensors, "model.norm.weight"), DTYPE_F32);
    ck_assert_ok(st_read_f32(before, st_find(before, "model.norm.weight"), a, &err), &err);
    ck_assert_ok(st_read_f32(after.tensors, st_find(after.tensors, "model.norm.weight"), b, &err),
                 &err);
    ck_assert_mem_eq(a, b, sizeof a);
    st_close(&before);
    model_close(&after);
}
END_TEST

/* Of the tensor `name`: how it is stored, and how far its numbers are from the source's. */
static double rounding_of(const struct model *after, const char *name, enum dtype stored) {
    llmq_error err = {0};
    struct st_set *before = NULL;
    const struct st_tensor *t = st_find(after->tensors, name);
    float *a = malloc(64 * 64 * sizeof *a), *b = malloc(64 * 64 * sizeof *b);
    double difference = 0, whole = 0;
    ck_assert_ok(st_open_dir(source, &before, &err), &err);
    ck_assert(t && a && b);
    ck_assert_int_eq(st_stored_dtype(t), stored);
    ck_assert_ok(st_read_f32(before, st_find(before, name), a, &err), &err);
    ck_assert_ok(st_read_f32(after->tensors, t, b, &err), &err);
    for (int i = 0; i < 64 * 64; i++) {
        difference += ((double)b[i] - (double)a[i]) * ((double)b[i] - (double)a[i]);
        whole += (double)a[i] * (double)a[i];
    }
    st_close(&before);
    free(a);
    free(b);
    return difference / whole;
}

/* Embedding and head are Q8_0, or what a rule asks of the embedding. */
START_TEST(the_ends_are_rounded) {
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    llmq_error err = {0};
    llmq_recipe *recipe = NULL;
    struct model after;
    llmq_quantize_report r = run_report(&o, NULL);
    ck_assert_uint_eq(r.rounded_count, 2);
    ck_assert_str_eq(r.rounded[0].type, "Q8_0");
    llmq_quantize_report_free(&r);
    ck_assert_ok(model_open(out, &after, &err), &err);
    ck_assert_double_lt(rounding_of(&after, "model.embed_tokens.weight", DTYPE_Q8_0), 1e-4);
    ck_assert_double_lt(rounding_of(&after, "lm_head.weight", DTYPE_Q8_0), 1e-4);
    model_close(&after);
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_add(recipe, "embed_tokens:bits=4", &err), &err);
    ck_assert_ok(llmq_recipe_keep(recipe, "lm_head", &err), &err);
    o.recipe = recipe;
    run_quantize(&o);
    ck_assert_ok(model_open(out, &after, &err), &err);
    ck_assert_double_lt(rounding_of(&after, "model.embed_tokens.weight", DTYPE_Q4_0), 0.02);
    ck_assert_double_eq(rounding_of(&after, "lm_head.weight", DTYPE_BF16), 0);
    model_close(&after);
    llmq_recipe_free(&recipe);
}
END_TEST

/* What the blocks stand for goes into other formats as it is, and comes back. */
START_TEST(rounded_ends_are_converted_without_loss) {
    static const char *const formats[] = {"gptq", "compressed-tensors", "gguf"};
    const llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    llmq_error err = {0};
    run_quantize(&o);
    const double loss = run_loss(out, false);
    for (int i = 0; i < 3; i++) {
        llmq_convert_options to;
        llmq_convert_report r;
        llmq_convert_options_init(&to);
        to.model = out;
        to.out = scratch_path(formats[i]);
        to.format = formats[i];
        ck_assert_ok(llmq_convert(&to, NULL, &r, &err), &err);
        ck_assert_double_eq(r.max_error, 0);
        llmq_convert_report_free(&r);
        ck_assert_double_eq(run_loss(scratch_path(formats[i]), false), loss);
    }
}
END_TEST

START_TEST(what_cannot_be_asked_of_the_embedding_is_refused) {
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    llmq_error err = {0};
    llmq_recipe *recipe = NULL;
    ck_assert_ok(llmq_recipe_create(&recipe, &err), &err);
    ck_assert_ok(llmq_recipe_add(recipe, "embed_tokens:bits=8,method=gptq", &err), &err);
    o.recipe = recipe;
    run_refused(&o, LLMQ_E_UNSUPPORTED, "rounded to nearest in blocks of 32");
    o.format = "gptq";
    err = run_refused(&o, LLMQ_E_UNSUPPORTED, "an embedding that is quantized is for GGUF files");
    ck_assert_ptr_nonnull(strstr(err.hint, "--format gguf"));
    llmq_recipe_free(&recipe);
}
END_TEST

/* A tied head is not stored again, Llama 3's scaling becomes a tensor, and neither changes what is
 * computed. */
START_TEST(a_tied_head_and_scaled_rotations_are_expressed) {
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":96,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":2,"
        "\"vocab_size\":64,\"max_position_embeddings\":64,\"tie_word_embeddings\":true,"
        "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
        "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":16}}";
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    char *gptq = strdup(scratch_path("gptq"));
    size_t len = 0;
    put_file("source/config.json", config, sizeof config - 1);
    struct edit e;
    edit_read(source, &e);
    size_t bytes = 0;
    const void *embedding = edit_data(&e, "model.embed_tokens.weight", &bytes);
    memcpy(edit_data(&e, "lm_head.weight", NULL), embedding, bytes);
    edit_write(source, &e, 1u << 30);
    o.recipe = run_keep_ends();
    run_quantize(&o);
    char *data = read_file(scratch_path("out/model.gguf"), &len);
    ck_assert_ptr_nonnull(memmem(data, len, "rope_freqs.weight", 17));
    ck_assert_ptr_null(memmem(data, len, "\x0d\0\0\0\0\0\0\0output.weight", 21));
    free(data);
    o.format = "gptq";
    o.out = gptq;
    run_quantize(&o);
    ck_assert_double_eq(run_loss(out, true), run_loss(gptq, true));
    free(gptq);
}
END_TEST

START_TEST(interrupted_and_resumed_equals_uninterrupted) {
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_GPTQ);
    run_interrupt(&o);
    llmq_quantize_report r = run_resume(&o);
    llmq_quantize_report_free(&r);
}
END_TEST

/* --- metadata --------------------------------------------------------------------------------- */

/* The value of a key in the result's file, `len` bytes of it with their type in front. */
static void check_value(const char *key, const void *expected, size_t len) {
    size_t size = 0;
    char *data = read_file(scratch_path("out/model.gguf"), &size);
    const char *at = memmem(data, size, key, strlen(key));
    ck_assert_msg(at != NULL, "no %s", key);
    ck_assert_uint_lt((size_t)(at - data) + strlen(key) + len, size);
    ck_assert_msg(memcmp(at + strlen(key), expected, len) == 0, "%s has another value", key);
    free(data);
}

static void check_u32(const char *key, uint32_t value) {
    const uint32_t expected[2] = {4, value};
    check_value(key, expected, sizeof expected);
}

static void check_bool(const char *key, unsigned char value) {
    const unsigned char expected[5] = {7, 0, 0, 0, value};
    check_value(key, expected, sizeof expected);
}

static void check_string(const char *key, const char *value) {
    unsigned char expected[64] = {8};
    expected[4] = (unsigned char)strlen(value);
    memcpy(expected + 12, value, strlen(value));
    check_value(key, expected, 12 + strlen(value));
}

/* An array of 64 numbers, of which `count` from the first are given. */
static void check_numbers(const char *key, uint32_t type, const void *values, size_t count) {
    unsigned char expected[16 + 4 * 64] = {9};
    memcpy(expected + 4, &type, sizeof type);
    expected[8] = TINY_VOCAB;
    memcpy(expected + 16, values, 4 * count);
    check_value(key, expected, 16 + 4 * count);
}

START_TEST(the_metadata_describes_the_model) {
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    const float theta = 10000.0f;
    uint32_t theta_pair[2] = {6, 0};
    memcpy(&theta_pair[1], &theta, sizeof theta);
    run_quantize(&o);
    check_string("general.architecture", "llama");
    check_u32("general.file_type", 2);
    check_u32("llama.context_length", 64);
    check_u32("llama.block_count", 2);
    check_u32("llama.attention.head_count", 4);
    check_u32("llama.attention.head_count_kv", 2);
    check_u32("llama.rope.dimension_count", 16);
    check_value("llama.rope.freq_base", theta_pair, sizeof theta_pair);
    check_string("tokenizer.ggml.model", "no_vocab");
    check_u32("llama.vocab_size", TINY_VOCAB);
}
END_TEST

static void put_tokenizer(const char *json) {
    put_file("source/tokenizer.json", json, strlen(json));
}

/* 8 of the 64 tokens, merges in the order (a b) (ab c) (b c). */
#define SPM_MODEL(merges)                                                                          \
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true,"       \
    "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false}],"              \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"    \
    "\"\\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]}" \
    ",\"pre_tokenizer\":null,\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"    \
    "\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}" \
    "],\"pair\":[],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],\"tokens\":[\"<s>\"]}}" \
    "},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\",\"byte_fallback\":"    \
    "true,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"<0x61>\":2,\"a\":3,\"b\":4,\"c\":5,\"ab\":6,"         \
    "\"abc\":7,\"bc\":8},\"merges\":[" merges "]}}"

START_TEST(a_sentencepiece_tokenizer_becomes_scores) {
    static const int32_t kinds[] = {2, 3, 6, 1, 1, 1, 1, 1, 1, 5, 5};
    static const float scores[] = {0, 0, 0, -4, -4, -4, -1, -2, -3, 0};
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    put_tokenizer(SPM_MODEL("\"a b\",\"ab c\",\"a bc\",\"b c\""));
    run_quantize(&o);
    check_string("tokenizer.ggml.model", "llama");
    check_numbers("tokenizer.ggml.token_type", 5, kinds, sizeof kinds / sizeof kinds[0]);
    check_numbers("tokenizer.ggml.scores", 6, scores, sizeof scores / sizeof scores[0]);
    check_u32("tokenizer.ggml.bos_token_id", 1);
    check_u32("tokenizer.ggml.unknown_token_id", 0);
    check_bool("tokenizer.ggml.add_bos_token", 1);
    check_bool("tokenizer.ggml.add_eos_token", 0);
    check_bool("tokenizer.ggml.add_space_prefix", 1);
}
END_TEST

#define BYTE_LEVEL(steps)                                                                          \
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":3,\"content\":\"<end>\",\"special\":true,"     \
    "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false}],"              \
    "\"normalizer\":null,\"pre_tokenizer\":" steps ",\"post_processor\":null,\"model\":{"          \
    "\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[[\"a\",\"b\"]]}}"

#define BYTES_STEP(regex)                                                                          \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"                    \
    "\"use_regex\":" regex "}"

#define QWEN_PATTERN                                                                               \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "              \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

#define SPLIT(pattern)                                                                             \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"        \
    "\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTES_STEP("false") "]}"

START_TEST(byte_level_tokenizers_are_known_by_their_pattern) {
    static const char settings[] = "{\"eos_token\":{\"content\":\"<end>\"},\"bos_token\":null,"
                                   "\"chat_template\":\"{{ hello }}\"}";
    static const char *const cases[][2] = {
        {BYTE_LEVEL(BYTES_STEP("true")), "gpt-2"},
        {BYTE_LEVEL("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
                    "\"individual_digits\":true}," BYTES_STEP("true") "]}"),
         "smollm"},
        {BYTE_LEVEL(SPLIT(QWEN_PATTERN)), "qwen2"},
    };
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    put_file("source/tokenizer_config.json", settings, sizeof settings - 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_tokenizer(cases[i][0]);
        run_quantize(&o);
        check_string("tokenizer.ggml.model", "gpt2");
        check_string("tokenizer.ggml.pre", cases[i][1]);
        check_u32("tokenizer.ggml.eos_token_id", 3);
        check_bool("tokenizer.ggml.add_bos_token", 0);
        check_string("tokenizer.chat_template", "{{ hello }}");
        check_value("tokenizer.ggml.merges",
                    "\x09\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0a b", 27);
    }
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

START_TEST(grids_that_do_not_fit_are_refused_beforehand) {
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_GPTQ);
    o.sym = false;
    llmq_error err =
        run_refused(&o, LLMQ_E_UNSUPPORTED,
                    "--asym: gguf files hold asymmetric codes only where they happen to be exact");
    ck_assert_str_eq(err.hint, "give --sym");
    o.group = 24;
    err = run_refused(&o, LLMQ_E_UNSUPPORTED, "--asym: gguf files");
    ck_assert_ptr_nonnull(strstr(err.hint, "give --sym; group sizes that divide every module: "));
    o.sym = true;
    o.group = 16;
    run_refused(&o, LLMQ_E_UNSUPPORTED, "group size 16 is not a multiple of 32");
    o.group = 32;
    o.bits = 3;
    run_refused(&o, LLMQ_E_UNSUPPORTED, "expected 4 bits");
}
END_TEST

START_TEST(tokenizers_without_an_equal_are_refused_beforehand) {
    static const char *const cases[][2] = {
        {BYTE_LEVEL(SPLIT("\\\\p{L}+")), "expected a normalizer and pre-tokenizer that llama.cpp"},
        {BYTE_LEVEL("{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"),
         "expected a normalizer and pre-tokenizer that llama.cpp"},
        {SPM_MODEL("\"a b\",\"ab c\",\"b c\""), "'a' and 'bc' make a token but are no merge"},
        {SPM_MODEL("\"ab c\",\"a b\",\"a bc\",\"b c\""), "merge 2: scores cannot express"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\\u0000b\":0},\"merges\":[]}}",
         "token 0 has U+0000 in it"},
    };
    llmq_quantize_options o = gguf_options(LLMQ_METHOD_RTN);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_tokenizer(cases[i][0]);
        run_refused(&o, LLMQ_E_UNSUPPORTED, cases[i][1]);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("pipeline gguf");
    TCase *t = tcase_create("gguf");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, the_result_is_the_model_of_the_gptq_format);
    tcase_add_test(t, what_is_not_quantized_keeps_its_values);
    tcase_add_test(t, the_ends_are_rounded);
    tcase_add_test(t, rounded_ends_are_converted_without_loss);
    tcase_add_test(t, what_cannot_be_asked_of_the_embedding_is_refused);
    tcase_add_test(t, a_tied_head_and_scaled_rotations_are_expressed);
    tcase_add_test(t, interrupted_and_resumed_equals_uninterrupted);
    tcase_add_test(t, the_metadata_describes_the_model);
    tcase_add_test(t, a_sentencepiece_tokenizer_becomes_scores);
    tcase_add_test(t, byte_level_tokenizers_are_known_by_their_pattern);
    tcase_add_test(t, grids_that_do_not_fit_are_refused_beforehand);
    tcase_add_test(t, tokenizers_without_an_equal_are_refused_beforehand);
    suite_add_tcase(s, t);
    return run_suite(s);
}
