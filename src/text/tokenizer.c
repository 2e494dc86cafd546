/* The tokenizer: see tokenizer.h. Text passes through the components of tokenizer.json in order:
 *   added tokens, literal -> normalizer -> added tokens, normalized -> pre-tokenizer -> BPE model
 *   -> post-processor
 * "truncation", "padding" and "decoder" do not concern encoding whole texts and are not read. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/pattern.h"
#include "text/pieces.h"
#include "text/postprocessor.h"
#include "text/pretokenizer.h"
#include "text/utf8.h"

struct tokenizer {
    struct added_tokens *added;
    struct normalizer *normalizer;
    struct pretokenizer *pretokenizer;
    struct bpe *model;
    struct postprocessor *postprocessor;
    int32_t vocab_size;
};

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
                                    struct match_scratch *scratch, llmq_error *err) {
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
    struct match_scratch *scratch = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return error_memory(err, "a tokenizer");
    LLMQ_TRY(json_read(path, &root, err));
    LLMQ_TRY(match_scratch_create(&scratch, err));
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
    match_scratch_free(&scratch);
    json_free(&root);
    tokenizer_free(&t);
    return status;
}

void tokenizer_free(struct tokenizer **tok) {
    if (*tok) {
        added_tokens_free(&(*tok)->added);
        normalizer_free(&(*tok)->normalizer);
        pretokenizer_free(&(*tok)->pretokenizer);
        bpe_free(&(*tok)->model);
        postprocessor_free(&(*tok)->postprocessor);
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

/* --- encoding --------------------------------------------------------------------------------- */

/* Normalize the text pieces of `in` and take out the added tokens that are looked for in normalized
 * text. */
static enum llmq_status normalize_pieces(const struct tokenizer *t, struct match_scratch *scratch,
                                         const struct piece_list *in, struct piece_list *out,
                                         llmq_error *err) {
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
        LLMQ_TRY(normalizer_apply(t->normalizer, scratch, &text, &at_start, err));
        LLMQ_TRY(added_tokens_split(t->added, true, &text, at_start, out, err));
    }
cleanup:
    strbuf_free(&text);
    return status;
}

/* Cut the text into pieces ready for the model. */
static enum llmq_status cut(const struct tokenizer *t, const char *text, size_t len,
                            struct piece_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct match_scratch *scratch = NULL;
    struct piece_list raw = {0};
    struct strbuf whole = {0};
    LLMQ_TRY(match_scratch_create(&scratch, err));
    strbuf_append(&whole, len ? text : "", len);
    if (!strbuf_ok(&whole)) {
        status = error_memory(err, "text");
        goto cleanup;
    }
    LLMQ_TRY(added_tokens_split(t->added, false, &whole, true, &raw, err));
    strbuf_free(&whole); /* large, and not needed any more */
    LLMQ_TRY(normalize_pieces(t, scratch, &raw, out, err));
    piece_list_free(&raw);
    LLMQ_TRY(pretokenizer_apply(t->pretokenizer, scratch, out, err));
cleanup:
    strbuf_free(&whole);
    piece_list_free(&raw);
    match_scratch_free(&scratch);
    return status;
}

static enum llmq_status encode_pieces(const struct tokenizer *t, const struct piece_list *pieces,
                                      struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct bpe_scratch *scratch = NULL;
    LLMQ_TRY(bpe_scratch_create(pieces->text.len, &scratch, err));
    for (size_t i = 0; i < pieces->count; i++) {
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

enum llmq_status tokenizer_encode(const struct tokenizer *tok, const char *text, size_t len,
                                  bool add_special, struct id_list *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct piece_list pieces = {0};
    struct id_list ids = {0};
    size_t invalid = utf8_first_invalid(text, len);
    if (invalid < len)
        return error_set(err, LLMQ_E_INPUT, "the text is not UTF-8: byte %zu is 0x%02x", invalid,
                         (unsigned)(unsigned char)text[invalid]);
    LLMQ_TRY(cut(tok, text, len, &pieces, err));
    LLMQ_TRY(encode_pieces(tok, &pieces, &ids, err));
    LLMQ_TRY(postprocessor_apply(tok->postprocessor, &ids, add_special, out, err));
cleanup:
    piece_list_free(&pieces);
    id_list_free(&ids);
    return status;
}
