/* SPDX-License-Identifier: Apache-2.0 */
/* Corpora: see corpus.h.
 *
 * Ready-made windows are read as they are. Text becomes one stream of tokens, which is cut into
 * windows that do not overlap; sampling chooses among those, once it is known how many there are:
 * of a long text only the chosen ones are ever kept. Both end in the same structure, where every
 * token of the file is either used or counted as dropped. */
#include "text/corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "text/corpus_choice.h"
#include "text/corpus_feed.h"
#include "text/corpus_windows.h"

/* Ids of a text that are kept in case its windows are among them: at most, and with a limit of
 * memory a share of that. A longer text that windows are chosen from is read twice. */
#define KEPT_MOST  ((int64_t)16 << 20)
#define KEPT_SHARE 16

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

/* The first windows, whole, as far as the limits allow; all the others are dropped. */
static enum llmq_status take_windows(struct windows_reader *windows, const struct corpus_options *o,
                                     struct corpus *c, struct id_list *ids, llmq_error *err) {
    bool enough = false, too_long = false, more = true;
    enum llmq_status status = reserve_windows(c, windows->count, err);
    while (status == LLMQ_OK) {
        const size_t begin = ids->count;
        status = windows_next(windows, ids, &more, err);
        if (status != LLMQ_OK || !more)
            break;
        if (o->longest > 0 && ids->count - begin > (size_t)o->longest)
            ids->count = begin + (size_t)o->longest;
        enough = enough || (o->max_windows > 0 && c->count == o->max_windows);
        too_long =
            too_long || (!enough && o->max_tokens > 0 && (int64_t)ids->count > o->max_tokens);
        if (!enough && !too_long)
            close_window(c, (int64_t)ids->count);
    }
    c->windows_beyond = (int64_t)windows->count - c->count;
    if (too_long)
        c->tokens_beyond = (int64_t)ids->count - c->offsets[c->count];
    return status;
}

/* An option that would change nothing about windows given as ids, or NULL. */
static const char *idle_option(const struct corpus_options *o) {
    if (o->window_given)
        return o->window_option;
    if (o->seed_given)
        return "--seed";
    if (o->stratified)
        return "--select";
    if (o->field)
        return o->field_option;
    if (o->special == LLMQ_SPECIAL_BOS)
        return "--bos";
    return o->special == LLMQ_SPECIAL_NONE ? "--no-special" : NULL;
}

static enum llmq_status refuse_idle(const struct corpus_file *file, const char *option,
                                    llmq_error *err) {
    error_set(err, LLMQ_E_USAGE,
              "%s: its windows of token ids are used as they are, %s would change nothing",
              file->path, option);
    error_hint(err, "leave out %s, or give text", option);
    return LLMQ_E_USAGE;
}

static enum llmq_status load_windows(const struct corpus_file *file, const struct corpus_options *o,
                                     struct corpus *c, struct id_list *ids, llmq_error *err) {
    const char *option = idle_option(o);
    struct windows_reader windows;
    enum llmq_status status = windows_open(file, &windows, err);
    if (status == LLMQ_OK && option)
        return refuse_idle(file, option, err);
    if (status == LLMQ_OK && (status = take_windows(&windows, o, c, ids, err)) != LLMQ_OK)
        error_prefix(err, status, "%s", file->path);
    return status;
}

/* --- cutting the stream ----------------------------------------------------------------------- */

/* Where the ids of a window begin in a list that has the whole stream, or the chosen windows alone:
 * there behind those `before` it. */
static int64_t place_of(const struct id_window *w, bool stream, int64_t before) {
    return stream ? w->begin : before;
}

/* Append the ids of the windows that are held back, or of the others, to `to`. */
static int64_t gather(const struct id_windows *w, bool held, bool stream, const int32_t *ids,
                      int32_t *to) {
    int64_t at = 0, before = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const int64_t length = w->window[i].end - w->window[i].begin;
        if (w->window[i].held == held) {
            memmove(to + at, ids + place_of(&w->window[i], stream, before),
                    (size_t)length * sizeof *to);
            at += length;
        }
        before += length;
    }
    return at;
}

