/* SPDX-License-Identifier: Apache-2.0 */
/* Completions for bash, zsh and fish, written from the option tables. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/generate.h"
#include "llmq/model.h"

/* What a shell may offer for an option's value. */
static void print_words(const struct option *option, const char *separator) {
    if (option->kind == OPTION_GROUP)
        printf("128%s64%s32%s-1%sauto-fit", separator, separator, separator, separator);
    else
        for (const struct choice *c = option->choices; c->word; c++)
            printf("%s%s", c == option->choices ? "" : separator, c->word);
}

static bool has_words(const struct option *option) {
    return option->choices || option->kind == OPTION_GROUP;
}

static void print_name(void *user, const char *name) {
    (void)user;
    if (!strpbrk(name, "\n\r"))
        puts(name);
}

bool generate_models(void) {
    return llmq_model_names(print_name, NULL, NULL) == LLMQ_OK;
}

/* --- bash ------------------------------------------------------------------------------------- */

static void bash_value(const struct option *option) {
    printf("        --%s", option->name);
    if (option->also)
        printf("|--%s", option->also);
    if (option->letter)
        printf("|-%c", option->letter);
    fputc(')', stdout);
    if (has_words(option)) {
        fputs(" mapfile -t COMPREPLY < <(compgen -W '", stdout);
        print_words(option, " ");
        fputs("' -- \"$cur\");", stdout);
    } else if (option->source == VALUE_FILE) {
        fputs(" mapfile -t COMPREPLY < <(compgen -f -- \"$cur\");", stdout);
    } else if (option->source == VALUE_FOLDER) {
        fputs(" mapfile -t COMPREPLY < <(compgen -d -- \"$cur\");", stdout);
    } else if (option->source == VALUE_MODEL) {
        fputs(" _llmq_models;", stdout);
    }
    fputs(" return ;;\n", stdout);
}

static void bash_command(const struct command *command) {
    struct option_table table = command_options(command);
    const struct option *option;
    printf("    %s)\n        case \"$prev\" in\n", command->name);
    for (size_t i = 0; (option = options_at(&table, i)); i++)
        if (option_takes_value(option))
            bash_value(option);
    fputs("        esac\n        words='", stdout);
    for (size_t i = 0; (option = options_at(&table, i)); i++)
        printf("%s--%s", i ? " " : "", option->name);
    fputs("' ;;\n", stdout);
}

bool generate_bash(void) {
    fputs("# bash completion for llmq, generated from its option tables\n"
          "_llmq_models() {\n"
          "    local name\n"
          "    mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")\n"
          "    while IFS= read -r name; do\n"
          "        [[ $name != \"$cur\"* ]] || COMPREPLY+=(\"$name\")\n"
          "    done < <(\"${COMP_WORDS[0]}\" --generate models 2>/dev/null)\n"
          "}\n"
          "_llmq() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=''\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W '",
          stdout);
    for (const struct command *const *c = commands; *c; c++)
        printf("%s ", (*c)->name);
    fputs("--help --version' -- \"$cur\")\n"
          "        return\n"
          "    fi\n"
          "    case \"${COMP_WORDS[1]}\" in\n",
          stdout);
    for (const struct command *const *c = commands; *c; c++)
        bash_command(*c);
    fputs("    esac\n"
          "    case \"$cur\" in\n"
          "    -*) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
          "    *) _llmq_models ;;\n"
          "    esac\n"
          "}\n"
          "complete -o filenames -F _llmq llmq\n",
          stdout);
    return true;
}

/* --- zsh -------------------------------------------------------------------------------------- */

/* Inside single quotes and an _arguments specification. */
static void zsh_text(const char *text) {
    for (; *text; text++) {
        if (strchr("[]:\\", *text))
            fputc('\\', stdout);
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            fputc(*text, stdout);
    }
}

static void zsh_value(const struct option *option) {
    fputc(':', stdout);
    zsh_text(option->name);
    fputc(':', stdout);
    if (has_words(option)) {
        fputc('(', stdout);
        print_words(option, " ");
        fputc(')', stdout);
    } else if (option->source != VALUE_OTHER) {
        fputs(option->source == VALUE_FILE     ? "_files"
              : option->source == VALUE_FOLDER ? "_files -/"
                                               : "_llmq_models",
              stdout);
    }
}

