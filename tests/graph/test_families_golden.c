/* Every family against the reference implementation, case by case, with config.json in both
 * spellings. The cases are in the shared data. Prints how far each case is off. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_case.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"
#include "support.h"

/* clang-format off */
static const struct {
    const char *name, *model_type;
} cases[] = {
    {"llama-base", "llama"},
    {"llama-bf16", "llama"},
    {"llama-f16", "llama"},
    {"llama-sharded", "llama"},
    {"llama-rope-linear", "llama"},
    {"llama-rope-dynamic-short", "llama"},
    {"llama-rope-llama3", "llama"},
    {"llama-rope-yarn", "llama"},
    {"mistral-swa", "mistral"},
    {"mixtral", "mixtral"},
    {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},
    {"qwen2-moe", "qwen2_moe"},
    {"qwen3-moe", "qwen3_moe"},
    {"gemma", "gemma"},
    {"gemma2", "gemma2"},
    {"gemma3-text", "gemma3_text"},
    {"phi", "phi"},
    {"phi3", "phi3"},
    {"phi3-longrope-short", "phi3"},
    {"phi4mini-partial", "phi3"},
    {"gpt2", "gpt2"},
    {"gpt2-noprefix", "gpt2"},
    {"gpt-bigcode-mqa", "gpt_bigcode"},
    {"gpt-neo", "gpt_neo"},
    {"gptj", "gptj"},
    {"codegen", "codegen"},
    {"gpt-neox", "gpt_neox"},
    {"opt", "opt"},
    {"bloom", "bloom"},
    {"mpt", "mpt"},
    {"stablelm", "stablelm"},
    {"starcoder2", "starcoder2"},
    {"falcon-7b-style", "falcon"},
    {"falcon-11b-style", "falcon"},
    {"falcon-rw-style", "falcon"},
    {"cohere", "cohere"},
    {"cohere2", "cohere2"},
    {"olmo", "olmo"},
    {"olmo2", "olmo2"},
    {"olmoe", "olmoe"},
    {"glm", "glm"},
    {"glm4", "glm4"},
    {"granite", "granite"},
    {"granitemoe", "granitemoe"},
    {"smollm3", "smollm3"},
    {"nemotron", "nemotron"},
    {"arcee", "arcee"},
    {"helium", "helium"},
    {"persimmon", "persimmon"},
    {"deepseek-v3", "deepseek_v3"},
    {"deepseek-v2-lite-style", "deepseek_v2"},
    {"llama-minimal-config", "llama"},
    {"gpt-oss", "gpt_oss"},
    {"ernie4-5", "ernie4_5"},
    {"llama4-text", "llama4_text"},
};
/* clang-format on */

/* Gemma's tanh approximation of GELU and the exact one are only 6e-4 apart. */
static double logits_gate(const char *name) {
    return strcmp(name, "gemma") == 0 ? 1e-4 : GOLDEN_LOGITS;
}

static void check_numbers(int index, const char *config, const struct golden *g) {
    const char *name = cases[index].name;
    const struct json *model_type = json_get(g->model.config_json, "model_type");
    ck_assert_str_eq(json_string(model_type), cases[index].model_type);
    const struct golden_figures off = golden_measure(g);
    printf("%-25s %-15s logits %.1e  hidden %.1e  loss %.1e\n", name, config, off.logits,
           off.hidden, off.loss);
    ck_assert_msg(off.logits <= logits_gate(name), "%s, %s: logits are off by %g", name, config,
                  off.logits);
    ck_assert_msg(off.hidden <= GOLDEN_HIDDEN, "%s, %s: hidden states are off by %g", name, config,
                  off.hidden);
    ck_assert_msg(off.loss <= GOLDEN_LOSS, "%s, %s: the mean loss is off by %g", name, config,
                  off.loss);
}

static void check_case(int index, const char *dir, const char *config) {
    llmq_error err = {0};
    struct golden g = {0};
    const char *name = cases[index].name;
    const enum llmq_status status = golden_open(dir, config, &g, &err);
    ck_assert_msg(status == LLMQ_OK, "%s, %s: %s: %s", name, config, llmq_status_name(status),
                  err.message);
    check_numbers(index, config, &g);
    golden_close(&g);
}

START_TEST(the_case_agrees_with_the_reference) {
    char path[64];
    snprintf(path, sizeof path, "golden/%s", cases[_i].name);
    char *dir = shared_path(path);
    for (int i = 0; dir && i < 2; i++)
        check_case(_i, dir, golden_configs[i]);
    free(dir);
}
END_TEST

int main(void) {
    Suite *s = suite_create("families_golden");
    TCase *t = tcase_create("families_golden");
    llmq_error err = {0};
    if (kernels_init(&err) != LLMQ_OK) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    linalg_init();
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
    tcase_add_loop_test(t, the_case_agrees_with_the_reference, 0,
                        (int)(sizeof cases / sizeof cases[0]));
    suite_add_tcase(s, t);
    return run_suite(s);
}
