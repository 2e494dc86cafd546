/* SPDX-License-Identifier: Apache-2.0 */
/* Normalizers: see normalizer.h. Each type is a row of `kinds`: how to read it, how to apply it. */
#include "text/normalizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/json_field.h"
#include "text/unicode.h"
#include "text/utf8.h"

struct normalizer {
    const struct normalizer_kind *kind;
    struct pattern *pattern; /* Replace */
    char *content;           /* Replace, Prepend */
    size_t content_len;
    struct code_table set; /* forms: what they know of; StripAccents: marks */
    bool strip_left, strip_right;
    struct normalizer **children; /* Sequence */
    size_t count;
};

/* Where a normalizer reads from, writes to, and what it may use. */
struct job {
    struct expr_scratch *scratch;
    const char *text;
    size_t len;
    struct strbuf *out;
    bool *at_start;
    bool goes_on; /* a part of the text came before */
    size_t most;  /* bytes that the text may grow to */
};

/* Bytes that one of a text may become, and those that any text may. Unicode's forms make eleven of
 * one, the byte level's letters two, a mark in the place of a space three; replacements that feed
 * each other multiply without end. */
#define GROWTH_MOST 64
#define GROWTH_FREE ((size_t)1 << 16)

struct normalizer_kind {
    const char *name;
    enum llmq_status (*parse)(const struct json *value, struct normalizer *n, llmq_error *err);
    enum llmq_status (*apply)(const struct normalizer *n, const struct job *job, llmq_error *err);
};

static enum llmq_status build_set(const char *property, struct code_table *out, llmq_error *err) {
    struct code_set set = {0};
    unicode_property(property, strlen(property), &set);
    enum llmq_status status = code_table_build(&set, out, err);
    code_set_free(&set);
    return status;
}

static enum llmq_status too_long(size_t most, llmq_error *err) {
    return error_set(err, LLMQ_E_UNSUPPORTED,
                     "the normalizer lengthens a text without end: to more than %zu bytes", most);
}

/* --- Sequence: children run one after another in normalizer_apply ----------------------------- */

static enum llmq_status parse_sequence(const struct json *value, struct normalizer *n,
                                       llmq_error *err) {
    const struct json *list = NULL;
    enum llmq_status status = field_array(value, "normalizers", &list, err);
    if (status != LLMQ_OK)
        return status;
    n->children = calloc(json_count(list) + 1, sizeof *n->children);
    if (!n->children)
        return error_memory(err, "a normalizer");
    for (const struct json *c = json_first(list); c && status == LLMQ_OK; c = json_next(c))
        status = normalizer_parse(c, &n->children[n->count++], err);
    return status;
}

/* --- Prepend, Replace ------------------------------------------------------------------------- */

static enum llmq_status copy_content(const struct json *value, const char *key,
                                     struct normalizer *n, llmq_error *err) {
    return field_text(value, key, &n->content, &n->content_len, err);
}

static enum llmq_status parse_prepend(const struct json *value, struct normalizer *n,
                                      llmq_error *err) {
    return copy_content(value, "prepend", n, err);
}

static enum llmq_status apply_prepend(const struct normalizer *n, const struct job *job,
                                      llmq_error *err) {
    (void)err;
    if (job->len > 0 && !job->goes_on)
        strbuf_append(job->out, n->content, n->content_len);
    strbuf_append(job->out, job->text, job->len);
    return LLMQ_OK;
}

static enum llmq_status parse_replace(const struct json *value, struct normalizer *n,
                                      llmq_error *err) {
    enum llmq_status status = copy_content(value, "content", n, err);
    if (status != LLMQ_OK)
        return status;
    return pattern_parse(json_get(value, "pattern"), &n->pattern, err);
}

/* A replacement stands for the last character of what it replaces. */
static bool keeps_start(const struct normalizer *n, const struct job *job,
                        const struct segment *s) {
    uint32_t cp = 0;
    return s->begin > 0 || s->end == 0 ||
           (n->content_len > 0 && s->end == utf8_decode(job->text, &cp));
}

static enum llmq_status apply_replace(const struct normalizer *n, const struct job *job,
                                      llmq_error *err) {
    struct segment_walk walk;
    struct segment s;
    bool more = true;
    segment_walk_init(&walk, n->pattern, job->scratch, job->text, job->len);
    for (;;) {
        enum llmq_status status = segment_walk_next(&walk, &s, &more, err);
        if (status != LLMQ_OK || !more)
            return status;
        if (!s.is_match) {
            strbuf_append(job->out, job->text + s.begin, s.end - s.begin);
            continue;
        }
        *job->at_start = *job->at_start && keeps_start(n, job, &s);
        strbuf_append(job->out, n->content, n->content_len);
        if (job->out->len > job->most)
            return too_long(job->most, err);
    }
}

/* --- Unicode normalization forms -------------------------------------------------------------- */

