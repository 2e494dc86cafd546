/* The files that travel with a model besides config.json and weights. */
#ifndef LLMQ_PIPELINE_COMPANIONS_H
#define LLMQ_PIPELINE_COMPANIONS_H

#include "llmq/error.h"

/* Copy what belongs to the model in `from` beside its weights to the folder `to`: tokenizer,
 * templates, generation settings, code, licence. */
LLMQ_NODISCARD enum llmq_status companions_copy(const char *from, const char *to, llmq_error *err);

#endif
