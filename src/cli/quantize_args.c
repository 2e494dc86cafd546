/* SPDX-License-Identifier: Apache-2.0 */
/* See quantize_args.h. */
#include "cli/quantize_args.h"

#include "cli/console.h"

/* Indices of `formats`. */
enum format {
    FORMAT_DEFAULT = -1,
    FORMAT_GPTQ,
    FORMAT_GPTQ_V2,
    FORMAT_AWQ,
    FORMAT_CT,
    FORMAT_GGUF,
    FORMAT_ONNX,
    FORMAT_FLOAT_QUANTIZED,
    FORMAT_FP8,
    FORMAT_MXFP4,
    FORMAT_NVFP4,
};

static const struct choice bit_widths[] = {{"2", 2}, {"3", 3}, {"4", 4}, {"8", 8}, {NULL, 0}};

/* An ingredient that is left to --quality; no --seed. */
enum { BY_QUALITY = -2, SEED_ABSENT = -1 };

/* A network between machines: 25 Gbit/s, and a message by TCP. */
#define LINK_BITS         25e9
#define LINK_MICROSECONDS 30

static const struct choice selects[] = {
    {"random", LLMQ_SELECT_RANDOM}, {"stratified", LLMQ_SELECT_STRATIFIED}, {NULL, 0}};

static const struct choice damp_words[] = {{"auto", 0}, {NULL, 0}};

static const struct choice measured_words[] = {{"auto", 0}, {NULL, 0}};

static const struct choice scale_kinds[] = {
    {"dual-exact", LLMQ_SCALES_DUAL_EXACT},
    {"f16", LLMQ_SCALES_F16},
    {NULL, 0},
};

static const struct choice mtp_kinds[] = {
    {"keep", LLMQ_MTP_KEEP}, {"quantize", LLMQ_MTP_QUANTIZE}, {NULL, 0}};

static const struct choice source_kinds[] = {
    {"keep", LLMQ_SOURCE_KEEP},
    {"requantize", LLMQ_SOURCE_REQUANTIZE},
    {NULL, 0},
};

static const struct choice formats[] = {
    {"gptq", FORMAT_GPTQ},
    {"gptq_v2", FORMAT_GPTQ_V2},
    {"awq", FORMAT_AWQ},
    {"compressed-tensors", FORMAT_CT},
    {"gguf", FORMAT_GGUF},
    {"onnx", FORMAT_ONNX},
    {"float-quantized", FORMAT_FLOAT_QUANTIZED},
    {"fp8", FORMAT_FP8},
    {"mxfp4-pack-quantized", FORMAT_MXFP4},
    {"nvfp4-pack-quantized", FORMAT_NVFP4},
    {NULL, 0},
};

/* Grid and format under one name, as llm-compressor calls them: see the presets in
 * compressed_tensors/quantization/quant_scheme.py at ac8e2ba8. */
enum { SCHEME_NONE = -1 };
static const struct {
    int bits;
    int64_t group;
    bool asym;
    enum format format;
} schemes[] = {
    {4, 128, false, FORMAT_CT},   {4, 128, true, FORMAT_CT},
    {8, 128, false, FORMAT_CT},   {8, -1, false, FORMAT_FLOAT_QUANTIZED},
    {8, 128, false, FORMAT_FP8},  {4, 32, false, FORMAT_MXFP4},
    {4, 16, false, FORMAT_NVFP4},
};
static const struct choice scheme_words[] = {
    {"W4A16", 0},     {"W4A16_ASYM", 1}, {"W8A16", 2},    {"FP8_DYNAMIC", 3},
    {"FP8_BLOCK", 4}, {"MXFP4A16", 5},   {"NVFP4A16", 6}, {NULL, 0},
};

#define FIELD(name) offsetof(struct quantize_args, options.name)

static const struct option model_options[] = {
    MODEL_OPTION(struct quantize_args, options.model, "folder of the checkpoint"),
    FAMILY_OPTION(struct quantize_args, options.family),
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = FIELD(out),
     .value = "DIR",
     .help = "folder to write",
     .absent = "NAME-METHOD-wBITSgGROUP in the current folder",
     .source = VALUE_FOLDER},
    {.name = "bits",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, bits),
     .value = "2|3|4|8",
     .help = "bits per weight",
     .choices = bit_widths,
     .excludes = "scheme"},
    {.name = "scheme",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, scheme),
     .value = "W4A16|W4A16_ASYM|W8A16|FP8_DYNAMIC|FP8_BLOCK|MXFP4A16|NVFP4A16",
     .help = "bits, group, symmetry and format under the name that llm-compressor has for them: "
             "integers of 4 or 8 bits in groups of 128, or 8-bit floats (E4M3) with a scale for "
             "each row or for blocks of 128 x 128, where servers round activations too, or 4-bit "
             "floats (E2M1) in groups of 32 or 16",
     .absent = "--bits, --group and --sym or --asym",
     .choices = scheme_words,
     .excludes = "sym"},
    {.name = NULL},
};

