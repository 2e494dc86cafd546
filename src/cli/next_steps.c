/* SPDX-License-Identifier: Apache-2.0 */
/* See next_steps.h. */
#include "cli/next_steps.h"

#include <stdio.h>
#include <string.h>

#include "cli/console.h"

/* A place that begins with a dash would be read as an option. */
static void put_place(const char *before, const char *place) {
    fputs(before, stdout);
    fputs(place[0] == '-' ? "./" : "", stdout);
    console_quote(stdout, place);
}

static void put_program(const struct common_args *args, const char *command) {
    fputs("  ", stdout);
    console_quote(stdout, args->program ? args->program : "llmq");
    printf(" %s", command);
}

/* The first one that has a command: those without a reservation come first. */
static const llmq_serving *best_serving(const llmq_servings *s) {
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].command)
            return &s->items[i];
    return NULL;
}

void next_steps_print(const struct next_steps *next, const struct common_args *args) {
    const llmq_serving *best = best_serving(&next->servings);
    if (args->quiet)
        return;
    printf("\nnext steps\n");
    if (next->measured) {
        put_program(args, "compare");
        put_place(" --model ", next->out);
        put_place(" --reference ", next->model);
        printf("\n      perplexity, and divergence from the original\n");
        put_program(args, "generate");
        put_place(" --model ", next->out);
        put_place(" --against ", next->model);
        printf(" --prompt 'Once upon a time'\n      what it writes, and where the original goes on "
               "otherwise\n");
    }
    put_program(args, "verify");
    put_place(" --model ", next->out);
    put_place(" --against ", next->model);
    printf("\n      every file's sum, the rules of servers, errors of the weights\n");
    if (best)
        printf("  %s\n      serve it with %s%s%s\n", best->command, best->stack,
               *best->note ? "; " : "", best->note);
}
