/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates of models: see chat_template.h. */
#include "text/chat_template.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/input.h"
#include "base/json.h"
#include "text/tokenizer_config.h"

struct named_template {
    char *name;
    char *source; /* the file, for messages */
    char *text;
    struct jinja_template *parsed; /* once it was used */
};

struct special_token {
    char *name; /* as templates call it: bos_token */
    char *text;
};

struct chat_template {
    char *dir;
    struct named_template *all;
    size_t count;
    struct special_token *tokens;
    size_t token_count;
    struct jinja_run run;
};

/* --- collecting ------------------------------------------------------------------------------- */

static enum llmq_status add_template(struct chat_template *t, const char *name, const char *source,
                                     const char *text, llmq_error *err) {
    struct named_template *all = realloc(t->all, (t->count + 1) * sizeof *all);
    if (!all)
        return error_memory(err, "a chat template");
    t->all = all;
    struct named_template *added = &all[t->count++];
    *added = (struct named_template){strdup(name), strdup(source), strdup(text), NULL};
    return added->name && added->source && added->text ? LLMQ_OK
                                                       : error_memory(err, "a chat template");
}

static enum llmq_status add_token(struct chat_template *t, const char *name, const char *text,
                                  llmq_error *err) {
    for (size_t i = 0; i < t->token_count; i++)
        if (strcmp(t->tokens[i].name, name) == 0)
            return LLMQ_OK;
    struct special_token *tokens = realloc(t->tokens, (t->token_count + 1) * sizeof *tokens);
    if (!tokens)
        return error_memory(err, "special tokens");
    t->tokens = tokens;
    struct special_token *added = &tokens[t->token_count++];
    *added = (struct special_token){strdup(name), strdup(text)};
    return added->name && added->text ? LLMQ_OK : error_memory(err, "special tokens");
}

/* "chat_template" of a document: a string, or an array of named ones. */
static enum llmq_status add_member(struct chat_template *t, const struct json *document,
                                   const char *path, llmq_error *err) {
    const struct json *value = json_get(document, "chat_template");
    const char *text = json_string(value);
    enum llmq_status status = LLMQ_OK;
    if (text)
        return add_template(t, "default", path, text, err);
    for (const struct json *one = json_first(value); one && status == LLMQ_OK;
         one = json_next(one)) {
        const char *name = json_string(json_get(one, "name"));
        text = json_string(json_get(one, "template"));
        status = name && text
                     ? add_template(t, name, path, text, err)
                     : error_set(err, LLMQ_E_INPUT,
                                 "%s: 'chat_template' must be a string, or an array of objects "
                                 "with 'name' and 'template'",
                                 path);
    }
    return status;
}

/* Members such as "bos_token": a string, or an object with its "content". */
static enum llmq_status add_tokens(struct chat_template *t, const struct json *document,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (const struct json *v = json_first(document); v && status == LLMQ_OK; v = json_next(v)) {
        const char *content = json_string(json_get(v, "content"));
        const char *text = content ? content : json_string(v);
        if (text && text_ends_with(json_key(v), "_token"))
            status = add_token(t, json_key(v), text, err);
    }
    return status;
}

/* The tokens that the class of tokenizers has where the file names none. */
static enum llmq_status add_class_tokens(struct chat_template *t, const struct json *document,
                                         llmq_error *err) {
    struct tokenizer_config config;
    enum llmq_status status = tokenizer_config_read(document, &config, err);
    if (status == LLMQ_OK && config.bos)
        status = add_token(t, "bos_token", config.bos, err);
    if (status == LLMQ_OK && config.eos)
        status = add_token(t, "eos_token", config.eos, err);
    return status;
}

/* --- files ------------------------------------------------------------------------------------ */