/* The reference knows Unicode 9, and utf8proc whatever it was built for. Of what both know they
 * say the same, by Unicode's stability policy; to the reference everything else is a letter that
 * neither decomposes nor composes nor changes places. So the text is cut at such characters. */
static enum llmq_status parse_form(const struct json *value, struct normalizer *n,
                                   llmq_error *err) {
    (void)value;
    return build_set(UNICODE_NORMALIZATION, &n->set, err);
}

static bool is_ascii(const char *text, size_t len) {
    unsigned char all = 0;
    for (size_t i = 0; i < len; i++)
        all |= (unsigned char)text[i];
    return all < 0x80;
}

/* Length of the characters at the start of `text` that are in the set, or that are not. */
static size_t span(const struct code_table *set, bool in, const char *text, size_t len) {
    size_t at = 0;
    while (at < len) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text + at, &cp);
        if (code_table_has(set, cp) != in)
            break;
        at += n;
    }
    return at;
}

/* ASCII text is in every normalization form already. */
static enum llmq_status form_of_known(const char *text, size_t len, utf8proc_option_t options,
                                      struct strbuf *out, llmq_error *err) {
    if (is_ascii(text, len)) {
        strbuf_append(out, text, len);
        return LLMQ_OK;
    }
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &mapped, options);
    if (n < 0)
        return error_set(err, n == UTF8PROC_ERROR_NOMEM ? LLMQ_E_MEMORY : LLMQ_E_INPUT,
                         "Unicode normalization: %s", utf8proc_errmsg(n));
    strbuf_append(out, (const char *)mapped, (size_t)n);
    free(mapped);
    return LLMQ_OK;
}

static enum llmq_status normal_form(const struct normalizer *n, const struct job *job,
                                    utf8proc_option_t options, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool known = true;
    for (size_t at = 0; at < job->len && status == LLMQ_OK; known = !known) {
        size_t len = span(&n->set, known, job->text + at, job->len - at);
        if (known)
            status = form_of_known(job->text + at, len, options, job->out, err);
        else
            strbuf_append(job->out, job->text + at, len);
        at += len;
    }
    return status;
}

static enum llmq_status apply_nfc(const struct normalizer *n, const struct job *job,
                                  llmq_error *err) {
    return normal_form(n, job, UTF8PROC_STABLE | UTF8PROC_COMPOSE, err);
}

static enum llmq_status apply_nfd(const struct normalizer *n, const struct job *job,
                                  llmq_error *err) {
    return normal_form(n, job, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, err);
}

static enum llmq_status apply_nfkc(const struct normalizer *n, const struct job *job,
                                   llmq_error *err) {
    return normal_form(n, job, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, err);
}

static enum llmq_status apply_nfkd(const struct normalizer *n, const struct job *job,
                                   llmq_error *err) {
    return normal_form(n, job, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, err);
}

/* --- character by character ------------------------------------------------------------------- */

static enum llmq_status apply_lowercase(const struct normalizer *n, const struct job *job,
                                        llmq_error *err) {
    (void)n;
    (void)err;
    for (size_t at = 0; at < job->len;) {
        char lower[4];
        uint32_t cp = 0;
        at += utf8_decode(job->text + at, &cp);
        size_t len = utf8_encode(unicode_to_lower(cp), lower);
        strbuf_append(job->out, lower, len);
        if (cp == 0x130) /* the one letter whose lower case is two: i and a dot above */
            strbuf_puts(job->out, "\xcc\x87");
    }
    return LLMQ_OK;
}

static enum llmq_status parse_marks(const struct json *value, struct normalizer *n,
                                    llmq_error *err) {
    (void)value;
    return build_set(UNICODE_MARK, &n->set, err);
}

static enum llmq_status apply_strip_accents(const struct normalizer *n, const struct job *job,
                                            llmq_error *err) {
    (void)err;
    for (size_t at = 0; at < job->len;) {
        uint32_t cp = 0;
        size_t len = utf8_decode(job->text + at, &cp);
        if (!code_table_has(&n->set, cp))
            strbuf_append(job->out, job->text + at, len);
        else if (at == 0)
            *job->at_start = false;
        at += len;
    }
    return LLMQ_OK;
}

static enum llmq_status parse_strip(const struct json *value, struct normalizer *n,
                                    llmq_error *err) {
    enum llmq_status status = field_bool(value, "strip_left", false, &n->strip_left, err);
    if (status != LLMQ_OK)
        return status;
    return field_bool(value, "strip_right", false, &n->strip_right, err);
}

static enum llmq_status apply_strip(const struct normalizer *n, const struct job *job,
                                    llmq_error *err) {
    size_t begin = 0, end = job->len;
    uint32_t cp = 0;
    (void)err;
    while (n->strip_left && begin < end) {
        size_t len = utf8_decode(job->text + begin, &cp);
        if (!unicode_is_space(cp))
            break;
        begin += len;
    }
    while (n->strip_right && begin < end) {
        size_t previous = utf8_previous(job->text, end);
        utf8_decode(job->text + previous, &cp);
        if (!unicode_is_space(cp))
            break;
        end = previous;
    }
    if (begin > 0)
        *job->at_start = false;
    strbuf_append(job->out, job->text + begin, end - begin);
    return LLMQ_OK;
}

