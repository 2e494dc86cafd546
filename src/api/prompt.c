/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts: see llmq/generate.h. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chat/rendering.h"
#include "llmq/generate.h"
#include "llmq/model.h"
#include "setup/setup.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

/* The prefix unless the ids have it already, and the ids. */
static enum llmq_status put_before(const struct tokenizer *tok, enum llmq_special special,
                                   const struct id_list *ids, struct id_list *out,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t count = 0;
    const int32_t *prefix = tokenizer_prefix(tok, special, &count);
    const bool there =
        count > 0 && ids->count >= count && memcmp(ids->ids, prefix, count * sizeof *prefix) == 0;
    if (!there)
        LLMQ_TRY(tokenizer_begin(tok, special, out, err));
    for (size_t i = 0; i < ids->count; i++)
        LLMQ_TRY(id_list_push(out, ids->ids[i], err));
cleanup:
    return status;
}

static enum llmq_status encode(const char *dir, const char *text, size_t len,
                               enum llmq_special special, int32_t **out, size_t *count,
                               llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct tokenizer *tok = NULL;
    struct id_list ids = {0}, all = {0};
    LLMQ_TRY(setup_tokenizer(dir, &tok, err));
    status = tokenizer_encode(tok, text, len, LLMQ_SPECIAL_NONE, &ids, err);
    if (status != LLMQ_OK)
        error_prefix(err, status, "the prompt");
    LLMQ_TRY(status);
    LLMQ_TRY(put_before(tok, special, &ids, &all, err));
    *out = all.ids;
    *count = all.count;
    all = (struct id_list){0};
cleanup:
    id_list_free(&ids);
    id_list_free(&all);
    tokenizer_free(&tok);
    return status;
}

enum llmq_status llmq_prompt_ids(const char *model, const char *text, size_t len,
                                 enum llmq_special special, int32_t **ids, size_t *count,
                                 llmq_error *err) {
    char *dir = NULL;
    enum llmq_status status = llmq_model_resolve(model, &dir, err);
    if (status == LLMQ_OK)
        status = encode(dir, text, len, special, ids, count, err);
    free(dir);
    return status;
}

static enum llmq_status write_chat(const char *dir, const llmq_message *messages, size_t count,
                                   struct strbuf *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct chat_template *template = NULL;
    LLMQ_TRY(chat_template_open(dir, &template, err));
    struct jinja_run *run = chat_template_begin(template, err);
    struct jinja_value list = jinja_new_list(run);
    for (size_t i = 0; i < count; i++) {
        struct jinja_value message = jinja_new_dict(run);
        const char *role = messages[i].role, *content = messages[i].content;
        jinja_put_named(run, &message, "role", jinja_copy(run, role, strlen(role)));
        jinja_put_named(run, &message, "content", jinja_copy(run, content, strlen(content)));
        jinja_push(run, &list, message);
    }
    jinja_define(run, "messages", list);
    jinja_define(run, "add_generation_prompt", jinja_bool(true));
    LLMQ_TRY(chat_template_write(template, out, err));
cleanup:
    chat_template_free(&template);
    return status;
}

/* Special tokens are the template's affair. */
enum llmq_status llmq_chat_ids(const char *model, const llmq_message *messages,
                               size_t message_count, int32_t **ids, size_t *count,
                               llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct strbuf text = {0};
    char *dir = NULL;
    LLMQ_TRY(llmq_model_resolve(model, &dir, err));
    LLMQ_TRY(write_chat(dir, messages, message_count, &text, err));
    LLMQ_TRY(encode(dir, text.data ? text.data : "", text.len, LLMQ_SPECIAL_NONE, ids, count, err));
cleanup:
    strbuf_free(&text);
    free(dir);
    return status;
}
