/* SPDX-License-Identifier: Apache-2.0 */
/* A report on results: one page of HTML, or its numbers. Nothing here computes or reads files. */
#ifndef LLMQ_REPORT_REPORT_H
#define LLMQ_REPORT_REPORT_H

#include <stddef.h>

#include "base/json.h"
#include "llmq/evaluate.h"

/* One result: how far it is from the reference, and the llmq.json of its folder (NULL: none). */
struct report_result {
    const llmq_compare_result *figures;
    const char *name; /* of its folder */
    const struct json *made;
};

struct report {
    const struct report_result *results;
    size_t count;          /* at least one */
    const char *reference; /* its name */
    const char *version;   /* of llmq */
};

/* A whole document without anything outside of it; its picture alone, as SVG; its numbers as CSV.
 * The caller frees the text; NULL when memory is short. */
char *report_html(const struct report *r);
char *report_svg(const struct report *r);
char *report_csv(const struct report *r);

#endif
