/* SPDX-License-Identifier: Apache-2.0 */
/* See front_matter.h. */
#include "pipeline/front_matter.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "llmq/printable.h"

/* Longer blocks and texts are no front matter that anybody wrote. */
enum { BLOCK_MOST = 1 << 18, ITEM_MOST = 4096 };

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char key_bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

/* --- texts ------------------------------------------------------------------------------------ */

/* A stretch of the card's text. */
struct span {
    const char *at;
    size_t len;
};

static struct span trimmed(struct span s) {
    while (s.len > 0 && (*s.at == ' ' || *s.at == '\t'))
        s = (struct span){s.at + 1, s.len - 1};
    while (s.len > 0 && strchr(" \t\r", s.at[s.len - 1]))
        s.len--;
    return s;
}

/* All visible characters, and no longer than texts are. */
static bool is_plain_text(const char *text) {
    uint32_t code;
    bool valid, visible;
    size_t whole = 0;
    for (size_t len; (len = llmq_character(text + whole, &code, &valid, &visible)) > 0;) {
        if (!visible)
            return false;
        whole += len;
    }
    return whole > 0 && whole <= ITEM_MOST;
}

/* What stands between double quotes is what JSON allows there, or it is not understood. */
static char *read_double(struct span s, bool *starved) {
    struct json *v = NULL;
    const enum llmq_status status = json_parse(s.at, s.len, "", &v, NULL);
    const char *found = status == LLMQ_OK ? json_string(v) : NULL;
    char *text = found ? strdup(found) : NULL;
    *starved = status == LLMQ_E_MEMORY || (found && !text);
    json_free(&v);
    return text;
}

/* Two quotes are one. */
static char *read_single(struct span s, bool *starved) {
    struct strbuf b = {0};
    for (size_t i = 1; i + 1 < s.len; i++) {
        if (s.at[i] == '\'' && (i + 2 >= s.len || s.at[++i] != '\'')) {
            strbuf_free(&b);
            return NULL;
        }
        strbuf_append(&b, s.at + i, 1);
    }
    char *text = strbuf_take(&b);
    *starved = !text;
    return text;
}

static char *read_bare(struct span s, bool *starved) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == '#' && i > 0 && s.at[i - 1] == ' ')
            return read_bare(trimmed((struct span){s.at, i}), starved);
        if (s.at[i] == ':' && (i + 1 == s.len || s.at[i + 1] == ' '))
            return NULL;
    }
    if (s.len == 0 || strchr("&*!|>%@`{}[],#?:-\"'", s.at[0]))
        return NULL;
    char *text = strndup(s.at, s.len);
    *starved = !text;
    return text;
}

/* A word or text; NULL when it is none, or, as *starved says, memory is short. */
static char *read_scalar(struct span s, bool *starved) {
    *starved = false;
    s = trimmed(s);
    const bool quoted = s.len >= 2 && s.at[0] == s.at[s.len - 1];
    char *text = quoted && s.at[0] == '"'    ? read_double(s, starved)
                 : quoted && s.at[0] == '\'' ? read_single(s, starved)
                                             : read_bare(s, starved);
    if (text && is_plain_text(text))
        return text;
    free(text);
    return NULL;
}

/* --- values ----------------------------------------------------------------------------------- */

static void forget_items(struct front_value *v) {
    for (size_t i = 0; i < v->count; i++)
        free(v->items[i]);
    free(v->items);
    v->items = NULL;
    v->count = 0;
}

static void misunderstand(struct front_value *v) {
    forget_items(v);
    v->understood = false;
}

static enum llmq_status add_item(struct front_value *v, struct span s, llmq_error *err) {
    bool starved = false;
    char *text = v->understood ? read_scalar(s, &starved) : NULL;
    if (starved)
        return error_memory(err, "a model card");
    if (!text) {
        misunderstand(v);
        return LLMQ_OK;
    }
    char **items = realloc(v->items, (v->count + 1) * sizeof *items);
    if (!items) {
        free(text);
        return error_memory(err, "a model card");
    }
    v->items = items;
    items[v->count++] = text;
    return LLMQ_OK;
}