static int64_t held_ids(const struct id_windows *w) {
    int64_t ids = 0;
    for (int64_t i = 0; i < w->count; i++)
        ids += w->window[i].held ? w->window[i].end - w->window[i].begin : 0;
    return ids;
}

/* Windows in the order of the corpus: those held back are its last. */
static void close_windows(const struct id_windows *w, struct corpus *c) {
    for (int held = 0; held < 2; held++)
        for (int64_t i = 0; i < w->count; i++)
            if (w->window[i].held == held) {
                close_window(c, c->offsets[c->count] + w->window[i].end - w->window[i].begin);
                c->held += held;
            }
}

/* Record the chosen windows, and move them to the front of the list in that order: those that are
 * not held back where they are, as they come no later than they were. */
static enum llmq_status record_windows(const struct id_windows *w, bool stream, struct corpus *c,
                                       struct id_list *ids, llmq_error *err) {
    int32_t *held = malloc((size_t)(held_ids(w) + 1) * sizeof *held);
    const enum llmq_status status = held ? reserve_windows(c, (size_t)w->count, err)
                                         : error_memory(err, "the windows of a corpus");
    if (status == LLMQ_OK && w->count > 0) {
        const int64_t count = gather(w, true, stream, ids->ids, held);
        const int64_t others = gather(w, false, stream, ids->ids, ids->ids);
        memcpy(ids->ids + others, held, (size_t)count * sizeof *held);
        close_windows(w, c);
    }
    free(held);
    return status;
}

/* The file once more, for the windows alone. */
static enum llmq_status read_again(const struct corpus_feed *first, const struct id_windows *w,
                                   struct id_list *ids, llmq_error *err) {
    const size_t room = (size_t)id_windows_total(w);
    struct corpus_feed again = *first;
    enum llmq_status status =
        reading_room(again.file->limits, again.file->path, room * sizeof *ids->ids, err);
    if (status != LLMQ_OK)
        return status;
    *ids = (struct id_list){.ids = malloc(room * sizeof *ids->ids), .cap = room};
    if (!ids->ids)
        return error_memory(err, "token ids");
    again.keeper = (struct id_keeper){.windows = w, .limits = again.file->limits, .ids = *ids};
    status = corpus_file_rewind(again.file, err);
    if (status == LLMQ_OK)
        status = corpus_feed(&again, err);
    *ids = again.keeper.ids;
    if (status == LLMQ_OK && !id_keeper_done(&again.keeper))
        status = error_set(err, LLMQ_E_INPUT, "%s: it changed while it was read", again.file->path);
    return status;
}

/* As many ids as any window can be made of, or as are kept on the chance. */
static int64_t kept_most(const struct corpus_options *o, const struct reading *limits) {
    const int64_t most = o->max_tokens > 0 ? o->max_tokens : INT64_MAX;
    const uint64_t share = limits->max_mem / KEPT_SHARE / sizeof(int32_t);
    if (!o->sample)
        return most;
    return min_i64(most,
                   limits->max_mem && share < (uint64_t)KEPT_MOST ? (int64_t)share : KEPT_MOST);
}

/* The windows of a stream that was read. All that is wanted has room, or it is told how much. */
static enum llmq_status cut_stream(const struct corpus_feed *feed, const struct corpus_options *o,
                                   struct corpus *c, struct id_list *ids, llmq_error *err) {
    struct id_windows w = {0};
    enum llmq_status status = corpus_choose(o, feed->keeper.seen, &w, err);
    const int64_t end = w.count > 0 ? w.window[w.count - 1].end : 0;
    const bool whole = end <= (int64_t)ids->count;
    c->tokens_beyond = feed->keeper.seen - w.end;
    if (status == LLMQ_OK && !whole) {
        id_list_free(ids);
        status = read_again(feed, &w, ids, err);
    }
    if (status == LLMQ_OK)
        status = record_windows(&w, whole, c, ids, err);
    free(w.window);
    return status;
}

