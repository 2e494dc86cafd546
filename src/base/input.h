/* SPDX-License-Identifier: Apache-2.0 */
/* What is read whole, and how large it may be: one table of limits by what a file is for. Files
 * that people have stay far below; a file above is none of the kind, and reading it would only take
 * memory and time. */
#ifndef LLMQ_BASE_INPUT_H
#define LLMQ_BASE_INPUT_H

#include <stddef.h>

#include "llmq/error.h"

enum input_purpose {
    INPUT_SETTINGS,  /* config.json and its like */
    INPUT_INDEX,     /* the list of a checkpoint's tensors */
    INPUT_TOKENIZER, /* tokenizer.json */
    INPUT_TEMPLATE,  /* a chat template */
    INPUT_RECORD,    /* llmq.json of a result */
    INPUT_NAME,      /* a line: the name of a snapshot */
    INPUT_PURPOSES,
};

struct input_limit {
    const char *what; /* for messages: "settings" */
    size_t bytes;
    size_t values; /* members and elements, some 100 bytes each as a tree; 0: no JSON */
};

const struct input_limit *input_limit(enum input_purpose purpose);

/* Read a file of a purpose, as file_read does. LLMQ_E_INPUT: it is larger than such a file may be
 * or, where it is no JSON, it has a NUL, at which the text would be cut. */
LLMQ_NODISCARD enum llmq_status input_read(const char *path, enum input_purpose purpose,
                                           char **text, size_t *len, llmq_error *err);

#endif
