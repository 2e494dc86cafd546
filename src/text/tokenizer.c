/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer: see tokenizer.h. Text passes through the components of tokenizer.json in order:
 *   added tokens, literal -> normalizer -> added tokens, normalized -> pre-tokenizer -> BPE model
 *   -> post-processor
 * "truncation" and "padding" do not concern whole texts and are not read. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/fileio.h"
#include "base/json.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/pattern.h"
#include "text/pieces.h"
#include "text/postprocessor.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_private.h"
#include "text/utf8.h"

/* --- lists of ids ----------------------------------------------------------------------------- */

enum llmq_status id_list_push(struct id_list *list, int32_t id, llmq_error *err) {
    if (list->count == list->cap) {
        size_t cap = list->cap + list->cap / 2 + 64, bytes = 0;
        int32_t *ids = NULL;
        if (checked_mul_size(cap, sizeof *ids, &bytes))
            ids = realloc(list->ids, bytes);
        if (!ids)
            return error_memory(err, "token ids");
        list->ids = ids;
        list->cap = cap;
    }
    list->ids[list->count++] = id;
    return LLMQ_OK;
}

void id_list_free(struct id_list *list) {
    free(list->ids);
    *list = (struct id_list){0};
}

/* --- loading ---------------------------------------------------------------------------------- */

static enum llmq_status parse_parts(const struct json *root, struct tokenizer *t,
                                    struct expr_scratch *scratch, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct json *version = json_get(root, "version");
    const char *version_text = json_string(version);
    if (json_type(root) != JSON_OBJECT)
        return error_set(err, LLMQ_E_INPUT, "not a JSON object");
    if (version && (!version_text || strcmp(version_text, "1.0") != 0))
        return error_set(err, LLMQ_E_UNSUPPORTED, "version '%.20s' is not supported, only 1.0 is",
                         version_text ? version_text : "?");
    LLMQ_TRY(bpe_parse(json_get(root, "model"), &t->model, err));
    LLMQ_TRY(normalizer_parse(json_get(root, "normalizer"), &t->normalizer, err));
    LLMQ_TRY(pretokenizer_parse(json_get(root, "pre_tokenizer"), &t->pretokenizer, err));
    LLMQ_TRY(postprocessor_parse(json_get(root, "post_processor"), &t->postprocessor, err));
    LLMQ_TRY(decoder_parse(json_get(root, "decoder"), &t->decoder, err));
    struct added_context context = {bpe_vocab(t->model), t->normalizer, scratch};
    LLMQ_TRY(added_tokens_parse(json_get(root, "added_tokens"), &context, &t->added, err));
cleanup:
    return status;
}

static enum llmq_status check_ids(struct tokenizer *t, llmq_error *err) {
    int32_t added = added_tokens_limit(t->added);
    int32_t special = postprocessor_limit(t->postprocessor);
    t->vocab_size = bpe_vocab(t->model)->ids;
    if (added > t->vocab_size)
        t->vocab_size = added;
    if (special > t->vocab_size)
        return error_set(err, LLMQ_E_INPUT,
                         "the post-processor adds id %d, but the vocabulary ends at %d",
                         (int)special - 1, (int)t->vocab_size - 1);
    return LLMQ_OK;
}

enum llmq_status tokenizer_load(const char *path, struct tokenizer **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *root = NULL;
    struct expr_scratch *scratch = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(err, "a tokenizer");
    t->bos = -1;
    LLMQ_TRY(json_read_as(path, INPUT_TOKENIZER, &root, err));
    LLMQ_TRY(expr_scratch_create(&scratch, err));
    status = parse_parts(root, t, scratch, err);
    if (status == LLMQ_OK)
        status = check_ids(t, err);
    if (status != LLMQ_OK) {
        error_prefix(err, status, "%s", path);
        goto cleanup;
    }
    *out = t;
    t = NULL;
cleanup:
    expr_scratch_free(&scratch);
    json_free(&root);
    tokenizer_free(&t);
    return status;
}

/* --- tokenizer_config.json -------------------------------------------------------------------- */

/* Id of a special token, -1 without one. What the vocabulary lacks is an error only where it would
 * be used: texts can be read without it. */
static enum llmq_status find_token(struct tokenizer *t, const char *key, const char *text,
                                   bool wanted, int32_t *id, llmq_error *err) {
    *id = -1;
    if (text) {
        *id = added_tokens_find(t->added, text);
        if (*id < 0)
            *id = vocab_find(bpe_vocab(t->model), text, strlen(text));
    }
    if (*id >= 0 || !wanted || t->absent)
        return LLMQ_OK;
    t->absent = key;
    t->absent_text = strdup(text ? text : "null");
    return t->absent_text ? LLMQ_OK : error_memory(err, "a special token");
}

