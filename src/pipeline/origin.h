/* SPDX-License-Identifier: Apache-2.0 */
/* Where a model comes from, as people call it: never by a path of this machine. */
#ifndef LLMQ_PIPELINE_ORIGIN_H
#define LLMQ_PIPELINE_ORIGIN_H

#include "base/json.h"
#include "llmq/error.h"

struct origin {
    char *name;       /* last part of what the user calls it, or of the repository */
    char *repository; /* "org/name" of Hugging Face's hub, where that is known; or NULL */
    char *revision;   /* the commit of the snapshot, where it lies in the hub's cache; or NULL */
};

/* Of the model that the user calls `spec`, and that lies in `dir`. A folder of the hub's cache says
 * of which repository it is, and so does a name that was looked up; a path does not. Release with
 * origin_free. */
LLMQ_NODISCARD enum llmq_status origin_find(const char *spec, const char *dir, struct origin *out,
                                            llmq_error *err);
void origin_free(struct origin *o); /* accepts a zeroed struct */

/* {"name", "repository", "revision"} */
struct json *origin_json(const struct origin *o);

#endif
