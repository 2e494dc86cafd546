/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of all kinds: see pattern.h. */
#include "text/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/json_field.h"
#include "text/utf8.h"

enum pattern_kind { PATTERN_LITERAL, PATTERN_REGEX, PATTERN_SETS };

struct pattern {
    enum pattern_kind kind;
    char *literal;
    size_t literal_len;
    struct expr *regex;
    struct code_table sets[2];
    unsigned set_count;
    bool runs; /* matches are as long as the characters stay in one set */
};

static struct pattern *new_pattern(enum pattern_kind kind) {
    struct pattern *p = calloc(1, sizeof *p);
    if (p)
        p->kind = kind;
    return p;
}

enum llmq_status pattern_regex(const char *expression, size_t len, struct pattern **out,
                               llmq_error *err) {
    struct pattern *p = new_pattern(PATTERN_REGEX);
    if (!p)
        return error_memory(err, "a pattern");
    enum llmq_status status = expr_compile(expression, len, &p->regex, err);
    if (status == LLMQ_OK)
        *out = p;
    else
        pattern_free(&p);
    return status;
}

enum llmq_status pattern_literal(const char *text, size_t len, struct pattern **out,
                                 llmq_error *err) {
    if (len == 0) /* matches between all characters, as the empty expression does */
        return pattern_regex("", 0, out, err);
    struct pattern *p = new_pattern(PATTERN_LITERAL);
    if (p)
        p->literal = malloc(len);
    if (!p || !p->literal) {
        pattern_free(&p);
        return error_memory(err, "a pattern");
    }
    memcpy(p->literal, text, len);
    p->literal_len = len;
    *out = p;
    return LLMQ_OK;
}

static enum llmq_status from_sets(struct code_set *one, struct code_set *other, bool runs,
                                  struct pattern **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct pattern *p = new_pattern(PATTERN_SETS);
    if (!p)
        return error_memory(err, "a pattern");
    p->runs = runs;
    LLMQ_TRY(code_table_build(one, &p->sets[p->set_count], err));
    p->set_count++;
    if (other) {
        LLMQ_TRY(code_table_build(other, &p->sets[p->set_count], err));
        p->set_count++;
    }
    *out = p;
    p = NULL;
cleanup:
    pattern_free(&p);
    return status;
}

enum llmq_status pattern_set(struct code_set *set, struct pattern **out, llmq_error *err) {
    return from_sets(set, NULL, false, out, err);
}

enum llmq_status pattern_runs(struct code_set *one, struct code_set *other, struct pattern **out,
                              llmq_error *err) {
    return from_sets(one, other, true, out, err);
}

enum llmq_status pattern_parse(const struct json *value, struct pattern **out, llmq_error *err) {
    const char *literal = json_string(json_get(value, "String"));
    const char *regex = json_string(json_get(value, "Regex"));
    char *text = NULL;
    size_t len = 0;
    if (json_type(value) != JSON_OBJECT || !literal == !regex)
        return error_set(err, LLMQ_E_INPUT,
                         "'pattern' must be {\"String\": text} or {\"Regex\": text}");
    enum llmq_status status = text_copy(literal ? literal : regex, &text, &len, err);
    if (status == LLMQ_OK)
        status =
            literal ? pattern_literal(text, len, out, err) : pattern_regex(text, len, out, err);
    free(text);
    return status;
}

void pattern_free(struct pattern **p) {
    if (*p) {
        free((*p)->literal);
        expr_free(&(*p)->regex);
        for (unsigned i = 0; i < 2; i++)
            code_table_free(&(*p)->sets[i]);
        free(*p);
    }
    *p = NULL;
}

bool pattern_is_local(const struct pattern *p) {
    uint32_t cp = 0;
    return p->kind == PATTERN_SETS ||
           (p->kind == PATTERN_LITERAL && utf8_decode(p->literal, &cp) == p->literal_len);
}

bool pattern_restarts(const struct pattern *p) {
    return p->kind != PATTERN_REGEX || expr_only_ahead(p->regex);
}

/* --- searching: each finder sets *found and the span of the next match at or after `from` ----- */

