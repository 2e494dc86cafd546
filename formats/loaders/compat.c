/* SPDX-License-Identifier: Apache-2.0 */
/* See compat.h. The rows follow the loaders' sources and issue threads as of autumn 2026. The first
 * row that fits a case counts; every layout ends in a row that fits everything. */
#include "formats/loaders/compat.h"

#include <string.h>

static const char *const stack_names[COMPAT_STACKS] = {
    [COMPAT_VLLM] = "vLLM",
    [COMPAT_VLLM_OLD] = "vLLM (before mid-2026)",
    [COMPAT_SGLANG] = "SGLang",
    [COMPAT_TRANSFORMERS] = "transformers",
    [COMPAT_TGI] = "TGI",
    [COMPAT_TENSORRT] = "TensorRT-LLM",
    [COMPAT_LLAMA_CPP] = "llama.cpp",
    [COMPAT_ONNX_RUNTIME] = "ONNX Runtime",
};

/* Sets that a row names; 0 fits everything. */
enum {
    B2 = 1 << 0,
    B3 = 1 << 1,
    B4 = 1 << 2,
    B8 = 1 << 3,
    G32 = 1 << 0,
    G64 = 1 << 1,
    G128 = 1 << 2,
    ROW = 1 << 3,
    OTHER = 1 << 4,
    FAST = G32 | G64 | G128 | ROW,
    SYM = 1 << 0,
    ASYM = 1 << 1,
    SEQ = 1 << 0,
    MAPPED = 1 << 1,
};

struct row {
    enum compat_stack stack;
    const char *layout; /* "": any */
    unsigned bits, groups, symmetry, order;
    struct compat_answer answer;
};

/* clang-format off */
#define LOADS(kernel)        {COMPAT_LOADS, kernel, ""}
#define CAVEAT(kernel, note) {COMPAT_CAVEAT, kernel, note}
#define REFUSES(note)        {COMPAT_REFUSES, "", note}

