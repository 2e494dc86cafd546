/* SPDX-License-Identifier: Apache-2.0 */
/* Models that llmq has no table for because they compute what no row says. */
#ifndef LLMQ_MODELS_UNKNOWN_H
#define LLMQ_MODELS_UNKNOWN_H

struct unknown {
    const char *model_type, *why; /* what it has that there is no part for; both NULL: the end */
};

/* models/families/unknown.c */
extern const struct unknown unknown_models[];

/* The `why` of that model_type; NULL: it is not one of those known. */
const char *unknown_why(const char *model_type);

#endif
