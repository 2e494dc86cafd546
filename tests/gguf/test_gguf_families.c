/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF files of every family that llmq writes: the same model as in the gptq format, to the bit;
 * names, keys and what is done to tensors, as llama.cpp reads them; and configs that llama.cpp
 * would compute otherwise. */
#define _GNU_SOURCE /* memmem */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fileio.h"
#include "formats/gguf/gguf_file.h"
#include "gguf/gguf_archs.h"
#include "gguf/tiny_family.h"
#include "graph/model.h"
#include "llmq/quantize.h"
#include "llmq/verify.h"
#include "pipeline/tiny_run.h"
#include "support.h"

/* Sizes that all of them share; two heads of keys and values. */
#define SIZES                                                                                      \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_attention_heads\":4,"                       \
    "\"num_key_value_heads\":2,\"vocab_size\":64,\"max_position_embeddings\":64"
#define CONFIG(type, layers, more)                                                                 \
    "{\"model_type\":\"" type "\"," SIZES ",\"num_hidden_layers\":" layers more "}"

#define GEMMA2                                                                                     \
    ",\"head_dim\":32,\"query_pre_attn_scalar\":32,\"sliding_window\":7,"                          \
    "\"attn_logit_softcapping\":20.0,\"final_logit_softcapping\":15.0"
#define GEMMA3                                                                                     \
    ",\"head_dim\":32,\"query_pre_attn_scalar\":32,\"sliding_window\":7,"                          \
    "\"sliding_window_pattern\":6,\"rope_theta\":1000000.0"
#define GRANITE                                                                                    \
    ",\"embedding_multiplier\":3.0,\"attention_multiplier\":0.2,\"residual_multiplier\":0.5,"      \
    "\"logits_scaling\":4.0"
#define MIXTRAL ",\"num_local_experts\":3,\"num_experts_per_tok\":2"
#define QWEN_MOE                                                                                   \
    ",\"head_dim\":16,\"num_experts\":3,\"num_experts_per_tok\":2,\"moe_intermediate_size\":32,"   \
    "\"norm_topk_prob\":true"

/* A number under the architecture's key: a UINT32 where `integer`. */
struct key {
    const char *name;
    double value;
    bool integer;
};

