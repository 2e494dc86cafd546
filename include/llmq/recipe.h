/* SPDX-License-Identifier: Apache-2.0 */
/* Recipes: rules that say what a quantization does otherwise with some of its modules. */
#ifndef LLMQ_RECIPE_H
#define LLMQ_RECIPE_H

#include "llmq/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A list of rules. Each has a regular expression, searched for in the names of modules
 * ("model.layers.0.mlp.down_proj"), and settings: bits, group, sym or asym, method, quality, or
 * keep. The first rule that matches a module counts, and the run's options where it says nothing.
 * The output head and the embedding are reached only by expressions that spell the last part of
 * their names out ("lm_head", "embed_tokens"). docs/RECIPES.md describes it all. */
typedef struct llmq_recipe llmq_recipe;

/* An empty list; release with llmq_recipe_free, which accepts a pointer to NULL. */
LLMQ_NODISCARD enum llmq_status llmq_recipe_create(llmq_recipe **out, llmq_error *err);
void llmq_recipe_free(llmq_recipe **recipe);

/* Append a rule written as "REGEX:key=value,...", as in "down_proj:bits=8,group=64" or
 * "layers\.0\.:keep". LLMQ_E_USAGE: an expression, key or value that there is not. */
LLMQ_NODISCARD enum llmq_status llmq_recipe_add(llmq_recipe *recipe, const char *rule,
                                                llmq_error *err);

/* Append the rule that modules which match stay as they are. */
LLMQ_NODISCARD enum llmq_status llmq_recipe_keep(llmq_recipe *recipe, const char *expression,
                                                 llmq_error *err);

/* Append the rules of a JSON file: {"rules": [{"match": "REGEX", "bits": 8, ...}, ...]}.
 * LLMQ_E_INPUT names the rule and the key. */
LLMQ_NODISCARD enum llmq_status llmq_recipe_read(llmq_recipe *recipe, const char *path,
                                                 llmq_error *err);

/* All rules as such a file, to be released with llmq_free; NULL when memory is short. */
char *llmq_recipe_json(const llmq_recipe *recipe);

#ifdef __cplusplus
}
#endif
#endif
