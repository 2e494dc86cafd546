/* Models that llmq has no table for because they compute what no row says. */
#ifndef LLMQ_MODELS_UNKNOWN_H
#define LLMQ_MODELS_UNKNOWN_H

/* What a model of that model_type has that there is no part for; NULL: it is not one of those
 * known. Static storage. */
const char *unknown_why(const char *model_type);

#endif