const struct option quantize_grid_options[] = {
    {.name = "source-quantized",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, source_quantized),
     .value = "keep|requantize",
     .help = "linears that the checkpoint holds packed as integers already (gptq, awq, "
             "compressed-tensors): keep them byte for byte and quantize the others, into the same "
             "format; or decode them and quantize all anew. Weights in fp8 and mxfp4 are decoded "
             "without being asked; what of them is not quantized becomes bf16",
     .absent = "such a checkpoint is refused",
     .choices = source_kinds},
    {.name = "mtp",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, mtp),
     .value = "keep|quantize",
     .help = "layers that predict tokens beyond the next one, for speculative decoding: carry them "
             "along as they are, or quantize their linears as those of a block, calibrated on what "
             "the layer reads. Refused for models of which it is not known how",
     .choices = mtp_kinds},
    {.name = "format",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, format),
     .value = "gptq|gptq_v2|awq|compressed-tensors|gguf|onnx|...",
     .help = "layout of the packed weights: gptq; gptq_v2, which stores zero points without the "
             "offset of one; awq, 4 bits; compressed-tensors, 4 and 8; gguf (a model.gguf for "
             "llama.cpp), 4 and 8, symmetric, in groups of multiples of 32; onnx, 2, 4 and 8. "
             "And float-quantized, fp8, mxfp4-pack-quantized and nvfp4-pack-quantized, which hold "
             "what --scheme FP8_DYNAMIC, FP8_BLOCK, MXFP4A16 and NVFP4A16 make",
     .absent = "by --scheme; else 4 bits: awq for awq and with --asym; otherwise gptq",
     .choices = formats},
    {.name = "group",
     .also = "group-size",
     .kind = OPTION_GROUP,
     .offset = offsetof(struct quantize_args, group),
     .value = "N|-1|auto-fit[:N]",
     .help = "input columns that share a scale; -1 for one group per row; auto-fit for the largest "
             "divisor of each module's columns not above N (128). With ,keep behind it modules "
             "that it does not fit, or that the format does not hold, stay in 16 bits",
     .min = 1,
     .max = 1 << 24,
     .excludes = "scheme"},
    {.name = "sym",
     .kind = OPTION_ON,
     .offset = FIELD(sym),
     .help = "symmetric grid: the zero point is the middle code (the default of gptq and rtn)",
     .excludes = "asym"},
    {.name = "asym",
     .kind = OPTION_OFF,
     .offset = FIELD(sym),
     .help = "asymmetric grid: a zero point for each group (the default of awq)",
     .excludes = "scheme"},
    RECIPE_OPTIONS(struct quantize_args, recipe),
    {.name = "scales",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, scales),
     .value = "dual-exact|f16",
     .help = "rounding of the scales: exact in float16 and bfloat16, so that a server may run the "
             "model in either; or to float16 only",
     .choices = scale_kinds},
    {.name = NULL},
};