static const struct row rows[] = {
    {COMPAT_VLLM, "gptq",    0, 0, 0, MAPPED, REFUSES("ignores g_idx: it loads and computes garbage")},
    {COMPAT_VLLM, "gptq_v2", 0, 0, 0, MAPPED, REFUSES("ignores g_idx: it loads and computes garbage")},
    {COMPAT_VLLM, "gptq",    B4, G64 | G128 | ROW, SYM, SEQ, LOADS("Machete (sm90), Marlin (sm75)")},
    {COMPAT_VLLM, "gptq_v2", B4, G64 | G128 | ROW, SYM, SEQ, LOADS("Machete (sm90), Marlin (sm75)")},
    {COMPAT_VLLM, "gptq",    B4 | B8, FAST, SYM, SEQ, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM, "gptq_v2", B4 | B8, FAST, SYM, SEQ, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM, "gptq",    B4 | B8, OTHER, SYM, SEQ, CAVEAT("Exllama, Triton", "no Marlin for this group size: slow, float16 only")},
    {COMPAT_VLLM, "gptq_v2", B4 | B8, OTHER, SYM, SEQ, CAVEAT("Exllama, Triton", "no Marlin for this group size: slow, float16 only")},
    {COMPAT_VLLM, "gptq",    0, 0, 0, 0, REFUSES("takes symmetric codes of 4 and 8 bits only; asymmetric 4 bits load as awq")},
    {COMPAT_VLLM, "gptq_v2", 0, 0, 0, 0, REFUSES("takes symmetric codes of 4 and 8 bits only; asymmetric 4 bits load as awq")},
    {COMPAT_VLLM, "awq", 0, FAST, 0, 0, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM, "awq", 0, 0, 0, 0, CAVEAT("AWQ, Triton", "no Marlin for this group size: slow, float16 only")},
    {COMPAT_VLLM, "compressed-tensors", 0, 0, 0, MAPPED, REFUSES("refuses groups that are not in column order")},
    {COMPAT_VLLM, "compressed-tensors", B4, G64 | G128 | ROW, SYM, 0, LOADS("Machete (sm90), Marlin (sm75)")},
    {COMPAT_VLLM, "compressed-tensors", B4, FAST, 0, 0, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM, "compressed-tensors", B8, FAST, SYM, 0, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM, "compressed-tensors", B8, FAST, ASYM, 0, CAVEAT("Machete (sm90)", "compute capability 9.0 only")},
    {COMPAT_VLLM, "compressed-tensors", B4 | B8, 0, 0, 0, CAVEAT("Exllama, Triton", "no Marlin for this group size")},
    {COMPAT_VLLM, "compressed-tensors", 0, 0, 0, 0, REFUSES("takes 4 and 8 bits only")},
    {COMPAT_VLLM, "gguf", 0, 0, 0, 0, CAVEAT("GGUF plug-in", "slow")},

    {COMPAT_VLLM_OLD, "gptq",    B4 | B8, FAST, SYM, SEQ, LOADS("gptq_marlin")},
    {COMPAT_VLLM_OLD, "gptq_v2", B4 | B8, FAST, SYM, SEQ, LOADS("gptq_marlin")},
    {COMPAT_VLLM_OLD, "gptq",    B4 | B8, FAST, SYM, MAPPED, CAVEAT("gptq_marlin", "limits tensor parallelism")},
    {COMPAT_VLLM_OLD, "gptq_v2", B4 | B8, FAST, SYM, MAPPED, CAVEAT("gptq_marlin", "limits tensor parallelism")},
    {COMPAT_VLLM_OLD, "gptq",    0, 0, 0, 0, CAVEAT("gptq (Exllama)", "float16 only")},
    {COMPAT_VLLM_OLD, "gptq_v2", 0, 0, 0, 0, CAVEAT("gptq (Exllama)", "float16 only")},
    {COMPAT_VLLM_OLD, "awq", 0, FAST, 0, 0, LOADS("awq_marlin")},
    {COMPAT_VLLM_OLD, "awq", 0, 0, 0, 0, CAVEAT("awq", "slow, float16 only")},
    {COMPAT_VLLM_OLD, "compressed-tensors", B4, FAST, 0, 0, LOADS("Machete (sm90), Marlin (sm80)")},
    {COMPAT_VLLM_OLD, "compressed-tensors", B8, FAST, SYM, 0, LOADS("Marlin (sm80)")},
    {COMPAT_VLLM_OLD, "compressed-tensors", B8, 0, ASYM, 0, CAVEAT("Machete (sm90)", "compute capability 9.0 only")},
    {COMPAT_VLLM_OLD, "compressed-tensors", 0, 0, 0, 0, REFUSES("takes 4 and 8 bits in groups of 32, 64, 128 or whole rows only")},
    {COMPAT_VLLM_OLD, "gguf", 0, 0, 0, 0, CAVEAT("gguf", "slow")},

    {COMPAT_SGLANG, "gptq",    B4 | B8, FAST, SYM, 0, LOADS("gptq_marlin (sm80)")},
    {COMPAT_SGLANG, "gptq_v2", B4 | B8, FAST, SYM, 0, LOADS("gptq_marlin (sm80)")},
    {COMPAT_SGLANG, "gptq",    0, 0, 0, 0, CAVEAT("gptq", "float16 only, no mixture of experts")},
    {COMPAT_SGLANG, "gptq_v2", 0, 0, 0, 0, CAVEAT("gptq", "float16 only, no mixture of experts")},
    {COMPAT_SGLANG, "awq", 0, FAST, 0, 0, LOADS("awq_marlin (sm80)")},
    {COMPAT_SGLANG, "awq", 0, 0, 0, 0, CAVEAT("awq", "slow, float16 only")},
    {COMPAT_SGLANG, "compressed-tensors", B4 | B8, 0, SYM, 0, LOADS("WNA16 (Marlin)")},
    {COMPAT_SGLANG, "compressed-tensors", B4, 0, ASYM, 0, CAVEAT("WNA16 (Marlin)", "since mid-2026 only")},
    {COMPAT_SGLANG, "compressed-tensors", 0, 0, 0, 0, REFUSES("not known to load")},
    {COMPAT_SGLANG, "gguf", 0, 0, 0, 0, CAVEAT("gguf", "slow")},

    {COMPAT_TRANSFORMERS, "gptq",    0, 0, 0, 0, LOADS("gptqmodel, optimum")},
    {COMPAT_TRANSFORMERS, "gptq_v2", 0, 0, 0, 0, LOADS("gptqmodel, optimum")},
    {COMPAT_TRANSFORMERS, "awq", 0, 0, 0, 0, LOADS("gptqmodel (version 5), autoawq (4), in float16")},
    {COMPAT_TRANSFORMERS, "compressed-tensors", 0, 0, 0, SEQ, LOADS("compressed-tensors")},
    {COMPAT_TRANSFORMERS, "compressed-tensors", 0, 0, 0, 0, CAVEAT("compressed-tensors", "not with versions since mid-2026")},
    {COMPAT_TRANSFORMERS, "gguf", 0, 0, 0, 0, CAVEAT("dequantizes", "the weights take their full size in memory")},

    {COMPAT_TGI, "gptq",    B4 | B8, 0, SYM, 0, LOADS("gptq-marlin (sm80), Exllama")},
    {COMPAT_TGI, "gptq_v2", B4 | B8, 0, SYM, 0, CAVEAT("gptq-marlin (sm80)", "reads zero points as version 1: wrong with kernels that use them")},
    {COMPAT_TGI, "gptq",    B4, 0, ASYM, 0, CAVEAT("Exllama", "slower")},
    {COMPAT_TGI, "gptq",    0, 0, 0, 0, REFUSES("no kernel")},
    {COMPAT_TGI, "gptq_v2", 0, 0, 0, 0, REFUSES("reads zero points as version 1: wrong results")},
    {COMPAT_TGI, "awq", 0, 0, 0, 0, LOADS("Marlin (sm80), AWQ")},
    {COMPAT_TGI, "compressed-tensors", B4 | B8, 0, SYM, SEQ, CAVEAT("Marlin (sm80)", "its reader of unsharded weights is broken: tensor parallelism only")},
    {COMPAT_TGI, "compressed-tensors", 0, 0, 0, 0, REFUSES("takes symmetric codes only")},
    {COMPAT_TGI, "gguf", 0, 0, 0, 0, CAVEAT("llama.cpp", "with the llama.cpp back end")},

    /* Floats. vLLM: CompressedTensorsW8A8Fp8 and W8A16Fp8 of compressed_tensors.py (004dadbe) and
     * fp8.py; SGLang: schemes/compressed_tensors_w8a8_fp8.py and fp8.py. */
    {COMPAT_VLLM,     "float-quantized", 0, 0, 0, 0, LOADS("FP8 (sm89), Marlin (sm75)")},
    {COMPAT_VLLM_OLD, "float-quantized", 0, 0, 0, 0, LOADS("FP8 (sm89), Marlin (sm80)")},
    {COMPAT_SGLANG,   "float-quantized", 0, 0, 0, 0, LOADS("FP8 (sm89)")},
    {COMPAT_TRANSFORMERS, "float-quantized", 0, 0, 0, 0, LOADS("compressed-tensors")},
    {COMPAT_VLLM,     "fp8", 0, 0, 0, 0, LOADS("FP8 blocks (sm89), Marlin (sm75)")},
    {COMPAT_VLLM_OLD, "fp8", 0, 0, 0, 0, LOADS("FP8 blocks (sm89), Marlin (sm80)")},
    {COMPAT_SGLANG,   "fp8", 0, 0, 0, 0, LOADS("FP8 blocks (sm89)")},
    {COMPAT_TRANSFORMERS, "fp8", 0, 0, 0, 0, CAVEAT("finegrained FP8", "on GPUs of compute capability 8.9; others take it dequantized")},

    {COMPAT_VLLM,     "mxfp4-pack-quantized", 0, 0, 0, 0, LOADS("Marlin (sm80)")},
    {COMPAT_VLLM_OLD, "mxfp4-pack-quantized", 0, 0, 0, 0, CAVEAT("Marlin (sm80)", "since 2026 only")},
    {COMPAT_TRANSFORMERS, "mxfp4-pack-quantized", 0, 0, 0, 0, LOADS("compressed-tensors")},
    {COMPAT_VLLM,     "nvfp4-pack-quantized", 0, 0, 0, 0, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM_OLD, "nvfp4-pack-quantized", 0, 0, 0, 0, LOADS("Marlin (sm80)")},
    {COMPAT_SGLANG,   "nvfp4-pack-quantized", 0, 0, 0, 0, CAVEAT("W4A16 FP4 (Marlin)", "since 2026 only")},
    {COMPAT_TRANSFORMERS, "nvfp4-pack-quantized", 0, 0, 0, 0, LOADS("compressed-tensors")},

    {COMPAT_TENSORRT, "", 0, 0, 0, 0, REFUSES("reads ModelOpt checkpoints")},

    {COMPAT_LLAMA_CPP, "gguf", 0, 0, 0, 0, LOADS("Q4_0, Q4_1, Q8_0")},
    {COMPAT_LLAMA_CPP, "", 0, 0, 0, 0, REFUSES("reads GGUF files")},

    {COMPAT_ONNX_RUNTIME, "onnx", 0, 0, 0, 0, REFUSES("runs the model of each linear (MatMulNBits); the folder has no graph of the whole model")},
    {COMPAT_ONNX_RUNTIME, "", 0, 0, 0, 0, REFUSES("reads ONNX models")},

    /* AutoRound's configs over other layouts */
    {COMPAT_VLLM,     "auto-round gptq", B4 | B8, FAST, SYM, SEQ, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM_OLD, "auto-round gptq", B4 | B8, FAST, SYM, SEQ, LOADS("gptq_marlin")},
    {COMPAT_VLLM,     "auto-round awq",  0, FAST, 0, 0, LOADS("Marlin (sm75)")},
    {COMPAT_VLLM_OLD, "auto-round awq",  0, FAST, 0, 0, LOADS("awq_marlin")},
    {COMPAT_SGLANG,   "auto-round gptq", B4 | B8, FAST, SYM, SEQ, CAVEAT("gptq_marlin (sm80)", "since 2025 only")},
    {COMPAT_SGLANG,   "auto-round awq",  0, FAST, 0, 0, CAVEAT("awq_marlin (sm80)", "since 2025 only")},
    {COMPAT_VLLM,     "auto-round gptq", 0, 0, 0, 0, REFUSES("takes symmetric codes of 4 and 8 bits with groups of 32, 64, 128 or whole rows")},
    {COMPAT_VLLM_OLD, "auto-round gptq", 0, 0, 0, 0, REFUSES("takes symmetric codes of 4 and 8 bits with groups of 32, 64, 128 or whole rows")},
    {COMPAT_SGLANG,   "auto-round gptq", 0, 0, 0, 0, REFUSES("takes symmetric codes of 4 and 8 bits with groups of 32, 64, 128 or whole rows")},
    {COMPAT_VLLM,     "auto-round gptq_v2", 0, 0, 0, 0, REFUSES("reads the packings auto_gptq and auto_awq only")},
    {COMPAT_VLLM_OLD, "auto-round gptq_v2", 0, 0, 0, 0, REFUSES("reads the packings auto_gptq and auto_awq only")},
    {COMPAT_SGLANG,   "auto-round gptq_v2", 0, 0, 0, 0, REFUSES("reads the packings auto_gptq and auto_awq only")},
    {COMPAT_TRANSFORMERS, "auto-round gptq",    0, 0, 0, 0, LOADS("auto-round")},
    {COMPAT_TRANSFORMERS, "auto-round gptq_v2", 0, 0, 0, 0, LOADS("auto-round")},
    {COMPAT_TRANSFORMERS, "auto-round awq",     0, 0, 0, 0, LOADS("auto-round")},

    {COMPAT_VLLM, "", 0, 0, 0, 0, REFUSES("does not read this format")},
    {COMPAT_VLLM_OLD, "", 0, 0, 0, 0, REFUSES("does not read this format")},
    {COMPAT_SGLANG, "", 0, 0, 0, 0, REFUSES("does not read this format")},
    {COMPAT_TRANSFORMERS, "", 0, 0, 0, 0, REFUSES("does not read this format")},
    {COMPAT_TGI, "", 0, 0, 0, 0, REFUSES("does not read this format")},
};

