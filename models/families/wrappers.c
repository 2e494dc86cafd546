/* SPDX-License-Identifier: Apache-2.0 */
/* Models of text inside of others: see models/wrapper.h.
 *
 * Names: transformers before 4.52 kept the whole model of text, head and all, at language_model.;
 * since then checkpoints that it writes have the trunk at model.language_model. and the head
 * outside. vLLM maps both (hf_to_vllm_mapper in vllm/model_executor/models/mistral3.py,
 * qwen3_vl.py, gemma3_mm.py at v0.11.0), as it maps names in quantization configs. */
#include "models/wrapper.h"

#include <stddef.h>
#include <string.h>

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* clang-format off */
const struct wrapper wrappers[] = {
    {"aya_vision", NAMES("AyaVisionForConditionalGeneration", "AyaVisionModel"), "cohere2"},
    {"cohere2_vision", NAMES("Cohere2VisionForConditionalGeneration", "Cohere2VisionModel"), "cohere2"},
    {"gemma3", NAMES("Gemma3ForConditionalGeneration", "Gemma3Model"), "gemma3_text"},
    {"gemma4", NAMES("Gemma4ForConditionalGeneration", "Gemma4Model"), "gemma4_text"},
    {"glm4v", NAMES("Glm4vForConditionalGeneration", "Glm4vModel"), "glm4v_text"},
    {"glm4v_moe", NAMES("Glm4vMoeForConditionalGeneration", "Glm4vMoeModel"), "glm4v_moe_text"},
    {"idefics3", NAMES("Idefics3ForConditionalGeneration", "Idefics3Model"), "llama"},
    {"internvl", NAMES("InternVLForConditionalGeneration", "InternVLModel"), NULL},
    {"internvl_chat", NAMES("InternVLChatModel"), NULL},
    {"interns1", NAMES("InternS1ForConditionalGeneration", "InternS1Model"), NULL},
    {"kimi_k25", NAMES("KimiK25ForConditionalGeneration"), "deepseek_v3"},
    {"kimi_vl", NAMES("KimiVLForConditionalGeneration"), "deepseek_v3"},
    {"lfm2_vl", NAMES("Lfm2VlForConditionalGeneration", "Lfm2VlModel"), "lfm2"},
    {"llama4", NAMES("Llama4ForConditionalGeneration"), "llama4_text"},
    {"llava", NAMES("LlavaForConditionalGeneration", "LlavaModel"), "llama"},
    {"llava_next", NAMES("LlavaNextForConditionalGeneration", "LlavaNextModel"), "llama"},
    {"llava_onevision", NAMES("LlavaOnevisionForConditionalGeneration", "LlavaOnevisionModel"), "qwen2"},
    {"minimax_m3_vl", NAMES("MiniMaxM3SparseForConditionalGeneration"), NULL},
    {"mistral3", NAMES("Mistral3ForConditionalGeneration", "Mistral3Model"), "mistral"},
    {"muse_glimmer", NAMES("MuseGlimmerForConditionalGeneration"), NULL},
    {"phi3_v", NAMES("Phi3VForCausalLM"), "phi3"},
    {"qwen2_5_vl", NAMES("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLModel"), "qwen2_5_vl_text"},
    {"qwen2_audio", NAMES("Qwen2AudioForConditionalGeneration"), "qwen2"},
    {"qwen2_vl", NAMES("Qwen2VLForConditionalGeneration", "Qwen2VLModel"), "qwen2_vl_text"},
    {"qwen3_5", NAMES("Qwen3_5ForConditionalGeneration", "Qwen3_5Model"), "qwen3_5_text"},
    {"qwen3_5_moe", NAMES("Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeModel"), "qwen3_5_moe_text"},
    {"qwen3_vl", NAMES("Qwen3VLForConditionalGeneration", "Qwen3VLModel"), "qwen3_vl_text"},
    {"qwen3_vl_moe", NAMES("Qwen3VLMoeForConditionalGeneration", "Qwen3VLMoeModel"), "qwen3_vl_moe_text"},
    {"smolvlm", NAMES("SmolVLMForConditionalGeneration", "SmolVLMModel"), "llama"},
    {"video_llava", NAMES("VideoLlavaForConditionalGeneration", "VideoLlavaModel"), "llama"},
    {"voxtral", NAMES("VoxtralForConditionalGeneration"), "llama"},
    {NULL, NULL, NULL},
};
/* clang-format on */

const struct wrapper wrapper_unlisted = {"", NULL, NULL};

/* The second: InternVL's own files. */
const char *const wrapper_text_keys[] = {"text_config", "llm_config", NULL};

const char *const wrapper_prefixes[] = {"model.language_model.", "language_model.model.",
                                        "model.text_model.",     "model.",
                                        "language_model.",       NULL};

const struct wrapper *wrapper_find(const char *model_type) {
    for (const struct wrapper *w = wrappers; w->model_type; w++)
        if (strcmp(w->model_type, model_type) == 0)
            return w;
    return NULL;
}
