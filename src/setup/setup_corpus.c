/* SPDX-License-Identifier: Apache-2.0 */
/* What is read to calibrate and to measure: see setup.h. */
#include <inttypes.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/log.h"
#include "setup/setup.h"

enum llmq_status setup_check_windows(const struct model *m, const char *path,
                                     const struct corpus *corpus, llmq_error *err) {
    if (corpus->max_len <= m->config.max_positions || m->config.rope.type == ROPE_DYNAMIC)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_USAGE,
                     "%s: windows of %" PRId64 " tokens; the model was trained for %" PRId64, path,
                     corpus->max_len, m->config.max_positions);
}

static void say_of_texts(const llmq_context *ctx, const char *path, const struct corpus *c) {
    if (c->chats > 0)
        log_message(ctx, LLMQ_LOG_INFO,
                    "%s: %" PRId64 " of %" PRId64
                    " texts are chats, written by the model's template",
                    path, c->chats, c->texts);
    if (c->texts_begun > 0)
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s: %" PRId64 " of %" PRId64
                    " texts begin with the begin-of-text token: it is not put there a second time",
                    path, c->texts_begun, c->texts);
    if (c->texts_empty > 0)
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s: %" PRId64 " of %" PRId64 " texts are empty and left out", path,
                    c->texts_empty, c->texts);
}

enum llmq_status setup_corpus(const llmq_context *ctx, const struct model *m,
                              struct corpus_file *file, const struct corpus_options *options,
                              struct corpus *out, llmq_error *err) {
    struct tokenizer *tok = NULL;
    enum llmq_status status = LLMQ_OK;
    *out = (struct corpus){0};
    if (file->kind != CORPUS_WINDOWS) {
        LLMQ_TRY(setup_check_tokenizer(m->dir, file->limits, false, err));
        LLMQ_TRY(setup_tokenizer(m->dir, &tok, err));
        (void)memory_resident(); /* what reading it took goes back to the system */
    }
    if (tok && options->special != LLMQ_SPECIAL_NONE && tokenizer_flags_differ(tok))
        log_message(ctx, LLMQ_LOG_WARNING,
                    "%s: add_bos_token or add_eos_token of tokenizer_config.json contradicts the "
                    "template of tokenizer.json: the template counts",
                    m->dir);
    struct corpus_options cut = *options;
    cut.dir = m->dir;
    LLMQ_TRY(corpus_load(file, tok, m->config.vocab, &cut, out, err));
    say_of_texts(ctx, file->path, out);
    status = setup_check_windows(m, file->path, out, err);
    if (status != LLMQ_OK)
        corpus_free(out);
cleanup:
    tokenizer_free(&tok);
    return status;
}