/* Experts, where stacks do otherwise with them: the fused layers of all experts have kernels of
 * their own. */
static const struct row expert_rows[] = {
    {COMPAT_VLLM, "compressed-tensors", 0, 0, ASYM, 0, CAVEAT("Marlin (sm75)", "asymmetric experts since 2026 only, and with Marlin only")},
    {COMPAT_VLLM_OLD, "compressed-tensors", 0, 0, ASYM, 0, REFUSES("takes experts with symmetric codes only")},
    {COMPAT_SGLANG, "gptq",    B4 | B8, FAST, SYM, 0, LOADS("gptq_marlin (sm80)")},
    {COMPAT_SGLANG, "gptq_v2", B4 | B8, FAST, SYM, 0, LOADS("gptq_marlin (sm80)")},
    {COMPAT_SGLANG, "gptq",    0, 0, 0, 0, REFUSES("takes experts with symmetric codes of 4 and 8 bits in groups of 32, 64, 128 or whole rows")},
    {COMPAT_SGLANG, "gptq_v2", 0, 0, 0, 0, REFUSES("takes experts with symmetric codes of 4 and 8 bits in groups of 32, 64, 128 or whole rows")},
    {COMPAT_SGLANG, "compressed-tensors", 0, 0, ASYM, 0, REFUSES("takes experts with symmetric codes only")},
    {COMPAT_TRANSFORMERS, "gptq",    0, 0, 0, 0, CAVEAT("gptqmodel", "experts: version 5 keeps them stacked and leaves them to GPTQModel")},
    {COMPAT_TRANSFORMERS, "gptq_v2", 0, 0, 0, 0, CAVEAT("gptqmodel", "experts: version 5 keeps them stacked and leaves them to GPTQModel")},
    {COMPAT_TRANSFORMERS, "awq",     0, 0, 0, 0, CAVEAT("gptqmodel (version 5), autoawq (4)", "experts: version 5 keeps them stacked and leaves them to GPTQModel")},
    {COMPAT_TRANSFORMERS, "compressed-tensors", 0, 0, 0, 0, CAVEAT("compressed-tensors", "experts: not with version 5, which keeps them stacked")},
};

