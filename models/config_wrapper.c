/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a model inside of another one: see config_parts.h and wrapper.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "models/config_parts.h"

/* --- the part that counts --------------------------------------------------------------------- */

const char *config_text_key(const struct json *json) {
    for (int i = 0; wrapper_text_keys[i]; i++)
        if (json_type(json_get(json, wrapper_text_keys[i])) == JSON_OBJECT)
            return wrapper_text_keys[i];
    return NULL;
}

const struct json *config_unwrap(const struct json *json, bool forced, const struct wrapper **out) {
    const char *type = json_string(config_value(json, "model_type"));
    const char *key = config_text_key(json);
    const struct json *text = key ? json_get(json, key) : NULL;
    *out = type ? wrapper_find(type) : NULL;
    if (!*out && forced && text)
        *out = &wrapper_unlisted;
    return *out && text ? text : json;
}

const struct json *config_text_part(const struct json *json) {
    const struct wrapper *wrapper = NULL;
    return config_unwrap(json, false, &wrapper);
}

/* A text_config that names no model is the wrapper's usual one, and so are keys that are the
 * wrapper's own. */
const struct family *config_family_said(const struct json *json) {
    const struct wrapper *wrapper = NULL;
    const struct json *text = config_unwrap(json, false, &wrapper);
    const char *type = json_string(config_value(text, "model_type"));
    if (wrapper && (!type || text == json))
        type = wrapper->text;
    return type ? family_find(type) : NULL;
}

/* transformers 5 asks the text_config, 4 and vLLM the whole: they are written alike, or one of them
 * says nothing. */
enum llmq_status config_outer_tying(const struct json *json, const struct json *text,
                                    struct model_config *c, llmq_error *err) {
    static const char key[] = "tie_word_embeddings";
    bool tied = c->facts.traits & T_TIED;
    if (text == json || config_value(text, key))
        return LLMQ_OK;
    enum llmq_status status = config_bool(json, key, tied, &tied, err);
    c->facts.traits &= ~T_TIED;
    if (tied)
        c->facts.traits |= T_TIED;
    return status;
}

/* --- names ------------------------------------------------------------------------------------ */

/* A family and the names that it has in one checkpoint. */
enum { PLACED_NAMES = 8 };
struct placed {
    struct family family; /* first: it is freed as one */
    char names[PLACED_NAMES][FAMILY_NAME_MAX], head[FAMILY_NAME_MAX];
};

/* What the family calls `name`, with `prefix` in place of its trunk; NULL stays NULL. */
static const char *place(const struct family *f, const char *name, const char *prefix,
                         char buf[FAMILY_NAME_MAX]) {
    const size_t trunk = family_trunk(f);
    if (!name || strncmp(name, f->embedding, trunk) != 0)
        return name;
    (void)snprintf(buf, FAMILY_NAME_MAX, "%s%s", prefix, name + trunk);
    return buf;
}

enum llmq_status config_take_names(struct model_config *c, const char *prefix, const char *head,
                                   llmq_error *err) {
    const struct family *f = c->family;
    struct placed *p = calloc(1, sizeof *p);
    if (!p)
        return error_memory(err, "tensor names");
    p->family = *f;
    const char **const names[PLACED_NAMES] = {
        &p->family.embedding,        &p->family.block_prefix, &p->family.final_norm,
        &p->family.embedding_norm,   &p->family.positions,    &p->family.token_table,
        &p->family.token_projection, &p->family.token_norm,
    };
    for (int i = 0; i < PLACED_NAMES; i++)
        *names[i] = place(f, *names[i], prefix, p->names[i]);
    (void)snprintf(p->head, FAMILY_NAME_MAX, "%s", head ? head : f->head);
    p->family.head = p->head;
    free(c->placed);
    c->placed = &p->family;
    c->family = c->placed;
    return LLMQ_OK;
}
