/* SPDX-License-Identifier: Apache-2.0 */
/* The model card of a conversion: see convert.h and pipeline/card.h. */
#include <stdio.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "convert/convert.h"
#include "llmq/version.h"
#include "pipeline/card.h"

static void put_account(struct strbuf *out, const struct convert *c) {
    const struct origin *o = &c->origin;
    strbuf_puts(out, "Made of ");
    card_put(out, o->repository ? o->repository : o->name);
    if (o->revision) {
        strbuf_puts(out, " at ");
        card_put(out, o->revision);
    }
    strbuf_printf(out, " with llmq %s.\n\n", LLMQ_VERSION);
    if (c->target.layout)
        strbuf_printf(out,
                      "The format was %s and is %s: codes, scales and zero points are the same.\n",
                      c->report->from, c->report->to);
    else
        strbuf_printf(
            out,
            "The format was %s. The weights are the numbers that it stood for, as %s; the "
            "largest rounding\nchanged one by %.3g of itself.\n",
            c->report->from, c->report->to, c->report->max_relative_error);
}

enum llmq_status convert_card_write(const struct convert *c, llmq_error *err) {
    const char *const tags[] = {"llmq", c->target.name, NULL};
    struct strbuf account = {0};
    char title[64];
    put_account(&account, c);
    (void)snprintf(title, sizeof title, "%s to %s", c->report->from, c->report->to);
    if (!strbuf_ok(&account))
        return error_memory(err, "the model card");
    const struct card card = {
        .origin = &c->origin,
        .companions = &c->source.companions,
        .model_dir = c->model.dir,
        .plan = &c->plan,
        .family = c->model.config.family,
        .title = title,
        .tags = tags,
        .account = account.data,
    };
    const enum llmq_status status = card_write(&card, c->output.partial_dir, c->ctx, err);
    strbuf_free(&account);
    return status;
}
