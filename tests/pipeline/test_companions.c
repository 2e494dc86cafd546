/* SPDX-License-Identifier: Apache-2.0 */
/* What travels with a model: everything but weights, whatever it is called, in every kind of
 * result; and what cannot be read is told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/strbuf.h"
#include "llmq/convert.h"
#include "llmq/evaluate.h"
#include "llmq/model.h"
#include "llmq/verify.h"
#include "pipeline/companion_rule.h"
#include "pipeline/companions.h"
#include "support.h"
#include "tiny_model.h"
#include "tiny_run.h"

/* --- the rule --------------------------------------------------------------------------------- */

static const char *const travelling[] = {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "qwen.tiktoken",
    "tokenizer.model.v3",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "tool_use.jinja",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "image_processor.json",
    "modeling_thing.py",
    "configuration_thing.py",
    "__init__.py",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
    "USE_POLICY.md",
    "README.md",
    "README_zh.md",
    "THIRD_PARTY_NOTICES",
    "cover.png",
    "report.pdf",
    "params.json",
    "modules.json",
    "training_args.bin",
    "model_card.md",
    "sample_finetune.py",
    "eval_results.json",
    "dict.txt",
    "unigram.json",
    "code.cpp",
};

static const char *const weights[] = {
    "model.safetensors",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "model.safetensors.index.fp16.json",
    "consolidated.safetensors",
    "consolidated.00.pth",
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model.bin.index.json",
    "model.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "adapter_config.json",
    "tf_model.h5",
    "tf_model.h5.index.json",
    "flax_model.msgpack",
    "flax_model.msgpack.index.json",
    "rust_model.ot",
    "saved_model.pb",
    "model.ckpt",
    "model.ckpt.data-00000-of-00001",
    "last.pt",
    "optimizer.pt",
    "optimizer.bin",
    "rng_state.pth",
    "model-q4_k_m.gguf",
    "MODEL.GGUF",
    "ggml-model-q4_0.bin",
    "decoder_model_merged.onnx",
    "model.onnx_data",
    "model.onnx.data",
    "model.layers.0.mlp.up_proj.onnx",
    "openvino_model.xml",
    "openvino_model.bin",
    "model.tflite",
    "weights.npz",
};

static const char *const ours[] = {
    "quantize_config.json", "quant_config.json", "quantization_config.json", "hf_quant_config.json",
    "recipe.yaml",          "llmq.json",         "llmq-journal.jsonl",       "config.json",
};

static const char *const private[] = {".gitattributes", ".git",         ".cache",    ".DS_Store",
                                      "x.partial",      "a.incomplete", "lost+found"};

#define ASSERT_ALL(names, kind)                                                                    \
    for (size_t i = 0; i < sizeof(names) / sizeof(names)[0]; i++)                                  \
    ck_assert_msg(companion_kind((names)[i], true, 1000) == (kind), "%s", (names)[i])

START_TEST(the_rule_knows_files_by_their_names) {
    ASSERT_ALL(travelling, COMPANION_TRAVELS);
    ASSERT_ALL(weights, COMPANION_WEIGHTS);
    ASSERT_ALL(ours, COMPANION_OURS);
    ASSERT_ALL(private, COMPANION_PRIVATE);
    /* Another component's config, and a .bin that is too large for arguments. */
    ck_assert_int_eq(companion_kind("config.json", false, 100), COMPANION_TRAVELS);
    ck_assert_int_eq(companion_kind("state.bin", true, 100), COMPANION_TRAVELS);
    ck_assert_int_eq(companion_kind("state.bin", true, 1 << 21), COMPANION_WEIGHTS);
}
END_TEST

/* --- a folder --------------------------------------------------------------------------------- */

static void put_in(const char *folder, const char *name, const char *content) {
    llmq_error err = {0};
    char *path = path_join(folder, name, NULL);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ck_assert_ok(dir_make(path, true, &err), &err);
        *slash = '/';
    }
    ck_assert_ok(file_write_atomic(path, content, strlen(content), &err), &err);
    free(path);
}

