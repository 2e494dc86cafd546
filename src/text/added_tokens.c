/* SPDX-License-Identifier: Apache-2.0 */
/* Added tokens: see added_tokens.h.
 *
 * The tokens to look for are kept sorted by their bytes. At each position whose first byte begins
 * some token, the range of tokens that agree with the text is narrowed byte by byte; the longest
 * token that agrees completely is the match. Semantics of the flags are the reference library's. */
#include "text/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/code_set.h"
#include "text/json_field.h"
#include "text/table_hash.h"
#include "text/unicode.h"
#include "text/utf8.h"

struct added_token {
    char *content; /* NUL-terminated, and may hold NUL */
    size_t content_len;
    char *needle; /* what is looked for: content, normalized where the token says so */
    size_t needle_len;
    int32_t id;
    bool single_word; /* not next to a word character */
    bool lstrip;      /* takes the white space before it along */
    bool rstrip;      /* and after it */
    bool normalized;
    bool special;
};

/* Tokens to look for in one pass, sorted by needle. */
struct needle_set {
    const struct added_token **items;
    size_t count;
    bool first[256]; /* bytes that begin a needle */
};

struct added_tokens {
    struct added_token *tokens;
    size_t count;
    int32_t *by_id;            /* [limit] index in tokens, or -1 */
    int32_t limit;             /* no id reaches this */
    struct needle_set sets[2]; /* [normalized] */
    struct code_table word;    /* word characters, for single_word */
};

/* Contents that are not in the vocabulary, while loading: hash table of indices, -1 is empty. */
struct content_index {
    int32_t *slots;
    size_t mask;
};

/* --- loading ---------------------------------------------------------------------------------- */

static enum llmq_status parse_token(const struct json *value, struct added_token *t,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int32_t declared = 0;
    LLMQ_TRY(field_text(value, "content", &t->content, &t->content_len, err));
    LLMQ_TRY(json_token_id(json_get(value, "id"), t->content, &declared, err));
    LLMQ_TRY(field_bool(value, "single_word", false, &t->single_word, err));
    LLMQ_TRY(field_bool(value, "lstrip", false, &t->lstrip, err));
    LLMQ_TRY(field_bool(value, "rstrip", false, &t->rstrip, err));
    LLMQ_TRY(field_bool(value, "normalized", true, &t->normalized, err));
    LLMQ_TRY(field_bool(value, "special", false, &t->special, err));
cleanup:
    return status;
}

static void token_clear(struct added_token *t) {
    free(t->content);
    free(t->needle);
    *t = (struct added_token){0};
}

static bool same_content(const struct added_token *a, const struct added_token *b) {
    return a->content_len == b->content_len && memcmp(a->content, b->content, a->content_len) == 0;
}

static int32_t *content_slot(const struct added_tokens *a, const struct content_index *index,
                             const struct added_token *t) {
    size_t i = (size_t)table_hash_bytes(t->content, t->content_len) & index->mask;
    while (index->slots[i] >= 0 && !same_content(&a->tokens[index->slots[i]], t))
        i = (i + 1) & index->mask;
    return &index->slots[i];
}

/* Keep `t` in the set: a token of the same text or id is replaced, an empty one is dropped. */
static void keep(struct added_tokens *a, struct content_index *index, struct added_token *t,
                 const struct vocab *v, int32_t *next_id) {
    if (t->content_len == 0) {
        token_clear(t);
        return;
    }
    int32_t *slot = content_slot(a, index, t);
    t->id = vocab_find(v, t->content, t->content_len);
    if (t->id < 0)
        t->id = *slot >= 0 ? a->tokens[*slot].id : (*next_id)++;
    int32_t *at = &a->by_id[t->id];
    if (*at >= 0)
        token_clear(&a->tokens[*at]);
    else
        *at = (int32_t)a->count++;
    a->tokens[*at] = *t;
    *slot = *at;
    *t = (struct added_token){0};
}

static enum llmq_status make_needle(struct added_token *t, const struct added_context *context,
                                    llmq_error *err) {
    struct strbuf text = {0};
    bool at_start = true;
    enum llmq_status status = LLMQ_OK;
    strbuf_append(&text, t->content, t->content_len);
    if (t->normalized)
        LLMQ_TRY(
            normalizer_apply(context->normalizer, context->scratch, false, &text, &at_start, err));
    t->needle_len = text.len;
    t->needle = strbuf_take(&text);
    if (!t->needle)
        status = error_memory(err, "added tokens");
    else if (t->needle_len == 0)
        status = error_set(err, LLMQ_E_INPUT, "added token '%.60s' is empty once normalized",
                           t->content);
cleanup:
    strbuf_free(&text);
    return status;
}