static const struct family_case {
    const char *config, *arch;
    const char *names[6]; /* of tensors of the file */
    struct key keys[5];
} cases[] = {
    {CONFIG("llama", "2", ",\"attention_bias\":true"),
     "llama",
     {"blk.1.attn_q.blocks", "blk.1.attn_output.bias", "blk.0.ffn_norm.weight", "output.weight"},
     {{".attention.head_count_kv", 2, true}, {".feed_forward_length", 96, true}}},
    {CONFIG("mistral", "2", ",\"sliding_window\":9"),
     "llama",
     {"blk.0.attn_norm.weight"},
     {{".context_length", 9, true}}},
    {CONFIG("qwen2", "2", ""), "qwen2", {"blk.1.attn_k.bias"}, {{".block_count", 2, true}}},
    {CONFIG("qwen3", "2", ",\"head_dim\":16"),
     "qwen3",
     {"blk.1.attn_q_norm.weight", "blk.1.attn_k_norm.weight"},
     {{".attention.key_length", 16, true}}},
    {CONFIG("gemma", "2", ",\"head_dim\":32"),
     "gemma",
     {"token_embd.weight", "output_norm.weight", "blk.1.ffn_gate.blocks"},
     {{".rope.dimension_count", 32, true}, {".attention.layer_norm_rms_epsilon", 1e-6, false}}},
    {CONFIG("gemma2", "2", GEMMA2),
     "gemma2",
     {"blk.0.post_attention_norm.weight", "blk.0.post_ffw_norm.weight", "blk.0.ffn_norm.weight"},
     {{".attn_logit_softcapping", 20, false},
      {".final_logit_softcapping", 15, false},
      {".attention.sliding_window", 7, true},
      {".context_length", 64, true}}},
    {CONFIG("gemma3_text", "7", GEMMA3),
     "gemma3",
     {"blk.6.attn_q_norm.weight", "blk.6.post_ffw_norm.weight"},
     {{".attention.sliding_window", 7, true}, {".rope.freq_base", 1e6, false}}},
    {CONFIG("phi3", "2", ",\"sliding_window\":11,\"partial_rotary_factor\":0.5"),
     "phi3",
     {"blk.1.attn_qkv.blocks", "blk.1.ffn_up.blocks", "blk.1.ffn_down.blocks"},
     {{".rope.dimension_count", 8, true}, {".context_length", 11, true}}},
    {CONFIG("starcoder2", "2", ""),
     "starcoder2",
     {"output_norm.bias", "blk.0.ffn_up.bias", "blk.0.attn_norm.bias"},
     {{".attention.layer_norm_epsilon", 1e-5, false}}},
    {CONFIG("olmo2", "2", ""),
     "olmo2",
     {"blk.1.attn_q_norm.weight", "blk.1.post_attention_norm.weight", "output.weight"},
     {{".attention.layer_norm_rms_epsilon", 1e-5, false}}},
    {CONFIG("granite", "2", GRANITE),
     "granite",
     {"blk.1.attn_q.blocks"},
     {{".embedding_scale", 3, false},
      {".attention.scale", 0.2, false},
      {".residual_scale", 0.5, false},
      {".logit_scale", 4, false}}},
    {CONFIG("mixtral", "2", MIXTRAL),
     "llama",
     {"blk.1.ffn_gate_inp.weight", "blk.1.ffn_gate_exps.blocks", "blk.1.ffn_up_exps.blocks",
      "blk.1.ffn_down_exps.blocks"},
     {{".expert_count", 3, true}, {".expert_used_count", 2, true}}},
    {CONFIG("qwen3_moe", "2", QWEN_MOE),
     "qwen3moe",
     {"blk.0.ffn_gate_inp.weight", "blk.0.ffn_down_exps.blocks", "blk.0.attn_k_norm.weight"},
     {{".expert_feed_forward_length", 32, true}, {".expert_used_count", 2, true}}},
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* --- files ------------------------------------------------------------------------------------ */

static llmq_error err;

static void check_key(const char *data, size_t size, const char *arch, const struct key *key) {
    char name[96];
    uint32_t type = 0;
    float number = 0;
    uint32_t integer = 0;
    (void)snprintf(name, sizeof name, "%s%s", arch, key->name);
    const char *at = memmem(data, size, name, strlen(name));
    ck_assert_msg(at != NULL, "no %s", name);
    memcpy(&type, at + strlen(name), sizeof type);
    memcpy(&integer, at + strlen(name) + 4, sizeof integer);
    memcpy(&number, at + strlen(name) + 4, sizeof number);
    ck_assert_msg(type == (key->integer ? 4 : 6), "%s has type %u", name, type);
    const double found = key->integer ? (double)integer : (double)number;
    ck_assert_msg(fabs(found - key->value) <= 1e-6 * fabs(key->value), "%s is %g", name, found);
}

static void check_file(const struct family_case *c) {
    struct st_set *set = NULL;
    char *data = NULL;
    size_t size = 0;
    const char *path = scratch_path("out/model.gguf");
    ck_assert_ok(file_read(path, (size_t)64 << 20, &data, &size, &err), &err);
    for (size_t i = 0; i < 5 && c->keys[i].name; i++)
        check_key(data, size, c->arch, &c->keys[i]);
    free(data);
    ck_assert_ok(gguf_open_file(scratch_path("out/model.gguf"), &set, &err), &err);
    ck_assert_str_eq(st_metadata(set, GGUF_KEY_ARCH), c->arch);
    for (size_t i = 0; i < 6 && c->names[i]; i++)
        ck_assert_msg(st_find(set, c->names[i]) != NULL, "%s: no %s", c->arch, c->names[i]);
    for (size_t i = 0; i < st_count(set); i++)
        ck_assert_msg(!strstr(st_at(set, i)->name, "model."), "%s", st_at(set, i)->name);
    st_close(&set);
}

/* Nothing is broken, and nothing that is not quantized differs from the source. */
static void assert_no_violation(void) {
    llmq_verify_report r;
    const llmq_verify_options o = {.size = sizeof o, .model = out, .against = source};
    ck_assert_ok(llmq_verify(&o, NULL, &r, &err), &err);
    ck_assert_msg(r.ok, "%s", r.ok ? "" : r.violations.items[0].message);
    for (size_t i = 0; i < r.warnings.count; i++)
        ck_assert_msg(strncmp(r.warnings.items[i].rule, "against", strlen("against")) != 0,
                      "%s: %s", r.warnings.items[i].tensor, r.warnings.items[i].message);
    ck_assert_int_gt(r.equal, 0);
    llmq_verify_report_free(&r);
}

START_TEST(the_file_has_the_model_of_the_gptq_format) {
    const struct family_case *c = &cases[_i];
    char *gptq = strdup(scratch_path("gptq"));
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    tiny_family_write(source, c->config, 5);
    o.format = "gguf";
    o.recipe = run_keep_ends();
    run_quantize(&o);
    check_file(c);
    assert_no_violation();
    o.format = "gptq";
    o.out = gptq;
    run_quantize(&o);
    ck_assert_double_eq(run_loss(out, true), run_loss(gptq, true));
    free(gptq);
}
END_TEST

/* Scales are folded into norms that the file holds with one added. */
START_TEST(awq_in_a_gguf_file_can_be_interrupted) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_AWQ);
    tiny_family_write(source, CONFIG("gemma2", "2", GEMMA2), 6);
    o.format = "gguf";
    o.sym = true;
    run_interrupt(&o);
    llmq_quantize_report r = run_resume(&o);
    llmq_quantize_report_free(&r);
}
END_TEST

