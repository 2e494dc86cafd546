/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the files in a model's folder travel with it: all of them, except those that are weights
 * in some form (the result has its own, and a loader would pick the others up), that state how the
 * source is quantized, or that llmq or a tool of version control keeps for itself. */
#ifndef LLMQ_PIPELINE_COMPANION_RULE_H
#define LLMQ_PIPELINE_COMPANION_RULE_H

#include <stdbool.h>
#include <stdint.h>

enum companion_kind {
    COMPANION_TRAVELS,
    COMPANION_WEIGHTS, /* of any framework, their indices, adapters */
    COMPANION_OURS,    /* the result has a file of this name, or of this purpose, of its own */
    COMPANION_PRIVATE, /* hidden, the file system's, a leftover of a write or a download */
};

/* A file by its name (without folders); `top`: it lies in the model's folder itself. `bytes` tells
 * weights in a .bin from the small things that are also called so. */
enum companion_kind companion_kind(const char *name, bool top, uint64_t bytes);

/* The same by the name alone: a .bin of unknown name may be anything. */
enum companion_kind companion_kind_by_name(const char *name, bool top);

/* Does a folder of this name hold a model in another form? */
bool companion_folder_of_weights(const char *name);

/* Is this a file that weights come without: code, a template, a picture? A folder that has weights
 * and none of these is a model in another form, whatever its name. */
bool companion_apart_from_weights(const char *name);

#endif
