/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of token ids out of a JSON document, read one after the other: a tree of it would take
 * some hundred bytes for each id. */
#ifndef LLMQ_TEXT_CORPUS_WINDOWS_H
#define LLMQ_TEXT_CORPUS_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json_scan.h"
#include "llmq/error.h"
#include "text/corpus_file.h"
#include "text/tokenizer.h"

#define WINDOW_MIN 2 /* a window of one token predicts nothing */

struct windows_reader {
    struct json_scan scan;
    size_t count; /* windows of the document */
    size_t read;  /* of these */
};

/* Begin with the document of a file, which must outlive the reader; nothing to release.
 * LLMQ_E_INPUT, with the file: it is no sound JSON, or no array of arrays; the hint says what to do
 * about what it is. */
LLMQ_NODISCARD enum llmq_status windows_open(const struct corpus_file *file,
                                             struct windows_reader *out, llmq_error *err);

/* Append the ids of the next window; *more is false when there is none. LLMQ_E_INPUT: it is no
 * array of at least WINDOW_MIN integers of 32 bits. */
LLMQ_NODISCARD enum llmq_status windows_next(struct windows_reader *r, struct id_list *ids,
                                             bool *more, llmq_error *err);

#endif
