/* SPDX-License-Identifier: Apache-2.0 */
/* A report on results: a page to look at, and its numbers. */
#ifndef LLMQ_REPORT_H
#define LLMQ_REPORT_H

#include <stddef.h>

#include "llmq/context.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmq_report_options {
    size_t size;                         /* of this struct, see llmq/llmq.h */
    const llmq_compare_options *compare; /* how the results are compared; its model is not used */
    const char *out; /* file for the page, one HTML document without anything outside of it; a name
                        that ends in .svg takes a picture alone: of several results size against
                        divergence, of one the errors of its modules. NULL: none is written */
} llmq_report_options;

void llmq_report_options_init_sized(llmq_report_options *options, size_t size);
static inline void llmq_report_options_init(llmq_report_options *options) {
    llmq_report_options_init_sized(options, sizeof *options);
}

typedef struct llmq_report llmq_report;

/* Compare the results [count], which are model folders, with the reference, read the llmq.json of
 * each where there is one, and write the page. Errors as of llmq_compare_all; LLMQ_E_USAGE for a
 * place in a model's folder, LLMQ_E_INPUT for a picture of a result whose modules are not known.
 * Release *out with llmq_report_free. */
LLMQ_NODISCARD enum llmq_status llmq_report_make(const llmq_report_options *options,
                                                 const char *const *models, size_t count,
                                                 const llmq_context *ctx, llmq_report **out,
                                                 llmq_error *err);
void llmq_report_free(llmq_report **report); /* accepts a pointer to NULL */

/* Bytes of the page that was written, 0: none was. */
size_t llmq_report_bytes(const llmq_report *report);

/* Its numbers, as CSV (model, table, row, column, value) and as a JSON object, to be released with
 * llmq_free; NULL when memory is short. */
char *llmq_report_csv(const llmq_report *report);
char *llmq_report_json(const llmq_report *report);

#ifdef __cplusplus
}
#endif
#endif