static enum llmq_status refuse_field(const struct corpus_file *file, const struct corpus_options *o,
                                     llmq_error *err) {
    error_set(err, LLMQ_E_USAGE, "%s: one text, not lines of JSON: %s would change nothing",
              file->path, o->field_option);
    error_hint(err, "leave out %s", o->field_option);
    return LLMQ_E_USAGE;
}

static enum llmq_status check_stream(const struct corpus_file *file, const struct tokenizer *tok,
                                     const struct corpus_options *o, llmq_error *err) {
    if (!tok)
        return error_set(err, LLMQ_E_USAGE, "%s: text needs a tokenizer", file->path);
    if (o->window < WINDOW_MIN)
        return error_set(err, LLMQ_E_USAGE, "windows of %lld tokens: at least %d are needed",
                         (long long)o->window, WINDOW_MIN);
    return file->kind == CORPUS_TEXT && o->field ? refuse_field(file, o, err) : LLMQ_OK;
}

/* What became of the texts; `tokens`: ids of the stream. */
static void count_texts(const struct corpus_feed *feed, struct corpus *c, size_t *tokens) {
    size_t prefix_len = 0;
    const int32_t *prefix = tokenizer_prefix(feed->reader.tok, feed->reader.special, &prefix_len);
    c->chats = feed->records.chats;
    c->texts = feed->reader.texts;
    c->texts_empty = feed->reader.empty;
    c->texts_begun = feed->reader.begun;
    c->bos = prefix_len == 1 && c->chats == 0 ? prefix[0] : -1;
    *tokens = (size_t)feed->keeper.seen;
}

static enum llmq_status load_stream(struct corpus_file *file, const struct tokenizer *tok,
                                    const struct corpus_options *o, struct corpus *c,
                                    struct id_list *ids, size_t *tokens, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct corpus_feed feed = {
        .file = file,
        .records = {.file = file, .field = o->field, .field_option = o->field_option},
        .reader = {.tok = tok, .special = o->special},
        .keeper = {.most = kept_most(o, file->limits), .limits = file->limits}};
    LLMQ_TRY(check_stream(file, tok, o, err));
    if (file->kind == CORPUS_LINES && o->dir) /* for those that are conversations */
        LLMQ_TRY(chat_template_open(o->dir, &feed.records.chat, err));
    status = corpus_feed(&feed, err);
    *ids = feed.keeper.ids;
    count_texts(&feed, c, tokens);
    if (status == LLMQ_OK)
        status = cut_stream(&feed, o, c, ids, err);
cleanup:
    chat_template_free(&feed.records.chat);
    return status;
}

/* --- the public functions --------------------------------------------------------------------- */

/* Why there is no window, and what would make one. */
static enum llmq_status no_window(const struct corpus_file *file, const struct corpus_options *o,
                                  const struct corpus *c, size_t tokens, llmq_error *err) {
    const long long window = o->window, limit = o->max_tokens;
    if (c->texts > 0 && c->texts == c->texts_empty)
        return error_set(err, LLMQ_E_INPUT, "%s: no text: %lld of %lld texts are empty", file->path,
                         (long long)c->texts_empty, (long long)c->texts);
    if (c->tokens_beyond > 0 && (c->texts == 0 || tokens >= (size_t)window)) {
        error_set(err, LLMQ_E_USAGE, "%s: --max-tokens %lld leaves no whole window", file->path,
                  limit);
        if (c->texts > 0)
            error_hint(err, "a window has %lld tokens: give --max-tokens %lld or more, or %s %lld",
                       window, window, o->window_option ? o->window_option : "windows of", limit);
        return LLMQ_E_USAGE;
    }
    if (c->texts == 0)
        return error_set(err, LLMQ_E_INPUT, "%s: %zu tokens do not make a single window",
                         file->path, tokens);
    error_set(err, LLMQ_E_INPUT, "%s: %zu tokens do not make a single window of %lld", file->path,
              tokens, window);
    if (o->window_option && tokens >= WINDOW_MIN)
        error_hint(err, "give %s %zu or less, or a longer text", o->window_option, tokens);
    return LLMQ_E_INPUT;
}