static int compare_needles(const void *left, const void *right) {
    const struct added_token *a = *(const struct added_token *const *)left;
    const struct added_token *b = *(const struct added_token *const *)right;
    int order =
        memcmp(a->needle, b->needle, a->needle_len < b->needle_len ? a->needle_len : b->needle_len);
    if (order == 0 && a->needle_len != b->needle_len)
        order = a->needle_len < b->needle_len ? -1 : 1;
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

static enum llmq_status build_word(struct added_tokens *a, llmq_error *err) {
    struct code_set set = {0};
    unicode_property(UNICODE_WORD, strlen(UNICODE_WORD), &set);
    enum llmq_status status = code_table_build(&set, &a->word, err);
    code_set_free(&set);
    return status;
}

static enum llmq_status build_set(struct added_tokens *a, bool normalized, llmq_error *err) {
    struct needle_set *set = &a->sets[normalized];
    set->items = calloc(a->count + 1, sizeof *set->items);
    if (!set->items)
        return error_memory(err, "added tokens");
    for (size_t i = 0; i < a->count; i++) {
        if (a->tokens[i].normalized != normalized)
            continue;
        set->items[set->count++] = &a->tokens[i];
        set->first[(unsigned char)a->tokens[i].needle[0]] = true;
    }
    qsort(set->items, set->count, sizeof *set->items, compare_needles);
    return LLMQ_OK;
}

/* Tables for `count` tokens: their ids lie in the vocabulary or follow its number of tokens. */
static enum llmq_status allocate(struct added_tokens *a, struct content_index *index,
                                 const struct vocab *v, size_t count, llmq_error *err) {
    if (count > TOKEN_ID_MAX)
        return error_set(err, LLMQ_E_INPUT, "%zu added tokens are too many", count);
    int32_t end = v->count + (int32_t)count;
    size_t slots = table_hash_capacity(count);
    a->limit = end > v->ids ? end : v->ids;
    a->tokens = calloc(count + 1, sizeof *a->tokens);
    a->by_id = malloc((size_t)a->limit * sizeof *a->by_id);
    index->slots = malloc(slots * sizeof *index->slots);
    if (!a->tokens || !a->by_id || !index->slots)
        return error_memory(err, "added tokens");
    memset(a->by_id, 0xff, (size_t)a->limit * sizeof *a->by_id);
    memset(index->slots, 0xff, slots * sizeof *index->slots);
    index->mask = slots - 1;
    return LLMQ_OK;
}

static enum llmq_status read_tokens(const struct json *array, const struct vocab *v,
                                    struct added_tokens *a, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct content_index index = {0};
    struct added_token token = {0};
    int32_t next_id = v->count;
    LLMQ_TRY(allocate(a, &index, v, json_count(array), err));
    for (const struct json *c = json_first(array); c; c = json_next(c)) {
        LLMQ_TRY(parse_token(c, &token, err));
        keep(a, &index, &token, v, &next_id);
    }
cleanup:
    token_clear(&token);
    free(index.slots);
    return status;
}

enum llmq_status added_tokens_parse(const struct json *array, const struct added_context *context,
                                    struct added_tokens **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (json_type(array) != JSON_NULL && json_type(array) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "'added_tokens' must be an array");
    struct added_tokens *a = calloc(1, sizeof *a);
    if (!a)
        return error_memory(err, "added tokens");
    LLMQ_TRY(read_tokens(array, context->vocab, a, err));
    for (size_t i = 0; i < a->count; i++)
        LLMQ_TRY(make_needle(&a->tokens[i], context, err));
    LLMQ_TRY(build_word(a, err));
    LLMQ_TRY(build_set(a, false, err));
    LLMQ_TRY(build_set(a, true, err));
    *out = a;
    a = NULL;
cleanup:
    added_tokens_free(&a);
    return status;
}

void added_tokens_free(struct added_tokens **a) {
    if (*a) {
        for (size_t i = 0; i < (*a)->count; i++)
            token_clear(&(*a)->tokens[i]);
        free((*a)->tokens);
        free((*a)->by_id);
        free((*a)->sets[0].items);
        free((*a)->sets[1].items);
        code_table_free(&(*a)->word);
        free(*a);
    }
    *a = NULL;
}

int32_t added_tokens_limit(const struct added_tokens *a) {
    int32_t limit = a->limit;
    while (limit > 0 && a->by_id[limit - 1] < 0)
        limit--;
    return limit;
}

int32_t added_tokens_find(const struct added_tokens *a, const char *content) {
    const size_t len = strlen(content);
    for (size_t i = 0; i < a->count; i++)
        if (a->tokens[i].content_len == len && memcmp(a->tokens[i].content, content, len) == 0)
            return a->tokens[i].id;
    return -1;
}

bool added_tokens_is_special(const struct added_tokens *a, int32_t id) {
    const int32_t index = id >= 0 && id < a->limit ? a->by_id[id] : -1;
    return index >= 0 && a->tokens[index].special;
}

static const struct added_token *token_of(const struct added_tokens *a, int32_t id) {
    const int32_t index = id >= 0 && id < a->limit ? a->by_id[id] : -1;
    return index >= 0 ? &a->tokens[index] : NULL;
}

const char *added_tokens_content(const struct added_tokens *a, int32_t id) {
    const struct added_token *token = token_of(a, id);
    return token ? token->content : NULL;
}

size_t added_tokens_length(const struct added_tokens *a, int32_t id) {
    const struct added_token *token = token_of(a, id);
    return token ? token->content_len : 0;
}

/* --- matching --------------------------------------------------------------------------------- */

/* First index in [lo, hi) whose needle has a byte >= `byte` at `depth`; those agree before it. */
static size_t lower_bound(const struct needle_set *set, size_t lo, size_t hi, size_t depth,
                          unsigned byte) {
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)set->items[mid]->needle[depth] < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest token at the start of `text`, or NULL; *cut is set when the text ends before that can
 * be told. */
static const struct added_token *longest_match(const struct needle_set *set, const char *text,
                                               size_t len, bool *cut) {
    const struct added_token *best = NULL;
    size_t lo = 0, hi = set->count;
    for (size_t depth = 0; lo < hi; depth++) {
        /* A needle that ends here sorts before those that go on; its NUL ends it below. */
        if (set->items[lo]->needle_len == depth) {
            best = set->items[lo];
            while (lo < hi && set->items[lo]->needle_len == depth)
                lo++;
        }
        if (depth == len) {
            *cut = *cut || lo < hi;
            break;
        }
        unsigned byte = (unsigned char)text[depth];
        lo = lower_bound(set, lo, hi, depth, byte);
        hi = lower_bound(set, lo, hi, depth, byte + 1);
    }
    return best;
}

static bool stands_alone(const struct added_tokens *a, const struct strbuf *text, size_t begin,
                         size_t end) {
    uint32_t before = 0, after = 0;
    if (begin > 0)
        utf8_decode(text->data + utf8_previous(text->data, begin), &before);
    if (end < text->len)
        utf8_decode(text->data + end, &after);
    return !(begin > 0 && code_table_has(&a->word, before)) &&
           !(end < text->len && code_table_has(&a->word, after));
}

/* Start of the white space that ends at `end`, not before `floor`. */
static size_t space_begin(const struct strbuf *text, size_t floor, size_t end) {
    while (end > floor) {
        uint32_t cp = 0;
        size_t previous = utf8_previous(text->data, end);
        utf8_decode(text->data + previous, &cp);
        if (!unicode_is_space(cp))
            break;
        end = previous;
    }
    return end > floor ? end : floor;
}

/* End of the white space that starts at `begin`. */
static size_t space_end(const struct strbuf *text, size_t begin) {
    while (begin < text->len) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text->data + begin, &cp);
        if (!unicode_is_space(cp))
            break;
        begin += n;
    }
    return begin;
}

