/* SPDX-License-Identifier: Apache-2.0 */
/* What other tools call what llmq does: see suggest.h. Names as in AutoGPTQ, GPTQModel, AutoAWQ,
 * AutoRound, llm-compressor, llama.cpp, transformers and their examples. */
#include <string.h>

#include "cli/suggest.h"

enum { WORD_MOST = 40 };

struct foreign {
    const char *theirs; /* lower case, nothing but letters and digits */
    const char *ours;   /* of several rows the first that the command has */
};

static const struct foreign commands_of_others[] = {
    {"quantize", "gptq"},      {"quantise", "gptq"},     {"quant", "gptq"},
    {"autogptq", "gptq"},      {"gptqmodel", "gptq"},    {"autoawq", "awq"},
    {"autoround", "gptq"},     {"rounding", "rtn"},      {"roundtonearest", "rtn"},
    {"perplexity", "eval"},    {"ppl", "eval"},          {"evaluate", "eval"},
    {"evaluation", "eval"},    {"wikitext", "eval"},     {"test", "eval"},
    {"kl", "compare"},         {"kld", "compare"},       {"diff", "compare"},
    {"logits", "score"},       {"logprobs", "score"},    {"loglikelihood", "score"},
    {"encode", "tokenize"},    {"tokenise", "tokenize"}, {"tokens", "tokenize"},
    {"info", "inspect"},       {"show", "inspect"},      {"list", "inspect"},
    {"ls", "inspect"},         {"dump", "inspect"},      {"check", "verify"},
    {"validate", "verify"},    {"export", "convert"},    {"pack", "convert"},
    {"dequantize", "convert"}, {"dequant", "convert"},   {"benchmark", "bench"},
    {"speed", "bench"},        {"version", "--version"},
};

static const struct foreign options_of_others[] = {
    {"modelpath", "--model"},
    {"modelname", "--model"},
    {"modelid", "--model"},
    {"modeldir", "--model"},
    {"modelnameorpath", "--model"},
    {"pretrainedmodeldir", "--model"},
    {"pretrained", "--model"},
    {"checkpoint", "--model"},
    {"input", "--model"},
    {"inputdir", "--model"},
    {"output", "--out"},
    {"outdir", "--out"},
    {"outputdir", "--out"},
    {"outputpath", "--out"},
    {"outfile", "--out"},
    {"save", "--out"},
    {"savedir", "--out"},
    {"savepath", "--out"},
    {"quantpath", "--out"},
    {"quantizedmodeldir", "--out"},
    {"g", "--group"},
    {"gs", "--group"},
    {"groupsize", "--group"},
    {"groups", "--group"},
    {"qgroupsize", "--group"},
    {"blocksize", "--group"},
    {"b", "--bits"},
    {"wbit", "--bits"},
    {"wbits", "--bits"},
    {"bit", "--bits"},
    {"nbits", "--bits"},
    {"numbits", "--bits"},
    {"weightbits", "--bits"},
    {"precision", "--bits"},
    {"symmetric", "--sym"},
    {"asymmetric", "--asym"},
    {"nosym", "--asym"},
    {"zeropoint", "--asym"},
    {"descact", "--act-order static"},
    {"actorder", "--act-order static"},
    {"actgroupaware", "--act-order group-aware"},
    {"staticgroups", "--act-order static"},
    {"nodescact", "--act-order none"},
    {"dampening", "--damp"},
    {"damppercent", "--damp"},
    {"dampeningfrac", "--damp"},
    {"percdamp", "--damp"},
    {"nsamples", "--samples"},
    {"numsamples", "--samples"},
    {"numcalibrationsamples", "--samples"},
    {"calibsize", "--samples"},
    {"maxcalibsamples", "--samples"},
    {"maxseqlen", "--seqlen"},
    {"maxseqlength", "--seqlen"},
    {"maxcalibseqlen", "--seqlen"},
    {"maxlength", "--seqlen"},
    {"sequencelength", "--seqlen"},
    {"maxseqlen", "--ctx"},
    {"maxlength", "--ctx"},
    {"seqlen", "--ctx"},
    {"ctxsize", "--ctx"},
    {"contextsize", "--ctx"},
    {"context", "--ctx"},
    {"contextlength", "--ctx"},
    {"nctx", "--ctx"},
    {"windowsize", "--ctx"},
    {"c", "--ctx"},
    {"ctx", "--seqlen"},
    {"ctxsize", "--seqlen"},
    {"context", "--seqlen"},
    {"contextlength", "--seqlen"},
    {"calibration", "--calib"},
    {"calibrationdata", "--calib"},
    {"calibrationdataset", "--calib"},
    {"calibrationfile", "--calib"},
    {"calibdata", "--calib"},
    {"dataset", "--calib"},
    {"data", "--calib"},
    {"dataset", "--text"},
    {"data", "--text"},
    {"file", "--text"},
    {"f", "--text"},
    {"prompt", "--text"},
    {"ref", "--reference"},
    {"base", "--reference"},
    {"original", "--reference"},
    {"original", "--against"},
    {"reference", "--against"},
    {"base", "--against"},
    {"t", "--threads"},
    {"j", "--threads"},
    {"jobs", "--threads"},
    {"numthreads", "--threads"},
    {"nthreads", "--threads"},
    {"nproc", "--threads"},
    {"type", "--format"},
    {"outtype", "--format"},
    {"outputformat", "--format"},
    {"checkpointformat", "--format"},
    {"quantmethod", "--format"},
    {"packingformat", "--format"},
    {"overwrite", "--force"},
    {"yes", "--force"},
    {"y", "--force"},
    {"memory", "--max-mem"},
    {"maxmemory", "--max-mem"},
    {"maxshardsize", "--shard-size"},
    {"n", "--dry-run"},
    {"plan", "--dry-run"},
    {"silent", "--quiet"},
    {"debug", "--verbose"},
    {"randomseed", "--seed"},
    {"ids", "--ids"},
    {"tokens", "--ids"},
    {"inputids", "--ids"},
};

