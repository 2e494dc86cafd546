/* Texts out of lines of JSON. */
#ifndef LLMQ_TEXT_CORPUS_LINES_H
#define LLMQ_TEXT_CORPUS_LINES_H

#include "llmq/error.h"
#include "text/corpus_file.h"
#include "text/document.h"
#include "text/tokenizer.h"

/* Append the ids of the "text" of every line that is not blank, each a document of its own.
 * LLMQ_E_INPUT, with the line, for one that is no JSON object, has a key twice, or has no string
 * "text". */
LLMQ_NODISCARD enum llmq_status corpus_lines_encode(const struct corpus_file *file,
                                                    struct document_reader *reader,
                                                    struct id_list *ids, llmq_error *err);

#endif
