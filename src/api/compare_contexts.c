/* SPDX-License-Identifier: Apache-2.0 */
/* What divergent tokens look like: see comparison.h. */
#include <stdlib.h>
#include <string.h>

#include "api/comparison.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "eval/candidates.h"
#include "llmq/printable.h"
#include "setup/setup.h"

/* Tokens shown around one. */
enum { TOKENS_BEFORE = 16, TOKENS_AFTER = 8 };

/* Without one there are ids, which say less and are right. */
static void open_tokenizer(struct comparison *c) {
    const char *dir = c->kept ? c->models[0].m.dir : c->reference.dir;
    const struct reading limits = {.max_mem = c->options->max_mem};
    llmq_error unread = {0};
    if (c->tok_tried)
        return;
    c->tok_tried = true;
    enum llmq_status status = setup_check_tokenizer(dir, &limits, false, &unread);
    if (status == LLMQ_OK)
        status = setup_tokenizer(dir, &c->tok, &unread);
    if (status != LLMQ_OK)
        tokenizer_free(&c->tok);
}

/* What is no UTF-8 (a part of a character) becomes U+FFFD, as does NUL. */
static char *clean_text(const struct strbuf *raw) {
    static const char replacement[] = "\xEF\xBF\xBD";
    struct strbuf clean = {0};
    const char *at = raw->data, *end = raw->data ? raw->data + raw->len : NULL;
    while (at < end) {
        uint32_t code;
        bool valid = false, visible;
        const size_t len = llmq_character(at, &code, &valid, &visible);
        if (len > 0 && valid)
            strbuf_append(&clean, at, len);
        else
            strbuf_puts(&clean, replacement);
        at += len > 0 ? len : 1;
    }
    return strbuf_take(&clean);
}

/* The text of ids [count]; NULL without a tokenizer. */
static enum llmq_status text_of(const struct comparison *c, const int32_t *ids, int64_t count,
                                char **out, llmq_error *err) {
    struct strbuf raw = {0};
    *out = NULL;
    if (!c->tok)
        return LLMQ_OK;
    for (int64_t i = 0; i < count; i++)
        tokenizer_decode(c->tok, ids[i], &raw);
    if (strbuf_ok(&raw))
        *out = clean_text(&raw);
    strbuf_free(&raw);
    return *out ? LLMQ_OK : error_memory(err, "the text of a token");
}

static enum llmq_status show_candidates(const struct comparison *c, const struct candidates *from,
                                        llmq_likely_token *to, size_t *count, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < from->count; i++) {
        to[i] = (llmq_likely_token){.token = from->list[i].token, .p = from->list[i].p};
        *count = i + 1;
        LLMQ_TRY(text_of(c, &to[i].token, 1, &to[i].text, err));
    }
cleanup:
    return status;
}

static enum llmq_status show_around(const struct comparison *c, const llmq_divergent_token *t,
                                    llmq_token_context *out, llmq_error *err) {
    const int64_t begin = c->corpus.offsets[t->window], end = c->corpus.offsets[t->window + 1];
    const int64_t at = begin + t->position;
    const int64_t from = t->position > TOKENS_BEFORE ? at - TOKENS_BEFORE : begin;
    const int64_t to = end - at - 1 > TOKENS_AFTER ? at + 1 + TOKENS_AFTER : end;
    const int32_t *ids = c->corpus.ids;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(text_of(c, ids + from, at - from, &out->before, err));
    LLMQ_TRY(text_of(c, ids + at, 1, &out->text, err));
    LLMQ_TRY(text_of(c, ids + at + 1, to - at - 1, &out->after, err));
cleanup:
    return status;
}

enum llmq_status comparison_contexts(struct comparison *c, const struct model *m,
                                     const struct divergence *d, llmq_compare_result *result,
                                     llmq_error *err) {
    const size_t count = result->worst_count;
    struct candidates model[LLMQ_COMPARE_WORST], reference[LLMQ_COMPARE_WORST];
    int64_t rows[LLMQ_COMPARE_WORST];
    enum llmq_status status = LLMQ_OK;
    open_tokenizer(c);
    for (size_t i = 0; i < count; i++)
        rows[i] = c->corpus.offsets[result->worst[i].window] + result->worst[i].position - 1;
    LLMQ_TRY(eval_candidates(m, &d->hidden, rows, count, model, err));
    if (!c->kept)
        LLMQ_TRY(eval_candidates(&c->reference, &c->ran.hidden, rows, count, reference, err));
    for (size_t i = 0; c->kept && i < count; i++)
        kept_candidates(&c->file.kept, rows[i], &reference[i]);
    for (size_t i = 0; i < count; i++) {
        llmq_token_context *out = &result->contexts[i];
        LLMQ_TRY(show_around(c, &result->worst[i], out, err));
        LLMQ_TRY(show_candidates(c, &model[i], out->model, &out->model_count, err));
        LLMQ_TRY(show_candidates(c, &reference[i], out->reference, &out->reference_count, err));
    }
cleanup:
    return status;
}

void comparison_free_context(llmq_token_context *context) {
    for (size_t i = 0; i < LLMQ_COMPARE_TOP; i++) {
        free(context->model[i].text);
        free(context->reference[i].text);
    }
    free(context->before);
    free(context->text);
    free(context->after);
    *context = (llmq_token_context){0};
}
