/* SPDX-License-Identifier: Apache-2.0 */
/* See card.h. */
#include "pipeline/card.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/log.h"
#include "llmq/printable.h"
#include "pipeline/front_matter.h"
#include "pipeline/serving.h"

void card_put(struct strbuf *out, const char *text) {
    char shown[1024];
    for (const char *p = llmq_printable(text, shown, sizeof shown); *p; p++) {
        if (strchr("\\`*_[]<>#|~&$", *p))
            strbuf_puts(out, "\\");
        strbuf_append(out, p, 1);
    }
}

/* --- front matter ----------------------------------------------------------------------------- */

/* Keys of the model's card that are as true of the result, in the order in which they are written;
 * and those that say something else of it, which it has of its own. What the others say is of the
 * model's repository, or was measured on the model. */
static const char *const kept[] = {"license", "license_name", "license_link", "language",
                                   "datasets"};
static const char *const replaced[] = {"base_model", "base_model_relation", "library_name",
                                       "tags",       "pipeline_tag",        "quantized_by"};

static bool among(const char *key, const char *const *keys, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

#define AMONG(key, keys) among(key, keys, sizeof(keys) / sizeof(keys)[0])

static bool says(const struct front_matter *f, const char *key, const char *text) {
    const struct front_value *v = front_matter_find(f, key);
    return v && v->count == 1 && strcmp(v->items[0], text) == 0;
}

/* A model that is quantized itself is made of another one. */
static void put_base(struct strbuf *out, const struct card *card, const struct front_matter *f) {
    const struct front_value *base = front_matter_find(f, "base_model");
    char shown[1024];
    if (base && says(f, "base_model_relation", "quantized"))
        front_matter_put_value(out, base);
    else
        front_matter_put(out, "base_model",
                         card->origin->repository
                             ? card->origin->repository
                             : llmq_printable(card->origin->name, shown, sizeof shown));
    if (card->plan->layout)
        front_matter_put(out, "base_model_relation", "quantized");
}

static bool has_tag(const struct front_value *tags, const char *tag) {
    return tags && among(tag, (const char *const *)tags->items, tags->count);
}

static void put_tags(struct strbuf *out, const struct card *card, const struct front_matter *f) {
    const struct front_value *tags = front_matter_find(f, "tags");
    strbuf_puts(out, "tags:\n");
    for (size_t i = 0; tags && i < tags->count; i++)
        front_matter_put_item(out, tags->items[i]);
    for (const char *const *tag = card->tags; *tag; tag++)
        if (!has_tag(tags, *tag))
            front_matter_put_item(out, *tag);
}

static void put_front(struct strbuf *out, const struct card *card, const struct front_matter *f) {
    const struct front_value *task = front_matter_find(f, "pipeline_tag");
    const struct front_value *library = front_matter_find(f, "library_name");
    const bool gguf = card->plan->layout && card->plan->layout->container == LAYOUT_GGUF;
    strbuf_puts(out, "---\n");
    put_base(out, card, f);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        const struct front_value *v = front_matter_find(f, kept[i]);
        if (v)
            front_matter_put_value(out, v);
    }
    front_matter_put(out, "library_name",
                     gguf                             ? "gguf"
                     : library && library->count == 1 ? library->items[0]
                                                      : "transformers");
    front_matter_put(out, "pipeline_tag",
                     task && task->count == 1 ? task->items[0] : "text-generation");
    put_tags(out, card, f);
    strbuf_puts(out, "---\n");
}

/* --- how it is served ------------------------------------------------------------------------- */

static void put_command(struct strbuf *out, const struct card *card, const llmq_serving *s) {
    struct strbuf command = {0};
    const bool has = serving_put_command(&command, s->stack, card->plan->layout, ".");
    strbuf_printf(out, "\n%s", s->stack);
    if (*s->note) {
        strbuf_puts(out, " (");
        card_put(out, s->note);
        strbuf_puts(out, ")");
    }
    if (!has)
        strbuf_puts(out, ".\n");
    else if (strbuf_ok(&command))
        strbuf_printf(out, ":\n\n```sh\n%s\n```\n", command.data);
    else
        out->failed = true;
    strbuf_free(&command);
}

static void put_serving(struct strbuf *out, const struct card *card) {
    llmq_serving stacks[COMPAT_STACKS];
    const size_t count = serving_find(card->plan, card->family, stacks);
    if (!card->plan->layout)
        return;
    strbuf_puts(out, "\n## Serving it\n\n");
    if (count == 0)
        strbuf_puts(out, "No server is known to load the whole model in this format.\n");
    else
        strbuf_puts(out, "In the folder of this file:\n");
    for (size_t i = 0; i < count; i++)
        if (!strstr(stacks[i].stack, "(before")) /* the same command as of newer ones */
            put_command(out, card, &stacks[i]);
}

