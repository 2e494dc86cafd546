/* SPDX-License-Identifier: Apache-2.0 */
/* Texts in parts: see tokenizer.h.
 *
 * A part is cut into pieces up to a place E near its end, and its tail, from a place C before E,
 * once more by itself. Where both give the same pieces for the tail, and nothing before C asked for
 * what comes after E, the pieces before C are those of the whole text, and from C on it is cut as
 * if it began there:
 *
 *   - E and C are before ASCII characters, at which normalizers begin anew (normalizer_is_local).
 *   - No added token begins before E that could end after it, nor any white space that one could
 *     take along (piece_list.unsettled, and a visible character before E).
 *   - The first piece of the tail is fresh: every step of the pre-tokenizer begins anew there. It
 *     is not open: neither it nor anything before it depends on what comes after E.
 *
 * Nothing is assumed about the expressions of pre-tokenizers but that they do not look back. Where
 * no such place is found, the part has to be longer. */
#include <string.h>

#include "base/error.h"
#include "text/tokenizer_private.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum {
    TAIL = 2048,     /* bytes of a tail, at least */
    TRIES = 24,      /* tails that are looked at */
    STEP = 40,       /* bytes between two of them */
    SOME = 256,      /* bytes that tell where a text can end */
    LONG_PIECE = 64, /* pieces that are cut further */
};

/* --- pieces ----------------------------------------------------------------------------------- */

/* A part's marks: where it is cut is told by the two characters that meet there. */
static unsigned part_marks(const struct piece *piece, size_t at, bool last) {
    unsigned marks = piece->marks & PIECE_LOCAL;
    if (piece->marks & (at == 0 ? PIECE_FRESH : PIECE_LOCAL))
        marks |= PIECE_FRESH;
    if (last || !(piece->marks & PIECE_GROWS))
        marks |= piece->marks & (PIECE_OPEN | PIECE_GROWS);
    return marks;
}

static enum llmq_status cut_piece(const struct bpe *model, const char *text,
                                  const struct piece *piece, struct piece_list *out,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t at = 0, n = 0; at < piece->len && status == LLMQ_OK; at += n) {
        n = piece->len - at;
        if (piece->len > LONG_PIECE)
            n = bpe_first_part(model, text + at, n);
        out->marks = part_marks(piece, at, at + n == piece->len);
        status = piece_list_add(out, text + at, n, piece->at_start && at == 0, err);
    }
    return status;
}

/* Cut long pieces where the model does: some tokenizers leave a text in one. */
static enum llmq_status cut_further(const struct bpe *model, struct piece_list *pieces,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct piece_list out = {.unsettled = pieces->unsettled};
    for (size_t i = 0; i < pieces->count && status == LLMQ_OK; i++) {
        const struct piece *p = &pieces->items[i];
        status = p->id == PIECE_TEXT ? cut_piece(model, pieces->text.data + p->begin, p, &out, err)
                                     : piece_list_add_id(&out, p->id, err);
    }
    piece_list_free(status == LLMQ_OK ? pieces : &out);
    if (status == LLMQ_OK)
        *pieces = out;
    return status;
}

static enum llmq_status cut(const struct tokenizer *t, const struct text_part *part,
                            struct piece_list *out, llmq_error *err) {
    const enum llmq_status status = tokenizer_cut(t, part, out, err);
    return status == LLMQ_OK ? cut_further(t->model, out, err) : status;
}

/* Does `list` end in all that `tail` holds? */
static bool ends_in(const struct piece_list *list, const struct piece_list *tail) {
    if (tail->count == 0 || tail->count >= list->count)
        return false;
    for (size_t i = 1; i <= tail->count; i++) {
        const struct piece *a = &list->items[list->count - i], *b = &tail->items[tail->count - i];
        if (a->id != b->id || a->len != b->len ||
            (a->len > 0 &&
             memcmp(list->text.data + a->begin, tail->text.data + b->begin, a->len) != 0))
            return false;
    }
    return true;
}

/* --- places ----------------------------------------------------------------------------------- */

