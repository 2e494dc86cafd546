/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-pair encoding: see bpe.h.
 *
 * A piece becomes a list of symbols, one a character (or a byte, with byte fallback). Neighbours
 * with a merge are candidates in a heap, lowest rank first and leftmost among equals; the best is
 * joined and the pairs it forms with its neighbours become candidates. Candidates that a merge
 * made stale are recognised when they come up. Source: Sennrich et al. 2016; the order and the
 * test for stale candidates are the reference library's.
 *
 * SentencePiece-style models have no pre-tokenizer: the whole text is one piece. It is cut first
 * wherever no merge could ever reach across. A merge across x|y joins a token that ends in symbol
 * x with one that begins with y, so the pairs (last symbol of left, first symbol of right) of all
 * merges are the only ones that can; between two others, both sides are independent. The words
 * that result are short and repeat, so a small cache answers most of them. */
#include "text/bpe.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "text/json_field.h"
#include "text/merge_table.h"
#include "text/table_hash.h"
#include "text/utf8.h"

#define CHARS_DIRECT 0x10000 /* characters below this have their ids in an array */
#define CACHED_MAX   64      /* longer pieces are cut; longer words are not cached */
#define CACHE_SLOTS  16384   /* at most; 32 bytes each */
#define NONE         UINT32_MAX

struct bpe {
    struct vocab vocab;
    struct merge_table merges;
    uint64_t *reach; /* hash set of symbol pairs that a merge can reach across; NULL: any */
    size_t reach_mask;
    int32_t *char_ids;     /* [CHARS_DIRECT] id of the one-character token, or -1 */
    int32_t byte_ids[256]; /* of <0xNN>, or -1; all -1 without byte fallback */
    char *unk_token;       /* NULL: none */
    int32_t unk_id;        /* -1: not in the vocabulary */
    bool fuse_unk;
    bool ignore_merges;
};

struct symbol {
    int32_t id; /* -1: joined into the one before */
    uint32_t previous, next;
};

struct candidate {
    uint32_t rank;
    uint32_t at; /* the left symbol */
    int32_t id;  /* what the two become */
};

struct cached {
    const char *word; /* NULL: empty slot */
    uint32_t tag;
    uint32_t len;
    size_t first; /* ids[first .. first + count) of the output list */
    size_t count;
};

struct bpe_scratch {
    struct symbol *symbols;
    size_t count, cap;
    struct candidate *heap;
    size_t heap_count;
    struct cached *cache;
    size_t cache_mask;
};

/* --- loading ---------------------------------------------------------------------------------- */

static enum llmq_status check_model(const struct json *model, llmq_error *err) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const struct json *type = json_get(model, "type");
    const char *name = json_string(type);
    double dropout = 0;
    if (json_type(model) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "'model' must be an object");
    if (type && (!name || strcmp(name, "BPE") != 0))
        return error_set(err, LLMQ_E_UNSUPPORTED, "model '%.60s' is not supported, only BPE is",
                         name ? name : "?");
    for (size_t i = 0; i < 2; i++) {
        const struct json *affix = json_get(model, affixes[i]);
        const char *text = json_string(affix);
        if (json_type(affix) != JSON_NULL && (!text || *text))
            return error_set(err, LLMQ_E_UNSUPPORTED, "the BPE option '%s' is not supported",
                             affixes[i]);
    }
    const struct json *value = json_get(model, "dropout");
    if (json_type(value) != JSON_NULL &&
        (!json_as_double(value, &dropout) || dropout < 0 || dropout > 0))
        return error_set(err, LLMQ_E_UNSUPPORTED, "the BPE option 'dropout' is not supported");
    return LLMQ_OK;
}

static enum llmq_status parse_options(const struct json *model, struct bpe *b, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool byte_fallback = false;
    const struct json *unk = json_get(model, "unk_token");
    LLMQ_TRY(field_bool(model, "fuse_unk", false, &b->fuse_unk, err));
    LLMQ_TRY(field_bool(model, "ignore_merges", false, &b->ignore_merges, err));
    LLMQ_TRY(field_bool(model, "byte_fallback", false, &byte_fallback, err));
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        int len = snprintf(name, sizeof name, "<0x%02X>", byte);
        b->byte_ids[byte] = byte_fallback ? vocab_find(&b->vocab, name, (size_t)len) : -1;
    }
    b->unk_id = -1;
    if (json_type(unk) == JSON_NULL)
        return LLMQ_OK;
    if (!json_string(unk))
        return error_set(err, LLMQ_E_INPUT, "'unk_token' must be a string");
    size_t len = 0;
    LLMQ_TRY(text_copy(json_string(unk), &b->unk_token, &len, err));
    b->unk_id = vocab_find(&b->vocab, b->unk_token, len);
