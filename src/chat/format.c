/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text: see format.h. */
#include "chat/format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/operators.h"
#include "chat/text_ops.h"

static void puts_on(struct jinja_run *run, struct strbuf *b, const char *text) {
    jinja_append(run, b, text, strlen(text));
}

/* --- numbers ---------------------------------------------------------------------------------- */

/* The shortest digits that read as the number, in scientific notation. */
static void shortest(double x, char out[40]) {
    for (int digits = 0; digits < 17; digits++) {
        (void)snprintf(out, 40, "%.*e", digits, x);
        if (!(strtod(out, NULL) < x) && !(strtod(out, NULL) > x))
            return;
    }
}

/* d.ddd without an exponent. */
static void print_fixed(struct strbuf *b, const char *digits, int count, int exponent) {
    if (exponent < 0) {
        strbuf_puts(b, "0.");
        for (int i = exponent + 1; i < 0; i++)
            strbuf_puts(b, "0");
        strbuf_append(b, digits, (size_t)count);
        return;
    }
    for (int i = 0; i <= exponent; i++)
        strbuf_append(b, i < count ? &digits[i] : "0", 1);
    strbuf_puts(b, ".");
    if (count > exponent + 1)
        strbuf_append(b, digits + exponent + 1, (size_t)(count - exponent - 1));
    else
        strbuf_puts(b, "0");
}

