/* SPDX-License-Identifier: Apache-2.0 */
/* Decoders: see decoder.h. A decoder is a list of steps, each of which makes texts of texts. */
#include "text/decoder.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/json_field.h"
#include "text/utf8.h"

enum step_kind {
    STEP_BYTE_LEVEL, /* the bytes that all texts spell in GPT-2's alphabet, as one text */
    STEP_BYTES,      /* runs of <0xE2> are the characters that they spell */
    STEP_REPLACE,    /* `from` becomes `to` */
    STEP_BLANKS,     /* the same, and within the first text nothing */
    STEP_SUFFIX,     /* the same, and within the last text nothing */
    STEP_FUSE,       /* all become one */
    STEP_STRIP,      /* up to `begin` characters `from` at the begin and `end` at the end go */
};

struct step {
    enum step_kind kind;
    char *from, *to;
    size_t from_len, to_len;
    int64_t begin, end;
};

enum { STEPS = 16 };
struct decoder {
    struct step step[STEPS];
    size_t count;
    bool none;            /* the tokenizer has none */
    char unsupported[48]; /* the type of one that is not implemented, or "" */
};

/* --- parsing ---------------------------------------------------------------------------------- */

static enum llmq_status parse_into(const struct json *value, struct decoder *d, llmq_error *err);

static enum llmq_status parse_sequence(const struct json *value, struct decoder *d,
                                       llmq_error *err) {
    const struct json *list = NULL;
    enum llmq_status status = field_array(value, "decoders", &list, err);
    for (const struct json *c = json_first(list); c && status == LLMQ_OK; c = json_next(c))
        status = parse_into(c, d, err);
    return status;
}

static void set_unsupported(struct decoder *d, const char *type) {
    if (!d->unsupported[0])
        (void)strncat(d->unsupported, type, sizeof d->unsupported - 1);
}

static enum llmq_status fill_replace(const struct json *value, struct decoder *d, struct step *s,
                                     llmq_error *err) {
    const struct json *pattern = json_get(value, "pattern");
    if (!json_string(json_get(pattern, "String"))) {
        set_unsupported(d, "Replace of a regular expression");
        return LLMQ_OK;
    }
    enum llmq_status status = field_text(pattern, "String", &s->from, &s->from_len, err);
    return status == LLMQ_OK ? field_text(value, "content", &s->to, &s->to_len, err) : status;
}

static enum llmq_status fill_blanks(const struct json *value, struct step *s, llmq_error *err) {
    const char *scheme = json_string(json_get(value, "prepend_scheme"));
    bool prefix = true;
    enum llmq_status status = field_text(value, "replacement", &s->from, &s->from_len, err);
    if (status == LLMQ_OK)
        status = field_bool(value, "add_prefix_space", true, &prefix, err);
    if (scheme ? strcmp(scheme, "never") == 0 : !prefix)
        s->kind = STEP_REPLACE;
    return status == LLMQ_OK ? text_copy(" ", &s->to, &s->to_len, err) : status;
}

static enum llmq_status fill_suffix(const struct json *value, struct step *s, llmq_error *err) {
    enum llmq_status status = field_text(value, "suffix", &s->from, &s->from_len, err);
    return status == LLMQ_OK ? text_copy(" ", &s->to, &s->to_len, err) : status;
}

static enum llmq_status field_count(const struct json *value, const char *key, int64_t *out,
                                    llmq_error *err) {
    if (json_as_int64(json_get(value, key), out) && *out >= 0)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_INPUT, "decoder Strip: '%s' is not a count", key);
}

static enum llmq_status fill_strip(const struct json *value, struct step *s, llmq_error *err) {
    enum llmq_status status = field_text(value, "content", &s->from, &s->from_len, err);
    if (status == LLMQ_OK)
        status = field_count(value, "start", &s->begin, err);
    return status == LLMQ_OK ? field_count(value, "stop", &s->end, err) : status;
}

static const struct {
    const char *type;
    enum step_kind kind;
} types[] = {
    {"ByteLevel", STEP_BYTE_LEVEL}, {"ByteFallback", STEP_BYTES}, {"Replace", STEP_REPLACE},
    {"Metaspace", STEP_BLANKS},     {"BPEDecoder", STEP_SUFFIX},  {"Fuse", STEP_FUSE},
    {"Strip", STEP_STRIP},
};

static enum llmq_status fill(const struct json *value, struct decoder *d, struct step *s,
                             llmq_error *err) {
    switch (s->kind) {
    case STEP_REPLACE:
        return fill_replace(value, d, s, err);
    case STEP_BLANKS:
        return fill_blanks(value, s, err);
    case STEP_SUFFIX:
        return fill_suffix(value, s, err);
    case STEP_STRIP:
        return fill_strip(value, s, err);
    case STEP_BYTE_LEVEL:
    case STEP_BYTES:
    case STEP_FUSE:
    default:
        return LLMQ_OK;
    }
}

