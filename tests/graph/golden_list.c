/* See golden_list.h. Also read by tests/cli/families.sh, line by line. */
#include "golden_list.h"

#include <stdio.h>

#include "support.h"

/* clang-format off */
const struct golden_entry golden_cases[GOLDEN_CASES] = {
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
    {"lfm2", "lfm2"},
    {"lfm2-moe", "lfm2_moe"},
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
    {"jais2", "jais2"},
    {"glm4-moe-air", "glm4_moe"},
    {"glm4-moe-lite", "glm4_moe_lite"},
    {"solar-open", "solar_open"},
    {"minimax-m2", "minimax_m2"},
    {"axk1", "axk1"},
    {"exaone-moe", "exaone_moe"},
    {"hy-v3", "hy_v3"},
    {"mistral3-multimodal", "mistral3"},
    {"qwen2-5-vl", "qwen2_5_vl"},
    {"qwen3-vl", "qwen3_vl"},
    {"granitemoehybrid", "granitemoehybrid"},
};
/* clang-format on */

char *golden_dir(int index) {
    char path[64];
    snprintf(path, sizeof path, "golden/%s", golden_cases[index].name);
    return shared_path(path);
}
