/* SPDX-License-Identifier: Apache-2.0 */
/* The one parser of the command line: see options.h. It walks argv once; what a value means is
 * left to values.c. */
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/console.h"
#include "cli/suggest.h"
#include "llmq/memory.h"

enum { NAME_MAX_SHOWN = 64 };

/* Where the walk stands. */
struct cursor {
    const struct option_table *table;
    char **argv;
    int argc;
    int next;
    const char **given; /* by index in the table: the value, or the name of one without; or NULL */
};

const struct option *options_at(const struct option_table *table, size_t index) {
    for (const struct option_group *group = table->groups; group->title; group++)
        for (const struct option *option = group->options; option->name; option++)
            if (index-- == 0)
                return option;
    return NULL;
}

const struct option *options_find(const struct option_table *table, const char *name) {
    const struct option *option;
    for (size_t i = 0; (option = options_at(table, i)); i++)
        if (strcmp(option->name, name) == 0 || (option->also && strcmp(option->also, name) == 0))
            return option;
    return NULL;
}

bool option_takes_value(const struct option *option) {
    return option->kind != OPTION_ON && option->kind != OPTION_OFF;
}

static enum llmq_status unknown_option(const struct option_table *table, const char *typed,
                                       const char *name, llmq_error *err) {
    struct suggestion near = {.typed = name};
    const struct option *option;
    for (size_t i = 0; (option = options_at(table, i)); i++)
        suggestion_offer(&near, option->name);
    cli_fail(err, LLMQ_E_USAGE, "%s has no option %s", table->command, typed);
    const char *known = suggest_option(name, table);
    if (known)
        cli_hint(err, "did you mean %s?", known);
    else if (near.best)
        cli_hint(err, "did you mean --%s?", near.best);
    else
        cli_hint(err, "'llmq %s --help' lists the options", table->command);
    return LLMQ_E_USAGE;
}

static bool exclude_each_other(const struct option *a, const struct option *b) {
    return (a->excludes && strcmp(a->excludes, b->name) == 0) ||
           (b->excludes && strcmp(b->excludes, a->name) == 0);
}

/* Remember that `option` is given as `text`, unless what was given before contradicts it. */
static enum llmq_status note_given(struct cursor *c, const struct option *option, const char *text,
                                   llmq_error *err) {
    const struct option *other;
    for (size_t i = 0; (other = options_at(c->table, i)); i++) {
        if (other == option && c->given[i] && option_takes_value(option) &&
            option->kind != OPTION_LIST) {
            cli_fail(err, LLMQ_E_USAGE, "--%s is given twice: '%s' and '%s'", option->name,
                     c->given[i], text);
            cli_hint(err, "give it once; it is not a list");
            return LLMQ_E_USAGE;
        }
        if (c->given[i] && exclude_each_other(option, other))
            return cli_fail(err, LLMQ_E_USAGE, "--%s and --%s exclude each other", other->name,
                            option->name);
        if (other == option)
            c->given[i] = text;
    }
    return LLMQ_OK;
}

/* Store `option` with the value after its "=", or else the next argument. */
static enum llmq_status take_option(struct cursor *c, const struct option *option,
                                    const char *equals, void *args, llmq_error *err) {
    if (!option_takes_value(option)) {
        if (equals)
            return cli_fail(err, LLMQ_E_USAGE, "--%s takes no value", option->name);
        enum llmq_status status = note_given(c, option, option->name, err);
        return status == LLMQ_OK ? option_store(option, NULL, args, err) : status;
    }
    const char *text = equals ? equals + 1 : NULL;
    /* An argument that begins with two dashes is the next option: its predecessor was forgotten
     * (--name=--value says it when it is really meant). */
    if (!text && c->next < c->argc && strncmp(c->argv[c->next], "--", 2) != 0)
        text = c->argv[c->next++];
    if (!text)
        return cli_fail(err, LLMQ_E_USAGE, "--%s needs a value: --%s %s", option->name,
                        option->name, option->value);
    enum llmq_status status = note_given(c, option, text, err);
    return status == LLMQ_OK ? option_store(option, text, args, err) : status;
}