/* "[a, b]". Commas in quotes part it, too: then its parts are no texts, and it is not understood.
 */
static enum llmq_status read_flow(struct front_value *v, struct span s, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    v->list = true;
    s = trimmed((struct span){s.at + 1, s.len - 2});
    for (size_t at = 0; status == LLMQ_OK && at < s.len;) {
        const char *comma = memchr(s.at + at, ',', s.len - at);
        const size_t end = comma ? (size_t)(comma - s.at) : s.len;
        status = add_item(v, (struct span){s.at + at, end - at}, err);
        at = end + 1;
    }
    return status;
}

/* What stands behind a key. */
static enum llmq_status read_inline(struct front_value *v, struct span s, llmq_error *err) {
    s = trimmed(s);
    if (s.len == 0 || s.at[0] == '#') { /* a list below, or nothing */
        v->list = true;
        return LLMQ_OK;
    }
    if (s.len >= 2 && s.at[0] == '[' && s.at[s.len - 1] == ']')
        return read_flow(v, s, err);
    return add_item(v, s, err);
}

/* A line that belongs to the key above it. */
static enum llmq_status read_below(struct front_value *v, struct span line, llmq_error *err) {
    const struct span s = trimmed(line);
    const bool item = s.len >= 2 && s.at[0] == '-' && s.at[1] == ' ';
    if (v->understood && v->list && item)
        return add_item(v, (struct span){s.at + 1, s.len - 1}, err);
    misunderstand(v);
    return LLMQ_OK;
}

/* --- the block -------------------------------------------------------------------------------- */

/* The next line of a text, without its end; moves on behind it. */
static bool next_line(struct span *text, struct span *line) {
    if (text->len == 0)
        return false;
    const char *end = memchr(text->at, '\n', text->len);
    const size_t len = end ? (size_t)(end - text->at) : text->len;
    *line = (struct span){text->at, len};
    text->at += end ? len + 1 : len;
    text->len -= end ? len + 1 : len;
    if (len > 0 && line->at[len - 1] == '\r')
        line->len--;
    return true;
}

static bool is_fence(struct span line) {
    const size_t dashes = 3;
    if (line.len < dashes || memcmp(line.at, "---", dashes) != 0)
        return false;
    return trimmed((struct span){line.at + dashes, line.len - dashes}).len == 0;
}

static bool has_key(const struct front_matter *f, const char *key) {
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->values[i].key, key) == 0)
            return true;
    return false;
}

/* "key: ...". *known is false when the line is none, or the key stands there twice. */
static enum llmq_status read_key(struct front_matter *f, struct span line, bool *known,
                                 llmq_error *err) {
    size_t len = 0;
    while (len < line.len && strchr(key_bytes, line.at[len]) && line.at[len])
        len++;
    *known = len > 0 && len < line.len && line.at[len] == ':' &&
             (len + 1 == line.len || line.at[len + 1] == ' ') && strchr(letters, line.at[0]);
    if (!*known)
        return LLMQ_OK;
    char *key = strndup(line.at, len);
    struct front_value *values = key ? realloc(f->values, (f->count + 1) * sizeof *values) : NULL;
    if (!values) {
        free(key);
        return error_memory(err, "a model card");
    }
    f->values = values;
    if (has_key(f, key)) {
        free(key);
        *known = false;
        return LLMQ_OK;
    }
    values[f->count++] = (struct front_value){.key = key, .understood = true};
    return read_inline(&values[f->count - 1], (struct span){line.at + len + 1, line.len - len - 1},
                       err);
}