const struct option quantize_calibration_options[] = {
    CALIBRATION_OPTIONS(struct quantize_args, calib),
    {.name = "samples",
     .kind = OPTION_INT,
     .offset = FIELD(samples),
     .value = "N",
     .help = "calibration windows",
     .absent = "128; with --quality best and max as many as hold 131072 tokens, if these are more",
     .min = 1,
     .max = 1e9},
    {.name = "seqlen",
     .kind = OPTION_INT,
     .offset = FIELD(seqlen),
     .value = "N",
     .help = "tokens per window, of text",
     .absent = "the model's context, at most 2048",
     .min = 2,
     .max = 1 << 24},
    SPECIAL_OPTIONS(struct quantize_args, special),
    {.name = "select",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, select),
     .value = "random|stratified",
     .help = "which windows of a text: any, or one out of each of as many equal stretches as there "
             "are to be windows, so that all of its parts are seen",
     .choices = selects},
    {.name = "seed",
     .kind = OPTION_INT,
     .offset = offsetof(struct quantize_args, seed),
     .value = "N",
     .help = "chooses the windows of a text",
     .absent = "0",
     .min = 0,
     .max = 9e18},
    {.name = "compute",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, compute),
     .value = "f32|bf16",
     .help = "products with plain weights while calibrating: float32, or both factors rounded to "
             "bfloat16, faster on CPUs with AVX512_BF16; quantizing itself is float32 always",
     .choices = compute_choices},
    {.name = "damp",
     .kind = OPTION_REAL,
     .offset = FIELD(damp),
     .value = "auto|X",
     .help =
         "added to the Hessian's diagonal, as a fraction of its mean, between 0 and 1: the fewer "
         "tokens it is of, the more helps; auto chooses what rounds best on windows held back, "
         "for each input, and 0.01 for those that see 32 tokens for each of their numbers, all "
         "alike",
     .choices = damp_words,
     .min = 0,
     .max = 1},
    {.name = "expert-tokens",
     .kind = OPTION_INT,
     .offset = FIELD(expert_tokens),
     .value = "N",
     .help = "mixtures of experts: tokens that an expert is calibrated on, at least; one that "
             "fewer were routed to sees others of its layer beside them",
     .min = 1,
     .max = 1e9},
    {.name = NULL},
};

static const struct option job_options[] = {
    {.name = "dry-run",
     .kind = OPTION_ON,
     .offset = FIELD(dry_run),
     .help = "print the plan, with -v of every module, and write nothing"},
    {.name = "ranks",
     .kind = OPTION_COUNTS,
     .offset = offsetof(struct quantize_args, ranks),
     .value = "R[,R...]",
     .help = "with --dry-run: what the run would take if so many processes shared it, of memory, "
             "messages and time. Such a run is started by mpirun -n R llmq ...",
     .absent = "none is planned for",
     .min = 1,
     .max = 65536},
    {.name = "link",
     .kind = OPTION_LINK,
     .offset = offsetof(struct quantize_args, link),
     .value = "BITS[:MICROSECONDS]",
     .help = "with --ranks: what a process' network carries in a second, and what a message takes "
             "besides"},
    {.name = "gflops",
     .kind = OPTION_REAL,
     .offset = offsetof(struct quantize_args, gflops),
     .value = "N",
     .help = "with --ranks: operations that a process does in products, 1e9 a second",
     .absent = "measured here",
     .choices = measured_words,
     .min = 1e-3,
     .max = 1e9},
    {.name = "resume",
     .kind = OPTION_ON,
     .offset = FIELD(resume),
     .help = "bring an interrupted run to its end: start it, continue it, or find that it is "
             "finished; the same options and inputs are required"},
    {.name = "force",
     .kind = OPTION_ON,
     .offset = FIELD(force),
     .help = "replace an existing result, or, without --resume, start an interrupted run over"},
    {.name = "max-mem",
     .kind = OPTION_SIZE,
     .offset = FIELD(max_mem),
     .value = "SIZE",
     .help = "memory to stay below, as 900M or 8G; activations go to a file when they must",
     .absent = "80 % of the memory available",
     .min = 1},
    {.name = "shard-size",
     .kind = OPTION_SIZE,
     .offset = FIELD(shard_limit),
     .value = "SIZE",
     .help = "largest file of the result, as 900M or 5G",
     .min = 1},
    {.name = NULL},
};

const struct option_group quantize_groups[] = {
    {"Model", model_options},
    {"Grid", quantize_grid_options},
    {"Calibration", quantize_calibration_options},
    {"Method", quantize_method_options},
    {"Tuning", quantize_tuning_options},
    {"Job", job_options},
    {"Running", run_options},
    {"Output", output_options},
    {NULL, NULL},
};

void quantize_args_init(struct quantize_args *a, enum llmq_method method) {
    llmq_quantize_options_init(&a->options, method);
    a->group =
        (struct group_size){.columns = a->options.group, .auto_fit = a->options.group_auto_fit};
    a->bits = a->options.bits;
    a->source_quantized = (int)a->options.source_quantized;
    a->mtp = (int)a->options.mtp;
    a->format = FORMAT_DEFAULT;
    a->scheme = SCHEME_NONE;
    a->quality = LLMQ_QUALITY_BALANCED;
    a->act_order = BY_QUALITY;
    a->search = (struct range_choice){BY_QUALITY, a->options.percentile};
    a->descent = BY_QUALITY;
    a->rounds = BY_QUALITY;
    a->curvature = BY_QUALITY;
    a->curvature_tokens = BY_QUALITY;
    a->restarts = BY_QUALITY;
    a->token_weights = BY_QUALITY;
    a->scales = (int)a->options.scales;
    a->tune = BY_QUALITY;
    a->compute = (int)a->options.compute;
    a->seed = SEED_ABSENT;
    a->link = (struct link_rate){LINK_BITS, LINK_MICROSECONDS};
}

