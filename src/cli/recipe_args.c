/* SPDX-License-Identifier: Apache-2.0 */
/* See recipe_args.h. */
#include "cli/recipe_args.h"

#include <string.h>

bool recipe_given(const struct recipe_args *args) {
    return args->rules.count > 0 || args->file;
}

enum llmq_status recipe_make(const struct recipe_args *args, llmq_recipe **out, llmq_error *err) {
    *out = NULL;
    if (!recipe_given(args))
        return LLMQ_OK;
    enum llmq_status status = llmq_recipe_create(out, err);
    for (size_t i = 0; status == LLMQ_OK && i < args->rules.count; i++) {
        const struct given_value *rule = &args->rules.values[i];
        const bool keep = strcmp(rule->option, "keep") == 0;
        status = (keep ? llmq_recipe_keep : llmq_recipe_add)(*out, rule->text, err);
    }
    return status == LLMQ_OK && args->file ? llmq_recipe_read(*out, args->file, err) : status;
}
