/* SPDX-License-Identifier: Apache-2.0 */
/* The man pages llmq(1) and llmq-COMMAND(1), written from the option tables in the man macros of
 * roff. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/generate.h"
#include "cli/help.h"
#include "llmq/model.h"
#include "llmq/version.h"

/* Escapes are not counted: the longest line has a few. */
enum { TEXT_MAX = 512, LINE_MAX = 66 };

struct variable {
    const char *name;
    const char *meaning;
};

static const struct variable environment[] = {
    {"LLMQ_MODELS", "folder in which model names are looked up first"},
    {"HF_HUB_CACHE, HF_HOME",
     "where the Hugging Face cache is, instead of huggingface in $XDG_CACHE_HOME or ~/.cache; the "
     "older HUGGINGFACE_HUB_CACHE and TRANSFORMERS_CACHE count, too"},
    {"LLMQ_CPU", "highest instruction set to use: ref, avx2, avx512, avx512vnni or avx512bf16 on "
                 "x86-64; ref, neon or neondot on aarch64"},
    {"OPENBLAS_CORETYPE", "the kernels OpenBLAS is to use, such as SkylakeX or Haswell; when it is "
                          "not set and OpenBLAS' own choice is slow or wrong here, llmq measures "
                          "the others and starts again on the best"},
    {"LLMQ_BLAS_CORE", "measure: do so in any case"},
    {"NO_COLOR", "when not empty, messages have no colours"},
};

/* One character of text, escaped where it is special to roff; a dash as the ASCII dash that can be
 * copied into a shell. */
static void print_char(char c) {
    static const struct {
        char c;
        const char *escaped;
    } special[] = {
        {'\\', "\\e"},  {'-', "\\-"},   {'\'', "\\(aq"},
        {'~', "\\(ti"}, {'^', "\\(ha"}, {'`', "\\(ga"},
    };
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if (c == special[i].c) {
            fputs(special[i].escaped, stdout);
            return;
        }
    fputc(c, stdout);
}

/* Text, an empty line in it as a new paragraph. Lines are broken between words, `column` being
 * where it begins; one must not begin with a control character. */
static void print_text_from(int column, const char *text) {
    while (*text) {
        const size_t word = strcspn(text, " \n");
        if (column > 0 && column + (int)word > LINE_MAX) {
            fputc('\n', stdout);
            column = 0;
        }
        if (column == 0 && *text == '.')
            fputs("\\&", stdout);
        for (size_t i = 0; i < word; i++)
            print_char(text[i]);
        column += (int)word;
        text += word;
        if (text[0] == '\n' && text[1] == '\n') {
            fputs("\n.PP\n", stdout);
            text += 2;
            column = 0;
        } else if (*text) { /* the next word goes to a line of its own where it does not fit */
            const bool fits = column + 1 + (int)strcspn(text + 1, " \n") <= LINE_MAX;
            fputc(fits ? *text : '\n', stdout);
            column = fits ? column + 1 : 0;
            text++;
        }
    }
}

static void print_text(const char *text) {
    print_text_from(0, text);
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
    fputc('\n', stdout);
    if (preset[0]) {
        fputs("(", stdout);
        print_text_from(1, preset);
        fputs(")\n", stdout);
    }
}

/* --- llmq(1) -----------------------------------------------------------------------------------
 */

static void print_title(const char *page) {
    fputs(".TH ", stdout);
    for (const char *c = page; *c; c++)
        fputc(*c == '-' ? '-' : *c - 'a' + 'A', stdout);
    printf(" 1 \"" LLMQ_DATE "\" \"llmq %s\" \"User Commands\"\n", llmq_version());
}

/* The options of a table that do not depend on the command. */
static void print_shared(const char *title, const struct option *options) {
    struct common_args none = {0};
    printf(".SS %s\n", title);
    for (const struct option *option = options; option->name; option++)
        print_option(option, &none);
}

static void print_examples(const struct command *c) {
    for (size_t i = 0; i < sizeof c->examples / sizeof c->examples[0]; i++) {
        fputs(".TP\n.B ", stdout);
        for (const char *p = c->examples[i].line; *p; p++) /* a command stays on its line */
            print_char(*p);
        fputc('\n', stdout);
        print_line(c->examples[i].says);
    }
}

static void print_intro(void) {
    print_title("llmq");
    fputs(".SH NAME\nllmq \\- ", stdout);
    print_line(help_tagline);
    fputs(".SH SYNOPSIS\n.B llmq\n.I command\n.RI [ option ...]\n.br\n", stdout);
    fputs(".B llmq\n\\-\\-help | \\-\\-version\n", stdout);
    fputs(".SH DESCRIPTION\n", stdout);
    print_line("llmq reads a language model as Hugging Face stores it (config.json, safetensors, "
               "tokenizer.json), quantizes the linear layers of its decoder blocks, and measures "
               "what that costs. A model is given as a folder, or as a name looked up in "
               "$LLMQ_MODELS, ./models and the Hugging Face cache.\n\n"
               "Results go to standard output, everything else to standard error. Progress is "
               "drawn on a terminal only; elsewhere every block is one line.");
}

static void print_commands(void) {
    fputs(".SH COMMANDS\n", stdout);
    print_line("Each has a page of its own.");
    for (const struct command *const *c = commands; *c; c++) {
        printf(".TP\n.BR llmq\\-%s (1)\n", (*c)->name);
        print_line((*c)->summary);
    }
}

static void print_surroundings(void) {
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
        print_examples(*c);
}

bool generate_man(void) {
    print_intro();
    print_commands();
    fputs(".SH OPTIONS\n", stdout);
    print_shared("Of commands that compute", run_options);
    print_shared("Of every command", output_options);
    print_surroundings();
    return true;
}

/* --- llmq-COMMAND(1) ---------------------------------------------------------------------------
 */

/* Its own options, by group; those that others share stand in llmq(1). */
static void print_groups(const struct command *command, const void *args) {
    bool runs = false;
    fputs(".SH OPTIONS\n", stdout);
    for (const struct option_group *g = command->groups; g->title; g++) {
        runs = runs || g->options == run_options;
        if (g->options == run_options || g->options == output_options)
            continue;
        fputs(".SS ", stdout);
        fputc(g->title[0] >= 'a' && g->title[0] <= 'z' ? g->title[0] - 'a' + 'A' : g->title[0],
              stdout);
        print_line(g->title + 1);
        for (const struct option *option = g->options; option->name; option++)
            print_option(option, args);
    }
    printf(".PP\nOptions %sof every command are in\n.BR llmq (1).\n",
           runs ? "of commands that compute and " : "");
}

bool generate_man_of(const struct command *command) {
    char page[TEXT_MAX];
    void *args = command_args(command);
    if (!args)
        return false;
    snprintf(page, sizeof page, "llmq-%s", command->name);
    print_title(page);
    printf(".SH NAME\nllmq\\-%s \\- ", command->name);
    print_text_from((int)strlen(page) + 3, command->summary);
    fputc('\n', stdout);
    fputs(".SH SYNOPSIS\n.B llmq\n", stdout);
    print_line(command->synopsis);
    fputs(".SH DESCRIPTION\n", stdout);
    print_line(command->description);
    print_groups(command, args);
    fputs(".SH EXAMPLES\n", stdout);
    print_examples(command);
    fputs(".SH SEE ALSO\n.BR llmq (1)\n", stdout);
    free(args);
    return true;
}