static enum llmq_status take_long(struct cursor *c, const char *arg, void *args, llmq_error *err) {
    const char *equals = strchr(arg, '=');
    size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
    char typed[NAME_MAX_SHOWN];
    snprintf(typed, sizeof typed, "%.*s", len < sizeof typed ? (int)len : (int)sizeof typed - 1,
             arg);
    const struct option *option = len < sizeof typed ? options_find(c->table, typed + 2) : NULL;
    if (!option)
        return unknown_option(c->table, typed, typed + 2, err);
    return take_option(c, option, equals, args, err);
}

static enum llmq_status take_short(struct cursor *c, const char *arg, void *args, llmq_error *err) {
    const struct option *option;
    for (size_t i = 0; arg[2] == '\0' && (option = options_at(c->table, i)); i++)
        if (option->letter == arg[1])
            return take_option(c, option, NULL, args, err);
    return unknown_option(c->table, arg, arg + 1, err);
}

/* The option that an argument nobody expects is likely the value of: the first of these that the
 * command has and that is not given yet; NULL: none. */
static const char *meant_by_argument(const struct cursor *c) {
    static const char *const order[] = {"reference", "against", "calib", "text", "ids"};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        const struct option *option;
        for (size_t j = 0; (option = options_at(c->table, j)); j++)
            if (!c->given[j] && strcmp(option->name, order[i]) == 0)
                return order[i];
    }
    return NULL;
}

static enum llmq_status refuse_argument(const struct cursor *c, const char *arg, llmq_error *err) {
    const char *option = meant_by_argument(c);
    cli_fail(err, LLMQ_E_USAGE, "%s does not expect the argument '%s'", c->table->command, arg);
    char *quoted = option ? llmq_shell_quoted(arg) : NULL;
    if (quoted)
        cli_hint(err, "did you mean --%s %s?", option, quoted);
    llmq_free(quoted);
    return LLMQ_E_USAGE;
}

/* The option whose value may stand alone, unless it was given and is no list. */
static enum llmq_status take_bare(struct cursor *c, const char *arg, void *args, llmq_error *err) {
    const struct option *option;
    for (size_t i = 0; (option = options_at(c->table, i)); i++) {
        if (!option->bare || (c->given[i] && option->kind != OPTION_LIST))
            continue;
        c->given[i] = arg;
        return option_store(option, arg, args, err);
    }
    return refuse_argument(c, arg, err);
}

enum llmq_status options_parse(const struct option_table *table, int argc, char **argv, void *args,
                               llmq_error *err) {
    struct cursor c = {.table = table, .argv = argv, .argc = argc};
    enum llmq_status status = LLMQ_OK;
    bool only_arguments = false;
    size_t options = 0;
    while (options_at(table, options))
        options++;
    c.given = calloc(options + 1, sizeof *c.given);
    if (!c.given)
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for %zu options", options);
    while (status == LLMQ_OK && c.next < argc) {
        const char *arg = argv[c.next++];
        if (only_arguments || arg[0] != '-' || arg[1] == '\0')
            status = take_bare(&c, arg, args, err);
        else if (strcmp(arg, "--") == 0)
            only_arguments = true;
        else if (arg[1] == '-')
            status = take_long(&c, arg, args, err);
        else
            status = take_short(&c, arg, args, err);
    }
    free(c.given);
    return status;
}

enum llmq_status options_require(const struct option_table *table, const void *args,
                                 llmq_error *err) {
    const struct option *option;
    for (size_t i = 0; (option = options_at(table, i)); i++) {
        char value[NAME_MAX_SHOWN];
        option_show(option, args, value, sizeof value);
        if (!option->required || value[0])
            continue;
        cli_fail(err, LLMQ_E_USAGE, "%s needs --%s %s", table->command, option->name,
                 option->value);
        cli_hint(err, "'llmq %s --help' explains it", table->command);
        return LLMQ_E_USAGE;
    }
    return LLMQ_OK;
}