/* Quality first, then what the user says of its ingredients. */
static void apply_method(const struct quantize_args *a, llmq_quantize_options *options) {
    static const enum llmq_correct_mode modes[] = {[CORRECT_OFF] = LLMQ_CORRECT_OFF,
                                                   [CORRECT_AUTO] = LLMQ_CORRECT_AUTO,
                                                   [CORRECT_FIXED] = LLMQ_CORRECT_FIXED};
    if (options->method == LLMQ_METHOD_GPTQ)
        llmq_quantize_options_quality(options, (enum llmq_quality)a->quality);
    if (a->act_order != BY_QUALITY)
        options->act_order = (enum llmq_act_order)a->act_order;
    if (a->search.search != BY_QUALITY)
        options->search = (enum llmq_range_search)a->search.search;
    options->percentile = a->search.percentile;
    if (a->descent != BY_QUALITY)
        options->descent = (int)a->descent;
    if (a->rounds != BY_QUALITY)
        options->rounds = (int)a->rounds;
    if (a->curvature != BY_QUALITY)
        options->curvature = (enum llmq_curvature)a->curvature;
    if (a->restarts != BY_QUALITY)
        options->restarts = (int)a->restarts;
    if (a->token_weights >= LLMQ_BY_GRADIENTS)
        options->token_weights = a->token_weights;
    if (a->curvature_tokens != BY_QUALITY)
        options->curvature_tokens = a->curvature_tokens;
    if (a->tune != BY_QUALITY)
        options->tune = (enum llmq_tune)a->tune;
    if (a->correct.mode != CORRECT_BY_QUALITY)
        options->correct =
            (llmq_correct){modes[a->correct.mode], a->correct.alpha, a->correct.beta};
}

/* What the scheme says; a format that is given comes before its own. */
static void apply_scheme(const struct quantize_args *a, llmq_quantize_options *options) {
    if (a->scheme == SCHEME_NONE)
        return;
    options->bits = schemes[a->scheme].bits;
    options->group = schemes[a->scheme].group;
    options->sym = !schemes[a->scheme].asym;
    options->format = options->format ? options->format : formats[schemes[a->scheme].format].word;
}

enum llmq_status quantize_args_ranks(const struct quantize_args *a, llmq_ranks_question *question,
                                     const llmq_ranks_question **out, llmq_error *err) {
    *out = NULL;
    question->counts = a->ranks.values;
    question->count = a->ranks.count;
    question->bits = a->link.bits;
    question->latency = a->link.microseconds * 1e-6;
    question->gflops = a->gflops;
    const bool same = a->link.bits <= LINK_BITS && a->link.bits >= LINK_BITS;
    if (a->ranks.count > 0)
        *out = question;
    else if (!same || a->gflops > 0)
        return cli_fail(err, LLMQ_E_USAGE, "--link and --gflops go with --ranks");
    return LLMQ_OK;
}

llmq_quantize_options quantize_args_options(const struct quantize_args *a) {
    llmq_quantize_options options = a->options;
    apply_method(a, &options);
    options.format = a->format == FORMAT_DEFAULT ? NULL : formats[a->format].word;
    options.bits = a->bits;
    options.source_quantized = (enum llmq_source_quantized)a->source_quantized;
    options.mtp = (enum llmq_mtp)a->mtp;
    options.group = a->group.columns;
    options.group_auto_fit = a->group.auto_fit;
    options.group_keep = a->group.keep;
    apply_scheme(a, &options);
    options.scales = (enum llmq_scales)a->scales;
    options.special = (enum llmq_special)special_value(&a->special);
    options.seed_given = a->seed != SEED_ABSENT;
    if (options.seed_given)
        options.seed = (uint64_t)a->seed;
    options.compute = (enum llmq_compute)a->compute;
    options.select = (enum llmq_select)a->select;
    return options;
}