static enum llmq_status parse_into(const struct json *value, struct decoder *d, llmq_error *err) {
    const char *type = NULL;
    enum llmq_status status = field_string(value, "type", &type, err);
    if (status != LLMQ_OK)
        return status;
    if (strcmp(type, "Sequence") == 0)
        return parse_sequence(value, d, err);
    for (size_t i = 0; i < sizeof types / sizeof types[0] && d->count < STEPS; i++)
        if (strcmp(type, types[i].type) == 0) {
            struct step *s = &d->step[d->count++];
            s->kind = types[i].kind;
            return fill(value, d, s, err);
        }
    set_unsupported(d, type);
    return LLMQ_OK;
}

enum llmq_status decoder_parse(const struct json *value, struct decoder **out, llmq_error *err) {
    struct decoder *d = *out = calloc(1, sizeof *d);
    enum llmq_status status = LLMQ_OK;
    if (!d)
        return error_memory(err, "a decoder");
    d->none = !value || json_type(value) == JSON_NULL;
    if (!d->none)
        status = parse_into(value, d, err);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "decoder");
        decoder_free(out);
    }
    return status;
}

void decoder_free(struct decoder **d) {
    for (size_t i = 0; *d && i < (*d)->count; i++) {
        free((*d)->step[i].from);
        free((*d)->step[i].to);
    }
    free(*d);
    *d = NULL;
}

/* --- texts ------------------------------------------------------------------------------------ */

/* Texts one after the other in `bytes`; text i ends before end[i]. */
struct texts {
    struct strbuf bytes;
    size_t *end;
    size_t count;
};

static void texts_free(struct texts *t) {
    strbuf_free(&t->bytes);
    free(t->end);
}

static struct vocab_text text_at(const struct texts *t, size_t i) {
    const size_t begin = i > 0 ? t->end[i - 1] : 0;
    return (struct vocab_text){t->bytes.data ? t->bytes.data + begin : "", t->end[i] - begin};
}

static void end_text(struct texts *t) {
    t->end[t->count++] = t->bytes.len;
}

/* Append `text` with `to` wherever it has `from`. */
static void append_replaced(const struct step *s, struct vocab_text text, const char *to,
                            size_t to_len, struct strbuf *out) {
    for (size_t at = 0; at < text.len;) {
        const bool here = s->from_len > 0 && text.len - at >= s->from_len &&
                          memcmp(text.text + at, s->from, s->from_len) == 0;
        strbuf_append(out, here ? to : text.text + at, here ? to_len : 1);
        at += here ? s->from_len : 1;
    }
}

/* Is it <0xE2>? Then *byte is that. */
static bool is_byte(struct vocab_text t, char *byte) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    unsigned value = 0;
    if (t.len != 6 || memcmp(t.text, "<0x", 3) != 0 || t.text[5] != '>')
        return false;
    for (int i = 3; i < 5; i++) {
        const char *digit = t.text[i] ? strchr(digits, t.text[i]) : NULL;
        if (!digit)
            return false;
        value = value << 4 | (unsigned)((digit - digits) & 15);
    }
    *byte = (char)value;
    return true;
}

/* --- steps ------------------------------------------------------------------------------------ */

static void run_byte_level(const struct texts *in, struct texts *out) {
    struct strbuf bytes = {0};
    for (size_t i = 0; i < in->count; i++) {
        const struct vocab_text text = text_at(in, i);
        byte_level_decode_all(&bytes, text.text, text.len);
    }
    utf8_append_repaired(&out->bytes, bytes.data, bytes.len);
    out->bytes.failed |= bytes.failed;
    strbuf_free(&bytes);
    end_text(out);
}

/* A run of bytes: the characters, or a U+FFFD for each where they are none. */
static void end_run(struct strbuf *run, struct texts *out) {
    if (run->len == 0)
        return;
    if (utf8_first_invalid(run->data, run->len) == run->len)
        strbuf_append(&out->bytes, run->data, run->len);
    else
        for (size_t i = 0; i < run->len; i++)
            strbuf_puts(&out->bytes, UTF8_REPLACEMENT);
    run->len = 0;
    end_text(out);
}

static void run_bytes(const struct texts *in, struct texts *out) {
    struct strbuf run = {0};
    for (size_t i = 0; i < in->count; i++) {
        const struct vocab_text text = text_at(in, i);
        char byte = 0;
        if (is_byte(text, &byte)) {
            strbuf_append(&run, &byte, 1);
            continue;
        }
        end_run(&run, out);
        strbuf_append(&out->bytes, text.text, text.len);
        end_text(out);
    }
    end_run(&run, out);
    out->bytes.failed |= run.failed;
    strbuf_free(&run);
}

