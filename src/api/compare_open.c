/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold before models are compared: see comparison.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/comparison.h"
#include "api/measure.h"
#include "base/error.h"
#include "base/fileio.h"
#include "setup/setup.h"

/* --- models ----------------------------------------------------------------------------------- */

static const char *reference_name(const struct comparison *c) {
    return c->kept ? c->options->reference : c->reference.dir;
}

static enum llmq_status open_reference(struct comparison *c, llmq_error *err) {
    const llmq_compare_options *o = c->options;
    const enum llmq_status status = reference_file_look(o->reference, &c->kept, err);
    if (status != LLMQ_OK)
        return status;
    if (!c->kept)
        return measure_model(o->reference, o->family, c->ctx, &c->reference, err);
    if (o->save_reference)
        return error_set(err, LLMQ_E_USAGE,
                         "%s is a kept reference already: there is no model to keep", o->reference);
    return reference_file_read(o->reference, &c->file, err);
}

static enum llmq_status open_model(struct comparison *c, const char *spec, struct compared *out,
                                   llmq_error *err) {
    const llmq_compare_options *o = c->options;
    const int64_t vocab = c->kept ? c->file.kept.vocab : c->reference.config.vocab;
    enum llmq_status status = measure_model(spec, o->family, c->ctx, &out->m, err);
    if (status != LLMQ_OK)
        return status;
    if (out->m.config.vocab != vocab)
        return error_set(err, LLMQ_E_USAGE,
                         "%s has %" PRId64
                         " tokens in its vocabulary, the reference %s has %" PRId64
                         ": only models with one vocabulary can be compared",
                         out->m.dir, out->m.config.vocab, reference_name(c), vocab);
    return measure_numbers(&out->m, o->activations, o->compute, &out->numbers, err);
}

static enum llmq_status open_models(const char *const *models, struct comparison *c,
                                    llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(open_reference(c, err));
    c->models = calloc(c->count + 1, sizeof *c->models);
    if (!c->models)
        LLMQ_TRY(error_memory(err, "the models to compare"));
    for (size_t i = 0; i < c->count; i++)
        LLMQ_TRY(open_model(c, models[i], &c->models[i], err));
cleanup:
    return status;
}

/* --- tokenizers ------------------------------------------------------------------------------- */

/* First id that both know and that stands for different texts, or -1. */
static int32_t first_difference(const struct tokenizer *a, const struct tokenizer *b) {
    int32_t size_a = tokenizer_vocab_size(a), size_b = tokenizer_vocab_size(b);
    for (int32_t id = 0; id < size_a && id < size_b; id++) {
        const char *text_a = tokenizer_token(a, id), *text_b = tokenizer_token(b, id);
        const size_t len = tokenizer_token_length(a, id);
        if (text_a && text_b &&
            (len != tokenizer_token_length(b, id) || memcmp(text_a, text_b, len) != 0))
            return id;
    }
    return -1;
}

/* The ids mean the same to a model; one without a tokenizer of its own is taken at its word. */
static enum llmq_status check_tokenizer(const struct comparison *c, const struct model *m,
                                        llmq_error *err) {
    struct tokenizer *tok = NULL;
    enum llmq_status status = setup_tokenizer(m->dir, &tok, err);
    if (status == LLMQ_OK && c->kept) {
        if (c->file.vocabulary && reference_vocabulary(tok) != c->file.vocabulary)
            status = error_set(err, LLMQ_E_USAGE,
                               "the tokenizer of %s is another than that of %s, of which %s was "
                               "kept: only models with one vocabulary can be compared",
                               m->dir, c->file.model, reference_name(c));
    } else if (status == LLMQ_OK) {
        int32_t id = first_difference(tok, c->tok);
        if (id >= 0)
            status = error_set(err, LLMQ_E_USAGE,
                               "token %" PRId32 " is not the same text in %s as in the reference "
                               "%s: only models with one vocabulary can be compared",
                               id, m->dir, reference_name(c));
    }
    tokenizer_free(&tok);
    return status == LLMQ_E_NOT_FOUND ? LLMQ_OK : status;
}

static enum llmq_status check_tokenizers(const struct comparison *c, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < c->count && status == LLMQ_OK; i++)
        status = check_tokenizer(c, &c->models[i].m, err);
    return status;
}

/* The text can be read, and its ids mean the same to all. */
static enum llmq_status check_text(struct comparison *c, const char *text, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    if (c->kept)
        return check_tokenizers(c, err);
    status = setup_tokenizer(c->reference.dir, &c->tok, err);
    if (status == LLMQ_E_NOT_FOUND) {
        error_set(err, LLMQ_E_USAGE,
                  "%s is text, and the reference %s has no tokenizer.json to read it", text,
                  c->reference.dir);
        error_hint(err, "give --text FILE.json: windows of token ids");
        return LLMQ_E_USAGE;
    }
    if (status == LLMQ_OK)
        status = check_tokenizers(c, err);
    tokenizer_free(&c->tok);
    return status;
}

/* --- what is read ----------------------------------------------------------------------------- */

