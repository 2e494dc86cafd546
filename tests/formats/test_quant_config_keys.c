/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of quantization configs: what tools write is read, what changes the model is refused by
 * name, and so is what no reader knows. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/layouts/layout.h"

static llmq_error err;

/* A sound config for each reader, without the brace that ends it. */
#define GPTQ       "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32"
#define AWQ        "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32"
#define AUTO_ROUND "{\"quant_method\":\"auto-round\",\"bits\":4,\"group_size\":32,\"sym\":true"
#define GROUP                                                                                      \
    "\"config_groups\":{\"g\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":4,"              \
    "\"strategy\":\"group\",\"group_size\":32}}}"
#define CT   "{\"quant_method\":\"compressed-tensors\"," GROUP
#define GGUF "{\"quant_method\":\"gguf\",\"bits\":4,\"group_size\":32,\"sym\":true"
#define ONNX                                                                                       \
    "{\"quant_method\":\"onnx\",\"format\":\"MatMulNBits\",\"bits\":4,\"group_size\":32,"          \
    "\"sym\":true"

static enum llmq_status read_config(const char *text) {
    const struct layout *layout = NULL;
    struct layout_config config;
    struct json *root = NULL;
    err = (llmq_error){0};
    ck_assert_ok(json_parse(text, strlen(text), "test", &root, &err), &err);
    enum llmq_status status = layout_of_config(root, &layout, &err);
    if (status == LLMQ_OK)
        status = layout->config_read(root, &config, &err);
    json_free(&root);
    return status;
}

static enum llmq_status read_with(const char *sound, const char *member) {
    char text[4096];
    (void)snprintf(text, sizeof text, "%s%s%s}", sound, *member ? "," : "", member);
    return read_config(text);
}

static const char *const sound[] = {GPTQ, AWQ, AUTO_ROUND, CT, GGUF, ONNX};
enum { SOUND = sizeof sound / sizeof sound[0] };

/* --- what tools write ------------------------------------------------------------------------- */

