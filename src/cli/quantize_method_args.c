/* SPDX-License-Identifier: Apache-2.0 */
/* The options that say how codes and scales are found: see quantize_args.h. */
#include "cli/quantize_args.h"

static const struct choice qualities[] = {
    {"fast", LLMQ_QUALITY_FAST},
    {"balanced", LLMQ_QUALITY_BALANCED},
    {"best", LLMQ_QUALITY_BEST},
    {"max", LLMQ_QUALITY_MAX},
    {NULL, 0},
};

static const struct choice by_tokens[] = {{"auto", LLMQ_BY_TOKENS}, {NULL, 0}};

static const struct choice by_gradients[] = {{"auto", LLMQ_BY_GRADIENTS}, {NULL, 0}};

static const struct choice curvatures[] = {{"off", LLMQ_CURVATURE_OFF},
                                           {"on", LLMQ_CURVATURE_ON},
                                           {"auto", LLMQ_CURVATURE_AUTO},
                                           {NULL, 0}};

static const struct choice all_tokens[] = {{"all", 0}, {NULL, 0}};

static const struct choice searches[] = {
    {"minmax", LLMQ_RANGE_MINMAX},     {"plain", LLMQ_RANGE_PLAIN},
    {"weighted", LLMQ_RANGE_WEIGHTED}, {"percentile", LLMQ_RANGE_PERCENTILE},
    {"entropy", LLMQ_RANGE_ENTROPY},   {NULL, 0},
};

static const struct choice correct_words[] = {{"auto", 0}, {"off", 0}, {NULL, 0}};

static const struct choice act_orders[] = {
    {"none", LLMQ_ACT_ORDER_NONE},
    {"static", LLMQ_ACT_ORDER_STATIC},
    {"group-aware", LLMQ_ACT_ORDER_GROUP_AWARE},
    {NULL, 0},
};

static const struct choice tunings[] = {{"off", LLMQ_TUNE_OFF},
                                        {"auto", LLMQ_TUNE_AUTO},
                                        {"scales", LLMQ_TUNE_SCALES},
                                        {"norms", LLMQ_TUNE_NORMS},
                                        {NULL, 0}};

#define FIELD(name) offsetof(struct quantize_args, options.name)

