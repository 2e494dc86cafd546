/* SPDX-License-Identifier: Apache-2.0 */
/* What llmq_compare_all works with. Not for use outside src/api. */
#ifndef LLMQ_API_COMPARISON_H
#define LLMQ_API_COMPARISON_H

#include <stdbool.h>
#include <stddef.h>

#include "api/output_file.h"
#include "api/reference_file.h"
#include "base/json.h"
#include "eval/divergence.h"
#include "eval/summary.h"
#include "graph/model.h"
#include "llmq/evaluate.h"
#include "text/corpus.h"
#include "text/tokenizer.h"

/* One of the models. */
struct compared {
    struct model m;
    struct eval_numbers numbers;
};

/* Zeroed before use, but for `save`. */
struct comparison {
    const llmq_compare_options *options;
    const llmq_context *ctx;
    struct compared *models; /* [count] */
    size_t count;
    struct model reference;     /* or, where it is kept, */
    struct reference_file file; /* this */
    bool kept;
    struct corpus corpus;
    struct tokenizer *tok; /* shows tokens; NULL: not read yet, or there is none */
    bool tok_tried;
    struct eval_reference ran;
    struct output_file save; /* where the reference is to be kept; path NULL: nowhere */
    char *spill_dir;
};

/* Open all that is compared and what is read, and check that they go together. */
LLMQ_NODISCARD enum llmq_status comparison_open(const char *const *models, struct comparison *c,
                                                llmq_error *err);
void comparison_close(struct comparison *c);

/* What the divergent tokens of a summary look like, into `result`; `d` is of the model. */
LLMQ_NODISCARD enum llmq_status comparison_contexts(struct comparison *c, const struct model *m,
                                                    const struct divergence *d,
                                                    llmq_compare_result *result, llmq_error *err);
void comparison_free_context(llmq_token_context *context);

/* A result as a JSON object. */
struct json *compare_object(const llmq_compare_result *result);

#endif