static char *content_in(const char *folder, const char *name) {
    llmq_error err = {0};
    char *path = path_join(folder, name, NULL), *data = NULL;
    size_t len = 0;
    ck_assert_ok(file_read(path, 1 << 24, &data, &len, &err), &err);
    free(path);
    return data;
}

static bool is_in(const char *folder, const char *name) {
    struct stat st;
    char *path = path_join(folder, name, NULL);
    bool found = lstat(path, &st) == 0;
    free(path);
    return found;
}

/* A model with all kinds of things beside it. */
static const char *const beside[] = {
    "additional_chat_templates/tool_use.jinja",
    "additional_chat_templates/rag.jinja",
    "figures/benchmark.png",
    "code/package/__init__.py",
    "code/package/deep/er/layers.py",
    "1_Pooling/config.json",
    "mixed/modeling.py",
    "tokenizer.model.v3",
    "empty.txt",
};

static const char *const not_beside[] = {
    "onnx/config.json",
    "onnx/model.onnx",
    "original/params.json",
    "original/consolidated.00.pth",
    "coreml/float16.mlpackage/Manifest.json",
    "gguf/tiny-q4.gguf",
    "vision/config.json",
    "vision/model.safetensors",
    "mixed/head.safetensors",
    "pytorch_model.bin",
    "adapter_config.json",
    "quantize_config.json.partial",
    ".git/config",
    ".gitattributes",
    "code/__pycache__/a.pyc",
    "llmq-journal.jsonl",
};

static void furnish(const char *folder) {
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++)
        put_in(folder, beside[i], strcmp(beside[i], "empty.txt") == 0 ? "" : beside[i]);
    for (size_t i = 0; i < sizeof not_beside / sizeof not_beside[0]; i++)
        put_in(folder, not_beside[i], "{}");
}

static void assert_furnished(const char *folder) {
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        char *copy = content_in(folder, beside[i]);
        ck_assert_str_eq(copy, strcmp(beside[i], "empty.txt") == 0 ? "" : beside[i]);
        free(copy);
    }
    for (size_t i = 0; i < sizeof not_beside / sizeof not_beside[0]; i++)
        ck_assert_msg(!is_in(folder, not_beside[i]), "%s is in %s", not_beside[i], folder);
    static const char *const folders[] = {"onnx", "original", "coreml", "gguf", "vision", ".git"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        ck_assert_msg(!is_in(folder, folders[i]), "%s is in %s", folders[i], folder);
}

START_TEST(every_kind_of_result_has_what_is_beside_the_model) {
    static const char *const formats[] = {"gptq", "awq", "compressed-tensors", "gguf", "onnx"};
    llmq_error err = {0};
    furnish(source);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
        o.format = formats[i];
        o.sym = strcmp(formats[i], "awq") != 0;
        o.out = scratch_path("first");
        run_quantize(&o);
        assert_furnished(scratch_path("first"));
    }
    llmq_convert_options c;
    llmq_convert_report report;
    llmq_convert_options_init(&c);
    c.model = scratch_path("first");
    c.out = out;
    c.format = "gptq";
    ck_assert_ok(llmq_convert(&c, NULL, &report, &err), &err);
    llmq_convert_report_free(&report);
    assert_furnished(out);
    ck_assert(!is_in(out, "model.layers.0.mlp.up_proj.onnx"));
}
END_TEST

/* --- what is told ----------------------------------------------------------------------------- */

static void keep_message(void *user, enum llmq_log_level level, const char *message) {
    (void)level;
    strbuf_printf(user, "%s\n", message);
}

