/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer of a model as GGUF metadata: see gguf_export.h.
 *
 * llama.cpp knows two tokenizers that Llama-shaped models use. "gpt2" is byte-level BPE: tokens,
 * merges, and an id of the pattern that cuts text into words, found here by the pattern itself.
 * "llama" is SentencePiece's BPE, see gguf_sentencepiece.c. What neither can express is refused.
 * Source: src/llama-vocab.cpp of ggml-org/llama.cpp, commit eb6a99c6. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/input.h"
#include "base/json.h"
#include "gguf/gguf_export.h"
#include "gguf/gguf_tokenizer.h"

/* --- tokens ----------------------------------------------------------------------------------- */

int32_t gguf_token_find(const struct gguf_tokenizer *e, const char *text, size_t len) {
    int64_t low = 0, high = e->count;
    while (low < high) {
        const int64_t mid = low + (high - low) / 2;
        const char *at = e->texts[e->by_text[mid]];
        int order = strncmp(at, text, len);
        if (order == 0 && at[len] != '\0')
            order = 1;
        if (order == 0)
            return e->by_text[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

int32_t gguf_token_named(const struct gguf_tokenizer *e, const struct json *text) {
    const char *string = json_string(text);
    if (!string)
        string = json_string(json_get(text, "content"));
    return string ? gguf_token_find(e, string, strlen(string)) : -1;
}

/* By text, then id; merge sort, since qsort lends its comparison no context. */
static void sort_by_text(const char *const *texts, int32_t *ids, int32_t *scratch, int64_t count) {
    if (count < 2)
        return;
    const int64_t half = count / 2;
    sort_by_text(texts, ids, scratch, half);
    sort_by_text(texts, ids + half, scratch, count - half);
    int64_t a = 0, b = half;
    for (int64_t i = 0; i < count; i++) {
        const bool left = b == count || (a < half && strcmp(texts[ids[a]], texts[ids[b]]) <= 0);
        scratch[i] = left ? ids[a++] : ids[b++];
    }
    memcpy(ids, scratch, (size_t)count * sizeof *ids);
}

static enum llmq_status make_index(struct gguf_tokenizer *e, size_t count, llmq_error *err) {
    int32_t *scratch = calloc(count, sizeof *scratch);
    e->by_text = calloc(count, sizeof *e->by_text);
    if (!scratch || !e->by_text) {
        free(scratch);
        return error_memory(err, "the vocabulary");
    }
    for (int64_t i = 0; i < e->count; i++)
        e->by_text[i] = (int32_t)i;
    sort_by_text(e->texts, e->by_text, scratch, e->count);
    free(scratch);
    for (int64_t i = 1; i < e->count; i++)
        if (strcmp(e->texts[e->by_text[i - 1]], e->texts[e->by_text[i]]) == 0)
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "token '%.80s' is there as id %d and as id %d: GGUF files tell tokens "
                             "by their text",
                             e->texts[e->by_text[i]], (int)e->by_text[i - 1], (int)e->by_text[i]);
    return LLMQ_OK;
}

/* Text of every id of the model: padding beyond the tokenizer's gets names of its own. */
static enum llmq_status list_tokens(struct gguf_tokenizer *e, llmq_error *err) {
    if (tokenizer_vocab_size(e->tokenizer) > e->count || e->count > INT32_MAX)
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "the tokenizer has %d tokens, the model %" PRId64
                         ": a GGUF file needs a row for each",
                         (int)tokenizer_vocab_size(e->tokenizer), e->count);
    const size_t count = (size_t)e->count;
    e->texts = calloc(count, sizeof *e->texts);
    e->unused = calloc(count, sizeof *e->unused);
    e->kinds = calloc(count, sizeof *e->kinds);
    if (!e->texts || !e->unused || !e->kinds)
        return error_memory(err, "the vocabulary");
    for (int64_t i = 0; i < e->count; i++) {
        e->texts[i] = tokenizer_token(e->tokenizer, (int32_t)i);
        if (e->texts[i] && strlen(e->texts[i]) < tokenizer_token_length(e->tokenizer, (int32_t)i))
            return error_set(err, LLMQ_E_UNSUPPORTED,
                             "token %d has U+0000 in it: programs that read GGUF files end its "
                             "text there",
                             (int)i);
        e->kinds[i] = e->texts[i] ? TOKEN_NORMAL : TOKEN_UNUSED;
        if (!e->texts[i]) {
            (void)snprintf(e->unused[i], sizeof e->unused[i], "[PAD%d]", (int)i);
            e->texts[i] = e->unused[i];
        }
    }
    return make_index(e, count, err);
}

static void mark_added(struct gguf_tokenizer *e) {
    const struct json *list = json_get(e->json, "added_tokens");
    for (const struct json *t = json_first(list); t; t = json_next(t)) {
        const int32_t id = gguf_token_named(e, t);
        bool special = false;
        json_as_bool(json_get(t, "special"), &special);
        if (id >= 0)
            e->kinds[id] = special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    }
}

/* --- patterns of byte-level BPE --------------------------------------------------------------- */

/* The words that tokenizers of a kind cut text into: a Split pattern, or "" for the pattern of
 * GPT-2 that ByteLevel brings along; with digits cut out one by one before or not. */
static const struct {
    const char *pre; /* llama.cpp's id */
    const char *pattern;
    bool digits;
    bool ignore_merges; /* a word that is a token stays one, as llama.cpp assumes for the id */
} patterns[] = {
    {"gpt-2", "", false, false},
    {"smollm", "", true, false},
    {"llama-bpe",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     false, true},
    {"qwen2",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     false, false},
};

/* What a pre-tokenizer does, as far as the table above can tell it. */
struct words {
    const char *pattern; /* NULL: none */
    bool digits, byte_level, other;
};

bool gguf_flag(const struct json *object, const char *key, bool absent) {
    json_as_bool(json_get(object, key), &absent);
    return absent;
}

static void read_step(const struct json *step, struct words *w) {
    const char *type = json_string(json_get(step, "type"));
    const char *regex = json_string(json_get(json_get(step, "pattern"), "Regex"));
    const char *behavior = json_string(json_get(step, "behavior"));
    type = type ? type : "";
    if (w->byte_level) {
        w->other = true; /* nothing may follow */
    } else if (strcmp(type, "ByteLevel") == 0 && !gguf_flag(step, "add_prefix_space", true)) {
        w->byte_level = true;
        if (gguf_flag(step, "use_regex", true)) {
            w->other = w->other || w->pattern;
            w->pattern = "";
        }
    } else if (strcmp(type, "Digits") == 0 && gguf_flag(step, "individual_digits", false)) {
        w->digits = true;
    } else if (strcmp(type, "Split") == 0 && regex && !w->pattern &&
               !gguf_flag(step, "invert", false) && behavior && strcmp(behavior, "Isolated") == 0) {
        w->pattern = regex;
    } else {
        w->other = true;
    }
}

/* The id of a byte-level pre-tokenizer, or NULL. */
static const char *find_pre(const struct gguf_tokenizer *e) {
    const struct json *pre = json_get(e->json, "pre_tokenizer");
    const struct json *steps = json_get(pre, "pretokenizers");
    const bool ignore = gguf_flag(json_get(e->json, "model"), "ignore_merges", false);
    struct words w = {0};
    if (!steps)
        read_step(pre, &w);
    for (const struct json *s = json_first(steps); s; s = json_next(s))
        read_step(s, &w);
    if (w.other || !w.byte_level || !w.pattern)
        return NULL;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (strcmp(patterns[i].pattern, w.pattern) == 0 && patterns[i].digits == w.digits &&
            patterns[i].ignore_merges == ignore)
            return patterns[i].pre;
    return NULL;
}

/* --- byte-level BPE --------------------------------------------------------------------------- */

bool gguf_merge_read(const struct json *merge, char **joined, size_t *left) {
    struct strbuf b = {0};
    const char *text = json_string(merge), *a = json_string(json_first(merge));
    const char *space = text && *text ? strchr(text + 1, ' ') : NULL;
    *joined = NULL;
    if (space) {
        *left = (size_t)(space - text);
        strbuf_puts(&b, text);
    } else if (a && json_string(json_next(json_first(merge)))) {
        *left = strlen(a);
        strbuf_printf(&b, "%s %s", a, json_string(json_next(json_first(merge))));
    } else {
        return false;
    }
    *joined = strbuf_take(&b);
    return *joined != NULL;
}

static enum llmq_status put_merges(struct gguf_tokenizer *e, llmq_error *err) {
    const struct json *merges = json_get(json_get(e->json, "model"), "merges");
    const size_t count = json_count(merges);
    enum llmq_status status = LLMQ_OK;
    size_t done = 0, left = 0;
    char **texts = calloc(count ? count : 1, sizeof *texts);
    if (!texts)
        return error_memory(err, "merges");
    for (const struct json *m = json_first(merges); m; m = json_next(m))
        if (!gguf_merge_read(m, &texts[done++], &left))
            LLMQ_TRY(error_memory(err, "merges"));
    gguf_put_strings(e->out, "tokenizer.ggml.merges", (const char *const *)texts, count);

cleanup:
    for (size_t i = 0; i < done; i++)
        free(texts[i]);
    free(texts);
    return status;
}

static enum llmq_status put_byte_level(struct gguf_tokenizer *e, llmq_error *err) {
    const struct json *normalizer = json_get(e->json, "normalizer");
    const char *type = json_string(json_get(normalizer, "type"));
    const char *pre = find_pre(e);
    /* NFC: llama.cpp leaves text as it comes, which is composed nearly always. */
    if (!pre || (json_type(normalizer) != JSON_NULL && (!type || strcmp(type, "NFC") != 0))) {
        error_set(
            err, LLMQ_E_UNSUPPORTED,
            "tokenizer.json: expected a normalizer and pre-tokenizer that llama.cpp has an id "
            "for, found others");
        error_hint(err, "llmq knows those of GPT-2, Llama 3, Qwen2 and SmolLM");
        return LLMQ_E_UNSUPPORTED;
    }
    gguf_put_string(e->out, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(e->out, "tokenizer.ggml.pre", pre);
    return put_merges(e, err);
}

/* --- special tokens --------------------------------------------------------------------------- */

/* Under "<name>_token" of tokenizer_config.json, else "<name>_token_id" of config.json (the first
 * of a list); -1: there is none. */
static int32_t special_token(const struct gguf_tokenizer *e, const char *name) {
    char key[32];
    int64_t id = -1;
    (void)snprintf(key, sizeof key, "%s_token", name);
    const int32_t named = gguf_token_named(e, json_get(e->settings, key));
    if (named >= 0)
        return named;
    (void)snprintf(key, sizeof key, "%s_token_id", name);
    const struct json *value = json_get(e->config, key);
    if (json_type(value) == JSON_ARRAY)
        value = json_first(value);
    return json_as_int64(value, &id) && id >= 0 && id < e->count ? (int32_t)id : -1;
}

static void put_token(struct gguf_metadata *out, const char *key, int32_t id) {
    if (id >= 0)
        gguf_put_u32(out, key, (uint32_t)id);
}

/* What the post-processor puts around a text: at most one token on either side, else
 * LLMQ_E_UNSUPPORTED. -1: none. */
static enum llmq_status find_frame(const struct gguf_tokenizer *e, int32_t *first, int32_t *last,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct id_list plain = {0}, framed = {0};
    *first = *last = -1;
    LLMQ_TRY(tokenizer_encode(e->tokenizer, "a", 1, false, &plain, err));
    LLMQ_TRY(tokenizer_encode(e->tokenizer, "a", 1, true, &framed, err));
    const size_t added = framed.count - plain.count;
    const bool front = added > 0 && plain.count > 0 && framed.ids[0] != plain.ids[0];
    if (added > (front ? 2u : 1u))
        LLMQ_TRY(error_set(err, LLMQ_E_UNSUPPORTED,
                           "tokenizer.json: expected at most one token before and after a text, "
                           "found %zu",
                           added));
    if (front)
        *first = framed.ids[0];
    if (added > (front ? 1u : 0u))
        *last = framed.ids[framed.count - 1];

cleanup:
    id_list_free(&plain);
    id_list_free(&framed);
    return status;
}

static enum llmq_status put_special(struct gguf_tokenizer *e, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int32_t first = -1, last = -1, eos = special_token(e, "eos");
    LLMQ_TRY(find_frame(e, &first, &last, err));
    if (last >= 0 && eos >= 0 && last != eos)
        LLMQ_TRY(error_set(err, LLMQ_E_UNSUPPORTED,
                           "tokenizer.json: expected texts to end in the end token %d, found %d",
                           (int)eos, (int)last));
    put_token(e->out, "tokenizer.ggml.bos_token_id", first >= 0 ? first : special_token(e, "bos"));
    put_token(e->out, "tokenizer.ggml.eos_token_id", last >= 0 ? last : eos);
    put_token(e->out, "tokenizer.ggml.padding_token_id", special_token(e, "pad"));
    gguf_put_bool(e->out, "tokenizer.ggml.add_bos_token", first >= 0);
    gguf_put_bool(e->out, "tokenizer.ggml.add_eos_token", last >= 0);

cleanup:
    return status;
}

/* --- chat template ---------------------------------------------------------------------------- */

/* A text, or a list of named ones of which "default" counts. */
static const char *find_template(const struct json *value) {
    for (const struct json *t = json_first(value); t; t = json_next(t)) {
        const char *name = json_string(json_get(t, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_string(json_get(t, "template"));
    }
    return json_string(value);
}

/* chat_template.jinja comes before what tokenizer_config.json says. */
static enum llmq_status put_template(const struct gguf_tokenizer *e, const char *dir,
                                     llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *text = NULL, *path = path_join(dir, "chat_template.jinja", err);
    size_t len = 0;
    bool there = false;
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(file_exists(path, &there, err));
    if (there)
        LLMQ_TRY(input_read(path, INPUT_TEMPLATE, &text, &len, err));
    const char *found = text ? text : find_template(json_get(e->settings, "chat_template"));
    if (found)
        gguf_put_string(e->out, "tokenizer.chat_template", found);

cleanup:
    free(path);
    free(text);
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static enum llmq_status put_tokenizer(struct gguf_tokenizer *e, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const bool fallback = gguf_flag(json_get(e->json, "model"), "byte_fallback", false);
    LLMQ_TRY(list_tokens(e, err));
    mark_added(e);
    LLMQ_TRY((fallback ? gguf_sentencepiece_put : put_byte_level)(e, err));
    gguf_put_strings(e->out, "tokenizer.ggml.tokens", e->texts, (size_t)e->count);
    gguf_put_i32s(e->out, "tokenizer.ggml.token_type", e->kinds, (size_t)e->count);
    LLMQ_TRY(put_special(e, err));

cleanup:
    return status;
}

static enum llmq_status open_files(struct gguf_tokenizer *e, const char *dir, const char *path,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *settings = path_join(dir, "tokenizer_config.json", err);
    bool there = false;
    if (!settings)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(tokenizer_open(dir, &e->tokenizer, err));
    LLMQ_TRY(json_read_as(path, INPUT_TOKENIZER, &e->json, err));
    LLMQ_TRY(file_exists(settings, &there, err));
    if (there)
        LLMQ_TRY(json_read(settings, &e->settings, err));

cleanup:
    free(settings);
    return status;
}

static void export_free(struct gguf_tokenizer *e) {
    tokenizer_free(&e->tokenizer);
    json_free(&e->json);
    json_free(&e->settings);
    free(e->texts);
    free(e->unused);
    free(e->kinds);
    free(e->scores);
    free(e->by_text);
}

enum llmq_status gguf_tokenizer_put(const char *dir, int64_t vocab, const struct json *config,
                                    struct gguf_metadata *metadata, bool *found, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct gguf_tokenizer e = {.config = config, .count = vocab, .out = metadata};
    char *path = path_join(dir, "tokenizer.json", err);
    if (!path)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(file_exists(path, found, err));
    if (!*found) {
        gguf_put_string(metadata, "tokenizer.ggml.model", "no_vocab");
        goto cleanup;
    }
    LLMQ_TRY(open_files(&e, dir, path, err));
    status = put_tokenizer(&e, err);
    if (status == LLMQ_OK)
        status = put_template(&e, dir, err);
    if (status != LLMQ_OK)
        error_prefix(err, status, "%s", dir);

cleanup:
    export_free(&e);
    free(path);
    return status;
}