static void zsh_option(const struct option *option) {
    printf(" \\\n            '--%s%s[", option->name, option_takes_value(option) ? "=" : "");
    zsh_text(option->help);
    fputc(']', stdout);
    if (option_takes_value(option))
        zsh_value(option);
    fputc('\'', stdout);
    if (option->bare) {
        fputs(" \\\n            '1", stdout);
        zsh_value(option);
        fputc('\'', stdout);
    }
}

bool generate_zsh(void) {
    fputs("#compdef llmq\n# zsh completion for llmq, generated from its option tables\n"
          "_llmq_models() {\n"
          "    local -a names\n"
          "    names=(${(f)\"$(llmq --generate models 2>/dev/null)\"})\n"
          "    _alternative 'models:model:compadd -a names' 'folders:folder:_files -/'\n"
          "}\n"
          "_llmq() {\n"
          "    if (( CURRENT == 2 )); then\n"
          "        local -a subcommands=(",
          stdout);
    for (const struct command *const *c = commands; *c; c++) {
        printf("\n            '%s:", (*c)->name);
        zsh_text((*c)->summary);
        fputc('\'', stdout);
    }
    fputs(")\n"
          "        _describe command subcommands\n"
          "        return\n"
          "    fi\n"
          "    local subcommand=$words[2]\n"
          "    shift words\n"
          "    (( CURRENT-- ))\n"
          "    case $subcommand in\n",
          stdout);
    for (const struct command *const *c = commands; *c; c++) {
        struct option_table table = command_options(*c);
        const struct option *option;
        printf("    %s)\n        _arguments", (*c)->name);
        for (size_t i = 0; (option = options_at(&table, i)); i++)
            zsh_option(option);
        fputs(" ;;\n", stdout);
    }
    fputs("    esac\n}\n_llmq \"$@\"\n", stdout);
    return true;
}

/* --- fish ------------------------------------------------------------------------------------- */

#define FISH_MODELS "(llmq --generate models 2>/dev/null; __fish_complete_directories)"

static void fish_option(const struct command *command, const struct option *option) {
    printf("complete -c llmq -n '__fish_seen_subcommand_from %s'", command->name);
    printf(" -l %s", option->name);
    if (option->also)
        printf(" -l %s", option->also);
    if (option->letter)
        printf(" -s %c", option->letter);
    if (option_takes_value(option)) {
        fputs(option->source == VALUE_OTHER ? " -x" : " -r", stdout);
        if (has_words(option)) {
            fputs(" -a '", stdout);
            print_words(option, " ");
            fputc('\'', stdout);
        }
    }
    if (option->source == VALUE_FOLDER)
        fputs(" -a '(__fish_complete_directories)'", stdout);
    else if (option->source == VALUE_MODEL)
        fputs(" -a '" FISH_MODELS "'", stdout);
    else if (option->source == VALUE_FILE)
        fputs(" -F", stdout);
    fputs(" -d ", stdout);
    console_quote(stdout, option->help);
    fputc('\n', stdout);
}

bool generate_fish(void) {
    fputs("# fish completion for llmq, generated from its option tables\n"
          "complete -c llmq -f\n"
          "complete -c llmq -n __fish_use_subcommand -l help -d 'print help'\n"
          "complete -c llmq -n __fish_use_subcommand -l version -d 'print the version'\n",
          stdout);
    for (const struct command *const *c = commands; *c; c++) {
        struct option_table table = command_options(*c);
        const struct option *option;
        printf("complete -c llmq -n __fish_use_subcommand -a %s -d ", (*c)->name);
        console_quote(stdout, (*c)->summary);
        fputc('\n', stdout);
        for (size_t i = 0; (option = options_at(&table, i)); i++) {
            fish_option(*c, option);
            if (option->bare)
                printf("complete -c llmq -n '__fish_seen_subcommand_from %s' "
                       "-a '" FISH_MODELS "'\n",
                       (*c)->name);
        }
    }
    return true;
}