static void read_both(const char *ours, const char *theirs, float *a, float *b) {
    struct st_set *x = NULL, *y = NULL;
    ck_assert_ok(st_open_file(scratch_path("source/model.safetensors"), &x, &err), &err);
    ck_assert_ok(gguf_open_file(scratch_path("out/model.gguf"), &y, &err), &err);
    ck_assert_ok(st_read_f32(x, st_find(x, ours), a, &err), &err);
    ck_assert_ok(st_read_f32(y, st_find(y, theirs), b, &err), &err);
    st_close(&x);
    st_close(&y);
}

/* Gemma's norms have one added; rows of q and k are interleaved for Llama, and their biases. */
START_TEST(tensors_are_as_llama_cpp_wants_them) {
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    float a[64], b[64];
    o.format = "gguf";
    tiny_family_write(source, CONFIG("gemma2", "2", GEMMA2), 7);
    run_quantize(&o);
    read_both("model.layers.1.pre_feedforward_layernorm.weight", "blk.1.ffn_norm.weight", a, b);
    for (int i = 0; i < 64; i++)
        ck_assert_double_eq((double)b[i], (double)(a[i] + 1.0f));
    tiny_family_write(source, CONFIG("llama", "2", ",\"attention_bias\":true"), 7);
    run_quantize(&o);
    read_both("model.layers.1.self_attn.q_proj.bias", "blk.1.attn_q.bias", a, b);
    for (int i = 0; i < 64; i++) /* four heads of 16 */
        ck_assert_double_eq((double)b[i], (double)a[i / 16 * 16 + i % 2 * 8 + i % 16 / 2]);
    read_both("model.layers.1.self_attn.o_proj.bias", "blk.1.attn_output.bias", a, b);
    ck_assert_mem_eq(a, b, sizeof a);
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

START_TEST(what_llama_cpp_would_compute_otherwise_is_refused) {
    static const char *const refused[][2] = {
        {CONFIG("helium", "2", ""), "makes no GGUF files of helium models"},
        {CONFIG("llama", "2", ",\"hidden_act\":\"gelu\""), "config.json: hidden_act: llama.cpp's"},
        {CONFIG("qwen3", "2", ",\"head_dim\":16,\"attention_bias\":true"), "have no bias here"},
        {CONFIG("gemma", "2", ",\"head_dim\":32,\"tie_word_embeddings\":false"),
         "tie_word_embeddings: llama.cpp's gemma models have the embedding"},
        {CONFIG("gemma2", "2", ",\"head_dim\":32,\"query_pre_attn_scalar\":16"),
         "query_pre_attn_scalar: llama.cpp's gemma2 models have another number"},
        {CONFIG("gemma2", "2",
                ",\"head_dim\":32,\"query_pre_attn_scalar\":32,\"attn_logit_softcapping\":null"),
         "attn_logit_softcapping: llama.cpp's gemma2 models need a number above 0"},
        {CONFIG("gemma3_text", "7",
                ",\"head_dim\":32,\"query_pre_attn_scalar\":32,\"sliding_window_pattern\":3"),
         "have a window in all layers but every 6th"},
        {CONFIG("gemma3_text", "7",
                ",\"head_dim\":32,\"query_pre_attn_scalar\":32,\"rope_local_base_freq\":5000.0"),
         "rope_local_base_freq: llama.cpp's gemma3 models have another number"},
        {CONFIG("starcoder2", "2", ",\"use_bias\":false"), "have a bias here"},
        {CONFIG("olmo2", "2", ",\"tie_word_embeddings\":true"), "an output head of their own"},
        {CONFIG("qwen2", "2",
                ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0"
                ",\"high_freq_factor\":4.0,\"original_max_position_embeddings\":16}"),
         "rope_scaling: llama.cpp's qwen2 models have no rotary scaling of this type"},
        {CONFIG("qwen3_moe", "2", QWEN_MOE ",\"mlp_only_layers\":[0]"), "have experts in every"},
        {CONFIG("qwen3_moe", "2",
                ",\"head_dim\":16,\"num_experts\":3,\"num_experts_per_tok\":2,"
                "\"moe_intermediate_size\":32,\"norm_topk_prob\":false"),
         "norm_topk_prob: llama.cpp's qwen3moe models have weights of experts that add up to 1"},
    };
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    o.format = "gguf";
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        tiny_family_write(source, refused[i][0], 8);
        const llmq_error e = run_refused(&o, LLMQ_E_UNSUPPORTED, refused[i][1]);
        ck_assert_msg(strstr(e.hint, "gptq") && strstr(e.hint, "compressed-tensors"), "%s", e.hint);
    }
}
END_TEST

