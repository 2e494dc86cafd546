/* SPDX-License-Identifier: Apache-2.0 */
/* See naming.h. */
#include "graph/naming.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "models/ends.h"

/* The family's own parts of names: "model.", "layers.0.input_layernorm.". */
struct parts {
    size_t trunk; /* length of what the embedding and the blocks have in common */
    char marker[NAMING_MAX];
    char head[NAMING_MAX]; /* module of the output head, with a dot */
};

static struct parts parts_of(const struct family *f) {
    struct parts p = {0};
    char module[FAMILY_NAME_MAX];
    const char *blocks = strstr(f->block_prefix, "%lld");
    p.trunk = family_trunk(f);
    (void)snprintf(p.marker, sizeof p.marker, "%.*s0%s%s.",
                   (int)(blocks - f->block_prefix - (ptrdiff_t)p.trunk), f->block_prefix + p.trunk,
                   blocks + strlen("%lld"), family_first_module(f));
    (void)snprintf(p.head, sizeof p.head, "%s.", ends_head_module(f, module));
    return p;
}

/* Layers that predict further tokens, and towers of other media, may be named like the model's. */
static bool is_beside(const char *prefix) {
    static const char *const parts[] = {"mtp.", "draft", "vision", "visual", "audio", "image"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(prefix, parts[i]))
            return true;
    return false;
}

/* --- the prefix ------------------------------------------------------------------------------- */

static enum llmq_status find_prefix(const struct st_set *set, const struct parts *p, bool *found,
                                    char prefix[NAMING_MAX], llmq_error *err) {
    *found = false;
    for (size_t i = 0; i < st_count(set); i++) {
        const char *name = st_at(set, i)->name;
        char here[NAMING_MAX];
        const char *at = strstr(name, p->marker);
        const size_t len = at ? (size_t)(at - name) : SIZE_MAX;
        if (len >= sizeof here || (len > 0 && name[len - 1] != '.'))
            continue;
        (void)snprintf(here, sizeof here, "%.*s", (int)len, name);
        if (is_beside(here) || (*found && strcmp(here, prefix) == 0))
            continue;
        if (*found) {
            error_set(err, LLMQ_E_INPUT,
                      "two models: tensors '%.100s%s*' and '%.100s%s*': expected one", prefix,
                      p->marker, here, p->marker);
            error_hint(err, "keep the tensors of one of them");
            return LLMQ_E_INPUT;
        }
        *found = true;
        memcpy(prefix, here, sizeof here);
    }
    return LLMQ_OK;
}

/* Is `above` the prefix itself or one that it lies in: "", "model." of "model.language_model."? */
static bool lies_in(const char *prefix, const char *above, size_t len) {
    return strncmp(prefix, above, len) == 0 && (len == 0 || above[len - 1] == '.');
}

/* --- renaming --------------------------------------------------------------------------------- */

/* The part of a name that follows the prefix, when the name is one of the model's. Without a prefix
 * anything could follow: then it takes a part that the family has. */
static const char *trunk_part(const struct family *f, const struct parts *p, const char *prefix,
                              const char *name) {
    const char *stems[] = {f->embedding, f->block_prefix, f->final_norm, f->embedding_norm,
                           f->positions};
    const size_t len = strlen(prefix);
    if (len > 0)
        return strncmp(name, prefix, len) == 0 ? name + len : NULL;
    for (size_t i = 0; i < sizeof stems / sizeof stems[0]; i++) {
        const char *stem = stems[i] ? stems[i] + p->trunk : "";
        const size_t part = strcspn(stem, ".");
        if (part > 0 && strncmp(name, stem, part) == 0 && name[part] == '.')
            return name;
    }
    return NULL;
}

/* The part of a name from the head's module on, when it stands at the prefix or above it. */
static const char *head_part(const struct parts *p, const char *prefix, const char *name) {
    const char *at = strstr(name, p->head);
    return at && lies_in(prefix, name, (size_t)(at - name)) ? at : NULL;
}

static char *new_name(const struct family *f, const struct parts *p, const char *prefix,
                      const char *name) {
    struct strbuf b = {0};
    const char *head = head_part(p, prefix, name);
    const char *part = head ? NULL : trunk_part(f, p, prefix, name);
    if (part)
        strbuf_append(&b, f->embedding, p->trunk);
    strbuf_puts(&b, head ? head : part ? part : name);
    return strbuf_take(&b);
}

static void names_free(char **names, size_t count) {
    for (size_t i = 0; names && i < count; i++)
        free(names[i]);
    free(names);
}

