/* SPDX-License-Identifier: Apache-2.0 */
/* docs/REFERENCE.md, the command-line reference, written from the option tables. Options that
 * several commands share are listed once, after the commands; gptq, awq and rtn share all of theirs
 * and one table. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/generate.h"
#include "cli/help.h"

#define TABLE_HEAD "| option | meaning |\n| --- | --- |\n"

enum { TEXT_MAX = 256 };

/* Inside a table cell a bar would end it. */
static void print_cell(const char *text) {
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', stdout);
        fputc(*text, stdout);
    }
}

static void print_option(const struct option *option, const void *args) {
    char preset[TEXT_MAX];
    fputs("| `", stdout);
    if (option->letter)
        printf("-%c`, `", option->letter);
    printf("--%s", option->name);
    if (option->value) {
        fputc(' ', stdout);
        print_cell(option->value);
    }
    fputs("` | ", stdout);
    print_cell(option->help);
    help_note(option, args, preset, sizeof preset);
    if (preset[0]) {
        fputs(" (", stdout);
        print_cell(preset);
        fputc(')', stdout);
    }
    fputs(" |\n", stdout);
}

static void print_options(const struct option *options, const void *args) {
    for (const struct option *option = options; option->name; option++)
        print_option(option, args);
}

static bool is_shared(const struct option_group *group) {
    return group->options == run_options || group->options == output_options;
}

/* The command before it in the list has the same options. */
static bool repeats(const struct command *const *command) {
    return command != commands && command[-1]->groups == command[0]->groups;
}

static bool print_command(const struct command *const *command) {
    void *args = command_args(*command);
    if (!args)
        return false;
    printf("\n## `llmq %s`\n\n    llmq %s\n\n", (*command)->name, (*command)->synopsis);
    printf("%c%s.", (*command)->summary[0] - 'a' + 'A', (*command)->summary + 1);
    if (repeats(command)) {
        printf(" Options as of `llmq %s`.\n", command[-1]->name);
    } else {
        fputs("\n\n" TABLE_HEAD, stdout);
        for (const struct option_group *g = (*command)->groups; g->title; g++)
            if (!is_shared(g))
                print_options(g->options, args);
    }
    free(args);
    return true;
}

bool generate_markdown(void) {
    struct common_args none = {0};
    fputs("`llmq --help` lists the commands, `llmq --version` tells version, build, BLAS and "
          "instruction set.\n",
          stdout);
    for (const struct command *const *c = commands; *c; c++)
        if (!print_command(c))
            return false;
    fputs(
        "\n## Running `gptq`, `awq`, `rtn`, `eval`, `compare`, `report` and `score`\n\n" TABLE_HEAD,
        stdout);
    print_options(run_options, &none);
    fputs("\n## Output of every command\n\n" TABLE_HEAD, stdout);
    print_options(output_options, &none);
    return true;
}
