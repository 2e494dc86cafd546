/* SPDX-License-Identifier: Apache-2.0 */
/* A subcommand as data: its words for the help texts, its options, and the function that does it.
 * A new subcommand is a new cmd_*.c with one `struct command` and one line in commands.c. */
#ifndef LLMQ_CLI_COMMAND_H
#define LLMQ_CLI_COMMAND_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/options.h"
#include "llmq/error.h"

/* First member of every subcommand's argument struct. */
struct common_args {
    const char *program; /* as it was called */
    bool json;
    bool no_color;
    bool help;
    bool quiet;
    bool verbose;
    bool no_progress;
    int64_t threads; /* 0: all cores */
};

/* The two options about special tokens, of all commands that read text. */
struct special_args {
    bool none, bos;
};

/* First member of the argument structs of eval and compare. */
struct text_args {
    struct common_args common;
    struct special_args special;
    const char *text;
    const char *text_field;
    int64_t ctx;
    int64_t max_tokens;
    int convention;  /* enum llmq_convention */
    int activations; /* enum llmq_activations */
    int compute;     /* enum llmq_compute */
};

struct example {
    const char *line;
    const char *says;
};

struct command {
    const char *name;
    const char *summary;     /* one line, for the list of commands */
    const char *synopsis;    /* what follows "llmq " */
    const char *description; /* paragraphs separated by an empty line */
    struct example examples[2];
    const struct option_group *groups; /* ends with a NULL title */
    size_t args_size;
    void (*init)(void *args); /* defaults; the struct is all zero before */
    /* Results go to stdout, progress and messages to stderr. *interrupt is not zero once the user
     * asked to stop. */
    enum llmq_status (*run)(const void *args, const volatile sig_atomic_t *interrupt,
                            llmq_error *err);
    /* Whether it computes on BLAS, whose kernels are then chosen before it runs; NULL: never. */
    bool (*computes)(const void *args);
    bool ranks; /* whether several processes (mpirun) can do it together */
    /* Whether an interrupted run can be continued with --resume; NULL: never. */
    bool (*resumable)(const void *args);
};

extern const struct command command_gptq, command_awq, command_rtn, command_eval, command_compare,
    command_report, command_score, command_generate, command_sensitivity, command_tokenize,
    command_inspect, command_convert, command_verify, command_bench;

/* All subcommands in the order of the help text, then NULL. */
extern const struct command *const commands[];

/* Options every subcommand has, and those of the ones that run for a while. Their offsets are into
 * struct common_args. */
extern const struct option output_options[];
extern const struct option run_options[];

/* Options of the subcommands that measure a checkpoint on a text, into struct text_args. */
extern const struct option text_options[];

/* Rows of an option table for a struct special_args at `member` of a command's arguments. */
#define SPECIAL_OPTIONS(type, member)                                                              \
    {.name = "no-special",                                                                         \
     .kind = OPTION_ON,                                                                            \
     .offset = offsetof(type, member.none),                                                        \
     .help =                                                                                       \
         "leave out the special tokens the model adds to a text (begin of text and the like); "    \
         "those written out in it stay",                                                           \
     .excludes = "bos"},                                                                           \
    {                                                                                              \
        .name = "bos", .kind = OPTION_ON, .offset = offsetof(type, member.bos),                    \
        .help = "put the begin-of-text token before every text, also where the tokenizer does "    \
                "not"                                                                              \
    }

/* A row of an option table for the model that a command is about, at `field` of `type`; it may
 * stand without --model. */
#define MODEL_OPTION(type, field, says)                                                            \
    {                                                                                              \
        .name = "model", .letter = 'm', .kind = OPTION_TEXT, .offset = offsetof(type, field),      \
        .value = "M", .help = says ", or a name to look up", .source = VALUE_MODEL,                \
        .required = true, .bare = true                                                             \
    }

/* A row of an option table for the memory that a measurement may take, at `field` of `type`. */
#define MAX_MEM_OPTION(type, field)                                                                \
    {                                                                                              \
        .name = "max-mem", .kind = OPTION_SIZE, .offset = offsetof(type, field), .value = "SIZE",  \
        .help = "memory to stay below, as 900M or 8G; activations go to a file in $TMPDIR or "     \
                "/var/tmp when they must",                                                         \
        .absent = "80 % of the memory available", .min = 1                                         \
    }

/* A row of an option table for the family that a checkpoint is read as, at `field` of `type`. */
#define FAMILY_OPTION(type, field)                                                                 \
    {                                                                                              \
        .name = "family", .kind = OPTION_TEXT, .offset = offsetof(type, field), .value = "NAME",   \
        .help = "read the checkpoint as a model of that family, whatever config.json calls it: "   \
                "its tensors and keys have to be those of one",                                    \
        .absent = "the family of model_type"                                                       \
    }

/* What they say (enum llmq_special). */
int special_value(const struct special_args *args);

/* Values of --compute (enum llmq_compute) and of --activations (enum llmq_activations). */
extern const struct choice compute_choices[], activation_choices[];

/* True: for commands that compute on BLAS whatever their arguments are. */
bool computes_always(const void *args);

/* The command of that name, or NULL. */
const struct command *command_find(const char *name);

/* The command's options, for options.h. */
struct option_table command_options(const struct command *command);

/* A zeroed argument struct with the command's defaults; NULL when memory is short. The caller
 * frees it. */
void *command_args(const struct command *command);

#endif