/* The output head, which not all who load packed linears take packed.
 * vLLM: get_linear_quant_method of quantization/utils/gptq_utils.py (02239f5e), AWQMarlinConfig of
 * awq_marlin.py (0322f292; AWQConfig of awq.py takes linears alone), CompressedTensorsConfig of
 * compressed_tensors.py (055e47c2; since pull request 37291). SGLang: AWQMarlinConfig of awq.py
 * (0149944f), CompressedTensorsConfig since pull request 35228; both want it named as a target.
 * optimum's GPTQQuantizer.convert_model (gptq/quantizer.py, 83c88b8f) replaces linears of the
 * blocks; transformers' AWQ leaves the output embedding out; TGI's TensorParallelHead reads a
 * plain weight. */
static const struct row head_rows[] = {
    {COMPAT_VLLM,     "awq", 0, OTHER, 0, 0, REFUSES("takes packed output heads in groups of 32, 64, 128 or whole rows only")},
    {COMPAT_VLLM_OLD, "awq", 0, OTHER, 0, 0, REFUSES("takes packed output heads in groups of 32, 64, 128 or whole rows only")},
    {COMPAT_SGLANG,   "awq", 0, OTHER, 0, 0, REFUSES("takes packed output heads in groups of 32, 64, 128 or whole rows only")},
    {COMPAT_VLLM_OLD, "compressed-tensors", 0, 0, 0, 0, CAVEAT("Marlin (sm80)", "packed output heads since March 2026 only")},
    {COMPAT_SGLANG,   "compressed-tensors", 0, 0, 0, 0, CAVEAT("WNA16 (Marlin)", "packed output heads since August 2026 only")},
    {COMPAT_TRANSFORMERS, "gptq",    0, 0, 0, 0, REFUSES("reads the output head in 16 bits; GPTQModel by itself loads it packed")},
    {COMPAT_TRANSFORMERS, "gptq_v2", 0, 0, 0, 0, REFUSES("reads the output head in 16 bits; GPTQModel by itself loads it packed")},
    {COMPAT_TRANSFORMERS, "awq",     0, 0, 0, 0, REFUSES("reads the output head in 16 bits")},
    {COMPAT_TGI, "", 0, 0, 0, 0, REFUSES("reads the output head in 16 bits")},
    {COMPAT_VLLM,     "fp8", 0, 0, 0, 0, REFUSES("reads the output head in 16 bits")},
    {COMPAT_VLLM_OLD, "fp8", 0, 0, 0, 0, REFUSES("reads the output head in 16 bits")},
    {COMPAT_SGLANG,   "fp8", 0, 0, 0, 0, REFUSES("reads the output head in 16 bits")},
    {COMPAT_VLLM_OLD, "mxfp4-pack-quantized", 0, 0, 0, 0, CAVEAT("Marlin (sm80)", "packed output heads since March 2026 only")},
    {COMPAT_VLLM_OLD, "nvfp4-pack-quantized", 0, 0, 0, 0, CAVEAT("Marlin (sm80)", "packed output heads since March 2026 only")},
    {COMPAT_SGLANG,   "nvfp4-pack-quantized", 0, 0, 0, 0, CAVEAT("W4A16 FP4 (Marlin)", "packed output heads since August 2026 only")},
    {COMPAT_VLLM_OLD, "float-quantized", 0, 0, 0, 0, CAVEAT("FP8 (sm89)", "packed output heads since March 2026 only")},
    {COMPAT_SGLANG,   "float-quantized", 0, 0, 0, 0, CAVEAT("FP8 (sm89)", "packed output heads since August 2026 only")},
};
/* clang-format on */

