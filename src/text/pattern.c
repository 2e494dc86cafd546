/* Literal and regular-expression patterns: see pattern.h. The only user of PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/regex_syntax.h"
#include "text/utf8.h"

/* The JIT's stack grows on demand; the patterns of known tokenizers stay far below the start. */
#define JIT_STACK_START ((size_t)32 << 10)
#define JIT_STACK_MAX   ((size_t)8 << 20)

struct pattern {
    char *literal; /* NULL for a regular expression */
    size_t literal_len;
    pcre2_code *code;
};

struct match_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static enum llmq_status compile(const char *translated, struct pattern *p, llmq_error *err) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return error_memory(err, "a regular expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* what ^, $ and . mean by a line */
    int code = 0;
    PCRE2_SIZE offset = 0;
    p->code = pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!p->code) {
        PCRE2_UCHAR why[160] = {0};
        pcre2_get_error_message(code, why, sizeof why);
        return error_set(err, LLMQ_E_INPUT, "regular expression '%.200s': %s (at byte %zu)",
                         translated, (const char *)why, (size_t)offset);
    }
    /* Without a JIT (unusual builds) pcre2_match interprets: slower, same result. */
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    return LLMQ_OK;
}

enum llmq_status pattern_regex(const char *expression, struct pattern **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *translated = NULL;
    struct pattern *p = calloc(1, sizeof *p);
    if (!p)
        return error_memory(err, "a pattern");
    LLMQ_TRY(regex_translate(expression, &translated, err));
    LLMQ_TRY(compile(translated, p, err));
    *out = p;
    p = NULL;
cleanup:
    free(translated);
    pattern_free(&p);
    return status;
}

enum llmq_status pattern_literal(const char *text, struct pattern **out, llmq_error *err) {
    if (!*text) /* matches between all characters, as the empty expression does */
        return pattern_regex("", out, err);
    struct pattern *p = calloc(1, sizeof *p);
    if (p)
        p->literal = strdup(text);
    if (!p || !p->literal) {
        pattern_free(&p);
        return error_memory(err, "a pattern");
    }
    p->literal_len = strlen(text);
    *out = p;
    return LLMQ_OK;
}

enum llmq_status pattern_parse(const struct json *value, struct pattern **out, llmq_error *err) {
    const char *literal = json_string(json_get(value, "String"));
    const char *regex = json_string(json_get(value, "Regex"));
    if (json_type(value) != JSON_OBJECT || !literal == !regex)
        return error_set(err, LLMQ_E_INPUT,
                         "'pattern' must be {\"String\": text} or {\"Regex\": text}");
    return literal ? pattern_literal(literal, out, err) : pattern_regex(regex, out, err);
}

void pattern_free(struct pattern **p) {
    if (*p) {
        free((*p)->literal);
        pcre2_code_free((*p)->code);
        free(*p);
    }
    *p = NULL;
}

enum llmq_status match_scratch_create(struct match_scratch **out, llmq_error *err) {
    struct match_scratch *m = calloc(1, sizeof *m);
    if (m) {
        m->data = pcre2_match_data_create(1, NULL);
        m->context = pcre2_match_context_create(NULL);
        m->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, NULL);
    }
    if (!m || !m->data || !m->context) { /* the stack is NULL where there is no JIT */
        match_scratch_free(&m);
        return error_memory(err, "pattern matching");
    }
    if (m->stack)
        pcre2_jit_stack_assign(m->context, NULL, m->stack);
    *out = m;
    return LLMQ_OK;
}

void match_scratch_free(struct match_scratch **m) {
    if (*m) {
        pcre2_match_data_free((*m)->data);
        pcre2_match_context_free((*m)->context);
        pcre2_jit_stack_free((*m)->stack);
        free(*m);
    }
    *m = NULL;
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
            *out = (struct segment){from, from + p->literal_len, true};
            *found = true;
            return;
        }
        from++;
    }
}

static enum llmq_status find_regex(const struct segment_walk *w, size_t from, struct segment *out,
                                   bool *found, llmq_error *err) {
    struct match_scratch *m = w->scratch;
    int rc = pcre2_match(w->pattern->code, (PCRE2_SPTR)w->text, w->len, from, PCRE2_NO_UTF_CHECK,
                         m->data, m->context);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH)
        return LLMQ_OK;
    if (rc < 0) {
        PCRE2_UCHAR why[160] = {0};
        pcre2_get_error_message(rc, why, sizeof why);
        return error_set(err, LLMQ_E_UNSUPPORTED,
                         "the tokenizer's regular expression gives up near byte %zu: %s", from,
                         (const char *)why);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m->data);
    size_t begin = span[0] < span[1] ? span[0] : span[1]; /* \K in a lookahead can swap them */
    *out = (struct segment){begin < w->covered ? w->covered : begin, span[1], true};
    if (out->end < out->begin)
        out->end = out->begin;
    return LLMQ_OK;
}

/* Find the next match that is not an empty one touching the match before it. */
static enum llmq_status find_next(struct segment_walk *w, llmq_error *err) {
    w->has_match = false;
    while (w->search <= w->len) {
        enum llmq_status status = LLMQ_OK;
        if (w->pattern->literal)
            find_literal(w, w->search, &w->match, &w->has_match);
        else
            status = find_regex(w, w->search, &w->match, &w->has_match, err);
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

void segment_walk_init(struct segment_walk *w, const struct pattern *p, struct match_scratch *m,
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
        *out = (struct segment){w->covered, gap_end, false};
        w->matched_before = false;
    } else if (w->has_match) {
        *out = w->match;
        w->has_match = false;
        w->matched_before = true;
        w->search = w->match.end;
    } else {
        return LLMQ_OK;
    }
    w->covered = out->end;
    *more = true;
    return LLMQ_OK;
}