/* The windows are at the front; what a long text had behind them is not held for the whole run. */
static void give_back(struct id_list *ids, int64_t used) {
    int32_t *less = realloc(ids->ids, (size_t)used * sizeof *less);
    ids->ids = less ? less : ids->ids;
    ids->cap = less ? (size_t)used : ids->cap;
}

enum llmq_status corpus_load(struct corpus_file *file, const struct tokenizer *tok, int64_t vocab,
                             const struct corpus_options *options, struct corpus *out,
                             llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct corpus c = {.bos = -1};
    struct id_list ids = {0};
    size_t tokens = 0;
    if (file->kind == CORPUS_WINDOWS)
        LLMQ_TRY(load_windows(file, options, &c, &ids, err));
    else
        LLMQ_TRY(load_stream(file, tok, options, &c, &ids, &tokens, err));
    if (file->kind == CORPUS_WINDOWS)
        tokens = ids.count;
    if (c.count == 0) {
        status = no_window(file, options, &c, tokens, err);
        goto cleanup;
    }
    give_back(&ids, c.offsets[c.count]);
    c.ids = ids.ids;
    c.tokens_used = c.offsets[c.count];
    c.tokens_dropped = (int64_t)tokens - c.tokens_used;
    ids = (struct id_list){0};
    status = check_vocab(&c, vocab, err);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s", file->path);
        goto cleanup;
    }
    *out = c;
    c = (struct corpus){0};
cleanup:
    id_list_free(&ids);
    corpus_free(&c);
    return status;
}

/* Append windows [first, end) of `from`; there is room. */
static void append_windows(struct corpus *c, const struct corpus *from, int64_t first,
                           int64_t end) {
    for (int64_t w = first; w < end; w++) {
        const int64_t begin = from->offsets[w], length = from->offsets[w + 1] - begin;
        memcpy(c->ids + c->tokens_used, from->ids + begin, (size_t)length * sizeof *c->ids);
        c->tokens_used += length;
        close_window(c, c->tokens_used);
    }
}

static void add_counts(struct corpus *c, const struct corpus *more) {
    c->tokens_dropped += more->tokens_dropped;
    c->tokens_beyond += more->tokens_beyond;
    c->windows_beyond += more->windows_beyond;
    c->texts += more->texts;
    c->texts_empty += more->texts_empty;
    c->chats += more->chats;
    c->texts_begun += more->texts_begun;
    c->bos = c->bos == more->bos ? c->bos : -1;
}

enum llmq_status corpus_join(struct corpus *c, struct corpus *more, llmq_error *err) {
    if (!c->offsets) {
        *c = *more;
        *more = (struct corpus){0};
        return LLMQ_OK;
    }
    struct corpus both = *c;
    both.ids = malloc((size_t)(c->tokens_used + more->tokens_used) * sizeof *both.ids);
    both.offsets = calloc((size_t)(c->count + more->count + 1), sizeof *both.offsets);
    both.count = both.tokens_used = 0;
    if (!both.ids || !both.offsets) {
        free(both.ids);
        free(both.offsets);
        return error_memory(err, "a corpus");
    }
    append_windows(&both, c, 0, c->count - c->held);
    append_windows(&both, more, 0, more->count - more->held);
    append_windows(&both, c, c->count - c->held, c->count);
    append_windows(&both, more, more->count - more->held, more->count);
    both.held = c->held + more->held;
    add_counts(&both, more);
    corpus_free(c);
    corpus_free(more);
    *c = both;
    return LLMQ_OK;
}

void corpus_drop_held(struct corpus *c) {
    c->count -= c->held;
    c->held = 0;
    c->tokens_dropped += c->tokens_used - c->offsets[c->count];
    c->tokens_used = c->offsets[c->count];
}

void corpus_free(struct corpus *c) {
    free(c->ids);
    free(c->offsets);
    *c = (struct corpus){0};
}
