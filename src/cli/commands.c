/* SPDX-License-Identifier: Apache-2.0 */
/* The list of subcommands and the options they share. */
#include "cli/command.h"

#include <stdlib.h>
#include <string.h>

#include "llmq/evaluate.h"

const struct command *const commands[] = {
    &command_gptq,    &command_awq,     &command_rtn,    &command_sensitivity, &command_eval,
    &command_compare, &command_report,  &command_score,  &command_generate,    &command_tokenize,
    &command_inspect, &command_convert, &command_verify, &command_bench,       NULL,
};

static const struct choice conventions[] = {
    {"gptq", LLMQ_CONVENTION_GPTQ},
    {"llamacpp", LLMQ_CONVENTION_LLAMACPP},
    {NULL, 0},
};

const struct choice activation_choices[] = {
    {"exact", LLMQ_ACTIVATIONS_EXACT},
    {"int8", LLMQ_ACTIVATIONS_INT8},
    {NULL, 0},
};

const struct choice compute_choices[] = {
    {"f32", LLMQ_COMPUTE_F32},
    {"bf16", LLMQ_COMPUTE_BF16},
    {NULL, 0},
};

const struct option output_options[] = {
    {.name = "json",
     .kind = OPTION_ON,
     .offset = offsetof(struct common_args, json),
     .help = "print the result as JSON"},
    {.name = "no-color",
     .kind = OPTION_ON,
     .offset = offsetof(struct common_args, no_color),
     .help = "no colours in messages; a non-empty NO_COLOR in the environment says the same"},
    {.name = "help",
     .letter = 'h',
     .kind = OPTION_ON,
     .offset = offsetof(struct common_args, help),
     .help = "print this help"},
    {.name = NULL},
};

const struct option run_options[] = {
    {.name = "threads",
     .kind = OPTION_INT,
     .offset = offsetof(struct common_args, threads),
     .value = "N",
     .help = "threads to use; the result does not depend on it",
     .absent = "all cores this process may use",
     .min = 1,
     .max = 4096},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_ON,
     .offset = offsetof(struct common_args, quiet),
     .help = "errors only: no progress, no messages"},
    {.name = "verbose",
     .letter = 'v',
     .kind = OPTION_ON,
     .offset = offsetof(struct common_args, verbose),
     .help =
         "details: every module and where the time went in the result, more messages on the way"},
    {.name = "no-progress",
     .kind = OPTION_ON,
     .offset = offsetof(struct common_args, no_progress),
     .help = "messages, but no progress"},
    {.name = NULL},
};

const struct option text_options[] = {
    {.name = "text",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct text_args, text),
     .value = "FILE",
     .help = "what to read: a text file, .jsonl of {\"text\": ...} or of conversations, which the "
             "model's chat template writes, or .json windows of token ids, used as they are; "
             "gzip's are unpacked",
     .absent = "the English text bundled with llmq",
     .source = VALUE_FILE},
    {.name = "text-field",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct text_args, text_field),
     .value = "NAME",
     .help = "the member of .jsonl lines that holds the text, or a list of messages",
     .absent = "text; where there is none, the conversation"},
    {.name = "ctx",
     .kind = OPTION_INT,
     .offset = offsetof(struct text_args, ctx),
     .value = "N",
     .help = "tokens per window, of text",
     .absent = "the model's context, of two models the shorter, at most 2048",
     .min = 2,
     .max = 1 << 24},
    SPECIAL_OPTIONS(struct text_args, special),
    {.name = "max-tokens",
     .kind = OPTION_INT,
     .offset = offsetof(struct text_args, max_tokens),
     .value = "N",
     .help = "read only the first N tokens, as many whole windows as they fill",
     .absent = "all",
     .min = 2,
     .max = 1e15},
    {.name = "convention",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct text_args, convention),
     .value = "gptq|llamacpp",
     .help = "tokens that count: all but the first of each window, as in the GPTQ and AWQ papers, "
             "or the second half of each window, as in llama.cpp, whose windows of text all begin "
             "with the begin-of-text token, in the place of their first, if the model adds one",
     .choices = conventions},
    {.name = "activations",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct text_args, activations),
     .value = "exact|int8",
     .help = "activations in products with packed weights: float32, or rounded to 8 bits, as fast "
             "inference has them",
     .choices = activation_choices},
    {.name = "compute",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct text_args, compute),
     .value = "f32|bf16",
     .help = "products with plain weights: float32, or both factors rounded to bfloat16, faster on "
             "CPUs with AVX512_BF16; for a checkpoint that is not quantized",
     .choices = compute_choices},
    {.name = NULL},
};

int special_value(const struct special_args *args) {
    return args->none ? LLMQ_SPECIAL_NONE : args->bos ? LLMQ_SPECIAL_BOS : LLMQ_SPECIAL_MODEL;
}

bool computes_always(const void *args) {
    (void)args;
    return true;
}

const struct command *command_find(const char *name) {
    for (const struct command *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

struct option_table command_options(const struct command *command) {
    return (struct option_table){.command = command->name, .groups = command->groups};
}

void *command_args(const struct command *command) {
    void *args = calloc(1, command->args_size);
    if (args && command->init)
        command->init(args);
    return args;
}