/* A JSON file of the folder; *document stays NULL where there is none. The caller frees both. */
static enum llmq_status read_document(const char *dir, const char *name, char **path,
                                      struct json **document, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool exists = false;
    *path = path_join(dir, name, err);
    if (!*path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(file_exists(*path, &exists, err));
    if (exists)
        LLMQ_TRY(json_read(*path, document, err));
cleanup:
    return status;
}

static enum llmq_status add_settings(struct chat_template *t, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *config = NULL, *map = NULL;
    char *path = NULL, *map_path = NULL;
    LLMQ_TRY(read_document(t->dir, "tokenizer_config.json", &path, &config, err));
    LLMQ_TRY(read_document(t->dir, "special_tokens_map.json", &map_path, &map, err));
    if (t->count == 0)
        LLMQ_TRY(add_member(t, config, path, err));
    LLMQ_TRY(add_tokens(t, config, err));
    LLMQ_TRY(add_tokens(t, map, err));
    status = add_class_tokens(t, config, err);
    if (status != LLMQ_OK)
        error_prefix(err, status, "%s", path);
cleanup:
    json_free(&config);
    json_free(&map);
    free(path);
    free(map_path);
    return status;
}

static enum llmq_status add_processor(struct chat_template *t, llmq_error *err) {
    struct json *document = NULL;
    char *path = NULL;
    enum llmq_status status = read_document(t->dir, "chat_template.json", &path, &document, err);
    if (status == LLMQ_OK)
        status = add_member(t, document, path, err);
    json_free(&document);
    free(path);
    return status;
}

static enum llmq_status add_file(struct chat_template *t, const char *dir, const char *name,
                                 const char *called, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *text = NULL, *path = path_join(dir, name, err);
    size_t len = 0;
    bool exists = false;
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(file_exists(path, &exists, err));
    if (exists) {
        LLMQ_TRY(input_read(path, INPUT_TEMPLATE, &text, &len, err));
        LLMQ_TRY(add_template(t, called, path, text, err));
    }
cleanup:
    free(text);
    free(path);
    return status;
}

static enum llmq_status add_folder(struct chat_template *t, llmq_error *err) {
    static const char suffix[] = ".jinja";
    enum llmq_status status = LLMQ_OK;
    struct dir_list list = {0};
    char *dir = path_join(t->dir, "additional_chat_templates", err);
    if (!dir)
        return LLMQ_E_MEMORY;
    if (path_is_dir(dir))
        LLMQ_TRY(dir_list_read(dir, &list, err));
    for (size_t i = 0; i < list.count; i++) {
        if (!text_ends_with(list.names[i], suffix))
            continue;
        char *called = strndup(list.names[i], strlen(list.names[i]) - (sizeof suffix - 1));
        status = called ? add_file(t, dir, list.names[i], called, err)
                        : error_memory(err, "a chat template");
        free(called);
        if (status != LLMQ_OK)
            goto cleanup;
    }
cleanup:
    dir_list_free(&list);
    free(dir);
    return status;
}

enum llmq_status chat_template_open(const char *dir, struct chat_template **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct chat_template *t = calloc(1, sizeof *t);
    if (t)
        t->dir = strdup(dir);
    if (!t || !t->dir)
        LLMQ_TRY(error_memory(err, "a chat template"));
    LLMQ_TRY(jinja_begin(&t->run, err));
    LLMQ_TRY(add_file(t, dir, "chat_template.jinja", "default", err));
    LLMQ_TRY(add_settings(t, err));
    if (t->count == 0)
        LLMQ_TRY(add_processor(t, err));
    LLMQ_TRY(add_folder(t, err));
    *out = t;
    t = NULL;
cleanup:
    chat_template_free(&t);
    return status;
}

void chat_template_free(struct chat_template **t) {
    if (!*t)
        return;
    for (size_t i = 0; i < (*t)->count; i++) {
        free((*t)->all[i].name);
        free((*t)->all[i].source);
        free((*t)->all[i].text);
        jinja_template_free(&(*t)->all[i].parsed);
    }
    for (size_t i = 0; i < (*t)->token_count; i++) {
        free((*t)->tokens[i].name);
        free((*t)->tokens[i].text);
    }
    jinja_end(&(*t)->run);
    free((*t)->all);
    free((*t)->tokens);
    free((*t)->dir);
    free(*t);
    *t = NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct jinja_run *chat_template_begin(struct chat_template *t, llmq_error *err) {
    jinja_restart(&t->run, err);
    for (size_t i = 0; i < t->token_count; i++)
        jinja_define(&t->run, t->tokens[i].name,
                     jinja_string(t->tokens[i].text, strlen(t->tokens[i].text)));
    jinja_define(&t->run, "add_generation_prompt", jinja_bool(false));
    jinja_define(&t->run, "documents", jinja_none());
    jinja_define(&t->run, "tools", jinja_none());
    return &t->run;
}

static struct named_template *find_named(struct chat_template *t, const char *name) {
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->all[i].name, name) == 0)
            return &t->all[i];
    return NULL;
}

static enum llmq_status no_template(const struct chat_template *t, llmq_error *err) {
    struct strbuf names = {0};
    for (size_t i = 0; i < t->count; i++)
        strbuf_printf(&names, "%s'%s'", i ? ", " : "", t->all[i].name);
    if (t->count > 0)
        error_set(err, LLMQ_E_INPUT, "%s: no default chat template, only %s", t->dir,
                  names.data ? names.data : "others");
    else
        error_set(
            err, LLMQ_E_INPUT,
            "%s: the model has no chat template (chat_template.jinja, or \"chat_template\" in "
            "tokenizer_config.json)",
            t->dir);
    error_hint(err, "put the template of the model that was made for chats there as "
                    "chat_template.jinja, or write each chat as text: one {\"text\": ...} a line");
    strbuf_free(&names);
    return LLMQ_E_INPUT;
}

enum llmq_status chat_template_write(struct chat_template *t, struct strbuf *out, llmq_error *err) {
    const struct jinja_value *tools = jinja_lookup(&t->run.globals, jinja_text_of("tools"));
    struct named_template *named = tools && jinja_truth(tools) ? find_named(t, "tool_use") : NULL;
    if (!named)
        named = find_named(t, "default");
    if (!named)
        return no_template(t, err);
    enum llmq_status status = t->run.status;
    if (status == LLMQ_OK && !named->parsed)
        status = jinja_template_parse(named->text, strlen(named->text), &named->parsed, err);
    if (status == LLMQ_OK)
        status = jinja_render(&t->run, named->parsed, out);
    return status == LLMQ_OK ? status
                             : error_prefix(err, status, "chat template of %s", named->source);
}
