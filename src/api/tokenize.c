/* SPDX-License-Identifier: Apache-2.0 */
/* Text to ids and back: see llmq/model.h. */
#include <stdlib.h>

#include "base/error.h"
#include "llmq/model.h"
#include "setup/setup.h"
#include "text/tokenizer.h"

enum llmq_status llmq_tokenize(const char *model, const char *text, size_t len,
                               enum llmq_special special, int32_t **ids, size_t *count,
                               llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct tokenizer *tok = NULL;
    struct id_list list = {0};
    char *dir = NULL;
    LLMQ_TRY(llmq_model_resolve(model, &dir, err));
    LLMQ_TRY(setup_tokenizer(dir, &tok, err));
    LLMQ_TRY(tokenizer_encode(tok, text, len, special, &list, err));
    *ids = list.ids;
    *count = list.count;
    list = (struct id_list){0};
cleanup:
    id_list_free(&list);
    tokenizer_free(&tok);
    free(dir);
    return status;
}

enum llmq_status llmq_detokenize(const char *model, const int32_t *ids, size_t count,
                                 bool skip_special, char **text, size_t *len, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct tokenizer *tok = NULL;
    struct strbuf out = {0};
    char *dir = NULL;
    LLMQ_TRY(llmq_model_resolve(model, &dir, err));
    LLMQ_TRY(setup_tokenizer(dir, &tok, err));
    LLMQ_TRY(tokenizer_decode_all(tok, ids, count, !skip_special, &out, err));
    *len = out.len;
    *text = strbuf_take(&out);
    if (!*text)
        status = error_memory(err, "a text");
cleanup:
    strbuf_free(&out);
    tokenizer_free(&tok);
    free(dir);
    return status;
}