static const struct foreign words_of_others[] = {
    {"fp16", "f16"},
    {"float16", "f16"},
    {"half", "f16"},
    {"bfloat16", "bf16"},
    {"fp32", "f32"},
    {"float32", "f32"},
    {"float", "f32"},
    {"autogptq", "gptq"},
    {"gptqmodel", "gptq"},
    {"gptqv1", "gptq"},
    {"autoawq", "awq"},
    {"gemm", "awq"},
    {"llmcompressor", "compressed-tensors"},
    {"ct", "compressed-tensors"},
    {"packquantized", "compressed-tensors"},
    {"ggml", "gguf"},
    {"true", "static"},
    {"actorder", "static"},
    {"yes", "static"},
    {"false", "none"},
    {"no", "none"},
    {"gar", "group-aware"},
    {"group", "group-aware"},
    {"mse", "plain"},
    {"hessian", "weighted"},
    {"high", "best"},
    {"medium", "balanced"},
    {"low", "fast"},
    {"hf", "gptq"},
    {"llama", "llamacpp"},
};

/* What options are made of, in lower case; else 0. */
static char plain_letter(char c) {
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '\0';
}

/* Letters and digits of a word, in lower case; false where it is too long to be any of these. */
static bool plain(const char *typed, char out[WORD_MOST]) {
    size_t len = 0;
    for (; *typed; typed++) {
        const char letter = plain_letter(*typed);
        if (letter && len + 1 == WORD_MOST)
            return false;
        if (letter)
            out[len++] = letter;
    }
    out[len] = '\0';
    return len > 0;
}

const char *suggest_command(const char *typed) {
    char word[WORD_MOST];
    for (size_t i = 0;
         plain(typed, word) && i < sizeof commands_of_others / sizeof commands_of_others[0]; i++)
        if (strcmp(commands_of_others[i].theirs, word) == 0)
            return commands_of_others[i].ours;
    return NULL;
}

/* Does the command have the option that `ours` begins with? */
static bool has_option(const struct option_table *table, const char *ours) {
    char name[WORD_MOST];
    const size_t len = strcspn(ours + 2, " ");
    if (len >= sizeof name)
        return false;
    memcpy(name, ours + 2, len);
    name[len] = '\0';
    return options_find(table, name) != NULL;
}

const char *suggest_option(const char *typed, const struct option_table *table) {
    char word[WORD_MOST];
    if (!plain(typed, word))
        return NULL;
    for (size_t i = 0; i < sizeof options_of_others / sizeof options_of_others[0]; i++)
        if (strcmp(options_of_others[i].theirs, word) == 0 &&
            has_option(table, options_of_others[i].ours))
            return options_of_others[i].ours;
    return NULL;
}

static const char *choice_named(const struct option *option, const char *word) {
    for (const struct choice *c = option->choices; c->word; c++)
        if (strcmp(c->word, word) == 0)
            return c->word;
    return NULL;
}

const char *suggest_choice(const char *typed, const struct option *option) {
    char word[WORD_MOST], digits[WORD_MOST] = "";
    if (!plain(typed, word))
        return NULL;
    for (size_t i = 0; i < sizeof words_of_others / sizeof words_of_others[0]; i++) {
        const char *ours = strcmp(words_of_others[i].theirs, word) == 0
                               ? choice_named(option, words_of_others[i].ours)
                               : NULL;
        if (ours)
            return ours;
    }
    /* "4bit", "int4", "w4" */
    size_t first = strcspn(word, "0123456789"), count = strspn(word + first, "0123456789");
    memcpy(digits, word + first, count);
    digits[count] = '\0';
    return count > 0 ? choice_named(option, digits) : NULL;
}
