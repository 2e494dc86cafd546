/* SPDX-License-Identifier: Apache-2.0 */
/* The worst tokens: see page.h. */
#include "report/markup.h"
#include "report/page.h"

/* The text of a token, or its id where there is none. */
static void put_token(struct strbuf *b, const char *text, int32_t id) {
    if (text)
        markup_text(b, text);
    else
        strbuf_printf(b, "[%ld]", (long)id);
}

static void put_likely(struct strbuf *b, const char *who, const llmq_likely_token *list,
                       size_t count, int32_t right) {
    strbuf_puts(b, "<table><thead><tr><th class=\"left\" scope=\"col\">");
    markup_text(b, who);
    strbuf_puts(b, "</th><th scope=\"col\">probability</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < count; i++) {
        const bool is_right = list[i].token == right;
        strbuf_printf(b, "<tr><td class=\"left token\">%s", is_right ? "<mark>" : "");
        put_token(b, list[i].text, list[i].token);
        strbuf_printf(b, "%s</td><td>%.1f %%</td></tr>\n", is_right ? "</mark>" : "",
                      100 * list[i].p);
    }
    if (count == 0)
        strbuf_puts(b, "<tr><td class=\"left\">none is likely</td><td></td></tr>\n");
    strbuf_puts(b, "</tbody></table>\n");
}

static void put_worst(struct strbuf *b, const llmq_compare_result *f, size_t i) {
    const llmq_divergent_token *t = &f->worst[i];
    const llmq_token_context *context = &f->contexts[i];
    strbuf_puts(b, "<div class=\"card\"><p class=\"token\">");
    markup_text(b, context->before);
    strbuf_puts(b, "<mark>");
    put_token(b, context->text, t->token);
    strbuf_puts(b, "</mark>");
    markup_text(b, context->after);
    strbuf_printf(b,
                  "</p><p class=\"soft\">%.3f nats at position %lld of window %lld</p><div "
                  "class=\"pair\">\n",
                  t->kl, (long long)t->position, (long long)t->window);
    put_likely(b, "the reference expected", context->reference, context->reference_count, t->token);
    put_likely(b, "this model expected", context->model, context->model_count, t->token);
    strbuf_puts(b, "</div></div>\n");
}

void page_tokens(struct strbuf *b, const struct report_result *r) {
    for (size_t i = 0; i < r->figures->worst_count; i++)
        put_worst(b, r->figures, i);
}
