/* SPDX-License-Identifier: Apache-2.0 */
/* Help texts: see help.h. Everything said about an option comes from its row. */
#include "cli/help.h"

#include <string.h>

enum { LINE_WIDTH = 88, HELP_COLUMN = 26, TEXT_MAX = 512 };

const char help_tagline[] = "quantize language models to packed integers on the CPU";

const struct exit_code help_exit_codes[] = {
    {0, "success"},
    {1, "a check failed: a perplexity above --max-ppl"},
    {2, "wrong usage"},
    {3, "input malformed, unsupported or not found"},
    {4, "reading or writing failed"},
    {5, "out of memory, or no thread could be started"},
    {6, "numeric failure: non-finite values"},
    {130, "interrupted"},
    {0, NULL},
};

/* Length of the word at `text`. */
static size_t word_length(const char *text, const char *end) {
    const char *space = memchr(text, ' ', (size_t)(end - text));
    return (size_t)((space ? space : end) - text);
}

/* Print the words of `len` bytes of text from column `at` on, later lines from column `indent`. */
static void print_wrapped(FILE *stream, const char *text, size_t len, size_t at, size_t indent) {
    const char *end = text + len;
    while (text < end) {
        len = word_length(text, end);
        if (at > indent && at + len > LINE_WIDTH) {
            fprintf(stream, "\n%*s", (int)indent, "");
            at = indent;
        }
        fprintf(stream, "%.*s", (int)len, text);
        at += len;
        text += len;
        if (text < end) {
            text++;
            if (at + 1 + word_length(text, end) <= LINE_WIDTH)
                fputc(' ', stream);
            at++;
        }
    }
    fputc('\n', stream);
}

/* Print paragraphs separated by "\n\n". */
static void print_paragraphs(FILE *stream, const char *text) {
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t len = end ? (size_t)(end - text) : strlen(text);
        print_wrapped(stream, text, len, 0, 0);
        text += end ? len + 2 : len;
        if (*text)
            fputc('\n', stream);
    }
}

void help_note(const struct option *option, const void *args, char *buf, size_t size) {
    char value[TEXT_MAX / 4];
    option_show(option, args, value, sizeof value);
    const char *preset = option->required ? "" : option->absent ? option->absent : value;
    snprintf(buf, size, "%s%s%s%s%s", option->also ? "also --" : "",
             option->also ? option->also : "",
             option->also && (option->required || preset[0]) ? "; " : "",
             option->required ? "required"
             : preset[0]      ? "default: "
                              : "",
             preset);
}

static void print_option(FILE *stream, const struct option *option, const void *args) {
    char left[TEXT_MAX], preset[TEXT_MAX], text[2 * TEXT_MAX];
    char letter[8] = "";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
    help_note(option, args, preset, sizeof preset);
    snprintf(text, sizeof text, "%s%s%s%s", option->help, preset[0] ? " (" : "", preset,
             preset[0] ? ")" : "");
    size_t len = strlen(left);
    if (len + 2 > HELP_COLUMN)
        fprintf(stream, "%s\n%*s", left, HELP_COLUMN, "");
    else
        fprintf(stream, "%-*s", HELP_COLUMN, left);
    print_wrapped(stream, text, strlen(text), HELP_COLUMN, HELP_COLUMN);
}

static void print_examples(FILE *stream, const struct command *command) {
    fprintf(stream, "\nExamples:\n");
    for (size_t i = 0; i < 2; i++)
        fprintf(stream, "  %s\n      %s\n", command->examples[i].line, command->examples[i].says);
}

static void print_commands(FILE *stream) {
    fprintf(stream, "\nCommands:\n");
    for (const struct command *const *c = commands; *c; c++)
        fprintf(stream, "  %-10s %s\n", (*c)->name, (*c)->summary);
}

void help_program_brief(FILE *stream) {
    fprintf(stream, "llmq: %s\nusage: llmq COMMAND [options]\n", help_tagline);
    print_commands(stream);
    fprintf(stream, "\nExamples:\n  %s\n  %s\n", command_gptq.examples[0].line,
            command_eval.examples[0].line);
    fprintf(stream, "\n'llmq --help' says more, 'llmq COMMAND --help' all about a command.\n");
}

void help_program(FILE *stream) {
    fprintf(stream, "llmq: %s\n\nusage: llmq COMMAND [options]\n       llmq --help | --version\n",
            help_tagline);
    print_commands(stream);
    fprintf(stream, "\nExamples:\n");
    for (const struct command *const *c = commands; *c; c++)
        fprintf(stream, "  %s\n", (*c)->examples[0].line);
    fprintf(stream,
            "\nA model is a folder with config.json and safetensors files, or a name looked "
            "up in\n$LLMQ_MODELS, ./models and the Hugging Face cache.\n"
            "Results go to standard output, everything else to standard error.\n");
    fprintf(stream, "\nExit codes:\n");
    for (const struct exit_code *e = help_exit_codes; e->meaning; e++)
        fprintf(stream, "  %3d  %s\n", e->code, e->meaning);
    fprintf(stream, "\n'llmq COMMAND --help' explains a command and its options.\n");
}

void help_command_brief(FILE *stream, const struct command *command) {
    fprintf(stream, "llmq %s: %s\nusage: llmq %s\n", command->name, command->summary,
            command->synopsis);
    print_examples(stream, command);
    fprintf(stream, "\n'llmq %s --help' lists the options.\n", command->name);
}

void help_command(FILE *stream, const struct command *command, const void *args) {
    fprintf(stream, "llmq %s: %s\n\nusage: llmq %s\n\n", command->name, command->summary,
            command->synopsis);
    print_paragraphs(stream, command->description);
    for (const struct option_group *g = command->groups; g->title; g++) {
        fprintf(stream, "\n%s:\n", g->title);
        for (const struct option *option = g->options; option->name; option++)
            print_option(stream, option, args);
    }
    print_examples(stream, command);
}