START_TEST(what_is_left_behind_is_told) {
    struct strbuf told = {0};
    llmq_context ctx = {.size = sizeof ctx, .sink = {.user = &told, .message = keep_message}};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.dry_run = true;
    furnish(source);
    char *large = path_join(source, "large.dat", NULL), *pipe = path_join(source, "pipe", NULL);
    char *loop = path_join(source, "code/up", NULL);
    put_in(source, "latin-\xe9.txt", "");
    put_in(source, "large.dat", "");
    ck_assert_int_eq(truncate(large, (off_t)COMPANION_MAX_BYTES + 1), 0);
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    ck_assert_int_eq(symlink("..", loop), 0);
    llmq_quantize_report report = run_report(&o, &ctx);
    llmq_quantize_report_free(&report);
    ck_assert_ptr_nonnull(strstr(told.data, "left behind: large.dat: too large"));
    ck_assert_ptr_nonnull(strstr(told.data, "left behind: pipe: neither a file nor a folder"));
    ck_assert_ptr_nonnull(strstr(told.data, ": its name is not UTF-8"));
    ck_assert_ptr_nonnull(strstr(told.data, "left behind: code/up/: a link to a folder that it"));
    ck_assert_ptr_nonnull(strstr(told.data, "weights in other forms: adapter_config.json, coreml/,"
                                            " gguf/, mixed/head.safetensors, onnx/, original/, "
                                            "pytorch_model.bin, vision/"));
    ck_assert_ptr_null(strstr(told.data, "model.safetensors,"));
    strbuf_free(&told);
    free(large);
    free(pipe);
    free(loop);
}
END_TEST

START_TEST(links_become_what_they_lead_to) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    struct stat st;
    put_in(scratch_path(""), "blobs/0a", "a template");
    put_in(scratch_path(""), "elsewhere/inner.txt", "inside");
    char *file = path_join(source, "chat_template.jinja", NULL);
    char *folder = path_join(source, "assets", NULL);
    ck_assert_int_eq(symlink("../blobs/0a", file), 0);
    ck_assert_int_eq(symlink("../elsewhere", folder), 0);
    run_quantize(&o);
    char *copy = path_join(out, "chat_template.jinja", NULL);
    ck_assert(lstat(copy, &st) == 0 && S_ISREG(st.st_mode));
    char *text_copy = content_in(out, "assets/inner.txt");
    ck_assert_str_eq(text_copy, "inside");
    free(text_copy);
    free(copy);
    free(file);
    free(folder);
}
END_TEST

/* A cache of which some files were removed: what is a link to nothing is not absent. */
START_TEST(a_file_that_cannot_be_read_is_not_absent) {
    static const char *const names[] = {"tokenizer.json", "generation_config.json",
                                        "chat_template.jinja", "additional_chat_templates"};
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = path_join(source, names[i], NULL);
        ck_assert_int_eq(symlink("../../blobs/5f3e", path), 0);
        llmq_error err = run_refused(&o, LLMQ_E_INPUT, names[i]);
        ck_assert_ptr_nonnull(strstr(err.message, "a link to ../../blobs/5f3e, which is not"));
        ck_assert_ptr_nonnull(strstr(err.hint, "complete the download"));
        ck_assert_int_eq(unlink(path), 0);
        free(path);
    }
    /* Weights in another form may be missing: they would be left behind. */
    char *path = path_join(source, "pytorch_model.bin", NULL);
    ck_assert_int_eq(symlink("../../blobs/5f3e", path), 0);
    run_quantize(&o);
    free(path);
}
END_TEST