static int64_t shortest_context(const struct comparison *c) {
    int64_t shortest = c->kept ? INT64_MAX : setup_context(&c->reference.config);
    for (size_t i = 0; i < c->count; i++) {
        const int64_t context = setup_context(&c->models[i].m.config);
        shortest = context < shortest ? context : shortest;
    }
    return shortest;
}

static enum llmq_status read_text(struct comparison *c, const char *text, llmq_error *err) {
    const llmq_compare_options *o = c->options;
    struct corpus_options cut = {.special = o->special,
                                 .window = o->ctx ? o->ctx : shortest_context(c),
                                 .window_given = o->ctx != 0,
                                 .window_option = "--ctx",
                                 .field = o->text_field,
                                 .field_option = "--text-field",
                                 .max_tokens = o->max_tokens};
    const struct model *reader = c->kept ? &c->models[0].m : &c->reference;
    const struct reading limits = {.max_mem = o->max_mem};
    struct corpus_file file = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(corpus_file_open(text, &limits, &file, err));
    if (file.kind != CORPUS_WINDOWS)
        LLMQ_TRY(check_text(c, text, err));
    LLMQ_TRY(setup_corpus(c->ctx, reader, &file, &cut, &c->corpus, err));
    LLMQ_TRY(measure_scoring(c->ctx, o->convention, &cut, &c->corpus, err));
cleanup:
    corpus_file_free(&file);
    return status;
}

/* The windows that were read are those of the kept reference. */
static enum llmq_status check_same(const struct comparison *c, const char *text, llmq_error *err) {
    const struct corpus *read = &c->corpus, *kept = &c->file.corpus;
    if (read->count != kept->count ||
        memcmp(read->offsets, kept->offsets, (size_t)(kept->count + 1) * sizeof *kept->offsets)) {
        error_set(err, LLMQ_E_USAGE,
                  "%s: %" PRId64 " windows of up to %" PRId64 " tokens; %s was kept on %" PRId64
                  " of up to %" PRId64,
                  text, read->count, read->max_len, reference_name(c), kept->count, kept->max_len);
        error_hint(err, "leave out --text and its options: the windows are in the file");
        return LLMQ_E_USAGE;
    }
    for (int64_t t = 0; t < kept->tokens_used; t++)
        if (read->ids[t] != kept->ids[t])
            return error_set(err, LLMQ_E_USAGE,
                             "%s: token %" PRId64 " is %" PRId32 ", in %s it is %" PRId32
                             ": that was kept on another text",
                             text, t, read->ids[t], reference_name(c), kept->ids[t]);
    return LLMQ_OK;
}

static enum llmq_status read_kept(struct comparison *c, llmq_error *err) {
    const llmq_compare_options *o = c->options;
    enum llmq_status status = LLMQ_OK;
    if (o->convention != c->file.convention) {
        error_set(err, LLMQ_E_USAGE, "%s was kept by the convention %s", o->reference,
                  measure_convention_name(c->file.convention));
        error_hint(err, "give --convention %s", measure_convention_name(c->file.convention));
        return LLMQ_E_USAGE;
    }
    if (o->text) {
        LLMQ_TRY(read_text(c, o->text, err));
        LLMQ_TRY(check_same(c, o->text, err));
        corpus_free(&c->corpus);
    } else if (o->ctx || o->max_tokens || o->text_field || o->special != LLMQ_SPECIAL_MODEL) {
        return error_set(err, LLMQ_E_USAGE,
                         "%s holds the windows that are read: options that cut a text change "
                         "nothing",
                         o->reference);
    } else {
        LLMQ_TRY(check_tokenizers(c, err));
    }
    c->corpus = c->file.corpus;
    c->file.corpus = (struct corpus){0};
cleanup:
    return status;
}

/* --- all -------------------------------------------------------------------------------------- */

enum llmq_status comparison_open(const char *const *models, struct comparison *c, llmq_error *err) {
    const llmq_compare_options *o = c->options;
    const char *text = o->text;
    enum llmq_status status = LLMQ_OK;
    if (c->count == 0 && !o->save_reference)
        return error_set(err, LLMQ_E_USAGE, "there is no model to compare");
    LLMQ_TRY(open_models(models, c, err));
    if (o->save_reference)
        LLMQ_TRY(output_file_choose("save-reference", o->save_reference, c->reference.dir, &c->save,
                                    err));
    if (!text && !c->kept) {
        text = setup_bundled_text(DATA_EVALUATION, err);
        if (!text)
            return LLMQ_E_NOT_FOUND;
    }
    LLMQ_TRY(c->kept ? read_kept(c, err) : read_text(c, text, err));
    for (size_t i = 0; i < c->count; i++)
        LLMQ_TRY(setup_check_windows(&c->models[i].m, text ? text : o->reference, &c->corpus, err));
cleanup:
    return status;
}

void comparison_close(struct comparison *c) {
    measure_end(&c->spill_dir);
    eval_reference_free(&c->ran);
    output_file_free(&c->save);
    tokenizer_free(&c->tok);
    corpus_free(&c->corpus);
    reference_file_free(&c->file);
    for (size_t i = 0; c->models && i < c->count; i++)
        model_close(&c->models[i].m);
    free(c->models);
    c->models = NULL;
    model_close(&c->reference);
}
