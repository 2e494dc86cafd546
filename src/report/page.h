/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the page. Not for use outside src/report. */
#ifndef LLMQ_REPORT_PAGE_H
#define LLMQ_REPORT_PAGE_H

#include "base/strbuf.h"
#include "report/report.h"

/* Everything between <style> and </style>. */
extern const char page_style[];

/* How large errors are, module by module; where the time went, the plan, events. */
void page_modules(struct strbuf *b, const struct report_result *r, size_t index);
void page_run(struct strbuf *b, const struct report_result *r);

/* The tokens on which a result and the reference differ most, in their text. */
void page_tokens(struct strbuf *b, const struct report_result *r);

#endif
