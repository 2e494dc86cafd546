/* SPDX-License-Identifier: Apache-2.0 */
/* Post-processors: see postprocessor.h. All types come down to one template for a single text: a
 * list of special ids and places for the text's ids. */
#include "text/postprocessor.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/json_field.h"

#define THE_TEXT (-1)

struct postprocessor {
    struct id_list items; /* special ids and THE_TEXT */
    bool has_template;
};

static enum llmq_status parse_into(const struct json *value, struct postprocessor *p,
                                   llmq_error *err);

static enum llmq_status parse_sequence(const struct json *value, struct postprocessor *p,
                                       llmq_error *err) {
    const struct json *list = NULL;
    enum llmq_status status = field_array(value, "processors", &list, err);
    for (const struct json *c = json_first(list); c && status == LLMQ_OK; c = json_next(c))
        status = parse_into(c, p, err);
    return status;
}

/* ByteLevel as a post-processor only moves offsets, which llmq does not keep. */
static enum llmq_status parse_byte_level(const struct json *value, struct postprocessor *p,
                                         llmq_error *err) {
    (void)value;
    (void)p;
    (void)err;
    return LLMQ_OK;
}

/* --- TemplateProcessing ----------------------------------------------------------------------- */

/* Append the ids of a special token, looked up in the template's own table. */
static enum llmq_status push_special(const struct json *table, const char *name,
                                     struct postprocessor *p, llmq_error *err) {
    const struct json *ids = json_get(json_get(table, name), "ids");
    if (json_type(ids) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT,
                         "TemplateProcessing: special token '%.60s' is not in 'special_tokens'",
                         name);
    for (const struct json *c = json_first(ids); c; c = json_next(c)) {
        int32_t id = 0;
        enum llmq_status status = json_token_id(c, name, &id, err);
        if (status == LLMQ_OK)
            status = id_list_push(&p->items, id, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

static enum llmq_status parse_template(const struct json *value, struct postprocessor *p,
                                       llmq_error *err) {
    const struct json *single = NULL, *table = json_get(value, "special_tokens");
    enum llmq_status status = field_array(value, "single", &single, err);
    for (const struct json *c = json_first(single); c && status == LLMQ_OK; c = json_next(c)) {
        const char *special = json_string(json_get(json_get(c, "SpecialToken"), "id"));
        const char *sequence = json_string(json_get(json_get(c, "Sequence"), "id"));
        if (special)
            status = push_special(table, special, p, err);
        else if (sequence && strcmp(sequence, "A") == 0)
            status = id_list_push(&p->items, THE_TEXT, err);
        else
            status = error_set(err, LLMQ_E_INPUT,
                               "TemplateProcessing: a piece of 'single' is neither a SpecialToken "
                               "nor Sequence A");
    }
    return status;
}

/* --- RobertaProcessing, BertProcessing: cls, text, sep ---------------------------------------- */

static enum llmq_status push_pair(const struct json *value, const char *key,
                                  struct postprocessor *p, llmq_error *err) {
    const struct json *name = json_first(json_get(value, key)); /* [text, id] */
    int32_t id = 0;
    if (!name)
        return error_set(err, LLMQ_E_INPUT, "post-processor: '%s' must be [text, id]", key);
    enum llmq_status status = json_token_id(json_next(name), key, &id, err);
    return status == LLMQ_OK ? id_list_push(&p->items, id, err) : status;
}

static enum llmq_status parse_cls_sep(const struct json *value, struct postprocessor *p,
                                      llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(push_pair(value, "cls", p, err));
    LLMQ_TRY(id_list_push(&p->items, THE_TEXT, err));
    LLMQ_TRY(push_pair(value, "sep", p, err));
cleanup:
    return status;
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum llmq_status (*parse)(const struct json *value, struct postprocessor *p, llmq_error *err);
    bool is_template;
} kinds[] = {
    /* clang-format off */
    {"Sequence",           parse_sequence,   false},
    {"ByteLevel",          parse_byte_level, false},
    {"TemplateProcessing", parse_template,   true},
    {"RobertaProcessing",  parse_cls_sep,    true},
    {"BertProcessing",     parse_cls_sep,    true},
    /* clang-format on */
};

static enum llmq_status parse_into(const struct json *value, struct postprocessor *p,
                                   llmq_error *err) {
    const char *type = NULL;
    enum llmq_status status = field_string(value, "type", &type, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "post-processor");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, type) != 0)
            continue;
        if (kinds[i].is_template && p->has_template)
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "a sequence of two post-processors with templates is not supported");
        p->has_template = p->has_template || kinds[i].is_template;
        return kinds[i].parse(value, p, err);
    }
    return error_set(err, LLMQ_E_UNSUPPORTED, "post-processor '%.60s' is not supported", type);
}

enum llmq_status postprocessor_parse(const struct json *value, struct postprocessor **out,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct postprocessor *p = calloc(1, sizeof *p);
    if (!p)
        return error_memory(err, "a post-processor");
    if (json_type(value) != JSON_NULL)
        LLMQ_TRY(parse_into(value, p, err));
    if (!p->has_template)
        LLMQ_TRY(id_list_push(&p->items, THE_TEXT, err));
    *out = p;
    p = NULL;
cleanup:
    postprocessor_free(&p);
    return status;
}

void postprocessor_free(struct postprocessor **p) {
    if (*p) {
        id_list_free(&(*p)->items);
        free(*p);
    }
    *p = NULL;
}

enum llmq_status postprocessor_apply(const struct postprocessor *p, const struct id_list *ids,
                                     bool add_special, struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < p->items.count; i++) {
        int32_t item = p->items.ids[i];
        for (size_t j = 0; item == THE_TEXT && j < ids->count; j++)
            LLMQ_TRY(id_list_push(out, ids->ids[j], err));
        if (item != THE_TEXT && add_special)
            LLMQ_TRY(id_list_push(out, item, err));
    }
cleanup:
    return status;
}

enum llmq_status postprocessor_frame(struct postprocessor *p, int32_t before, int32_t after,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    p->items.count = 0;
    if (before >= 0)
        LLMQ_TRY(id_list_push(&p->items, before, err));
    LLMQ_TRY(id_list_push(&p->items, THE_TEXT, err));
    if (after >= 0)
        LLMQ_TRY(id_list_push(&p->items, after, err));
cleanup:
    return status;
}

const int32_t *postprocessor_prefix(const struct postprocessor *p, size_t *count) {
    for (*count = 0; *count < p->items.count && p->items.ids[*count] != THE_TEXT;)
        (*count)++;
    return p->items.ids;
}

const int32_t *postprocessor_suffix(const struct postprocessor *p, size_t *count) {
    size_t begin = p->items.count;
    while (begin > 0 && p->items.ids[begin - 1] != THE_TEXT)
        begin--;
    *count = begin > 0 ? p->items.count - begin : 0;
    return p->items.ids + begin;
}

bool postprocessor_is_frame(const struct postprocessor *p) {
    size_t texts = 0;
    for (size_t i = 0; i < p->items.count; i++)
        texts += p->items.ids[i] == THE_TEXT;
    return texts == 1;
}

bool postprocessor_has_suffix(const struct postprocessor *p) {
    return p->items.count > 0 && p->items.ids[p->items.count - 1] != THE_TEXT;
}

int32_t postprocessor_limit(const struct postprocessor *p) {
    int32_t limit = 0;
    for (size_t i = 0; i < p->items.count; i++)
        limit = p->items.ids[i] >= limit ? p->items.ids[i] + 1 : limit;
    return limit;
}