static void put_checking(struct strbuf *out, const struct card *card) {
    strbuf_puts(out,
                "\n## Checking it\n\n`llmq.json` beside this file has every option, the SHA-256 of "
                "what this was made from, what\nbecame of each module, and the SHA-256 of "
                "every file. `llmq verify .` checks them, and whether\nservers can load "
                "it");
    if (card->origin->repository)
        strbuf_puts(out, "; `llmq compare` measures how far it is from the original");
    strbuf_puts(out, ".\n");
}

/* --- the model's own card --------------------------------------------------------------------- */

static void put_left_out(struct strbuf *out, const struct front_matter *f) {
    size_t count = 0;
    if (f->form == FRONT_STRANGE)
        strbuf_puts(out,
                    "\nIts front matter was not of a form that llmq reads, and is left out.\n");
    for (size_t i = 0; f->form == FRONT_READ && i < f->count; i++) {
        const struct front_value *v = &f->values[i];
        if (v->understood && (AMONG(v->key, kept) || AMONG(v->key, replaced)))
            continue;
        strbuf_printf(out, "%s`%s`", count++ ? ", " : "\nLeft out of its front matter: ", v->key);
    }
    strbuf_puts(out, count ? ".\n" : "");
}

static void put_original(struct strbuf *out, const struct card *card,
                         const struct front_matter *f) {
    strbuf_puts(out, "\n# The original's card: ");
    card_put(out, card->origin->name);
    strbuf_puts(out, "\n");
    put_left_out(out, f);
    strbuf_puts(out, "\n");
    strbuf_append(out, f->body, f->body_len);
}

/* --- the whole -------------------------------------------------------------------------------- */

enum original { ORIGINAL_NONE, ORIGINAL_FILE, ORIGINAL_FOLDER };

static enum original find_original(const struct companions *c) {
    const size_t len = sizeof CARD_NAME - 1;
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->files[i].name, CARD_NAME) == 0)
            return ORIGINAL_FILE;
        if (strncmp(c->files[i].name, CARD_NAME "/", len + 1) == 0)
            return ORIGINAL_FOLDER;
    }
    return ORIGINAL_NONE;
}

static void put_card(struct strbuf *out, const struct card *card, const struct front_matter *f,
                     bool original) {
    put_front(out, card, f);
    strbuf_puts(out, "\n# ");
    card_put(out, card->origin->name);
    strbuf_puts(out, ": ");
    card_put(out, card->title);
    strbuf_printf(out, "\n\n%s", card->account);
    put_serving(out, card);
    put_checking(out, card);
    if (original)
        put_original(out, card, f);
}

static enum llmq_status read_original(const struct card *card, char **text,
                                      struct front_matter *front, const llmq_context *ctx,
                                      llmq_error *err) {
    size_t len = 0;
    char *path = path_join(card->model_dir, CARD_NAME, err);
    if (!path)
        return LLMQ_E_MEMORY;
    enum llmq_status status = file_read(path, COMPANION_MAX_BYTES, text, &len, err);
    if (status == LLMQ_OK)
        status = front_matter_read(*text, len, front, err);
    if (status == LLMQ_OK && front->form == FRONT_STRANGE)
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s: its front matter is not of a form that is read here: the result's has no "
                    "license from it",
                    path);
    free(path);
    return status;
}

enum llmq_status card_write(const struct card *card, const char *dir, const llmq_context *ctx,
                            llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct front_matter front = {0};
    struct strbuf out = {0};
    char *text = NULL, *path = path_join(dir, CARD_NAME, err);
    const enum original original = find_original(card->companions);
    if (!path)
        return LLMQ_E_MEMORY;
    if (original == ORIGINAL_FOLDER) {
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s/" CARD_NAME " is a folder: the result has no model card", card->model_dir);
        goto cleanup;
    }
    if (original == ORIGINAL_FILE)
        LLMQ_TRY(read_original(card, &text, &front, ctx, err));
    put_card(&out, card, &front, original == ORIGINAL_FILE);
    if (!strbuf_ok(&out))
        LLMQ_TRY(error_memory(err, "the model card"));
    LLMQ_TRY(file_write_atomic(path, out.data, out.len, err));
cleanup:
    front_matter_free(&front);
    strbuf_free(&out);
    free(text);
    free(path);
    return status;
}
