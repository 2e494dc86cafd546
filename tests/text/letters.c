/* SPDX-License-Identifier: Apache-2.0 */
/* See letters.h. */
#include "text/letters.h"

#include <stdio.h>

#include "support.h"

struct tokenizer *letters;

static const struct reading no_limits;

void letters_setup(void) {
    llmq_error err = {0};
    char text[1024];
    size_t len = 0;
    scratch_setup();
    for (int i = 0; i < 26; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "\"%c\":%d,", 'a' + i, i);
    char file[2048];
    int n =
        snprintf(file, sizeof file,
                 "{\"model\":{\"vocab\":{%s\"#\":26},\"merges\":[]},\"post_processor\":"
                 "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"#\"}},"
                 "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"#\":{\"ids\":[26]}}}}",
                 text);
    put_file("tokenizer.json", file, (size_t)n);
    ck_assert_ok(tokenizer_load(scratch_path("tokenizer.json"), &letters, &err), &err);
}

void letters_teardown(void) {
    tokenizer_free(&letters);
    scratch_teardown();
}

enum llmq_status letters_load(const char *path, const struct tokenizer *with, int64_t vocab,
                              const struct corpus_options *options, struct corpus *out,
                              llmq_error *err) {
    struct corpus_options o = *options;
    struct corpus_file file = {0};
    enum llmq_status status = corpus_file_open(path, &no_limits, &file, err);
    if (o.special == LLMQ_SPECIAL_NONE)
        o.special = LLMQ_SPECIAL_MODEL;
    o.dir = scratch;
    o.field_option = "--calib-field";
    if (status == LLMQ_OK)
        status = corpus_load(&file, with, vocab, &o, out, err);
    corpus_file_free(&file);
    return status;
}