static enum llmq_status configure(struct tokenizer *t, const struct json *document,
                                  llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct tokenizer_config config;
    int32_t eos = -1;
    LLMQ_TRY(tokenizer_config_read(document, &config, err));
    if (postprocessor_limit(t->postprocessor) > 0) { /* the template is the tokenizer's word */
        size_t before = 0;
        (void)postprocessor_prefix(t->postprocessor, &before);
        t->flags_differ =
            (config.says_bos && config.add_bos != (before > 0)) ||
            (config.says_eos && config.add_eos != postprocessor_has_suffix(t->postprocessor));
        config.add_bos = config.add_eos = false;
    }
    LLMQ_TRY(find_token(t, "bos_token", config.bos, config.add_bos, &t->bos, err));
    LLMQ_TRY(find_token(t, "eos_token", config.eos, config.add_eos, &eos, err));
    if (config.add_bos || config.add_eos)
        LLMQ_TRY(postprocessor_frame(t->postprocessor, config.add_bos ? t->bos : -1,
                                     config.add_eos ? eos : -1, err));
cleanup:
    return status;
}

static enum llmq_status configure_from(struct tokenizer *t, const char *path, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct json *document = NULL;
    bool exists = false;
    LLMQ_TRY(file_exists(path, &exists, err));
    if (!exists)
        return LLMQ_OK;
    LLMQ_TRY(json_read(path, &document, err));
    status = configure(t, document, err);
    if (status != LLMQ_OK)
        error_prefix(err, status, "%s", path);
cleanup:
    json_free(&document);
    return status;
}

enum llmq_status tokenizer_open(const char *dir, struct tokenizer **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct tokenizer *t = NULL;
    char *file = path_join(dir, "tokenizer.json", err);
    char *config = path_join(dir, "tokenizer_config.json", err);
    if (!file || !config) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    LLMQ_TRY(tokenizer_load(file, &t, err));
    LLMQ_TRY(configure_from(t, config, err));
    *out = t;
    t = NULL;
cleanup:
    tokenizer_free(&t);
    free(file);
    free(config);
    return status;
}

void tokenizer_free(struct tokenizer **tok) {
    if (*tok) {
        added_tokens_free(&(*tok)->added);
        normalizer_free(&(*tok)->normalizer);
        pretokenizer_free(&(*tok)->pretokenizer);
        bpe_free(&(*tok)->model);
        postprocessor_free(&(*tok)->postprocessor);
        decoder_free(&(*tok)->decoder);
        free((*tok)->absent_text);
        free(*tok);
    }
    *tok = NULL;
}

int32_t tokenizer_vocab_size(const struct tokenizer *tok) {
    return tok->vocab_size;
}

const char *tokenizer_token(const struct tokenizer *tok, int32_t id) {
    const char *content = added_tokens_content(tok->added, id);
    return content ? content : vocab_token(bpe_vocab(tok->model), id);
}

size_t tokenizer_token_length(const struct tokenizer *tok, int32_t id) {
    const bool added = added_tokens_content(tok->added, id) != NULL;
    return added ? added_tokens_length(tok->added, id) : vocab_length(bpe_vocab(tok->model), id);
}

enum llmq_status tokenizer_decode_all(const struct tokenizer *tok, const int32_t *ids, size_t count,
                                      bool special, struct strbuf *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct vocab_text *tokens = calloc(count + 1, sizeof *tokens);
    size_t kept = 0;
    if (!tokens)
        return error_memory(err, "tokens");
    for (size_t i = 0; i < count && status == LLMQ_OK; i++) {
        const char *text = tokenizer_token(tok, ids[i]);
        if (!text)
            status = error_set(err, LLMQ_E_USAGE,
                               "id %d at position %zu is no token: the tokenizer has %d, from 0 on",
                               (int)ids[i], i, (int)tok->vocab_size);
        else if (special || !tokenizer_is_special(tok, ids[i]))
            tokens[kept++] = (struct vocab_text){text, tokenizer_token_length(tok, ids[i])};
    }
    if (status == LLMQ_OK)
        status = decoder_apply(tok->decoder, tokens, kept, out, err);
    free(tokens);
    return status;
}

/* Of vocabularies in the manner of SentencePiece: a byte by itself, or text with U+2581 for blanks.
 */
