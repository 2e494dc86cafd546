/* SPDX-License-Identifier: Apache-2.0 */
/* What an error costs: dw (H + damping I) dw^T for a row's error dw. */
#ifndef LLMQ_QUANT_METRIC_H
#define LLMQ_QUANT_METRIC_H

struct metric {
    const float *H; /* [k, k] symmetric; an input whose H_kk is 0 was never active */
    double damping; /* added to the diagonal, >= 0 */
};

#endif