static enum llmq_status apply_byte_level(const struct normalizer *n, const struct job *job,
                                         llmq_error *err) {
    (void)n;
    (void)err;
    byte_level_append(job->out, job->text, job->len);
    return LLMQ_OK;
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct normalizer_kind kinds[] = {
    /* clang-format off */
    {"Sequence",     parse_sequence, NULL},
    {"Prepend",      parse_prepend,  apply_prepend},
    {"Replace",      parse_replace,  apply_replace},
    {"NFC",          parse_form,     apply_nfc},
    {"NFD",          parse_form,     apply_nfd},
    {"NFKC",         parse_form,     apply_nfkc},
    {"NFKD",         parse_form,     apply_nfkd},
    {"Lowercase",    NULL,           apply_lowercase},
    {"Strip",        parse_strip,    apply_strip},
    {"StripAccents", parse_marks,    apply_strip_accents},
    {"ByteLevel",    NULL,           apply_byte_level},
    /* clang-format on */
};

enum llmq_status normalizer_parse(const struct json *value, struct normalizer **out,
                                  llmq_error *err) {
    if (json_type(value) == JSON_NULL)
        return LLMQ_OK;
    const char *type = NULL;
    enum llmq_status status = field_string(value, "type", &type, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "normalizer");
    const struct normalizer_kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !kind; i++)
        kind = strcmp(kinds[i].name, type) == 0 ? &kinds[i] : NULL;
    if (!kind)
        return error_set(err, LLMQ_E_UNSUPPORTED, "normalizer '%.60s' is not supported", type);
    struct normalizer *n = calloc(1, sizeof *n);
    if (!n)
        return error_memory(err, "a normalizer");
    n->kind = kind;
    status = kind->parse ? kind->parse(value, n, err) : LLMQ_OK;
    if (status == LLMQ_OK)
        *out = n;
    else
        normalizer_free(&n);
    return status;
}

void normalizer_free(struct normalizer **n) {
    if (*n) {
        for (size_t i = 0; i < (*n)->count; i++)
            normalizer_free(&(*n)->children[i]);
        free((*n)->children);
        free((*n)->content);
        pattern_free(&(*n)->pattern);
        code_table_free(&(*n)->set);
        free(*n);
    }
    *n = NULL;
}

/* One step, and all of a sequence. `shared`: but for the text and where it goes. */
static enum llmq_status apply(const struct normalizer *n, const struct job *shared,
                              struct strbuf *text, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < n->count && status == LLMQ_OK; i++)
        status =
            n->children[i] && text->len > 0 ? apply(n->children[i], shared, text, err) : LLMQ_OK;
    if (!n->kind->apply)
        return status;
    struct strbuf out = {0};
    struct job job = *shared;
    job.text = text->data;
    job.len = text->len;
    job.out = &out;
    status = n->kind->apply(n, &job, err);
    if (status == LLMQ_OK && !strbuf_ok(&out))
        status = error_memory(err, "normalized text");
    if (status == LLMQ_OK && out.len > job.most)
        status = too_long(job.most, err);
    if (status == LLMQ_OK) {
        strbuf_free(text);
        *text = out;
        return LLMQ_OK;
    }
    strbuf_free(&out);
    return status;
}

enum llmq_status normalizer_apply(const struct normalizer *n, struct expr_scratch *scratch,
                                  bool goes_on, struct strbuf *text, bool *at_start,
                                  llmq_error *err) {
    if (!n || text->len == 0)
        return LLMQ_OK;
    const size_t most = text->len < (SIZE_MAX - GROWTH_FREE) / GROWTH_MOST
                            ? text->len * GROWTH_MOST + GROWTH_FREE
                            : SIZE_MAX;
    const struct job job = {
        .scratch = scratch, .at_start = at_start, .goes_on = goes_on, .most = most};
    return apply(n, &job, text, err);
}

/* A character for a character, by one that no form composes with what is before it. */
static bool replaces_locally(const struct normalizer *n) {
    uint32_t cp = 0;
    if (!pattern_is_local(n->pattern) || n->content_len == 0)
        return false;
    return utf8_decode(n->content, &cp) == n->content_len && (cp < 0x80 || cp == 0x2581);
}

/* Forms compose characters with others, but no ASCII character with one before it. */
bool normalizer_is_local(const struct normalizer *n) {
    bool local = true;
    if (!n)
        return true;
    for (size_t i = 0; i < n->count && local; i++)
        local = normalizer_is_local(n->children[i]);
    if (n->kind->apply == apply_strip)
        return false;
    if (n->kind->apply == apply_replace)
        return replaces_locally(n);
    return local;
}