enum llmq_status added_tokens_split(const struct added_tokens *a, bool normalized,
                                    const struct strbuf *text, bool at_start,
                                    struct piece_list *out, llmq_error *err) {
    const struct needle_set *set = &a->sets[normalized];
    enum llmq_status status = LLMQ_OK;
    size_t done = 0; /* text before this is in `out` */
    for (size_t at = 0; set->count > 0 && at < text->len;) {
        const struct added_token *t = NULL;
        if (set->first[(unsigned char)text->data[at]])
            t = longest_match(set, text->data + at, text->len - at, &out->unsettled);
        size_t begin = at, end = t ? at + t->needle_len : at + 1;
        at = end;
        out->unsettled = out->unsettled || (t && end == text->len);
        if (!t || (t->single_word && !stands_alone(a, text, begin, end)))
            continue;
        if (t->lstrip)
            begin = space_begin(text, done, begin);
        if (t->rstrip)
            end = space_end(text, end);
        if (begin > end) /* lies within what rstrip took along: the reference fails here */
            continue;
        if (done < begin)
            LLMQ_TRY(
                piece_list_add(out, text->data + done, begin - done, at_start && done == 0, err));
        if (begin < end) /* not so where rstrip and then lstrip took all of it */
            LLMQ_TRY(piece_list_add_id(out, t->id, err));
        done = end;
    }
    if (done < text->len)
        status =
            piece_list_add(out, text->data + done, text->len - done, at_start && done == 0, err);
cleanup:
    return status;
}