START_TEST(the_configs_of_known_tools_are_read) {
    static const char *const texts[] = {
        GPTQ "}",
        AWQ "}",
        AUTO_ROUND "}",
        CT "}",
        /* optimum */
        GPTQ ",\"batch_size\":1,\"block_name_to_quantize\":null,\"cache_block_outputs\":true,"
             "\"damp_percent\":0.01,\"dataset\":null,\"desc_act\":false,\"exllama_config\":"
             "{\"version\":1},\"max_input_length\":null,\"model_seqlen\":2048,"
             "\"module_name_preceding_first_block\":[\"model.embed_tokens\"],"
             "\"modules_in_block_to_quantize\":null,\"pad_token_id\":null,\"sym\":true,"
             "\"tokenizer\":null,\"true_sequential\":true,\"use_cuda_fp16\":false,"
             "\"use_exllama\":true}",
        /* AutoGPTQ */
        "{\"bits\":4,\"group_size\":128,\"damp_percent\":0.1,\"desc_act\":true,"
        "\"static_groups\":false,\"sym\":true,\"true_sequential\":true,\"model_name_or_path\":null,"
        "\"model_file_base_name\":\"model\",\"is_marlin_format\":false,\"quant_method\":\"gptq\"}",
        /* GPTQModel */
        GPTQ ",\"checkpoint_format\":\"gptq\",\"format\":\"gptq\",\"method\":\"gptq\","
             "\"pack_dtype\":\"int32\",\"lm_head\":false,\"dynamic\":{\"-:.*gate$\":{},"
             "\"+:.*down_proj\":{\"bits\":8,\"group_size\":64,\"mse\":2.4}},\"sym\":true,"
             "\"desc_act\":false,\"meta\":{\"quantizer\":[\"gptqmodel:5.0.0\"],\"uri\":\"x\","
             "\"damp_percent\":0.05,\"mse\":0.0,\"hessian\":{\"chunk_size\":null},"
             "\"fallback\":{\"strategy\":\"rtn\"},\"gptaq\":null,\"some_note\":[1,2],"
             "\"offload_to_disk\":true,\"vram_strategy\":\"exclusive\"}}",
        /* AutoAWQ, transformers, GPTQModel's AWQ */
        AWQ ",\"zero_point\":true,\"version\":\"gemm\",\"modules_to_not_convert\":null}",
        AWQ ",\"zero_point\":true,\"version\":\"gemm\",\"modules_to_not_convert\":[\"lm_head\"],"
            "\"backend\":\"autoawq\",\"do_fuse\":false,\"exllama_config\":null,"
            "\"fuse_max_seq_len\":null,\"modules_to_fuse\":null}",
        AWQ ",\"format\":\"gemm\",\"method\":\"awq\",\"checkpoint_format\":\"gemm\","
            "\"pack_dtype\":\"int32\",\"zero_point\":true,\"version\":\"gemm\",\"lm_head\":false,"
            "\"desc_act\":false,\"meta\":{\"quantizer\":[\"gptqmodel:5.0.0\"]}}",
        /* AutoRound 0.3, 0.9, 0.14, and its export in GPTQ's name */
        "{\"amp\":true,\"autoround_version\":\"0.3\",\"backend\":\"auto_round:exllamav2\","
        "\"bits\":4,\"data_type\":\"int\",\"dataset\":\"NeelNanda/pile-10k\","
        "\"enable_minmax_tuning\":true,\"enable_quanted_input\":true,"
        "\"gradient_accumulate_steps\":1,\"group_size\":128,\"iters\":1000,"
        "\"low_gpu_mem_usage\":false,\"lr\":0.001,\"minmax_lr\":0.001,\"nsamples\":512,"
        "\"quant_method\":\"intel/auto-round\",\"scale_dtype\":\"torch.float16\",\"seqlen\":2048,"
        "\"sym\":false,\"train_bs\":8}",
        AUTO_ROUND ",\"packing_format\":\"auto_round:auto_gptq\",\"data_type\":\"int\","
                   "\"autoround_version\":\"0.9.7\",\"iters\":200,\"act_bits\":16,"
                   "\"act_dynamic\":true,\"act_data_type\":\"float\",\"act_sym\":null,"
                   "\"super_bits\":null,\"static_kv_dtype\":null,\"to_quant_block_names\":null,"
                   "\"block_name_to_quantize\":\"model.layers\",\"extra_config\":{"
                   "\"lm_head\":{\"bits\":16,\"data_type\":\"float\"},"
                   "\"model.layers.0.mlp.up_proj\":{\"bits\":8,\"group_size\":64,\"sym\":true,"
                   "\"act_bits\":16}}}",
        AUTO_ROUND ",\"packing_format\":\"auto_round:auto_awq\",\"supported_types\":[\"Linear\"],"
                   "\"static_kv_granularity\":\"tensor\",\"rotation_configs\":[]}",
        GPTQ ",\"provider\":\"auto-round\",\"autoround_version\":\"0.9\",\"iters\":200,"
             "\"data_type\":\"int\",\"act_bits\":16,\"desc_act\":false,\"true_sequential\":false,"
             "\"damp_percent\":0.01,\"block_name_to_quantize\":\"model.layers\"}",
        /* llm-compressor */
        CT ",\"format\":\"pack-quantized\",\"quantization_status\":\"frozen\",\"ignore\":"
           "[\"lm_head\"],\"kv_cache_scheme\":{\"num_bits\":8,\"type\":\"float\"},"
           "\"global_compression_ratio\":1.89,\"sparsity_config\":{\"format\":\"dense\","
           "\"global_sparsity\":0.1,\"sparsity_structure\":\"unstructured\",\"targets\":[]},"
           "\"transform_config\":{},\"version\":\"0.12.2\"}",
        /* A rotation that is in the weights and nowhere else (SpinQuant's first). */
        CT ",\"transform_config\":{\"config_groups\":{\"R1\":{\"type\":\"hadamard\",\"apply\":["
           "{\"targets\":[\"re:.*o_proj$\"],\"location\":\"weight_output\"},"
           "{\"targets\":[\"re:.*q_proj$\"],\"location\":\"weight_input\",\"inverse\":true}]}}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const enum llmq_status status = read_config(texts[i]);
        ck_assert_msg(status == LLMQ_OK, "config %zu: %s", i, err.message);
    }
}
END_TEST

/* --- what changes the model ------------------------------------------------------------------- */