/* Every architecture is one that some family has, and the other way round. */
START_TEST(families_and_architectures_belong_together) {
    const struct gguf_arch *arch;
    const struct family *f;
    for (int i = 0; (arch = gguf_arch_at(i)); i++) {
        int owners = 0;
        for (int k = 0; (f = family_at(k)); k++)
            owners += f->gguf && strcmp(f->gguf, arch->name) == 0;
        ck_assert_msg(owners > 0, "%s", arch->name);
    }
    for (int k = 0; (f = family_at(k)); k++) {
        int i = 0;
        while (f->gguf && (arch = gguf_arch_at(i)) && strcmp(arch->name, f->gguf) != 0)
            i++;
        ck_assert_msg(!f->gguf || arch, "%s", f->name);
    }
}
END_TEST

/* A file beside the config of another model. */
START_TEST(an_architecture_of_another_family_is_no_model) {
    static const char other[] = CONFIG("qwen2", "2",
                                       ",\"quantization_config\":{\"quant_method\":"
                                       "\"gguf\",\"bits\":4,\"group_size\":32,"
                                       "\"sym\":true}");
    llmq_quantize_options o = run_options(LLMQ_METHOD_RTN);
    struct model m;
    o.format = "gguf";
    tiny_family_write(source, CONFIG("llama", "2", ""), 9);
    run_quantize(&o);
    put_file("out/config.json", other, sizeof other - 1);
    ck_assert_fails(model_open(out, &m, &err), LLMQ_E_INPUT,
                    "the GGUF file is of architecture 'llama': expected qwen2", &err);
}
END_TEST

int main(void) {
    Suite *s = suite_create("gguf families");
    TCase *t = tcase_create("families");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, run_setup, run_teardown);
    tcase_add_loop_test(t, the_file_has_the_model_of_the_gptq_format, 0, CASES);
    tcase_add_test(t, awq_in_a_gguf_file_can_be_interrupted);
    tcase_add_test(t, tensors_are_as_llama_cpp_wants_them);
    tcase_add_test(t, what_llama_cpp_would_compute_otherwise_is_refused);
    tcase_add_test(t, families_and_architectures_belong_together);
    tcase_add_test(t, an_architecture_of_another_family_is_no_model);
    suite_add_tcase(s, t);
    return run_suite(s);
}