cleanup:
    return status;
}

static enum llmq_status index_characters(struct bpe *b, llmq_error *err) {
    b->char_ids = malloc(CHARS_DIRECT * sizeof *b->char_ids);
    if (!b->char_ids)
        return error_memory(err, "the model");
    for (size_t i = 0; i < CHARS_DIRECT; i++)
        b->char_ids[i] = -1;
    for (int32_t id = 0; id < b->vocab.ids; id++) {
        const struct vocab_text *t = &b->vocab.by_id[id];
        uint32_t cp = 0;
        if (t->text && t->len > 0 && utf8_decode(t->text, &cp) == t->len && cp < CHARS_DIRECT)
            b->char_ids[cp] = id;
    }
    return LLMQ_OK;
}

static int32_t character_id(const struct bpe *b, uint32_t cp, const char *text, size_t len) {
    return cp < CHARS_DIRECT ? b->char_ids[cp] : vocab_find(&b->vocab, text, len);
}

static uint64_t pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static uint64_t *reach_slot(const struct bpe *b, uint64_t key) {
    size_t i = (size_t)table_hash_u64(key) & b->reach_mask;
    while (b->reach[i] != UINT64_MAX && b->reach[i] != key)
        i = (i + 1) & b->reach_mask;
    return &b->reach[i];
}

/* Does any merge join tokens that stand for bytes or unknown characters, not for their own text,
 * or for no text at all? Then its symbols are not its characters. */
static enum llmq_status merges_stand_ins(const struct bpe *b, bool *found, llmq_error *err) {
    bool *stand_in = calloc((size_t)b->vocab.ids, sizeof *stand_in);
    if (!stand_in)
        return error_memory(err, "the model");
    for (size_t i = 0; i < 256; i++)
        if (b->byte_ids[i] >= 0)
            stand_in[b->byte_ids[i]] = true;
    if (b->unk_id >= 0)
        stand_in[b->unk_id] = true;
    *found = false;
    for (size_t i = 0; i <= b->merges.mask && !*found; i++) {
        const struct merge *m = &b->merges.slots[i];
        *found =
            m->left >= 0 && (stand_in[m->left] || stand_in[m->right] ||
                             b->vocab.by_id[m->left].len == 0 || b->vocab.by_id[m->right].len == 0);
    }
    free(stand_in);
    return LLMQ_OK;
}

/* The symbols that meet when a merge is made: its left token's last character and its right
 * token's first. */
static uint64_t meeting_pair(const struct bpe *b, const struct merge *m) {
    const struct vocab_text *left = &b->vocab.by_id[m->left], *right = &b->vocab.by_id[m->right];
    uint32_t last = 0, first = 0;
    size_t last_at = utf8_previous(left->text, left->len);
    size_t last_len = utf8_decode(left->text + last_at, &last);
    size_t first_len = utf8_decode(right->text, &first);
    return pair_key(character_id(b, last, left->text + last_at, last_len),
                    character_id(b, first, right->text, first_len));
}

/* Collect the pairs that merges reach across, unless that cannot be known. */
static enum llmq_status index_reach(struct bpe *b, llmq_error *err) {
    size_t slots = b->merges.mask + 1;
    bool unknown = false;
    enum llmq_status status = merges_stand_ins(b, &unknown, err);
    if (status != LLMQ_OK || unknown)
        return status;
    b->reach = malloc(slots * sizeof *b->reach);
    if (!b->reach)
        return error_memory(err, "the model");
    b->reach_mask = slots - 1;
    memset(b->reach, 0xff, slots * sizeof *b->reach);
    for (size_t i = 0; i < slots; i++) {
        if (b->merges.slots[i].left < 0)
            continue;
        uint64_t key = meeting_pair(b, &b->merges.slots[i]);
        *reach_slot(b, key) = key;
    }
    return LLMQ_OK;
}

enum llmq_status bpe_parse(const struct json *model, struct bpe **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct bpe *b = calloc(1, sizeof *b);
    if (!b)
        return error_memory(err, "the model");
    LLMQ_TRY(check_model(model, err));
    LLMQ_TRY(vocab_parse(json_get(model, "vocab"), &b->vocab, err));
    LLMQ_TRY(merge_table_parse(json_get(model, "merges"), &b->vocab, &b->merges, err));
    LLMQ_TRY(parse_options(model, b, err));
    LLMQ_TRY(index_characters(b, err));
    LLMQ_TRY(index_reach(b, err));
    *out = b;
    b = NULL;
cleanup:
    bpe_free(&b);
    return status;
}