START_TEST(what_changes_the_model_is_refused_by_name) {
    static const struct {
        const char *sound, *member, *part;
    } cases[] = {
        {GPTQ, "\"rotation\":\"hadamard\"", "rotation: expected none, found \"hadamard\": activ"},
        {GPTQ, "\"meta\":{\"rotation\":\"random\"}", "meta: rotation: expected none"},
        {GPTQ, "\"adapter\":{\"name\":\"lora\",\"rank\":64}", "adapter: expected none"},
        {GPTQ, "\"act_bits\":8", "act_bits: expected 16, found 8: activations are quantized"},
        {GPTQ, "\"dynamic\":{\".*\":{\"adapter\":{\"rank\":8}}}", "adapter"},
        {GPTQ, "\"dynamic\":{\".*\":{\"format\":\"marlin\"}}", "format: expected gptq gptq_v2"},
        {AWQ, "\"version\":\"gemv_fast\"", "version: expected gemm, found \"gemv_fast\""},
        {AWQ, "\"version\":\"marlin\"", "version: expected gemm"},
        {AWQ, "\"backend\":\"llm-awq\"", "backend: expected autoawq"},
        {AWQ, "\"rotation\":\"hadamard\"", "rotation"},
        {AUTO_ROUND, "\"act_bits\":8", "act_bits"},
        {AUTO_ROUND, "\"data_type\":\"mx_fp\"", "data_type: expected int"},
        {AUTO_ROUND, "\"rotation_config\":{\"hadamard_type\":\"x\"}", "rotation_config"},
        {AUTO_ROUND, "\"super_bits\":6", "super_bits"},
        {AUTO_ROUND, "\"static_attention_dtype\":\"fp8\"", "static_attention_dtype"},
        {AUTO_ROUND, "\"extra_config\":{\"a\":{\"act_bits\":8}}",
         "'a': quantization_config: extra"},
        {AUTO_ROUND, "\"extra_config\":{\"a\":{\"data_type\":\"nv_fp\"}}", "data_type"},
        {CT,
         "\"transform_config\":{\"config_groups\":{\"R4\":{\"type\":\"hadamard\",\"apply\":["
         "{\"location\":\"weight_input\"},{\"location\":\"input\"}]}}}",
         "transform_config: expected none"},
        {CT,
         "\"transform_config\":{\"config_groups\":{\"R3\":{\"apply\":["
         "{\"location\":\"k_cache\"}]}}}",
         "activations are rotated at run time"},
        {CT, "\"transform_config\":{\"config_groups\":{\"R\":{}}}", "transform_config"},
        {CT, "\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}", "sparsity_config: format"},
        {CT, "\"format\":\"marlin-24\"", "format: expected pack-quantized, found \"marlin-24\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_fails(read_with(cases[i].sound, cases[i].member), LLMQ_E_UNSUPPORTED,
                        cases[i].part, &err);
}
END_TEST

/* --- what nobody knows ------------------------------------------------------------------------ */

static const char *const values[] = {"null",         "false",  "0",        "\"\"",
                                     "[]",           "{}",     "true",     "-0.5",
                                     "\"a\\u0001\"", "[null]", "{\"\":{}}"};
enum { EMPTY_VALUES = 6, VALUES = sizeof values / sizeof values[0] };

START_TEST(unknown_keys_are_refused_where_they_say_something) {
    for (int i = 0; i < SOUND; i++)
        for (int k = 0; k < VALUES; k++) {
            char member[64];
            (void)snprintf(member, sizeof member, "\"new_key\":%s", values[k]);
            if (k < EMPTY_VALUES)
                ck_assert_ok(read_with(sound[i], member), &err);
            else
                ck_assert_fails(read_with(sound[i], member), LLMQ_E_UNSUPPORTED,
                                "new_key: expected no such key, found ", &err);
            ck_assert(k < EMPTY_VALUES || *err.hint);
        }
}
END_TEST

/* Every key of every reader's tables with a value of every type: an error names the key. */
START_TEST(values_of_any_type_are_read_or_refused) {
    static const char *const keys[] = {"method",
                                       "checkpoint_format",
                                       "format",
                                       "desc_act",
                                       "lm_head",
                                       "dynamic",
                                       "meta",
                                       "modules_in_block_to_quantize",
                                       "zero_point",
                                       "is_marlin_format",
                                       "pack_dtype",
                                       "modules_to_not_convert",
                                       "version",
                                       "backend",
                                       "data_type",
                                       "act_bits",
                                       "extra_config",
                                       "packing_format",
                                       "quant_method",
                                       "block_name_to_quantize",
                                       "ignore",
                                       "kv_cache_scheme",
                                       "rotation",
                                       "quantization_status",
                                       "sparsity_config",
                                       "transform_config",
                                       "w_bit",
                                       "q_group_size",
                                       "config_groups",
                                       "global_compression_ratio"};
    for (int i = 0; i < SOUND; i++)
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            for (int v = 0; v < VALUES; v++) {
                char member[128], text[2048];
                (void)snprintf(member, sizeof member, "\"%s\":%s", keys[k], values[v]);
                if (strstr(sound[i], keys[k]))
                    continue; /* once is enough */
                (void)snprintf(text, sizeof text, "%s,%s}", sound[i], member);
                const enum llmq_status status = read_config(text);
                ck_assert_msg(status == LLMQ_OK || status == LLMQ_E_INPUT ||
                                  status == LLMQ_E_UNSUPPORTED,
                              "%s: %s", text, llmq_status_name(status));
                ck_assert_msg(status == LLMQ_OK || strstr(err.message, keys[k]) ||
                                  strstr(err.message, "expected a layout"),
                              "%s: %s", text, err.message);
            }
}
END_TEST

START_TEST(deep_values_are_shortened) {
    char member[2048] = "\"new_key\":";
    for (int i = 0; i < 60; i++)
        strcat(member, "{\"aaaaaaaaaaaaaa\":");
    strcat(member, "1");
    for (int i = 0; i < 60; i++)
        strcat(member, "}");
    ck_assert_fails(read_with(GPTQ, member), LLMQ_E_UNSUPPORTED, "\"aaaaaaaa...", &err);
    ck_assert_uint_lt(strlen(err.message), 256);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("config keys");
    TCase *tests = tcase_create("keys");
    tcase_add_test(tests, the_configs_of_known_tools_are_read);
    tcase_add_test(tests, what_changes_the_model_is_refused_by_name);
    tcase_add_test(tests, unknown_keys_are_refused_where_they_say_something);
    tcase_add_test(tests, values_of_any_type_are_read_or_refused);
    tcase_add_test(tests, deep_values_are_shortened);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
