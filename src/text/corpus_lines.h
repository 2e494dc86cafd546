/* Texts out of lines of JSON. */
#ifndef LLMQ_TEXT_CORPUS_LINES_H
#define LLMQ_TEXT_CORPUS_LINES_H

#include "llmq/error.h"
#include "text/document.h"
#include "text/record.h"
#include "text/tokenizer.h"

/* Append the ids of the text of every line that is not blank (record.h), each a document of its
 * own. Errors name the line. */
LLMQ_NODISCARD enum llmq_status corpus_lines_encode(struct record_reader *records,
                                                    struct document_reader *reader,
                                                    struct id_list *ids, llmq_error *err);

#endif