static void find_literal(const struct segment_walk *w, size_t from, struct segment *out,
                         bool *found) {
    const struct pattern *p = w->pattern;
    *found = false;
    while (w->len - from >= p->literal_len) {
        const char *hit = memchr(w->text + from, p->literal[0], w->len - from - p->literal_len + 1);
        if (!hit)
            return;
        from = (size_t)(hit - w->text);
        if (memcmp(hit, p->literal, p->literal_len) == 0) {
            *out = (struct segment){from, from + p->literal_len, true, false};
            *found = true;
            return;
        }
        from++;
    }
}

/* The set that the character at `at` belongs to, or -1; its length in *len. */
static int set_of(const struct segment_walk *w, size_t at, size_t *len) {
    uint32_t cp = 0;
    *len = utf8_decode(w->text + at, &cp);
    for (unsigned i = 0; i < w->pattern->set_count; i++)
        if (code_table_has(&w->pattern->sets[i], cp))
            return (int)i;
    return -1;
}

static void find_sets(const struct segment_walk *w, size_t from, struct segment *out, bool *found) {
    size_t len = 0;
    int set = -1;
    *found = false;
    for (; from < w->len && set < 0; from += set < 0 ? len : 0)
        set = set_of(w, from, &len);
    if (set < 0)
        return;
    *out = (struct segment){from, from + len, true, false};
    *found = true;
    while (w->pattern->runs && out->end < w->len && set_of(w, out->end, &len) == set)
        out->end += len;
}

static enum llmq_status find(struct segment_walk *w, size_t from, struct segment *out, bool *found,
                             llmq_error *err) {
    struct expr_span span = {0};
    enum llmq_status status = LLMQ_OK;
    switch (w->pattern->kind) {
    case PATTERN_LITERAL:
        find_literal(w, from, out, found);
        break;
    case PATTERN_SETS:
        find_sets(w, from, out, found);
        break;
    case PATTERN_REGEX:
        status = expr_find(w->pattern->regex, w->scratch, w->text, w->len, from, &span, found, err);
        *out = (struct segment){span.begin, span.end, true, false};
        w->open = w->open || expr_saw_end(w->scratch);
        break;
    }
    w->open = w->open || !*found || out->end == w->len;
    return status;
}

/* Find the next match that is not an empty one touching the match before it. */
static enum llmq_status find_next(struct segment_walk *w, llmq_error *err) {
    w->has_match = false;
    while (w->search <= w->len) {
        enum llmq_status status = find(w, w->search, &w->match, &w->has_match, err);
        if (status != LLMQ_OK || !w->has_match) {
            w->search = w->len + 1; /* there will be none */
            return status;
        }
        bool empty = w->match.begin == w->match.end;
        if (!(empty && w->matched_before && w->match.begin == w->covered))
            return LLMQ_OK;
        uint32_t cp = 0;
        w->search += w->search < w->len ? utf8_decode(w->text + w->search, &cp) : 1;
        w->has_match = false;
    }
    return LLMQ_OK;
}

void segment_walk_init(struct segment_walk *w, const struct pattern *p, struct expr_scratch *m,
                       const char *text, size_t len) {
    *w = (struct segment_walk){.pattern = p, .scratch = m, .text = text, .len = len};
}

enum llmq_status segment_walk_next(struct segment_walk *w, struct segment *out, bool *more,
                                   llmq_error *err) {
    *more = false;
    if (w->len == 0)
        return LLMQ_OK;
    if (!w->has_match) {
        enum llmq_status status = find_next(w, err);
        if (status != LLMQ_OK)
            return status;
    }
    size_t gap_end = w->has_match ? w->match.begin : w->len;
    if (gap_end > w->covered) {
        *out = (struct segment){w->covered, gap_end, false, false};
        w->matched_before = false;
    } else if (w->has_match) {
        *out = w->match;
        w->has_match = false;
        w->matched_before = true;
        w->search = w->match.end;
    } else {
        return LLMQ_OK;
    }
    out->open = w->open;
    w->covered = out->end;
    *more = true;
    return LLMQ_OK;
}
