/* The list of subcommands and the options they share. */
#include "cli/command.h"

#include <stdlib.h>
#include <string.h>

#include "llmq/evaluate.h"

const struct command *const commands[] = {
    &command_gptq,    &command_awq,    &command_rtn,      &command_eval,
    &command_compare, &command_score,  &command_tokenize, &command_inspect,
    &command_convert, &command_verify, &command_bench,    NULL,
};

const struct choice convention_choices[] = {
    {"gptq", LLMQ_CONVENTION_GPTQ},
    {"llamacpp", LLMQ_CONVENTION_LLAMACPP},
    {NULL, 0},
};

const struct choice activations_choices[] = {
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
