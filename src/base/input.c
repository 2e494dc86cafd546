/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of inputs: see input.h. Each leaves several times what the largest known file has. */
#include "base/input.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fileio.h"

static const struct input_limit limits[INPUT_PURPOSES] = {
    /* Most are some KiB. Mixtures whose experts are named one by one in quantization_config: 60,000
     * names, 4 MiB. */
    [INPUT_SETTINGS] = {"settings", (size_t)16 << 20, 500000},
    /* A trillion parameters in experts of their own, with scales: 210,000 tensors, 24 MiB. */
    [INPUT_INDEX] = {"an index of tensors", (size_t)128 << 20, 2000000},
    /* 262,144 tokens and 580,000 merges as pairs: 33 MiB, 2.1 million values. */
    [INPUT_TOKENIZER] = {"a tokenizer", (size_t)128 << 20, 8000000},
    /* The longest are some 20 KiB. */
    [INPUT_TEMPLATE] = {"a chat template", (size_t)1 << 20, 0},
    /* Mixtures: 60,000 modules, 24 MiB, 1.2 million values. */
    [INPUT_RECORD] = {"the record of a result", (size_t)128 << 20, 4000000},
    /* A hash of 40 digits. */
    [INPUT_NAME] = {"a name", 4096, 0},
};

const struct input_limit *input_limit(enum input_purpose purpose) {
    return &limits[purpose];
}

enum llmq_status input_read(const char *path, enum input_purpose purpose, char **text, size_t *len,
                            llmq_error *err) {
    const struct input_limit *limit = input_limit(purpose);
    enum llmq_status status = file_read(path, limit->bytes, text, len, err);
    if (status != LLMQ_OK)
        return status;
    const char *nul = limit->values == 0 ? memchr(*text, '\0', *len) : NULL;
    if (!nul)
        return LLMQ_OK;
    status = error_set(err, LLMQ_E_INPUT, "%s: byte %zu is NUL: expected %s", path,
                       (size_t)(nul - *text), limit->what);
    free(*text);
    *text = NULL;
    return status;
}