const struct option quantize_method_options[] = {
    {.name = "quality",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, quality),
     .value = "fast|balanced|best|max",
     .help = "gptq: what the options below are when they are not given. fast: the published "
             "method. balanced: static act-order, weighted search, correction, descent, rounds, "
             "curvature and token weights auto, by gradients of 1024 tokens; about twice the time. "
             "best: curvature on, by those of all, 2 restarts and token weights of 0.5; several "
             "times the time of balanced. max: 8 restarts, and --tune auto; several times the time "
             "of best",
     .choices = qualities},
    {.name = "awq",
     .kind = OPTION_ON,
     .offset = FIELD(awq),
     .help = "let gptq scale activations by AWQ before it rounds weights; awq always does"},
    {.name = "equalize",
     .kind = OPTION_ON,
     .offset = FIELD(equalize),
     .help = "where AWQ looks for a scale, try that of cross-layer equalization, too: what makes a "
             "channel and what reads it get weights of one size. It is for one range a matrix, "
             "which no format has: with scales for rows or groups it is rarely the best, if ever"},
    {.name = "correct",
     .kind = OPTION_CORRECT,
     .offset = offsetof(struct quantize_args, correct),
     .value = "auto|off|A[,B]",
     .help = "before rounding, move each module's weights so that they make up for the errors "
             "already made upstream: A of the error of their input, B of that of the residual "
             "stream; auto chooses both for each module on windows held back",
     .absent = "gptq: by --quality; awq and rtn: off",
     .choices = correct_words},
    {.name = "search",
     .kind = OPTION_RANGE,
     .offset = offsetof(struct quantize_args, search),
     .value = "minmax|plain|weighted|percentile[:P]|entropy",
     .help = "range of a group: its extremes; the range of least squared error; the same with "
             "each input weighted by its second moment, which takes calibration; without what "
             "lies beyond the P percentile (99.9) on either side; or without what lies beyond a "
             "number of root mean squares, one for each module, that keeps the distribution of its "
             "weights best",
     .absent = "gptq: by --quality; awq: weighted; rtn: minmax",
     .choices = searches,
     .min = 50,
     .max = 100},
    {.name = "descent",
     .kind = OPTION_INT,
     .offset = offsetof(struct quantize_args, descent),
     .value = "auto|N",
     .help = "gptq: passes over all codes and scales afterwards, each re-chosen given all others; "
             "auto: 3 for a linear with at least 32 calibration tokens for each input, else 1; 1 "
             "before what --curvature does",
     .absent = "by --quality",
     .choices = by_tokens,
     .min = 0,
     .max = 100},
    {.name = "rounds",
     .kind = OPTION_INT,
     .offset = offsetof(struct quantize_args, rounds),
     .value = "auto|N",
     .help = "gptq: times that GPTQ and descent start again from the scales found; each row keeps "
             "its best; auto: 2 where --descent auto is 3, else 0",
     .absent = "by --quality",
     .choices = by_tokens,
     .min = 0,
     .max = 100},
    {.name = "curvature",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, curvature),
     .value = "off|on|auto",
     .help = "gptq: choose codes, scales and zero points by what errors do to the predictions: a "
             "pass back through the original model on the calibration text says so, before the "
             "first block. Not with --awq; auto: of linears that see 32 tokens for each of their "
             "inputs and have 2 outputs at most for each of --curvature-tokens, not with --awq",
     .absent = "by --quality",
     .choices = curvatures},
    {.name = "curvature-tokens",
     .kind = OPTION_INT,
     .offset = offsetof(struct quantize_args, curvature_tokens),
     .value = "N|all",
     .help = "gptq: tokens of the calibration text that this pass reads, the first ones of its "
             "windows; it takes as much as four to five passes forth of as many",
     .absent = "by --quality: 1024 of balanced, else all",
     .choices = all_tokens,
     .min = 1,
     .max = 9e18},
    {.name = "restarts",
     .kind = OPTION_INT,
     .offset = offsetof(struct quantize_args, restarts),
     .value = "N",
     .help = "gptq: times that all rows start anew in the end, by GPTQ, a search of scales with "
             "zero points and descent; each row keeps what helps the whole. Each takes about as "
             "much as rounding with --descent 3 --rounds 2",
     .absent = "by --quality",
     .min = 0,
     .max = 1000},
    {.name = "token-weights",
     .kind = OPTION_REAL,
     .offset = offsetof(struct quantize_args, token_weights),
     .value = "auto|P",
     .help = "gptq: tokens of the calibration text count by how far errors at them move the "
             "predictions, to the power of P; 0: all alike; auto: 0.5 where --curvature asks for "
             "gradients anyway. Takes its pass; by that of --curvature-tokens each counts as those "
             "at its place of a window do on average. Not with --awq",
     .absent = "by --quality",
     .choices = by_gradients,
     .min = 0,
     .max = 1},
    {.name = "act-order",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, act_order),
     .value = "none|static|group-aware",
     .help = "gptq: order of columns: as they are; by activation with groups fixed beforehand; or "
             "by activation inside and between groups",
     .absent = "by --quality",
     .choices = act_orders},
    {.name = NULL},
};

const struct option quantize_tuning_options[] = {
    {.name = "tune",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_args, tune),
     .value = "off|auto|scales|norms",
     .help =
         "when all modules are quantized, move the groups' scales down the gradient of the "
         "divergence between the original's predictions and the result's, codes and zero points "
         "as they are; norms: and the weights of norms; auto: scales in formats of integers, "
         "nothing in others. Judged on windows held back, and kept only if it is lower there",
     .absent = "gptq: by --quality; awq and rtn: off",
     .choices = tunings},
    {.name = "tune-windows",
     .kind = OPTION_INT,
     .offset = FIELD(tune_windows),
     .value = "N",
     .help = "windows of the calibration's texts to learn from, once each: others than those of "
             "the calibration, where the texts have so many",
     .absent = "as many as hold 131072 tokens",
     .min = 1,
     .max = 1e9},
    {.name = "tune-rate",
     .kind = OPTION_REAL,
     .offset = FIELD(tune_rate),
     .value = "X",
     .help = "learning rate: how far, as a part of itself, a scale goes in a step at most, about",
     .min = 0,
     .max = 1},
    {.name = NULL},
};
