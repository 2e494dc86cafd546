/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of a recipe as a run reads them: see llmq/recipe.h. */
#ifndef LLMQ_PIPELINE_RECIPE_H
#define LLMQ_PIPELINE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/regex.h"
#include "llmq/quantize.h"
#include "llmq/recipe.h"

/* The settings that a rule has: bits of recipe_rule.given. */
enum recipe_key {
    RECIPE_BITS = 1 << 0,
    RECIPE_GROUP = 1 << 1,
    RECIPE_SYM = 1 << 2,
    RECIPE_METHOD = 1 << 3,
    RECIPE_QUALITY = 1 << 4,
    RECIPE_KEEP = 1 << 5, /* and nothing else */
    RECIPE_SEARCH = 1 << 6,
};

struct recipe_rule {
    char *match; /* the expression */
    struct regex *regex;
    unsigned given;
    int bits;
    int64_t group; /* as llmq_quantize_options has it, and so `group_fit` */
    bool group_fit;
    bool sym;
    enum llmq_method method; /* RTN or GPTQ */
    enum llmq_quality quality;
    enum llmq_range_search search;
    double percentile; /* 0: as the options have it */
};

struct llmq_recipe {
    struct recipe_rule *rules;
    size_t count;
};

/* "'down_proj:bits=8'" in `buf`, for messages; returns it. */
enum { RECIPE_SHOWN = 96 };
const char *recipe_show(const struct recipe_rule *rule, char buf[RECIPE_SHOWN]);

/* The rules as JSON, a fresh array; NULL when memory is short. */
struct json *recipe_rules_json(const struct llmq_recipe *recipe);

/* --- between recipe.c and recipe_text.c ------------------------------------------------------- */

/* Set what `key` says, NULL `value`: a word by itself. LLMQ_E_USAGE names what there is. */
LLMQ_NODISCARD enum llmq_status recipe_set(struct recipe_rule *rule, const char *key,
                                           const char *value, llmq_error *err);

/* The value of a key as text in `buf`, "" for a word by itself; the key's name, NULL past the end
 * of those that `rule` has. */
enum { RECIPE_VALUE = 32 };
const char *recipe_get(const struct recipe_rule *rule, int index, char buf[RECIPE_VALUE]);

#endif