const char *compat_stack_at(int index) {
    return index >= 0 && index < COMPAT_STACKS ? stack_names[index] : NULL;
}

bool compat_stack_is_common(int index) {
    return index == COMPAT_VLLM || index == COMPAT_SGLANG || index == COMPAT_TRANSFORMERS ||
           index == COMPAT_TGI;
}

bool compat_has_fast_kernels(const char *layout) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (compat_stack_is_common((int)rows[i].stack) && strcmp(rows[i].layout, layout) == 0 &&
            rows[i].answer.verdict == COMPAT_LOADS)
            return true;
    return false;
}

static unsigned bits_of(int bits) {
    return bits == 2 ? B2 : bits == 3 ? B3 : bits == 4 ? B4 : B8;
}

static unsigned group_of(int64_t group) {
    return group == 32 ? G32 : group == 64 ? G64 : group == 128 ? G128 : group == -1 ? ROW : OTHER;
}

static bool fits(unsigned set, unsigned member) {
    return set == 0 || (set & member);
}

/* The first row that fits, or NULL. */
static const struct row *find_row(const struct row *table, size_t count, int stack,
                                  const struct compat_case *c) {
    for (size_t i = 0; i < count; i++) {
        const struct row *r = &table[i];
        if ((int)r->stack == stack && (!*r->layout || strcmp(r->layout, c->layout) == 0) &&
            fits(r->bits, bits_of(c->bits)) && fits(r->groups, group_of(c->group)) &&
            fits(r->symmetry, c->sym ? SYM : ASYM) && fits(r->order, c->sequential ? SEQ : MAPPED))
            return r;
    }
    return NULL;
}

