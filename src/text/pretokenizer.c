/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-tokenizers: see pretokenizer.h. Each type is a row of `kinds`: how to read it, how to cut one
 * piece. Whatever cuts by a pattern and a behavior is a Split with settings of its own. */
#include "text/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/json_field.h"
#include "text/unicode.h"
#include "text/utf8.h"

/* GPT-2's expression (Radford et al. 2019, encoder.py): what ByteLevel cuts by. */
static const char gpt2_expression[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* What becomes of the matches of a pattern. A segment joins the one before it, or starts a piece
 * of its own, depending only on whether the two are matches. */
static const struct behavior {
    const char *name;
    bool join[2][2]; /* [the one before is a match][this one is] */
    bool drop;       /* matches are left out */
} behaviors[] = {
    /* clang-format off */
    {"Isolated",           {{false, false}, {false, false}}, false},
    {"Removed",            {{false, false}, {false, false}}, true},
    {"MergedWithPrevious", {{false, true},  {false, false}}, false},
    {"MergedWithNext",     {{false, false}, {true,  false}}, false},
    {"Contiguous",         {{true,  false}, {false, true}},  false},
    /* clang-format on */
};

enum prepend { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

struct pretokenizer {
    const struct pretokenizer_kind *kind;
    struct pattern *pattern; /* Split; ByteLevel with use_regex; Metaspace with split */
    const struct behavior *behavior;
    bool invert; /* gaps count as matches */
    char *meta;  /* Metaspace: the character for a space */
    size_t meta_len;
    struct pattern *space;          /* Metaspace: " " */
    enum prepend prepend;           /* ByteLevel, Metaspace */
    struct pretokenizer **children; /* Sequence */
    size_t count;
};

/* One piece to cut, and where its parts go. */
struct job {
    struct expr_scratch *scratch;
    const char *text;
    size_t len;
    bool at_start;
    unsigned marks; /* of the piece */
    struct piece_list *out;
};

struct pretokenizer_kind {
    const char *name;
    enum llmq_status (*parse)(const struct json *value, struct pretokenizer *p, llmq_error *err);
    enum llmq_status (*apply)(const struct pretokenizer *p, const struct job *job, llmq_error *err);
};

/* --- Sequence: children run one after another in pretokenizer_apply --------------------------- */

static enum llmq_status parse_sequence(const struct json *value, struct pretokenizer *p,
                                       llmq_error *err) {
    const struct json *list = NULL;
    enum llmq_status status = field_array(value, "pretokenizers", &list, err);
    if (status != LLMQ_OK)
        return status;
    p->children = calloc(json_count(list) + 1, sizeof *p->children);
    if (!p->children)
        return error_memory(err, "a pre-tokenizer");
    for (const struct json *c = json_first(list); c && status == LLMQ_OK; c = json_next(c))
        status = pretokenizer_parse(c, &p->children[p->count++], err);
    return status;
}

/* --- Split and its special cases -------------------------------------------------------------- */

static const struct behavior *behavior_named(const char *name) {
    for (size_t i = 0; i < sizeof behaviors / sizeof behaviors[0]; i++)
        if (strcmp(behaviors[i].name, name) == 0)
            return &behaviors[i];
    return NULL;
}

/* Read "behavior", `fallback` where it is absent. */
static enum llmq_status parse_behavior(const struct json *value, const char *fallback,
                                       struct pretokenizer *p, llmq_error *err) {
    const struct json *member = json_get(value, "behavior");
    const char *name = member ? json_string(member) : fallback;
    p->behavior = name ? behavior_named(name) : NULL;
    if (!p->behavior)
        return error_set(err, LLMQ_E_INPUT, "unknown split behavior '%.60s'", name ? name : "?");
    return LLMQ_OK;
}

static enum llmq_status parse_split(const struct json *value, struct pretokenizer *p,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(pattern_parse(json_get(value, "pattern"), &p->pattern, err));
    LLMQ_TRY(parse_behavior(value, NULL, p, err));
    LLMQ_TRY(field_bool(value, "invert", false, &p->invert, err));
cleanup:
    return status;
}

static enum llmq_status parse_delimiter(const struct json *value, struct pretokenizer *p,
                                        llmq_error *err) {
    char *delimiter = NULL;
    size_t len = 0;
    uint32_t cp = 0;
    enum llmq_status status = field_text(value, "delimiter", &delimiter, &len, err);
    if (status == LLMQ_OK && (len == 0 || utf8_decode(delimiter, &cp) != len))
        status =
            error_set(err, LLMQ_E_INPUT, "CharDelimiterSplit: 'delimiter' must be one character");
    if (status == LLMQ_OK)
        status = pattern_literal(delimiter, len, &p->pattern, err);
    p->behavior = behavior_named("Removed");
    free(delimiter);
    return status;
}

/* A pattern of single characters with a property. */
static enum llmq_status property_pattern(const char *property, struct pattern **out,
                                         llmq_error *err) {
    struct code_set set = {0};
    unicode_property(property, strlen(property), &set);
    enum llmq_status status = pattern_set(&set, out, err);
    code_set_free(&set);
    return status;
}

static enum llmq_status parse_digits(const struct json *value, struct pretokenizer *p,
                                     llmq_error *err) {
    bool individual = false;
    enum llmq_status status = field_bool(value, "individual_digits", false, &individual, err);
    if (status != LLMQ_OK)
        return status;
    p->behavior = behavior_named(individual ? "Isolated" : "Contiguous");
    return property_pattern(UNICODE_NUMERIC, &p->pattern, err);
}

static enum llmq_status parse_punctuation(const struct json *value, struct pretokenizer *p,
                                          llmq_error *err) {
    enum llmq_status status = parse_behavior(value, "Isolated", p, err);
    if (status != LLMQ_OK)
        return status;
    return property_pattern(UNICODE_PUNCTUATION, &p->pattern, err);
}

/* Runs of word characters and runs of other visible characters. */
static enum llmq_status parse_whitespace(const struct json *value, struct pretokenizer *p,
                                         llmq_error *err) {
    struct code_set word = {0}, other = {0};
    (void)value;
    p->behavior = behavior_named("Removed");
    p->invert = true;
    unicode_property(UNICODE_WORD, strlen(UNICODE_WORD), &word);
    unicode_property("space", 5, &other);
    code_set_add_set(&other, &word);
    code_set_invert(&other);
    enum llmq_status status = pattern_runs(&word, &other, &p->pattern, err);
    code_set_free(&word);
    code_set_free(&other);
    return status;
}

static enum llmq_status parse_whitespace_split(const struct json *value, struct pretokenizer *p,
                                               llmq_error *err) {
    (void)value;
    p->behavior = behavior_named("Removed");
    return property_pattern("space", &p->pattern, err);
}

/* The marks of a segment of a piece as a piece of its own. */
static unsigned marks_of(const struct job *job, const struct pattern *pattern,
                         const struct segment *s) {
    const bool local = !pattern || pattern_is_local(pattern);
    const bool open = job->marks & PIECE_OPEN && (s->open || !(job->marks & PIECE_GROWS));
    unsigned marks = job->marks & (s->begin == 0 ? PIECE_FRESH : PIECE_LOCAL) ? PIECE_FRESH : 0;
    if (local)
        marks |= job->marks & PIECE_LOCAL;
    if (open)
        marks |= PIECE_OPEN | (local ? job->marks & PIECE_GROWS : 0);
    return marks;
}

static enum llmq_status apply_split(const struct pretokenizer *p, const struct job *job,
                                    llmq_error *err) {
    struct segment_walk walk;
    struct segment s = {0}, piece = {0};
    const bool local = pattern_is_local(p->pattern);
    bool more = false, open = false; /* is there a piece that may still grow? */
    segment_walk_init(&walk, p->pattern, job->scratch, job->text, job->len);
    for (;;) {
        enum llmq_status status = segment_walk_next(&walk, &s, &more, err);
        bool is_match = s.is_match != p->invert;
        if (status != LLMQ_OK)
            return status;
        if (more && open && p->behavior->join[piece.is_match][is_match]) {
            piece = (struct segment){piece.begin, s.end, is_match, s.open};
            continue;
        }
        piece.open = piece.open || (s.open && !local); /* which might have joined it */
        job->out->marks = marks_of(job, p->pattern, &piece);
        if (open && !(p->behavior->drop && piece.is_match))
            status = piece_list_add(job->out, job->text + piece.begin, piece.end - piece.begin,
                                    job->at_start && piece.begin == 0, err);
        if (status != LLMQ_OK || !more)
            return status;
        piece = (struct segment){s.begin, s.end, is_match, s.open};
        open = true;
    }
}

/* --- ByteLevel -------------------------------------------------------------------------------- */

static enum llmq_status parse_byte_level(const struct json *value, struct pretokenizer *p,
                                         llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool prefix = true, use_regex = true;
    LLMQ_TRY(field_bool(value, "add_prefix_space", true, &prefix, err));
    LLMQ_TRY(field_bool(value, "use_regex", true, &use_regex, err));
    p->prepend = prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (use_regex)
        LLMQ_TRY(pattern_regex(gpt2_expression, sizeof gpt2_expression - 1, &p->pattern, err));
cleanup:
    return status;
}

static enum llmq_status add_byte_level(const struct pretokenizer *p, const struct job *job,
                                       const struct segment *s, llmq_error *err) {
    size_t begin = job->out->text.len;
    job->out->marks = marks_of(job, p->pattern, s);
    byte_level_append(&job->out->text, job->text + s->begin, s->end - s->begin);
    return piece_list_close(job->out, begin, job->at_start && s->begin == 0, err);
}

static enum llmq_status cut_byte_level(const struct pretokenizer *p, const struct job *job,
                                       llmq_error *err) {
    struct segment_walk walk;
    struct segment s = {0, job->len, false, true};
    bool more = false;
    if (!p->pattern)
        return add_byte_level(p, job, &s, err);
    segment_walk_init(&walk, p->pattern, job->scratch, job->text, job->len);
    for (;;) {
        enum llmq_status status = segment_walk_next(&walk, &s, &more, err);
        if (status == LLMQ_OK && more)
            status = add_byte_level(p, job, &s, err);
        if (status != LLMQ_OK || !more)
            return status;
    }
}

static enum llmq_status apply_byte_level(const struct pretokenizer *p, const struct job *job,
                                         llmq_error *err) {
    if (p->prepend == PREPEND_NEVER || job->text[0] == ' ')
        return cut_byte_level(p, job, err);
    struct strbuf spaced = {0};
    struct job inner = *job;
    strbuf_puts(&spaced, " ");
    strbuf_append(&spaced, job->text, job->len);
    inner.text = spaced.data;
    inner.len = spaced.len;
    enum llmq_status status = strbuf_ok(&spaced) ? cut_byte_level(p, &inner, err)
                                                 : error_memory(err, "pre-tokenized text");
    strbuf_free(&spaced);
    return status;
}

/* --- Metaspace -------------------------------------------------------------------------------- */

/* "prepend_scheme" is the newer spelling; "add_prefix_space": false the older one of "never". */
static enum llmq_status parse_prepend(const struct json *value, struct pretokenizer *p,
                                      llmq_error *err) {
    static const char *const names[] = {"never", "first", "always"};
    const struct json *member = json_get(value, "prepend_scheme");
    const char *scheme = member ? json_string(member) : NULL;
    bool prefix = true, known = !member;
    enum llmq_status status = field_bool(value, "add_prefix_space", true, &prefix, err);
    if (status != LLMQ_OK)
        return status;
    p->prepend = prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    for (size_t i = 0; scheme && i < 3 && !known; i++) {
        known = strcmp(names[i], scheme) == 0;
        p->prepend = (enum prepend)i;
    }
    if (!known || (!prefix && p->prepend != PREPEND_NEVER))
        return error_set(err, LLMQ_E_INPUT,
                         "Metaspace: 'prepend_scheme' must be first, always or never, and never "
                         "where 'add_prefix_space' is false");
    return LLMQ_OK;
}

static enum llmq_status parse_metaspace(const struct json *value, struct pretokenizer *p,
                                        llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool split = true;
    uint32_t cp = 0;
    LLMQ_TRY(field_text(value, "replacement", &p->meta, &p->meta_len, err));
    if (p->meta_len == 0 || utf8_decode(p->meta, &cp) != p->meta_len)
        return error_set(err, LLMQ_E_INPUT, "Metaspace: 'replacement' must be one character");
    LLMQ_TRY(parse_prepend(value, p, err));
    LLMQ_TRY(field_bool(value, "split", true, &split, err));
    LLMQ_TRY(pattern_literal(" ", 1, &p->space, err));
    if (split)
        LLMQ_TRY(pattern_literal(p->meta, p->meta_len, &p->pattern, err));
    p->behavior = behavior_named("MergedWithNext");
cleanup:
    return status;
}

/* The piece with its spaces replaced and, where the scheme says so, one put in front. */
static enum llmq_status spell_metaspace(const struct pretokenizer *p, const struct job *job,
                                        struct strbuf *out, llmq_error *err) {
    struct segment_walk walk;
    struct segment s;
    bool more = false;
    size_t meta_len = p->meta_len;
    bool has =
        job->text[0] == ' ' || (job->len >= meta_len && memcmp(job->text, p->meta, meta_len) == 0);
    bool wants = p->prepend == PREPEND_ALWAYS || (p->prepend == PREPEND_FIRST && job->at_start);
    if (wants && !has)
        strbuf_append(out, p->meta, meta_len);
    segment_walk_init(&walk, p->space, job->scratch, job->text, job->len);
    for (;;) {
        enum llmq_status status = segment_walk_next(&walk, &s, &more, err);
        if (status != LLMQ_OK || !more)
            return status;
        if (s.is_match)
            strbuf_append(out, p->meta, meta_len);
        else
            strbuf_append(out, job->text + s.begin, s.end - s.begin);
    }
}

static enum llmq_status apply_metaspace(const struct pretokenizer *p, const struct job *job,
                                        llmq_error *err) {
    struct strbuf spelled = {0};
    struct job inner = *job;
    enum llmq_status status = spell_metaspace(p, job, &spelled, err);
    if (status == LLMQ_OK && !strbuf_ok(&spelled))
        status = error_memory(err, "pre-tokenized text");
    inner.text = spelled.data;
    inner.len = spelled.len;
    job->out->marks = marks_of(job, NULL, &(struct segment){0, spelled.len, false, true});
    if (status == LLMQ_OK)
        status = p->pattern ? apply_split(p, &inner, err)
                            : piece_list_add(job->out, inner.text, inner.len, job->at_start, err);
    strbuf_free(&spelled);
    return status;
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct pretokenizer_kind kinds[] = {
    /* clang-format off */
    {"Sequence",           parse_sequence,         NULL},
    {"ByteLevel",          parse_byte_level,       apply_byte_level},
    {"Metaspace",          parse_metaspace,        apply_metaspace},
    {"Split",              parse_split,            apply_split},
    {"CharDelimiterSplit", parse_delimiter,        apply_split},
    {"Digits",             parse_digits,           apply_split},
    {"Punctuation",        parse_punctuation,      apply_split},
    {"Whitespace",         parse_whitespace,       apply_split},
    {"WhitespaceSplit",    parse_whitespace_split, apply_split},
    /* clang-format on */
};

enum llmq_status pretokenizer_parse(const struct json *value, struct pretokenizer **out,
                                    llmq_error *err) {
    if (json_type(value) == JSON_NULL)
        return LLMQ_OK;
    const char *type = NULL;
    enum llmq_status status = field_string(value, "type", &type, err);
    if (status != LLMQ_OK)
        return error_prefix(err, status, "pre-tokenizer");
    const struct pretokenizer_kind *kind = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !kind; i++)
        kind = strcmp(kinds[i].name, type) == 0 ? &kinds[i] : NULL;
    if (!kind)
        return error_set(err, LLMQ_E_UNSUPPORTED, "pre-tokenizer '%.60s' is not supported", type);
    struct pretokenizer *p = calloc(1, sizeof *p);
    if (!p)
        return error_memory(err, "a pre-tokenizer");
    p->kind = kind;
    status = kind->parse(value, p, err);
    if (status == LLMQ_OK)
        *out = p;
    else
        pretokenizer_free(&p);
    return status;
}

void pretokenizer_free(struct pretokenizer **p) {
    if (*p) {
        for (size_t i = 0; i < (*p)->count; i++)
            pretokenizer_free(&(*p)->children[i]);
        free((*p)->children);
        free((*p)->meta);
        pattern_free(&(*p)->pattern);
        pattern_free(&(*p)->space);
        free(*p);
    }
    *p = NULL;
}

/* Cut every text piece by a pre-tokenizer that is not a Sequence. */
static enum llmq_status apply_one(const struct pretokenizer *p, struct expr_scratch *scratch,
                                  const struct piece_list *in, struct piece_list *out,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < in->count && status == LLMQ_OK; i++) {
        const struct piece *piece = &in->items[i];
        struct job job = {.scratch = scratch,
                          .text = in->text.data + piece->begin,
                          .len = piece->len,
                          .at_start = piece->at_start,
                          .marks = piece->marks,
                          .out = out};
        status = piece->id == PIECE_TEXT ? p->kind->apply(p, &job, err)
                                         : piece_list_add_id(out, piece->id, err);
    }
    return status;
}

enum llmq_status pretokenizer_apply(const struct pretokenizer *p, struct expr_scratch *scratch,
                                    struct piece_list *pieces, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (!p)
        return LLMQ_OK;
    for (size_t i = 0; i < p->count && status == LLMQ_OK; i++)
        status = pretokenizer_apply(p->children[i], scratch, pieces, err);
    if (!p->kind->apply)
        return status;
    struct piece_list out = {.unsettled = pieces->unsettled};
    status = apply_one(p, scratch, pieces, &out, err);
    piece_list_free(status == LLMQ_OK ? pieces : &out);
    if (status == LLMQ_OK)
        *pieces = out;
    return status;
}

/* Matches that are left out would leave no trace of where they were. */
bool pretokenizer_restarts(const struct pretokenizer *p) {
    bool restarts = true;
    if (!p)
        return true;
    for (size_t i = 0; i < p->count && restarts; i++)
        restarts = pretokenizer_restarts(p->children[i]);
    if (p->pattern && p->behavior && p->behavior->drop && !pattern_is_local(p->pattern))
        return false;
    return restarts && (!p->pattern || pattern_restarts(p->pattern));
}