/* Python's repr of a float: the shortest digits, an exponent below 1e-4 and from 1e16 on. */
static void print_float(struct strbuf *b, double x) {
    char text[40], digits[40];
    int count = 0, exponent = 0;
    if (!isfinite(x)) {
        strbuf_puts(b, isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    shortest(x, text);
    const char *e = strchr(text, 'e');
    exponent = atoi(e + 1);
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            digits[count++] = *p;
    if (text[0] == '-')
        strbuf_puts(b, "-");
    if (exponent >= -4 && exponent < 16) {
        print_fixed(b, digits, count, exponent);
        return;
    }
    strbuf_append(b, digits, 1);
    if (count > 1)
        strbuf_printf(b, ".%.*s", count - 1, digits + 1);
    strbuf_printf(b, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
}

static void print_number(struct strbuf *b, const struct jinja_value *v) {
    if (v->type == JINJA_INT)
        strbuf_printf(b, "%lld", (long long)v->integer);
    else
        print_float(b, v->real);
}

/* --- Python's str and repr -------------------------------------------------------------------- */

static void print_repr(struct jinja_run *run, struct strbuf *b, const struct jinja_value *v);

/* Quoted by ' unless only that is in it. */
static void print_quoted(struct jinja_run *run, struct strbuf *b, struct jinja_text t) {
    const bool single = t.len && memchr(t.at, '\'', t.len),
               twice = t.len && memchr(t.at, '"', t.len);
    const char quote = single && !twice ? '"' : '\'';
    jinja_append(run, b, &quote, 1);
    for (size_t i = 0; i < t.len; i++) {
        const char c = t.at[i];
        if (c == quote || c == '\\')
            strbuf_printf(b, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            strbuf_puts(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if ((unsigned char)c < 0x20 || c == 0x7f)
            strbuf_printf(b, "\\x%02x", (unsigned)(unsigned char)c);
        else
            jinja_append(run, b, &c, 1);
    }
    jinja_append(run, b, &quote, 1);
}

static void print_items(struct jinja_run *run, struct strbuf *b, const struct jinja_list *list) {
    puts_on(run, b, list->is_tuple ? "(" : "[");
    for (size_t i = 0; i < list->count; i++) {
        puts_on(run, b, i ? ", " : "");
        print_repr(run, b, &list->items[i]);
    }
    puts_on(run, b, list->is_tuple ? (list->count == 1 ? ",)" : ")") : "]");
}

static void print_pairs(struct jinja_run *run, struct strbuf *b, const struct jinja_dict *dict) {
    if (dict->is_namespace) { /* it may hold itself */
        jinja_fail(run, LLMQ_E_INPUT, "a namespace cannot be printed");
        return;
    }
    puts_on(run, b, "{");
    for (size_t i = 0; i < dict->count; i++) {
        puts_on(run, b, i ? ", " : "");
        print_repr(run, b, &dict->pairs[i].key);
        puts_on(run, b, ": ");
        print_repr(run, b, &dict->pairs[i].value);
    }
    puts_on(run, b, "}");
}

static void print_repr(struct jinja_run *run, struct strbuf *b, const struct jinja_value *v) {
    if (!jinja_spend(run, 1))
        return;
    if (v->type == JINJA_STRING)
        print_quoted(run, b, v->text);
    else if (v->type == JINJA_UNDEFINED)
        puts_on(run, b, "Undefined");
    else
        jinja_print(run, b, v);
}

void jinja_print(struct jinja_run *run, struct strbuf *b, const struct jinja_value *v) {
    if (jinja_failed(run))
        return;
    switch (v->type) {
    case JINJA_UNDEFINED:
        break;
    case JINJA_NONE:
        puts_on(run, b, "None");
        break;
    case JINJA_BOOL:
        puts_on(run, b, v->truth ? "True" : "False");
        break;
    case JINJA_INT:
    case JINJA_FLOAT:
        print_number(b, v);
        break;
    case JINJA_STRING:
        jinja_append(run, b, v->text.at, v->text.len);
        break;
    case JINJA_LIST:
        print_items(run, b, v->list);
        break;
    case JINJA_DICT:
        print_pairs(run, b, v->dict);
        break;
    case JINJA_FUNCTION:
        jinja_fail(run, LLMQ_E_INPUT, "a function cannot be printed");
        break;
    }
}

struct jinja_value jinja_to_string(struct jinja_run *run, const struct jinja_value *v) {
    struct strbuf b = {0};
    if (v->type == JINJA_STRING)
        return *v;
    jinja_print(run, &b, v);
    return jinja_take(run, &b);
}

/* --- writing JSON ----------------------------------------------------------------------------- */

static void write_character(struct jinja_run *run, struct strbuf *b, const char *at, size_t len) {
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; len == 1 && i + 1 < sizeof named; i += 2)
        if (*at == named[i]) {
            strbuf_printf(b, "\\%c", named[i + 1]);
            return;
        }
    if ((unsigned char)*at < 0x20)
        strbuf_printf(b, "\\u%04x", (unsigned)(unsigned char)*at);
    else
        jinja_append(run, b, at, len);
}

static void write_escaped(struct strbuf *b, uint32_t cp) {
    if (cp >= 0x10000)
        strbuf_printf(b, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                      0xdc00 + ((cp - 0x10000) & 0x3ff));
    else
        strbuf_printf(b, "\\u%04x", cp);
}

static void write_string(struct jinja_run *run, struct strbuf *b, struct jinja_text t, bool ascii) {
    int32_t cp = 0;
    puts_on(run, b, "\"");
    for (size_t at = 0; at < t.len && !jinja_failed(run);) {
        const size_t len = jinja_decode(t, at, &cp);
        if (ascii && (len > 1 || cp == 0x7f))
            write_escaped(b, (uint32_t)cp);
        else
            write_character(run, b, t.at + at, len);
        at += len;
    }
    puts_on(run, b, "\"");
}

struct writer {
    struct jinja_run *run;
    struct strbuf *b;
    const struct jinja_json_style *style;
    int depth;
};

static void write_value(struct writer *w, const struct jinja_value *v);

static void write_break(struct writer *w) {
    if (!w->style->breaks)
        return;
    puts_on(w->run, w->b, "\n");
    for (int i = 0; i < w->depth; i++)
        jinja_append(w->run, w->b, w->style->indent.at, w->style->indent.len);
}

/* What stands before an item: the separator but for the first, and its line. */
static void write_before(struct writer *w, bool first) {
    if (!first)
        jinja_append(w->run, w->b, w->style->between_items.at, w->style->between_items.len);
    write_break(w);
}

static void write_items(struct writer *w, const struct jinja_list *list) {
    puts_on(w->run, w->b, "[");
    w->depth++;
    for (size_t i = 0; i < list->count && !jinja_failed(w->run); i++) {
        write_before(w, i == 0);
        write_value(w, &list->items[i]);
    }
    w->depth--;
    if (list->count)
        write_break(w);
    puts_on(w->run, w->b, "]");
}

static void write_key(struct writer *w, const struct jinja_value *key) {
    if (key->type == JINJA_STRING) {
        write_value(w, key);
        return;
    }
    if (key->type == JINJA_LIST || key->type == JINJA_DICT) {
        jinja_fail(w->run, LLMQ_E_INPUT, "tojson: a key is %s", jinja_type_name(key));
        return;
    }
    puts_on(w->run, w->b, "\"");
    write_value(w, key);
    puts_on(w->run, w->b, "\"");
}

/* Positions of the pairs by their keys' order; NULL: as they are, or jinja_failed. */
static const struct jinja_pair **sort_pairs(struct writer *w, const struct jinja_dict *dict) {
    const struct jinja_pair **order =
        jinja_alloc(w->run, dict->count + 1, sizeof(const struct jinja_pair *));
    for (size_t i = 0; order && i < dict->count; i++) {
        size_t at = i;
        for (; at > 0 && jinja_spend(w->run, 1) &&
               jinja_order(w->run, &dict->pairs[i].key, &order[at - 1]->key) < 0;
             at--)
            order[at] = order[at - 1];
        order[at] = &dict->pairs[i];
    }
    return order;
}

static void write_pairs(struct writer *w, const struct jinja_dict *dict) {
    if (dict->is_namespace) {
        jinja_fail(w->run, LLMQ_E_INPUT, "tojson: a namespace is no JSON");
        return;
    }
    const struct jinja_pair **order = w->style->sorted ? sort_pairs(w, dict) : NULL;
    puts_on(w->run, w->b, "{");
    w->depth++;
    for (size_t i = 0; i < dict->count && !jinja_failed(w->run); i++) {
        const struct jinja_pair *pair = order ? order[i] : &dict->pairs[i];
        write_before(w, i == 0);
        write_key(w, &pair->key);
        jinja_append(w->run, w->b, w->style->behind_keys.at, w->style->behind_keys.len);
        write_value(w, &pair->value);
    }
    w->depth--;
    if (dict->count)
        write_break(w);
    puts_on(w->run, w->b, "}");
}

static void write_float(struct writer *w, double x) {
    if (isfinite(x))
        print_float(w->b, x);
    else
        puts_on(w->run, w->b, isnan(x) ? "NaN" : x < 0 ? "-Infinity" : "Infinity");
}

static void write_value(struct writer *w, const struct jinja_value *v) {
    if (!jinja_spend(w->run, 1))
        return;
    switch (v->type) {
    case JINJA_NONE:
        puts_on(w->run, w->b, "null");
        break;
    case JINJA_BOOL:
        puts_on(w->run, w->b, v->truth ? "true" : "false");
        break;
    case JINJA_INT:
        print_number(w->b, v);
        break;
    case JINJA_FLOAT:
        write_float(w, v->real);
        break;
    case JINJA_STRING:
        write_string(w->run, w->b, v->text, w->style->ascii);
        break;
    case JINJA_LIST:
        write_items(w, v->list);
        break;
    case JINJA_DICT:
        write_pairs(w, v->dict);
        break;
    case JINJA_UNDEFINED:
    case JINJA_FUNCTION:
        jinja_fail(w->run, LLMQ_E_INPUT, "tojson: %s is no JSON", jinja_type_name(v));
        break;
    }
}

void jinja_write_json(struct jinja_run *run, struct strbuf *b, const struct jinja_value *v,
                      const struct jinja_json_style *style) {
    struct writer w = {run, b, style, 0};
    write_value(&w, v);
}
