/* Regular expressions from the reference's dialect to PCRE2's. */
#ifndef LLMQ_TEXT_REGEX_SYNTAX_H
#define LLMQ_TEXT_REGEX_SYNTAX_H

#include "llmq/error.h"

/* Translate Oniguruma (Ruby syntax, Unicode) to PCRE2 (UTF and UCP set). *out is a fresh string the
 * caller frees. LLMQ_E_UNSUPPORTED names what has no equivalent; errors of syntax are left for the
 * compiler to find. */
LLMQ_NODISCARD enum llmq_status regex_translate(const char *expression, char **out,
                                                llmq_error *err);

#endif
