/* SPDX-License-Identifier: Apache-2.0 */
/* What a comparison of two models comes to: means, quantiles, where tokens diverge most. */
#ifndef LLMQ_EVAL_SUMMARY_H
#define LLMQ_EVAL_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>

#include "eval/divergence.h"
#include "eval/logprobs.h"
#include "llmq/error.h"
#include "llmq/evaluate.h"
#include "text/corpus.h"

/* Of the tokens that count. Quantiles are interpolated between neighbours in order of size. */
struct divergence_summary {
    struct eval_mean model, reference; /* as of eval_mean_nll */
    struct eval_mean delta;            /* mean of the differences, model - reference */
    double delta_p_value;              /* NaN for a single window */
    struct eval_mean kl;
    struct eval_mean reverse; /* zeroed where it is not known */
    double kl_median, kl_p90, kl_p99, kl_p999, kl_max;
    double kl_sampling_error; /* of the mean */
    double top1_agreement;    /* fraction */
    llmq_delta_p delta_p;
    int64_t histogram[LLMQ_COMPARE_BINS];
    llmq_kl_stretch stretches[LLMQ_COMPARE_STRETCHES];
    llmq_divergent_token worst[LLMQ_COMPARE_WORST];
    size_t worst_count;
};

/* LLMQ_E_USAGE when no token counts. */
LLMQ_NODISCARD enum llmq_status divergence_summarize(const struct corpus *corpus,
                                                     const struct divergence *d,
                                                     enum eval_convention convention,
                                                     struct divergence_summary *out,
                                                     llmq_error *err);

/* The same window by window: out [corpus->count]. */
void divergence_by_window(const struct corpus *corpus, const struct divergence *d,
                          enum eval_convention convention, llmq_window_divergence *out);

/* Mean over tokens of kl - first's, both [count], of the same windows; the standard error takes
 * windows as the sampling unit, NaN for one. */
void divergence_beside(const llmq_window_divergence *first, const llmq_window_divergence *other,
                       int64_t count, double *mean, double *standard_error);

#endif
