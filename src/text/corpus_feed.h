/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of a file, read in parts and given on as ids. */
#ifndef LLMQ_TEXT_CORPUS_FEED_H
#define LLMQ_TEXT_CORPUS_FEED_H

#include "llmq/error.h"
#include "text/corpus_file.h"
#include "text/corpus_keep.h"
#include "text/document.h"
#include "text/record.h"

struct corpus_feed {
    struct corpus_file *file; /* of CORPUS_TEXT or CORPUS_LINES */
    struct record_reader records;
    struct document_reader reader;
    struct id_keeper keeper;
};

/* Give the keeper the ids of the file from where it is: of its text, or of the text of every line
 * that is not blank (record.h), each a document of its own. Errors name the line. It ends early
 * when the keeper is done. */
LLMQ_NODISCARD enum llmq_status corpus_feed(struct corpus_feed *f, llmq_error *err);

#endif
