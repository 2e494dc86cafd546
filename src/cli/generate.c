/* Documents by name: see generate.h. */
#include "cli/generate.h"

#include <string.h>

#include "cli/console.h"

static const struct {
    const char *name;
    bool (*write)(void);
} documents[] = {
    {"man", generate_man}, {"markdown", generate_markdown}, {"bash", generate_bash},
    {"zsh", generate_zsh}, {"fish", generate_fish},
};

enum llmq_status generate(const char *what, llmq_error *err) {
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        if (strcmp(what, documents[i].name) != 0)
            continue;
        if (documents[i].write())
            return LLMQ_OK;
        return cli_fail(err, LLMQ_E_MEMORY, "out of memory for the document");
    }
    return cli_fail(err, LLMQ_E_USAGE, "--generate: '%s' is none of man|markdown|bash|zsh|fish",
                    what);
}