static bool is_visible_before(const char *text, size_t at) {
    uint32_t cp = 0;
    utf8_decode(text + utf8_previous(text, at), &cp);
    return !unicode_is_space(cp);
}

/* The last place in (floor, from] where white space comes after something else, or `floor`. */
static size_t place_before(const char *text, size_t floor, size_t from) {
    while (from > floor &&
           !((text[from] == ' ' || text[from] == '\n') && is_visible_before(text, from)))
        from--;
    return from;
}

/* Where to look no further: the last place at which no added token is cut, as far as some text
 * before it tells; 0: none in the second half. */
static enum llmq_status find_end(const struct tokenizer *t, const struct text_part *part,
                                 size_t *end, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    bool unsettled = true;
    *end = part->len;
    for (int i = 0; i < TRIES && status == LLMQ_OK && unsettled; i++) {
        struct piece_list pieces = {0};
        *end = place_before(part->text, part->len / 2, *end - 1);
        const size_t begin = place_before(part->text, 0, *end - SOME);
        const struct text_part some = {part->text + begin, *end - begin, false, false};
        status = tokenizer_cut(t, &some, &pieces, err);
        unsettled = pieces.unsettled;
        piece_list_free(&pieces);
        if (*end == part->len / 2)
            break;
    }
    *end = unsettled || *end == part->len / 2 ? 0 : *end;
    return status;
}

/* A place to begin anew that is `end` - TAIL at most, and the pieces before it; *place is 0 where
 * there is none. */
static enum llmq_status find_place(const struct tokenizer *t, const struct text_part *part,
                                   const struct piece_list *pieces, size_t *place, size_t *count,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t at = part->len - TAIL;
    *place = 0;
    for (int i = 0; i < TRIES && status == LLMQ_OK && *place == 0; i++) {
        struct piece_list tail = {0};
        at = place_before(part->text, 0, at);
        if (at == 0)
            break;
        const struct text_part rest = {part->text + at, part->len - at, false, false};
        status = cut(t, &rest, &tail, err);
        if (status == LLMQ_OK && ends_in(pieces, &tail)) {
            const struct piece *first = &pieces->items[pieces->count - tail.count];
            const bool settled = first->id == PIECE_TEXT && first->marks & PIECE_FRESH &&
                                 !(first->marks & PIECE_OPEN);
            *place = settled ? at : 0;
            *count = pieces->count - tail.count;
        }
        piece_list_free(&tail);
        at = at > STEP ? at - STEP : 0;
    }
    return status;
}

/* --- the interface ---------------------------------------------------------------------------- */

bool tokenizer_has_parts(const struct tokenizer *tok) {
    return normalizer_is_local(tok->normalizer) && pretokenizer_restarts(tok->pretokenizer) &&
           postprocessor_is_frame(tok->postprocessor);
}

enum llmq_status tokenizer_encode_part(const struct tokenizer *tok, const struct text_part *part,
                                       struct id_list *out, size_t *used, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct piece_list pieces = {0};
    struct text_part seen = *part;
    size_t count = 0;
    *used = 0;
    LLMQ_TRY(tokenizer_check_text(part->text, part->len, err));
    if (part->ends) {
        LLMQ_TRY(tokenizer_cut(tok, part, &pieces, err));
        LLMQ_TRY(tokenizer_encode_pieces(tok, &pieces, pieces.count, out, err));
        *used = part->len;
        goto cleanup;
    }
    if (!tokenizer_has_parts(tok) || part->len < 4 * TAIL)
        goto cleanup;
    LLMQ_TRY(find_end(tok, part, &seen.len, err));
    if (seen.len == 0)
        return LLMQ_OK;
    LLMQ_TRY(cut(tok, &seen, &pieces, err));
    if (pieces.unsettled)
        goto cleanup;
    LLMQ_TRY(find_place(tok, &seen, &pieces, used, &count, err));
    if (*used > 0)
        LLMQ_TRY(tokenizer_encode_pieces(tok, &pieces, count, out, err));
cleanup:
    piece_list_free(&pieces);
    return status;
}