void bpe_free(struct bpe **b) {
    if (*b) {
        vocab_free(&(*b)->vocab);
        merge_table_free(&(*b)->merges);
        free((*b)->reach);
        free((*b)->char_ids);
        free((*b)->unk_token);
        free(*b);
    }
    *b = NULL;
}

const struct vocab *bpe_vocab(const struct bpe *b) {
    return &b->vocab;
}

/* --- working memory --------------------------------------------------------------------------- */

enum llmq_status bpe_scratch_create(size_t text_len, struct bpe_scratch **out, llmq_error *err) {
    struct bpe_scratch *s = calloc(1, sizeof *s);
    size_t slots = 64;
    while (slots < CACHE_SLOTS && slots < text_len / 8)
        slots *= 2;
    if (s)
        s->cache = calloc(slots, sizeof *s->cache);
    if (!s || !s->cache) {
        bpe_scratch_free(&s);
        return error_memory(err, "tokenizing");
    }
    s->cache_mask = slots - 1;
    *out = s;
    return LLMQ_OK;
}

void bpe_scratch_free(struct bpe_scratch **s) {
    if (*s) {
        free((*s)->symbols);
        free((*s)->heap);
        free((*s)->cache);
        free(*s);
    }
    *s = NULL;
}

/* Room for a word of `symbols` symbols: every merge leaves at most two new candidates and removes
 * a symbol, so 3n candidates are enough. */
static enum llmq_status reserve(struct bpe_scratch *s, size_t symbols, llmq_error *err) {
    size_t heap = 0, heap_bytes = 0, symbol_bytes = 0;
    if (symbols <= s->cap)
        return LLMQ_OK;
    symbols = symbols < 2 * s->cap ? 2 * s->cap : symbols;
    if (symbols >= NONE || !checked_mul_size(symbols, 3, &heap) ||
        !checked_mul_size(heap, sizeof *s->heap, &heap_bytes) ||
        !checked_mul_size(symbols, sizeof *s->symbols, &symbol_bytes))
        return error_set(err, LLMQ_E_UNSUPPORTED, "a word of %zu bytes is too long", symbols);
    free(s->symbols);
    free(s->heap);
    s->symbols = malloc(symbol_bytes);
    s->heap = malloc(heap_bytes);
    s->cap = s->symbols && s->heap ? symbols : 0;
    return s->cap ? LLMQ_OK : error_memory(err, "tokenizing");
}

/* --- characters to symbols -------------------------------------------------------------------- */

static void push_symbol(struct bpe_scratch *s, int32_t id) {
    uint32_t at = (uint32_t)s->count++;
    s->symbols[at] = (struct symbol){id, at == 0 ? NONE : at - 1, at + 1};
}

/* With byte fallback: one symbol a byte, if all the bytes have tokens. */
static bool push_bytes(const struct bpe *b, struct bpe_scratch *s, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (b->byte_ids[(unsigned char)text[i]] < 0)
            return false;
    for (size_t i = 0; i < len; i++)
        push_symbol(s, b->byte_ids[(unsigned char)text[i]]);
    return true;
}

/* The unknown token waits until a known character follows: so it does in the reference, where
 * bytes from the fallback overtake it. */
static enum llmq_status build_symbols(const struct bpe *b, struct bpe_scratch *s, const char *word,
                                      size_t len, llmq_error *err) {
    bool unk_waits = false;
    s->count = 0;
    for (size_t at = 0, n = 0; at < len; at += n) {
        uint32_t cp = 0;
        n = utf8_decode(word + at, &cp);
        int32_t id = character_id(b, cp, word + at, n);
        if (id < 0 && (push_bytes(b, s, word + at, n) || !b->unk_token))
            continue;
        if (id < 0 && b->unk_id < 0)
            return error_set(err, LLMQ_E_INPUT,
                             "U+%04X needs the unknown token '%.60s', which is not in the "
                             "vocabulary",
                             (unsigned)cp, b->unk_token);
        if (unk_waits && (id >= 0 || !b->fuse_unk))
            push_symbol(s, b->unk_id);
        unk_waits = id < 0;
        if (id >= 0)
            push_symbol(s, id);
    }
    if (unk_waits)
        push_symbol(s, b->unk_id);
    return LLMQ_OK;
}

/* --- the heap of candidates ------------------------------------------------------------------- */

