/* Text to ids: see llmq_tokenize in llmq/model.h. */
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
