/* Corpora: see corpus.h.
 *
 * Ready-made windows (.json) are read as they are. Text becomes one stream of tokens, which is cut
 * into windows that do not overlap; sampling chooses among those. Both end in the same structure,
 * where every token of the file is either used or counted as dropped. */
#include "text/corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "base/json_scan.h"

#define CORPUS_MAX_FILE ((size_t)4 << 30)
#define WINDOW_MIN      2 /* a window of one token predicts nothing */

/* --- building the corpus ---------------------------------------------------------------------- */

static enum llmq_status reserve_windows(struct corpus *c, size_t windows, llmq_error *err) {
    c->offsets = calloc(windows + 1, sizeof *c->offsets);
    return c->offsets ? LLMQ_OK : error_memory(err, "the windows of a corpus");
}

/* Make the ids appended last, up to `end`, a window; offsets has room. */
static void close_window(struct corpus *c, int64_t end) {
    int64_t len = end - c->offsets[c->count];
    c->offsets[++c->count] = end;
    c->max_len = len > c->max_len ? len : c->max_len;
}

static enum llmq_status check_vocab(const struct corpus *c, int64_t vocab, llmq_error *err) {
    for (int64_t w = 0; w < c->count; w++)
        for (int64_t i = c->offsets[w]; i < c->offsets[w + 1]; i++)
            if (c->ids[i] < 0 || c->ids[i] >= vocab)
                return error_set(
                    err, LLMQ_E_INPUT, "window %lld, position %lld: id %d is not in [0, %lld)",
                    (long long)w, (long long)(i - c->offsets[w]), (int)c->ids[i], (long long)vocab);
    return LLMQ_OK;
}

/* --- windows given as ids --------------------------------------------------------------------- */

static enum llmq_status read_window(const struct json *row, struct id_list *ids, int64_t number,
                                    llmq_error *err) {
    int64_t position = 0;
    if (json_type(row) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "window %lld is not an array", (long long)number);
    for (const struct json *v = json_first(row); v; v = json_next(v), position++) {
        int64_t id = 0;
        if (!json_as_int64(v, &id) || id < INT32_MIN || id > INT32_MAX)
            return error_set(err, LLMQ_E_INPUT, "window %lld, position %lld: not a token id",
                             (long long)number, (long long)position);
        enum llmq_status status = id_list_push(ids, (int32_t)id, err);
        if (status != LLMQ_OK)
            return status;
    }
    if (position < WINDOW_MIN)
        return error_set(err, LLMQ_E_INPUT, "window %lld has %lld tokens, at least %d are needed",
                         (long long)number, (long long)position, WINDOW_MIN);
    return LLMQ_OK;
}

/* The first windows, whole, as far as the limits allow; all the others are dropped. */
static enum llmq_status take_windows(const struct json *root, const struct corpus_options *o,
                                     struct corpus *c, struct id_list *ids, llmq_error *err) {
    bool full = false;
    int64_t number = 0;
    if (json_type(root) != JSON_ARRAY)
        return error_set(err, LLMQ_E_INPUT, "not an array of arrays of token ids");
    enum llmq_status status = reserve_windows(c, json_count(root), err);
    for (const struct json *row = json_first(root); row && status == LLMQ_OK;
         row = json_next(row), number++) {
        status = read_window(row, ids, number, err);
        full = full || (o->max_windows > 0 && c->count == o->max_windows) ||
               (o->max_tokens > 0 && (int64_t)ids->count > o->max_tokens);
        if (!full)
            close_window(c, (int64_t)ids->count);
    }
    return status;
}

static enum llmq_status load_windows(const char *path, const struct corpus_options *o,
                                     struct corpus *c, struct id_list *ids, llmq_error *err) {
    struct json *root = NULL;
    enum llmq_status status = json_read(path, &root, err);
    if (status != LLMQ_OK)
        return status;
    status = take_windows(root, o, c, ids, err);
    json_free(&root);
    return status == LLMQ_OK ? status : error_prefix(err, status, "%s", path);
}

/* --- streams of tokens ------------------------------------------------------------------------ */

/* The value of "text" in one line of JSONL; the caller frees *text. */
static enum llmq_status read_text_member(const char *line, size_t len, char **text,
                                         size_t *text_len, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json_scan scan;
    struct json_token token = {.type = JSON_TOKEN_NULL};
    json_scan_init(&scan, line, len, JSON_MAX_DEPTH);
    LLMQ_TRY(json_scan_next(&scan, &token, err));
    if (token.type != JSON_TOKEN_OBJECT_BEGIN)
        return error_set(err, LLMQ_E_INPUT, "not a JSON object");
    for (;;) {
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (token.type != JSON_TOKEN_KEY)
            break;
        bool is_text = json_token_is(&scan, &token, "text");
        LLMQ_TRY(json_scan_next(&scan, &token, err));
        if (!is_text) {
            LLMQ_TRY(json_scan_skip(&scan, &token, err));
            continue;
        }
        if (token.type != JSON_TOKEN_STRING || *text)
            return error_set(err, LLMQ_E_INPUT,
                             *text ? "\"text\" appears twice" : "\"text\" is not a string");
        LLMQ_TRY(json_scan_unescape(&scan, &token, text, text_len, err));
    }
    LLMQ_TRY(json_scan_next(&scan, &token, err)); /* nothing may follow */
    if (!*text)
        status = error_set(err, LLMQ_E_INPUT, "no \"text\"");
cleanup:
    return status;
}