static enum llmq_status rename_all(const struct family *f, const struct parts *p,
                                   struct st_set *set, struct naming *out, llmq_error *err) {
    const size_t count = st_count(set);
    char **names = calloc(count ? count : 1, sizeof *names);
    enum llmq_status status = names ? LLMQ_OK : error_memory(err, "tensor names");
    for (size_t i = 0; status == LLMQ_OK && i < count; i++) {
        names[i] = new_name(f, p, out->prefix, st_at(set, i)->name);
        status = names[i] ? LLMQ_OK : error_memory(err, "tensor names");
        out->usual = out->usual && names[i] && strcmp(names[i], st_at(set, i)->name) == 0;
    }
    if (status == LLMQ_OK && !out->usual)
        status = st_rename(set, (const char *const *)names, err);
    if (status == LLMQ_E_ST_DUPLICATE_TENSOR)
        status = error_prefix(err, LLMQ_E_INPUT, "read without the prefix '%s'", out->prefix);
    names_free(names, count);
    return status;
}

/* --- inside of a wrapper ---------------------------------------------------------------------- */

static enum llmq_status check_prefix(const char *prefix, llmq_error *err) {
    struct strbuf known = {0};
    for (int i = 0; wrapper_prefixes[i]; i++) {
        if (strcmp(prefix, wrapper_prefixes[i]) == 0) {
            strbuf_free(&known);
            return LLMQ_OK;
        }
        strbuf_printf(&known, "%s%s", i ? ", " : "", wrapper_prefixes[i]);
    }
    error_set(err, LLMQ_E_INPUT,
              "the tensors of the model of text begin with '%s': loaders know %s", prefix,
              strbuf_ok(&known) ? known.data : "others");
    error_hint(err, "save the model from its own class, not from a trainer's wrapper");
    strbuf_free(&known);
    return LLMQ_E_INPUT;
}

/* Where the head of a model behind the prefix would be: "language_model." of
 * "language_model.model.", nothing of "model.language_model.". */
static void usual_head(const struct family *f, const char *prefix, char head[FAMILY_NAME_MAX]) {
    const size_t len = strlen(prefix), trunk = family_trunk(f);
    const size_t above = len >= trunk ? len - trunk : 0;
    const bool inside =
        strncmp(prefix + above, f->embedding, trunk) == 0 && lies_in(prefix, prefix, above);
    (void)snprintf(head, FAMILY_NAME_MAX, "%.*s%s", inside ? (int)above : 0, prefix, f->head);
}

/* The head's tensor, packed or not; else where it would be. */
static enum llmq_status find_head(const struct family *f, const struct parts *p, const char *prefix,
                                  const struct st_set *set, char head[FAMILY_NAME_MAX],
                                  llmq_error *err) {
    char first[FAMILY_NAME_MAX] = "";
    usual_head(f, prefix, head);
    for (size_t i = 0; i < st_count(set); i++) {
        const char *name = st_at(set, i)->name, *at = head_part(p, prefix, name);
        if (!at)
            continue;
        (void)snprintf(head, FAMILY_NAME_MAX, "%.*s%s", (int)(at - name), name, f->head);
        if (*first && strcmp(first, head) != 0)
            return error_set(err, LLMQ_E_INPUT, "two heads: '%.100s' and '%.100s': expected one",
                             first, head);
        memcpy(first, head, sizeof first);
    }
    return LLMQ_OK;
}

static enum llmq_status take_over(struct model_config *c, const struct parts *p,
                                  const struct st_set *set, const char *prefix, llmq_error *err) {
    char head[FAMILY_NAME_MAX];
    enum llmq_status status = check_prefix(prefix, err);
    if (status == LLMQ_OK)
        status = find_head(c->family, p, prefix, set, head, err);
    return status == LLMQ_OK ? config_take_names(c, prefix, head, err) : status;
}

enum llmq_status naming_settle(struct model_config *c, const struct blocks *b, struct st_set *set,
                               struct naming *out, llmq_error *err) {
    const struct family *f = c->family;
    const struct parts p = parts_of(f);
    bool found = false;
    enum llmq_status status = naming_from_gguf(b, set, err);
    *out = (struct naming){.usual = true};
    if (status == LLMQ_OK)
        status = find_prefix(set, &p, &found, out->prefix, err);
    if (status != LLMQ_OK || !found)
        return status;
    return c->wrapper ? take_over(c, &p, set, out->prefix, err) : rename_all(f, &p, set, out, err);
}
