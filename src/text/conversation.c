/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations: see conversation.h. */
#include "text/conversation.h"

#include <string.h>

/* --- lists of messages ------------------------------------------------------------------------ */

/* Who speaks, as data sets in the manner of ShareGPT say, and the role. */
static const char *const speakers[][2] = {
    {"human", "user"},          {"user", "user"},         {"gpt", "assistant"},
    {"assistant", "assistant"}, {"chatgpt", "assistant"}, {"bing", "assistant"},
    {"bard", "assistant"},      {"model", "assistant"},   {"system", "system"},
    {"tool", "tool"},           {"observation", "tool"},  {"function_response", "tool"},
};

static struct jinja_value message(struct jinja_run *run, const char *role,
                                  struct jinja_value content) {
    struct jinja_value m = jinja_new_dict(run);
    jinja_put_named(run, &m, "role", jinja_string(role, strlen(role)));
    jinja_put_named(run, &m, "content", content);
    return m;
}

static struct jinja_value from_speaker(struct jinja_run *run, const struct jinja_value *from,
                                       const struct jinja_value *value) {
    if (from->type != JINJA_STRING || value->type != JINJA_STRING)
        return jinja_fail(run, LLMQ_E_INPUT,
                          "a message whose \"from\" and \"value\" are no strings");
    for (size_t i = 0; i < sizeof speakers / sizeof speakers[0]; i++)
        if (jinja_text_is(from->text, speakers[i][0]))
            return message(run, speakers[i][1], *value);
    return jinja_fail(run, LLMQ_E_INPUT, "nobody is known as \"from\": \"%.*s\"",
                      (int)(from->text.len < 40 ? from->text.len : 40), from->text.at);
}

struct jinja_value conversation_of_list(struct jinja_run *run, const struct jinja_value *list) {
    struct jinja_value messages = jinja_new_list(run);
    if (list->type != JINJA_LIST || list->list->count == 0)
        return jinja_fail(run, LLMQ_E_INPUT,
                          "no messages: expected [{\"role\": ..., \"content\": ...}]");
    for (size_t i = 0; i < list->list->count && !jinja_failed(run); i++) {
        const struct jinja_value *m = &list->list->items[i];
        const bool is_dict = m->type == JINJA_DICT;
        const struct jinja_value *from = is_dict ? jinja_dict_get(m->dict, "from") : NULL;
        const struct jinja_value *value = is_dict ? jinja_dict_get(m->dict, "value") : NULL;
        if (is_dict && jinja_dict_get(m->dict, "role"))
            jinja_push(run, &messages, *m);
        else if (from && value)
            jinja_push(run, &messages, from_speaker(run, from, value));
        else
            jinja_fail(
                run, LLMQ_E_INPUT,
                "message %zu: expected {\"role\": ..., \"content\": ...}, or {\"from\": ..., "
                "\"value\": ...}",
                i + 1);
    }
    return messages;
}

/* --- questions and answers -------------------------------------------------------------------- */

static const struct {
    const char *question, *context /* or NULL; it may be absent */, *answer;
} pairs[] = {
    {"instruction", "input", "output"}, {"instruction", "context", "response"},
    {"prompt", NULL, "completion"},     {"prompt", NULL, "response"},
    {"question", NULL, "answer"},       {"question", NULL, "response"},
};

/* A member that is a string with something in it, or NULL. */
static const struct jinja_value *filled(const struct jinja_value *record, const char *key) {
    const struct jinja_value *v = key ? jinja_dict_get(record->dict, key) : NULL;
    return v && v->type == JINJA_STRING && v->text.len > 0 ? v : NULL;
}

/* The question, and behind an empty line what it is about. */
static struct jinja_value with_context(struct jinja_run *run, const struct jinja_value *question,
                                       const struct jinja_value *context) {
    struct strbuf b = {0};
    if (!context)
        return *question;
    jinja_append(run, &b, question->text.at, question->text.len);
    jinja_append(run, &b, "\n\n", 2);
    jinja_append(run, &b, context->text.at, context->text.len);
    return jinja_take(run, &b);
}

static struct jinja_value ask(struct jinja_run *run, const struct jinja_value *record,
                              struct jinja_value question, struct jinja_value answer) {
    const struct jinja_value *system = filled(record, "system");
    struct jinja_value messages = jinja_new_list(run);
    if (!system)
        system = filled(record, "system_prompt");
    if (system)
        jinja_push(run, &messages, message(run, "system", *system));
    jinja_push(run, &messages, message(run, "user", question));
    jinja_push(run, &messages, message(run, "assistant", answer));
    return messages;
}

/* Both parts are lists of messages: one conversation. */
static struct jinja_value join(struct jinja_run *run, const struct jinja_value *begin,
                               const struct jinja_value *end) {
    struct jinja_value messages = conversation_of_list(run, begin);
    const struct jinja_value more = conversation_of_list(run, end);
    for (size_t i = 0; !jinja_failed(run) && i < more.list->count; i++)
        jinja_push(run, &messages, more.list->items[i]);
    return messages;
}

static bool find_pair(struct jinja_run *run, const struct jinja_value *record,
                      struct jinja_value *messages) {
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const struct jinja_value *question = jinja_dict_get(record->dict, pairs[i].question),
                                 *answer = jinja_dict_get(record->dict, pairs[i].answer);
        if (!question || !answer || question->type != answer->type)
            continue;
        if (question->type == JINJA_LIST) {
            *messages = join(run, question, answer);
            return true;
        }
        if (question->type != JINJA_STRING)
            continue;
        const struct jinja_value *context = filled(record, pairs[i].context);
        *messages = ask(run, record, with_context(run, question, context), *answer);
        return true;
    }
    return false;
}

bool conversation_of_record(struct jinja_run *run, const struct jinja_value *record,
                            struct jinja_value *messages) {
    static const char *const lists[] = {"messages", "conversations", "conversation"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        const struct jinja_value *list = jinja_dict_get(record->dict, lists[i]);
        if (!list || list->type != JINJA_LIST)
            continue;
        *messages = conversation_of_list(run, list);
        return true;
    }
    return find_pair(run, record, messages);
}