static bool is_blank(const char *line, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r", line[i]) || line[i] == '\0')
            return false;
    return true;
}

/* One document a line; lines of white space only are skipped. */
static enum llmq_status tokenize_lines(const char *data, size_t len, const struct tokenizer *tok,
                                       struct id_list *ids, llmq_error *err) {
    size_t number = 0;
    for (size_t at = 0, next = 0; at < len; at = next) {
        const char *newline = memchr(data + at, '\n', len - at);
        size_t line_len = newline ? (size_t)(newline - data) - at : len - at;
        next = at + line_len + 1;
        number++;
        if (is_blank(data + at, line_len))
            continue;
        char *text = NULL;
        size_t text_len = 0;
        enum llmq_status status = read_text_member(data + at, line_len, &text, &text_len, err);
        if (status == LLMQ_OK)
            status = tokenizer_encode(tok, text, text_len, true, ids, err);
        free(text);
        if (status != LLMQ_OK)
            return error_prefix(err, status, "line %zu", number);
    }
    return LLMQ_OK;
}

/* --- cutting the stream ----------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, n): values from the incomplete last round of n are drawn again. */
static uint64_t random_below(uint64_t *state, uint64_t n) {
    uint64_t reject = (0 - n) % n; /* 2^64 mod n */
    uint64_t x = next_random(state);
    while (x < reject)
        x = next_random(state);
    return x % n;
}

/* Move the chosen windows to the front of the stream and record them. Each window is taken with
 * probability (still wanted) / (still to come), which gives every subset of that size the same
 * chance and keeps the order (Knuth, TAOCP 2, 3.4.2, Algorithm S). */
static enum llmq_status cut_stream(const struct corpus_options *o, struct corpus *c,
                                   struct id_list *ids, llmq_error *err) {
    int64_t limit = (int64_t)ids->count, end = 0;
    if (o->max_tokens > 0 && limit > o->max_tokens)
        limit = o->max_tokens;
    int64_t tail = limit % o->window;
    int64_t available = limit / o->window + (o->keep_tail && tail >= WINDOW_MIN);
    int64_t wanted = o->max_windows > 0 && o->max_windows < available ? o->max_windows : available;
    uint64_t random = o->seed;
    enum llmq_status status = reserve_windows(c, (size_t)wanted, err);
    if (status != LLMQ_OK)
        return status;
    for (int64_t i = 0; c->count < wanted; i++) {
        int64_t begin = i * o->window;
        int64_t len = limit - begin < o->window ? limit - begin : o->window;
        if (o->sample &&
            random_below(&random, (uint64_t)(available - i)) >= (uint64_t)(wanted - c->count))
            continue;
        memmove(ids->ids + end, ids->ids + begin, (size_t)len * sizeof *ids->ids);
        end += len;
        close_window(c, end);
    }
    return LLMQ_OK;
}

static bool has_suffix(const char *path, const char *suffix) {
    size_t len = strlen(path), suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(path + len - suffix_len, suffix) == 0;
}

static enum llmq_status load_stream(const char *path, const struct tokenizer *tok,
                                    const struct corpus_options *o, struct corpus *c,
                                    struct id_list *ids, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    char *data = NULL;
    size_t len = 0;
    if (!tok)
        return error_set(err, LLMQ_E_USAGE, "%s: text needs a tokenizer", path);
    if (o->window < WINDOW_MIN)
        return error_set(err, LLMQ_E_USAGE, "windows of %lld tokens: at least %d are needed",
                         (long long)o->window, WINDOW_MIN);
    LLMQ_TRY(file_read(path, CORPUS_MAX_FILE, &data, &len, err));
    if (has_suffix(path, ".jsonl"))
        status = tokenize_lines(data, len, tok, ids, err);
    else
        status = tokenizer_encode(tok, data, len, true, ids, err);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s", path);
        goto cleanup;
    }
    LLMQ_TRY(cut_stream(o, c, ids, err));
cleanup:
    free(data);
    return status;
}

/* --- the public functions --------------------------------------------------------------------- */

enum llmq_status corpus_load(const char *path, const struct tokenizer *tok, int64_t vocab,
                             const struct corpus_options *options, struct corpus *out,
                             llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct corpus c = {0};
    struct id_list ids = {0};
    bool ready = has_suffix(path, ".json");
    if (ready)
        LLMQ_TRY(load_windows(path, options, &c, &ids, err));
    else
        LLMQ_TRY(load_stream(path, tok, options, &c, &ids, err));
    if (c.count == 0) {
        status = error_set(err, LLMQ_E_INPUT, "%s: %zu tokens do not make a single window", path,
                           ids.count);
        goto cleanup;
    }
    c.ids = ids.ids;
    c.tokens_used = c.offsets[c.count];
    c.tokens_dropped = (int64_t)ids.count - c.tokens_used;
    ids = (struct id_list){0};
    status = check_vocab(&c, vocab, err);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s", path);
        goto cleanup;
    }
    *out = c;
    c = (struct corpus){0};
cleanup:
    id_list_free(&ids);
    corpus_free(&c);
    return status;
}

void corpus_free(struct corpus *c) {
    free(c->ids);
    free(c->offsets);
    *c = (struct corpus){0};
}
