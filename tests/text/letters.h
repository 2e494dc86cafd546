/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer of letters, for suites of corpora. */
#ifndef LLMQ_TESTS_TEXT_LETTERS_H
#define LLMQ_TESTS_TEXT_LETTERS_H

#include "text/corpus.h"

/* Letters a to z are the ids 0 to 25, "#" is 26 and goes before every document. */
extern struct tokenizer *letters;

/* Fixtures: the scratch folder, with the tokenizer in it. */
void letters_setup(void);
void letters_teardown(void);

/* Read and cut; `special` of 0 stands for what a model does. */
LLMQ_NODISCARD enum llmq_status letters_load(const char *path, const struct tokenizer *with,
                                             int64_t vocab, const struct corpus_options *options,
                                             struct corpus *out, llmq_error *err);

#endif