/* Wherever a file may be absent, a link to nothing in its place is told. */
START_TEST(every_reader_tells_absent_from_unreadable) {
    llmq_error err = {0};
    llmq_inspect_report inspected;
    llmq_verify_options verify = {.size = sizeof verify, .model = source};
    llmq_verify_report verified;
    int32_t *ids = NULL;
    size_t count = 0;
    char *plain = strdup(scratch_path("plain"));
    char *settings = path_join(source, "quantize_config.json", NULL);
    char *tokenizer = path_join(source, "tokenizer.json", NULL);
    char *index = path_join(source, "model.safetensors.index.json", NULL);
    char *config = path_join(source, "config.json", NULL);
    ck_assert_int_eq(symlink("gone", settings), 0);
    ck_assert_fails(llmq_inspect(source, NULL, &inspected, &err), LLMQ_E_INPUT,
                    "quantize_config.json: a link to gone", &err);
    llmq_inspect_report_free(&inspected);
    ck_assert_fails(llmq_verify(&verify, NULL, &verified, &err), LLMQ_E_INPUT,
                    "quantize_config.json: a link to gone", &err);
    llmq_verify_report_free(&verified);
    ck_assert_int_eq(unlink(settings), 0);
    ck_assert_int_eq(symlink("gone", tokenizer), 0);
    ck_assert_fails(llmq_tokenize(source, "a", 1, true, &ids, &count, &err), LLMQ_E_INPUT,
                    "tokenizer.json: a link to gone", &err);
    llmq_compare_options compare;
    llmq_compare_result compared;
    llmq_compare_options_init(&compare);
    tiny_model_write(plain, 1, 0);
    put_in(plain, "tokenizer.json",
           "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}");
    put_file("text.txt", "some text", 9);
    compare.model = source;
    compare.reference = plain;
    compare.text = scratch_path("text.txt");
    ck_assert_fails(llmq_compare(&compare, NULL, &compared, &err), LLMQ_E_INPUT,
                    "source/tokenizer.json: a link to gone", &err);
    ck_assert_int_eq(symlink("gone", index), 0);
    ck_assert_fails(llmq_inspect(source, NULL, &inspected, &err), LLMQ_E_INPUT,
                    "index.json: a link to gone", &err);
    llmq_inspect_report_free(&inspected);
    ck_assert_int_eq(unlink(index), 0);
    ck_assert_int_eq(unlink(config), 0);
    ck_assert_int_eq(symlink("gone", config), 0);
    ck_assert_fails(llmq_inspect(source, NULL, &inspected, &err), LLMQ_E_INPUT,
                    "config.json: a link to gone", &err);
    llmq_inspect_report_free(&inspected);
    free(plain);
    free(settings);
    free(tokenizer);
    free(index);
    free(config);
}
END_TEST

START_TEST(a_model_has_a_folder_of_its_own) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    char name[32];
    for (int i = 0; i <= COMPANION_MAX_COUNT; i++) {
        snprintf(name, sizeof name, "source/n%d.txt", i);
        FILE *f = fopen(scratch_path(name), "w");
        ck_assert_ptr_nonnull(f);
        fclose(f);
    }
    run_refused(&o, LLMQ_E_UNSUPPORTED, "more than 4096 files beside its weights");
}
END_TEST

START_TEST(the_bare_model_of_the_cases_keeps_its_templates) {
    char *model = shared_path("cases/templates/model");
    if (!model)
        return;
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.model = model;
    o.group_auto_fit = true;
    run_quantize(&o);
    ck_assert(is_in(out, "additional_chat_templates/tool_use.jinja"));
    free(model);
}
END_TEST

int main(void) {
    Suite *s = suite_create("companions");
    TCase *t = tcase_create("companions");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_test(t, the_rule_knows_files_by_their_names);
    tcase_add_test(t, every_kind_of_result_has_what_is_beside_the_model);
    tcase_add_test(t, what_is_left_behind_is_told);
    tcase_add_test(t, links_become_what_they_lead_to);
    tcase_add_test(t, a_file_that_cannot_be_read_is_not_absent);
    tcase_add_test(t, every_reader_tells_absent_from_unreadable);
    tcase_add_test(t, a_model_has_a_folder_of_its_own);
    tcase_add_test(t, the_bare_model_of_the_cases_keeps_its_templates);
    suite_add_tcase(s, t);
    return run_suite(s);
}
