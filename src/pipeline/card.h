/* SPDX-License-Identifier: Apache-2.0 */
/* The model card of a result: README.md, as hubs and people read it. Front matter that says what
 * the result is made of, what was done and what it cost, how it is served, and below all that the
 * card of the model that it was made of, whole. The same for the same run, and without names of
 * places on this machine: commands are those of somebody who is in the result's folder. */
#ifndef LLMQ_PIPELINE_CARD_H
#define LLMQ_PIPELINE_CARD_H

#include "base/strbuf.h"
#include "llmq/context.h"
#include "llmq/error.h"
#include "models/family.h"
#include "pipeline/companions.h"
#include "pipeline/origin.h"
#include "pipeline/plan.h"

#define CARD_NAME "README.md"

/* What a card is of. */
struct card {
    const struct origin *origin;         /* of the model */
    const struct companions *companions; /* likewise; its card is one of them, if it has one */
    const char *model_dir;
    const struct plan *plan;
    const struct family *family;
    const char *title;       /* what was done, in a few words */
    const char *const *tags; /* for hubs, ends in NULL */
    const char *account;     /* Markdown: what was done, and what came of it */
};

/* Write the card into `dir`, in place of the model's own. Where the model has a folder of that name
 * there is none, with a warning. */
LLMQ_NODISCARD enum llmq_status card_write(const struct card *card, const char *dir,
                                           const llmq_context *ctx, llmq_error *err);

/* Add a text that is shown as it is, whatever Markdown would make of it. */
void card_put(struct strbuf *out, const char *text);

#endif