static void decode_piece(const char *text, size_t len, struct strbuf *out) {
    static const char blank[] = "\xe2\x96\x81";
    unsigned byte = 0;
    int used = 0;
    if (len == 6 && sscanf(text, "<0x%2X>%n", &byte, &used) == 1 && used == 6) {
        const char decoded = (char)byte;
        strbuf_append(out, &decoded, 1);
        return;
    }
    for (size_t at = 0; at < len;) {
        const bool is_blank = len - at >= 3 && memcmp(text + at, blank, 3) == 0;
        strbuf_append(out, is_blank ? " " : text + at, 1);
        at += is_blank ? 3 : 1;
    }
}

void tokenizer_decode(const struct tokenizer *tok, int32_t id, struct strbuf *out) {
    static const char space[] = "\xc4\xa0"; /* a blank, in vocabularies of bytes */
    const char *content = added_tokens_content(tok->added, id);
    const char *text = content ? content : vocab_token(bpe_vocab(tok->model), id);
    const size_t len = tokenizer_token_length(tok, id);
    if (content)
        strbuf_append(out, content, len);
    else if (text && decoder_piece(tok->decoder, (struct vocab_text){text, len}, out))
        return;
    else if (text && vocab_find(bpe_vocab(tok->model), space, 2) >= 0)
        byte_level_decode(out, text, len);
    else if (text)
        decode_piece(text, len, out);
}

/* --- encoding --------------------------------------------------------------------------------- */

/* Normalize the text pieces of `in` and take out the added tokens that are looked for in normalized
 * text. */
static enum llmq_status normalize_pieces(const struct tokenizer *t, struct expr_scratch *scratch,
                                         const struct piece_list *in, bool begins,
                                         struct piece_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct strbuf text = {0};
    for (size_t i = 0; i < in->count; i++) {
        const struct piece *piece = &in->items[i];
        bool at_start = piece->at_start;
        if (piece->id != PIECE_TEXT) {
            LLMQ_TRY(piece_list_add_id(out, piece->id, err));
            continue;
        }
        text.len = 0;
        strbuf_append(&text, in->text.data + piece->begin, piece->len);
        if (!strbuf_ok(&text)) {
            status = error_memory(err, "text");
            goto cleanup;
        }
        LLMQ_TRY(
            normalizer_apply(t->normalizer, scratch, i == 0 && !begins, &text, &at_start, err));
        const bool settled = !out->unsettled;
        LLMQ_TRY(added_tokens_split(t->added, true, &text, at_start, out, err));
        if (settled && i + 1 < in->count) /* an added token ends this text, and nothing else can */
            out->unsettled = false;
    }
cleanup:
    strbuf_free(&text);
    return status;
}

/* Of a text that goes on the last piece of text may become longer. */
static void mark_pieces(struct piece_list *pieces, bool ends) {
    struct piece *last = NULL;
    for (size_t i = 0; i < pieces->count; i++) {
        struct piece *p = &pieces->items[i];
        if (p->id != PIECE_TEXT)
            continue;
        p->marks = PIECE_FRESH | PIECE_LOCAL;
        last = p;
    }
    if (last && !ends)
        last->marks |= PIECE_OPEN | PIECE_GROWS;
}

enum llmq_status tokenizer_cut(const struct tokenizer *t, const struct text_part *part,
                               struct piece_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct expr_scratch *scratch = NULL;
    struct piece_list raw = {0};
    struct strbuf whole = {0};
    LLMQ_TRY(expr_scratch_create(&scratch, err));
    strbuf_append(&whole, part->len ? part->text : "", part->len);
    if (!strbuf_ok(&whole)) {
        status = error_memory(err, "text");
        goto cleanup;
    }
    LLMQ_TRY(added_tokens_split(t->added, false, &whole, part->begins, &raw, err));
    strbuf_free(&whole); /* large, and not needed any more */
    out->unsettled = raw.unsettled;
    LLMQ_TRY(normalize_pieces(t, scratch, &raw, part->begins, out, err));
    piece_list_free(&raw);
    mark_pieces(out, part->ends);
    LLMQ_TRY(pretokenizer_apply(t->pretokenizer, scratch, out, err));
cleanup:
    strbuf_free(&whole);
    piece_list_free(&raw);
    expr_scratch_free(&scratch);
    return status;
}

enum llmq_status tokenizer_encode_pieces(const struct tokenizer *t, const struct piece_list *pieces,
                                         size_t count, struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct bpe_scratch *scratch = NULL;
    LLMQ_TRY(bpe_scratch_create(pieces->text.len, &scratch, err));
    for (size_t i = 0; i < count; i++) {
        const struct piece *p = &pieces->items[i];
        if (p->id == PIECE_TEXT)
            LLMQ_TRY(bpe_encode(t->model, scratch, pieces->text.data + p->begin, p->len, out, err));
        else
            LLMQ_TRY(id_list_push(out, p->id, err));
    }
cleanup:
    bpe_scratch_free(&scratch);
    return status;
}

