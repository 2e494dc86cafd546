/* SPDX-License-Identifier: Apache-2.0 */
/* Families that are refused by name: see models/unknown.h. What they compute is in transformers'
 * modeling files of the same names, or in code that the models bring. */
#include "models/unknown.h"

#include <stddef.h>
#include <string.h>

/* clang-format off */
const struct unknown unknown_models[] = {
    {"baichuan", "an output head whose rows are normed"},
    {"deci", "blocks that differ from each other in size"},
    {"dream", "attention that looks ahead"},
    {"gemma3n", "several residual streams that predict and correct each other"},
    {"gemma3n_text", "several residual streams that predict and correct each other"},
    {"grinmoe", "a router that takes one expert after the other, each by scores of its own"},
    {"jetmoe", "experts in place of the queries and of the output of attention"},
    {"kimi_linear", "a delta rule that forgets by channel"},
    {"llada", "attention that looks ahead"},
    {"llada2_moe", "attention that looks ahead"},
    {"mllama", "layers that attend to pictures"},
    {"mllama_text_model", "layers that attend to pictures"},
    {"nemotron-nas", "blocks that differ from each other in size"},
    {"phimoe", "a router that takes one expert after the other, each by scores of its own"},
    {"zamba", "a block of attention that several layers share"},
    {NULL, NULL},
};
/* clang-format on */

const char *unknown_why(const char *model_type) {
    for (const struct unknown *u = unknown_models; u->model_type; u++)
        if (strcmp(u->model_type, model_type) == 0)
            return u->why;
    return NULL;
}