struct compat_answer compat_find(int stack, const struct compat_case *c) {
    const struct row *usual = find_row(rows, sizeof rows / sizeof rows[0], stack, c);
    const struct row *special =
        c->role == COMPAT_HEAD
            ? find_row(head_rows, sizeof head_rows / sizeof head_rows[0], stack, c)
        : c->role == COMPAT_EXPERT
            ? find_row(expert_rows, sizeof expert_rows / sizeof expert_rows[0], stack, c)
            : NULL;
    if (!usual)
        return (struct compat_answer){COMPAT_REFUSES, "", "not known"};
    /* What a stack does with no linear it does with no expert, and not with the head. */
    return special && usual->answer.verdict != COMPAT_REFUSES ? special->answer : usual->answer;
}

bool compat_group_is_common(int64_t group) {
    return group_of(group) != OTHER;
}

int64_t compat_tensor_parallel(bool splits_columns, int64_t n, int64_t k, int64_t group) {
    enum { MOST = 64 };
    const int64_t size = splits_columns ? k : n;
    const int64_t unit = !splits_columns ? COMPAT_N_UNIT : group == -1 || group > k ? k : group;
    int64_t parts = 1;
    /* One scale for a whole row goes with each part of it. */
    const int64_t step = splits_columns && unit == k ? COMPAT_K_UNIT : unit;
    while (parts < MOST && size % (2 * parts) == 0 && size / (2 * parts) % step == 0)
        parts *= 2;
    return parts;
}
