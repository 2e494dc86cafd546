/* SPDX-License-Identifier: Apache-2.0 */
/* The files that travel with a model besides config.json and weights: found before a run, so that
 * one that cannot be read is told then, and copied into its result. Which they are says
 * companion_rule.h; links to files and folders are followed, and become files and folders.
 *
 * Left behind with a word to the user: weights in other forms, files above COMPANION_MAX_BYTES,
 * what is neither file nor folder, names that are not UTF-8, folders below COMPANION_MAX_DEPTH and
 * links that lead back up. */
#ifndef LLMQ_PIPELINE_COMPANIONS_H
#define LLMQ_PIPELINE_COMPANIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/filestate.h"
#include "formats/safetensors/safetensors.h"
#include "llmq/context.h"
#include "llmq/error.h"

#define COMPANION_MAX_BYTES ((uint64_t)256 << 20)
#define COMPANION_MAX_DEPTH 8
#define COMPANION_MAX_COUNT 4096

struct companion {
    char *name; /* below the model's folder: "additional_chat_templates/tool_use.jinja" */
    struct file_stamp stamp;
    char hash[SHA256_TEXT]; /* of the content */
};

/* Something that stays where it is. */
struct companion_left {
    char *name;      /* folders with a slash at the end */
    const char *why; /* static; NULL: weights in another form */
};

struct companions {
    struct companion *files; /* by folder, then name, in byte order */
    size_t count, cap;
    struct companion_left *left;
    size_t left_count, left_cap;
};

/* Find the companions of the model in `dir` and hash them. An error names what is there and cannot
 * be read; LLMQ_E_UNSUPPORTED: more than COMPANION_MAX_COUNT. Release with companions_free. */
LLMQ_NODISCARD enum llmq_status companions_find(const char *dir, struct companions *out,
                                                llmq_error *err);
void companions_free(struct companions *c); /* accepts a zeroed struct */

/* Tell what is left behind of what was found, `weights` excepted, which are what is read. */
void companions_tell(const struct companions *c, const struct st_set *weights,
                     const llmq_context *ctx);

/* Copy them from the model in `from` to the folder `to`, in place of what else has their names
 * there. Links in `to` are replaced or refused, never followed. */
LLMQ_NODISCARD enum llmq_status companions_copy(const struct companions *c, const char *from,
                                                const char *to, llmq_error *err);

#endif
