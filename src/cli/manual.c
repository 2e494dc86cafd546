/* The man page llmq(1), written from the option tables in the man macros of roff. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/generate.h"
#include "cli/help.h"
#include "llmq/model.h"

enum { TEXT_MAX = 512 };

struct variable {
    const char *name;
    const char *meaning;
};

static const struct variable environment[] = {
    {"LLMQ_MODELS", "folder in which model names are looked up first"},
    {"HF_HUB_CACHE, HF_HOME", "where the Hugging Face cache is, instead of ~/.cache/huggingface"},
    {"LLMQ_CPU", "highest instruction set to use: ref, avx2, avx512, avx512vnni or avx512bf16 on "
                 "x86-64; ref, neon or neondot on aarch64"},
    {"OPENBLAS_CORETYPE", "the kernels OpenBLAS is to use, such as SkylakeX or Haswell; when it is "
                          "not set and OpenBLAS' own choice is slow or wrong here, llmq measures "
                          "the others and starts again on the best"},
    {"LLMQ_BLAS_CORE", "measure: do so in any case"},
    {"NO_COLOR", "when not empty, messages have no colours"},
};

/* Text with roff's special characters escaped, a dash as the ASCII dash that can be copied into a
 * shell, an empty line as a new paragraph. A line must not begin with a control character. */
static void print_text(const char *text) {
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else if (*text == '\'')
            fputs("\\(aq", stdout);
        else if (*text == '~')
            fputs("\\(ti", stdout);
        else if (*text == '\n' && text[1] == '\n')
            fputs("\n.PP", stdout);
        else
            fputc(*text, stdout);
    }
}

static void print_line(const char *text) {
    print_text(text);
    fputc('\n', stdout);
}

static void print_option(const struct option *option, const void *args) {
    char preset[TEXT_MAX];
    fputs(".TP\n", stdout);
    fputs("\\fB", stdout);
    if (option->letter)
        printf("\\-%c\\fR, \\fB", option->letter);
    fputs("\\-\\-", stdout);
    print_text(option->name);
    fputs("\\fR", stdout);
    if (option->value) {
        fputs(" \\fI", stdout);
        print_text(option->value);
        fputs("\\fR", stdout);
    }
    fputc('\n', stdout);
    print_text(option->help);
    help_note(option, args, preset, sizeof preset);
    if (preset[0]) {
        fputs(" (", stdout);
        print_text(preset);
        fputs(")", stdout);
    }
    fputc('\n', stdout);
}

static bool print_command(const struct command *command) {
    void *args = command_args(command);
    if (!args)
        return false;
    printf(".SS llmq %s\n", command->name);
    fputs(".B llmq ", stdout);
    print_line(command->synopsis);
    fputs(".PP\n", stdout);
    print_line(command->description);
    for (const struct option_group *g = command->groups; g->title; g++) {
        if (g->options == run_options || g->options == output_options)
            continue;
        fputs(".PP\n", stdout);
        print_text(g->title);
        fputs(":\n", stdout);
        for (const struct option *option = g->options; option->name; option++)
            print_option(option, args);
    }
    for (const struct option_group *g = command->groups; g->title; g++)
        if (g->options == run_options)
            fputs(".PP\nThe options for running below apply.\n", stdout);
    free(args);
    return true;
}

static void print_shared_options(void) {
    struct common_args none = {0};
    fputs(".SS Running: gptq, awq, rtn, eval, score\n", stdout);
    for (const struct option *option = run_options; option->name; option++)
        print_option(option, &none);
    fputs(".SS Output: every command\n", stdout);
    for (const struct option *option = output_options; option->name; option++)
        print_option(option, &none);
}

static void print_head(void) {
    printf(".TH LLMQ 1 \"\" \"llmq %s\" \"User Commands\"\n", llmq_version());
    fputs(".SH NAME\nllmq \\- ", stdout);
    print_line(help_tagline);
    fputs(".SH SYNOPSIS\n.nf\n", stdout);
    for (const struct command *const *c = commands; *c; c++) {
        fputs("\\fBllmq\\fR ", stdout);
        print_line((*c)->synopsis);
    }
    fputs("\\fBllmq\\fR \\-\\-help | \\-\\-version\n.fi\n", stdout);
    fputs(".SH DESCRIPTION\n", stdout);
    print_line("llmq reads a language model as Hugging Face stores it (config.json, safetensors, "
               "tokenizer.json), quantizes the linear layers of its decoder blocks, and measures "
               "what that costs. A model is given as a folder, or as a name looked up in "
               "$LLMQ_MODELS, ./models and the Hugging Face cache.\n\n"
               "Results go to standard output, everything else to standard error. Progress is "
               "drawn on a terminal only; elsewhere every block is one line.");
}

static void print_tail(void) {
    fputs(".SH EXIT STATUS\n", stdout);
    for (const struct exit_code *e = help_exit_codes; e->meaning; e++) {
        printf(".TP\n%d\n", e->code);
        print_line(e->meaning);
    }
    fputs(".SH ENVIRONMENT\n", stdout);
    for (size_t i = 0; i < sizeof environment / sizeof environment[0]; i++) {
        printf(".TP\n%s\n", environment[i].name);
        print_line(environment[i].meaning);
    }
    fputs(".SH EXAMPLES\n", stdout);
    for (const struct command *const *c = commands; *c; c++)
        for (size_t i = 0; i < 2; i++) {
            fputs(".TP\n.B ", stdout);
            print_line((*c)->examples[i].line);
            print_line((*c)->examples[i].says);
        }
}

bool generate_man(void) {
    print_head();
    fputs(".SH COMMANDS\n", stdout);
    for (const struct command *const *c = commands; *c; c++)
        if (!print_command(*c))
            return false;
    print_shared_options();
    print_tail();
    return true;
}