static enum llmq_status read_line(struct front_matter *f, struct span line, llmq_error *err) {
    const struct span s = trimmed(line);
    bool known = true;
    enum llmq_status status = LLMQ_OK;
    if (s.len == 0 || s.at[0] == '#')
        return LLMQ_OK;
    if (line.at[0] != ' ' && line.at[0] != '-')
        status = read_key(f, line, &known, err);
    else if (f->count > 0)
        status = read_below(&f->values[f->count - 1], line, err);
    else
        known = false;
    if (!known)
        f->form = FRONT_STRANGE;
    return status;
}

/* A key with nothing behind and below it says nothing. */
static void judge_empty(struct front_matter *f) {
    for (size_t i = 0; i < f->count; i++)
        if (f->values[i].count == 0)
            misunderstand(&f->values[i]);
}

enum llmq_status front_matter_read(const char *text, size_t len, struct front_matter *out,
                                   llmq_error *err) {
    static const char mark[] = "\xef\xbb\xbf";
    struct span rest = {text, len}, line;
    *out = (struct front_matter){.body = text, .body_len = len};
    if (len >= 3 && memcmp(text, mark, 3) == 0)
        rest = (struct span){text + 3, len - 3};
    out->body = rest.at;
    out->body_len = rest.len;
    if (!next_line(&rest, &line) || !is_fence(line))
        return LLMQ_OK;
    out->form = FRONT_READ;
    while (next_line(&rest, &line) && line.at - text < BLOCK_MOST) {
        if (is_fence(line)) {
            out->body = rest.at;
            out->body_len = rest.len;
            judge_empty(out);
            return LLMQ_OK;
        }
        enum llmq_status status = out->form == FRONT_READ ? read_line(out, line, err) : LLMQ_OK;
        if (status != LLMQ_OK) {
            front_matter_free(out);
            return status;
        }
    }
    out->form = FRONT_NONE; /* a line of dashes, and no second one */
    return LLMQ_OK;
}

void front_matter_free(struct front_matter *f) {
    for (size_t i = 0; i < f->count; i++) {
        forget_items(&f->values[i]);
        free(f->values[i].key);
    }
    free(f->values);
    *f = (struct front_matter){0};
}

const struct front_value *front_matter_find(const struct front_matter *f, const char *key) {
    for (size_t i = 0; f->form == FRONT_READ && i < f->count; i++)
        if (f->values[i].understood && strcmp(f->values[i].key, key) == 0)
            return &f->values[i];
    return NULL;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Words that some readers of YAML take for something else than themselves. */
static bool is_reserved(const char *text) {
    static const char *const words[] = {"true", "false", "null", "yes", "no", "on",
                                        "off",  "y",     "n",    "nan", "inf"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(words[i], text) == 0)
            return true;
    return false;
}

/* A word by itself, anything else in double quotes, as JSON writes it. */
static void put_scalar(struct strbuf *out, const char *text) {
    const size_t word = strspn(text, key_bytes),
                 rest = strspn(text + word, "/._-0123456789"
                                            "abcdefghijklmnopqrstuvwxyz"
                                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (word > 0 && strchr(letters, text[0]) && !text[word + rest] && !is_reserved(text)) {
        strbuf_puts(out, text);
        return;
    }
    struct json *array = json_new_array();
    json_add_string(array, NULL, text);
    char *quoted = json_print(json_first(array), false);
    strbuf_puts(out, quoted ? quoted : "");
    out->failed = out->failed || !quoted;
    free(quoted);
    json_free(&array);
}

void front_matter_put(struct strbuf *out, const char *key, const char *text) {
    strbuf_printf(out, "%s: ", key);
    put_scalar(out, text);
    strbuf_puts(out, "\n");
}

void front_matter_put_item(struct strbuf *out, const char *text) {
    strbuf_puts(out, "- ");
    put_scalar(out, text);
    strbuf_puts(out, "\n");
}

void front_matter_put_value(struct strbuf *out, const struct front_value *value) {
    if (!value->list) {
        front_matter_put(out, value->key, value->items[0]);
        return;
    }
    strbuf_printf(out, "%s:\n", value->key);
    for (size_t i = 0; i < value->count; i++)
        front_matter_put_item(out, value->items[i]);
}