static void strip(const struct step *s, struct vocab_text text, struct strbuf *out) {
    size_t begin = 0, end = text.len;
    for (int64_t i = 0; i < s->begin && s->from_len > 0 && end - begin >= s->from_len &&
                        memcmp(text.text + begin, s->from, s->from_len) == 0;
         i++)
        begin += s->from_len;
    for (int64_t i = 0; i < s->end && s->from_len > 0 && end - begin >= s->from_len &&
                        memcmp(text.text + end - s->from_len, s->from, s->from_len) == 0;
         i++)
        end -= s->from_len;
    strbuf_append(out, text.text + begin, end - begin);
}

static void run_each(const struct step *s, const struct texts *in, struct texts *out) {
    for (size_t i = 0; i < in->count; i++) {
        const bool bare =
            (s->kind == STEP_BLANKS && i == 0) || (s->kind == STEP_SUFFIX && i + 1 == in->count);
        if (s->kind == STEP_STRIP)
            strip(s, text_at(in, i), &out->bytes);
        else
            append_replaced(s, text_at(in, i), s->to, bare ? 0 : s->to_len, &out->bytes);
        end_text(out);
    }
}

static void run_step(const struct step *s, const struct texts *in, struct texts *out) {
    switch (s->kind) {
    case STEP_BYTE_LEVEL:
        run_byte_level(in, out);
        return;
    case STEP_BYTES:
        run_bytes(in, out);
        return;
    case STEP_FUSE:
        strbuf_append(&out->bytes, in->bytes.data ? in->bytes.data : "", in->bytes.len);
        end_text(out);
        return;
    case STEP_REPLACE:
    case STEP_BLANKS:
    case STEP_SUFFIX:
    case STEP_STRIP:
    default:
        run_each(s, in, out);
    }
}

enum llmq_status decoder_apply(const struct decoder *d, const struct vocab_text *tokens,
                               size_t count, struct strbuf *out, llmq_error *err) {
    struct texts texts[2] = {{.end = calloc(count + 1, sizeof(size_t))},
                             {.end = calloc(count + 1, sizeof(size_t))}};
    enum llmq_status status = LLMQ_OK;
    if (d->unsupported[0])
        status = error_set(err, LLMQ_E_UNSUPPORTED, "decoder %s is not supported", d->unsupported);
    else if (!texts[0].end || !texts[1].end)
        status = error_memory(err, "a text");
    for (size_t i = 0; i < count && status == LLMQ_OK; i++) {
        if (d->none && i > 0)
            strbuf_puts(&texts[0].bytes, " ");
        strbuf_append(&texts[0].bytes, tokens[i].text, tokens[i].len);
        end_text(&texts[0]);
    }
    for (size_t i = 0; i < d->count && status == LLMQ_OK; i++) {
        struct texts *to = &texts[(i + 1) % 2];
        to->bytes.len = to->count = 0;
        run_step(&d->step[i], &texts[i % 2], to);
    }
    const struct texts *last = &texts[d->count % 2];
    if (status == LLMQ_OK && (!strbuf_ok(&texts[0].bytes) || !strbuf_ok(&texts[1].bytes)))
        status = error_memory(err, "a text");
    if (status == LLMQ_OK && last->bytes.len > 0)
        strbuf_append(out, last->bytes.data, last->bytes.len);
    texts_free(&texts[0]);
    texts_free(&texts[1]);
    return status;
}

bool decoder_piece(const struct decoder *d, struct vocab_text token, struct strbuf *out) {
    struct strbuf text[2] = {{0}};
    size_t at = 0;
    char byte = 0;
    if (d->none || d->unsupported[0])
        return false;
    strbuf_append(&text[0], token.text, token.len);
    for (size_t i = 0; i < d->count; i++) {
        const struct step *s = &d->step[i];
        const struct vocab_text now = {text[at].data, text[at].len};
        if (s->kind == STEP_FUSE || s->kind == STEP_STRIP || now.len == 0)
            continue;
        text[1 - at].len = 0;
        if (s->kind == STEP_BYTE_LEVEL)
            byte_level_decode_all(&text[1 - at], now.text, now.len);
        else if (s->kind != STEP_BYTES)
            append_replaced(s, now, s->to, s->to_len, &text[1 - at]);
        else if (is_byte(now, &byte))
            strbuf_append(&text[1 - at], &byte, 1);
        else
            continue;
        at = 1 - at;
    }
    if (text[at].len > 0)
        strbuf_append(out, text[at].data, text[at].len);
    out->failed |= text[0].failed || text[1].failed;
    strbuf_free(&text[0]);
    strbuf_free(&text[1]);
    return true;
}