static bool before(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct bpe_scratch *s, struct candidate c) {
    size_t i = s->heap_count++;
    for (; i > 0 && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
}

static struct candidate heap_pop(struct bpe_scratch *s) {
    struct candidate top = s->heap[0], last = s->heap[--s->heap_count];
    size_t i = 0;
    for (size_t child = 1; child < s->heap_count; child = 2 * i + 1) {
        if (child + 1 < s->heap_count && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

static void push_candidate(const struct bpe *b, struct bpe_scratch *s, uint32_t at) {
    uint32_t next = s->symbols[at].next;
    const struct merge *m = merge_table_find(&b->merges, s->symbols[at].id, s->symbols[next].id);
    if (m)
        heap_push(s, (struct candidate){m->rank, at, m->id});
}

/* --- merging ---------------------------------------------------------------------------------- */

/* Join the symbols of a candidate unless earlier merges made it stale. */
static void merge_candidate(const struct bpe *b, struct bpe_scratch *s, const struct candidate *c) {
    struct symbol *left = &s->symbols[c->at];
    if (left->id < 0 || left->next == s->count)
        return;
    struct symbol *right = &s->symbols[left->next];
    const struct merge *m = merge_table_find(&b->merges, left->id, right->id);
    if (!m || m->id != c->id)
        return;
    left->id = c->id;
    left->next = right->next;
    right->id = -1;
    if (left->next < s->count) {
        s->symbols[left->next].previous = c->at;
        push_candidate(b, s, c->at);
    }
    if (left->previous != NONE)
        push_candidate(b, s, left->previous);
}

static enum llmq_status encode_word(const struct bpe *b, struct bpe_scratch *s, const char *word,
                                    size_t len, struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(reserve(s, len, err));
    LLMQ_TRY(build_symbols(b, s, word, len, err));
    s->heap_count = 0;
    for (uint32_t i = 0; i + 1 < s->count; i++)
        push_candidate(b, s, i);
    while (s->heap_count > 0) {
        struct candidate best = heap_pop(s);
        merge_candidate(b, s, &best);
    }
    for (uint32_t i = 0; i < s->count; i = s->symbols[i].next)
        LLMQ_TRY(id_list_push(out, s->symbols[i].id, err));
cleanup:
    return status;
}

/* Encode a word, or copy its ids from where they were last put. */
static enum llmq_status encode_cached(const struct bpe *b, struct bpe_scratch *s, const char *word,
                                      size_t len, struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (len > CACHED_MAX)
        return encode_word(b, s, word, len, out, err);
    uint64_t hash = table_hash_bytes(word, len);
    struct cached *slot = &s->cache[(size_t)hash & s->cache_mask];
    uint32_t tag = (uint32_t)(hash >> 32);
    if (slot->word && slot->tag == tag && slot->len == len && memcmp(slot->word, word, len) == 0) {
        for (size_t i = 0; i < slot->count; i++)
            LLMQ_TRY(id_list_push(out, out->ids[slot->first + i], err));
        return LLMQ_OK;
    }
    size_t first = out->count;
    LLMQ_TRY(encode_word(b, s, word, len, out, err));
    *slot = (struct cached){word, tag, (uint32_t)len, first, out->count - first};
cleanup:
    return status;
}

/* Length of the first part of a piece that no merge leaves; the whole piece where nothing is
 * known. Characters outside the vocabulary stay together with their neighbours. */
static size_t independent_length(const struct bpe *b, const char *piece, size_t len) {
    uint32_t cp = 0;
    if (!b->reach)
        return len;
    size_t at = utf8_decode(piece, &cp);
    int32_t id = character_id(b, cp, piece, at);
    while (at < len) {
        size_t n = utf8_decode(piece + at, &cp);
        int32_t next = character_id(b, cp, piece + at, n);
        if (id >= 0 && next >= 0 && *reach_slot(b, pair_key(id, next)) == UINT64_MAX)
            return at;
        id = next;
        at += n;
    }
    return len;
}

enum llmq_status bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *piece,
                            size_t len, struct id_list *out, llmq_error *err) {
    int32_t whole = b->ignore_merges ? vocab_find(&b->vocab, piece, len) : -1;
    if (whole >= 0)
        return id_list_push(out, whole, err);
    if (len <= CACHED_MAX)
        return encode_cached(b, s, piece, len, out, err);
    for (size_t at = 0; at < len;) {
        size_t n = independent_length(b, piece + at, len - at);
        enum llmq_status status = encode_cached(b, s, piece + at, n, out, err);
        if (status != LLMQ_OK)
            return status;
        at += n;
    }
    return LLMQ_OK;
}

size_t bpe_first_part(const struct bpe *b, const char *piece, size_t len) {
    return b->ignore_merges ? len : independent_length(b, piece, len);
}
