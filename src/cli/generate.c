/* SPDX-License-Identifier: Apache-2.0 */
/* Documents by name: see generate.h. */
#include "cli/generate.h"

#include <string.h>

#include "cli/console.h"

static const struct {
    const char *name;
    bool (*write)(void);
} documents[] = {
    {"man", generate_man}, {"markdown", generate_markdown}, {"bash", generate_bash},
    {"zsh", generate_zsh}, {"fish", generate_fish},         {"models", generate_models},
};

static const struct command *command_of_page(const char *what) {
    for (const struct command *const *c = commands; *c; c++)
        if (strncmp(what, "man-", 4) == 0 && strcmp(what + 4, (*c)->name) == 0)
            return *c;
    return NULL;
}

enum llmq_status generate(const char *what, llmq_error *err) {
    const struct command *command = command_of_page(what);
    if (command)
        return generate_man_of(command)
                   ? LLMQ_OK
                   : cli_fail(err, LLMQ_E_MEMORY, "out of memory for the document");
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        if (strcmp(what, documents[i].name) != 0)
            continue;
        if (documents[i].write())
            return LLMQ_OK;
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for the document");
    }
    return cli_fail(err, LLMQ_E_USAGE,
                    "--generate: '%s' is none of man|man-COMMAND|markdown|bash|zsh|fish|models",
                    what);
}
