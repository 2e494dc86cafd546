/* SPDX-License-Identifier: Apache-2.0 */
/* The search for the folder of a model: the places looked at, for the error's hint. Of resolve.c
 * and hub.c. */
#ifndef LLMQ_SETUP_SEARCH_H
#define LLMQ_SETUP_SEARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fileio.h"
#include "base/strbuf.h"
#include "llmq/error.h"

struct search {
    const char *spec;
    struct strbuf tried;
    llmq_error unseen; /* the first place that is there, or may be, and cannot be looked at */
    bool memory_short; /* a place was not looked at because its name could not be formed */
};

/* `name`; notes one that could not be formed. */
char *search_formed(struct search *s, char *name);

/* What is at a place, which is noted; one that cannot be looked at counts as absent for the time
 * being. */
enum path_kind search_look(struct search *s, const char *place);

/* `root`/`name`, when there is such a folder; else NULL. The caller frees. */
char *search_under(struct search *s, const char *root, const char *name);

/* The snapshot of s->spec (org/name, or org/name@revision) in a cache of Hugging Face, or NULL. The
 * caller frees. Where several snapshots could be meant, none is, and what was tried says so. */
char *hub_find(struct search *s);

/* The `index`-th place where such a cache may be, for the caller to free; NULL where the
 * environment names none. False past the last. */
bool hub_cache(struct search *s, size_t index, char **folder);

/* The command that downloads what hub_find would find; NULL where `spec` is no org/name. The caller
 * frees. */
char *hub_download(const char *spec);

#endif