bool tokenizer_flags_differ(const struct tokenizer *tok) {
    return tok->flags_differ;
}

bool tokenizer_is_special(const struct tokenizer *tok, int32_t id) {
    return added_tokens_is_special(tok->added, id);
}

const int32_t *tokenizer_prefix(const struct tokenizer *tok, enum llmq_special special,
                                size_t *count) {
    const int32_t *prefix = postprocessor_prefix(tok->postprocessor, count);
    if (special == LLMQ_SPECIAL_NONE)
        *count = 0;
    if (special != LLMQ_SPECIAL_BOS || *count > 0 || tok->bos < 0)
        return prefix;
    *count = 1;
    return &tok->bos;
}

/* The special tokens that are asked for are there. */
static enum llmq_status check_special(const struct tokenizer *t, enum llmq_special special,
                                      llmq_error *err) {
    size_t prefix = 0;
    if (special == LLMQ_SPECIAL_NONE)
        return LLMQ_OK;
    if (t->absent) {
        error_set(err, LLMQ_E_INPUT,
                  "tokenizer_config.json puts the %s '%.60s' around texts, which the vocabulary of "
                  "tokenizer.json lacks",
                  t->absent, t->absent_text);
        error_hint(err,
                   "name a token of the vocabulary there, or set add_%s to false; where text is "
                   "read, --no-special leaves it out",
                   t->absent);
        return LLMQ_E_INPUT;
    }
    (void)tokenizer_prefix(t, special, &prefix);
    if (special == LLMQ_SPECIAL_BOS && prefix == 0)
        return error_set(err, LLMQ_E_USAGE,
                         "--bos: the tokenizer has no begin-of-text token: expected one before the "
                         "text in tokenizer.json, or a bos_token in tokenizer_config.json that "
                         "the vocabulary has");
    return LLMQ_OK;
}

enum llmq_status tokenizer_begin(const struct tokenizer *tok, enum llmq_special special,
                                 struct id_list *out, llmq_error *err) {
    enum llmq_status status = check_special(tok, special, err);
    size_t count = 0;
    const int32_t *prefix = tokenizer_prefix(tok, special, &count);
    for (size_t i = 0; i < count && status == LLMQ_OK; i++)
        status = id_list_push(out, prefix[i], err);
    return status;
}

enum llmq_status tokenizer_end(const struct tokenizer *tok, enum llmq_special special,
                               struct id_list *out, llmq_error *err) {
    size_t count = 0;
    const int32_t *suffix = postprocessor_suffix(tok->postprocessor, &count);
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; special != LLMQ_SPECIAL_NONE && i < count && status == LLMQ_OK; i++)
        status = id_list_push(out, suffix[i], err);
    return status;
}

enum llmq_status tokenizer_wrap(const struct tokenizer *tok, const struct id_list *ids,
                                enum llmq_special special, struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t own = 0;
    LLMQ_TRY(check_special(tok, special, err));
    (void)postprocessor_prefix(tok->postprocessor, &own);
    if (special == LLMQ_SPECIAL_BOS && own == 0)
        LLMQ_TRY(id_list_push(out, tok->bos, err));
    LLMQ_TRY(postprocessor_apply(tok->postprocessor, ids, special != LLMQ_SPECIAL_NONE, out, err));
cleanup:
    return status;
}

enum llmq_status tokenizer_check_text(const char *text, size_t len, llmq_error *err) {
    const size_t invalid = utf8_first_invalid(text, len);
    if (invalid == len)
        return LLMQ_OK;
    error_set(err, LLMQ_E_INPUT, "the text is not UTF-8: byte %zu is 0x%02x", invalid,
              (unsigned)(unsigned char)text[invalid]);
    error_hint(err, "another encoding is converted by iconv -f ENCODING -t UTF-8");
    return LLMQ_E_INPUT;
}

enum llmq_status tokenizer_encode(const struct tokenizer *tok, const char *text, size_t len,
                                  enum llmq_special special, struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct piece_list pieces = {0};
    struct id_list ids = {0};
    LLMQ_TRY(tokenizer_check_text(text, len, err));
    LLMQ_TRY(tokenizer_cut(tok, &(struct text_part){text, len, true, true}, &pieces, err));
    LLMQ_TRY(tokenizer_encode_pieces(tok, &pieces, pieces.count, &ids, err));
    LLMQ_TRY(tokenizer_wrap(tok, &ids, special, out, err));
cleanup:
    piece_list_free(&pieces);
    id_list_free(&ids);
    return status;
}
