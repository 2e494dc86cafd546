/* SPDX-License-Identifier: Apache-2.0 */
/* The options that give rules for modules: --set, --keep and --recipe. */
#ifndef LLMQ_CLI_RECIPE_ARGS_H
#define LLMQ_CLI_RECIPE_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/options.h"
#include "llmq/recipe.h"

struct recipe_args {
    struct value_list rules;
    const char *file;
};

/* Rows of an option table for a struct recipe_args at `member` of a command's arguments. */
#define RECIPE_OPTIONS(type, member)                                                               \
    {.name = "set",                                                                                \
     .kind = OPTION_LIST,                                                                          \
     .offset = offsetof(type, member.rules),                                                       \
     .value = "REGEX:KEY=VALUE,...",                                                               \
     .help = "other settings for the modules whose names an expression matches, the output head "  \
             "and the embedding where it spells their names out: bits, group, sym or asym, "       \
             "method (rtn or gptq), quality, or keep, as in 'down_proj:bits=8,group=64'. May be "  \
             "repeated: the first rule that matches a module counts"},                             \
        {.name = "keep",                                                                           \
         .kind = OPTION_LIST,                                                                      \
         .offset = offsetof(type, member.rules),                                                   \
         .value = "REGEX",                                                                         \
         .help = "leave the modules whose names an expression matches in 16 bits, as "             \
                 "--set REGEX:keep does"},                                                         \
    {                                                                                              \
        .name = "recipe", .kind = OPTION_TEXT, .offset = offsetof(type, member.file),              \
        .value = "FILE",                                                                           \
        .help = "such rules as JSON, {\"rules\": [{\"match\": \"REGEX\", \"bits\": 8}, ...]}; "    \
                "they come after those of --set and --keep",                                       \
        .source = VALUE_FILE                                                                       \
    }

/* Was any of them given? */
bool recipe_given(const struct recipe_args *args);

/* Their rules; NULL: there are none. The caller releases them with llmq_recipe_free, also after an
 * error: LLMQ_E_USAGE or LLMQ_E_INPUT. */
LLMQ_NODISCARD enum llmq_status recipe_make(const struct recipe_args *args, llmq_recipe **out,
                                            llmq_error *err);

#endif
