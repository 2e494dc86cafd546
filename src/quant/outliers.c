/* SPDX-License-Identifier: Apache-2.0 */
/* Channels that stand out: a few of them may hold most of what a linear reads, and cost most when
 * their weights are rounded like all others. The geometric mean stands for the usual size: unlike
 * the mean it is hardly moved by them. */
#include <math.h>

#include "quant/quant.h"

struct channel_outliers quant_outliers(const float *H, int64_t k) {
    struct channel_outliers out = {0};
    double logs = 0, sum = 0, large = 0;
    int64_t active = 0;
    for (int64_t c = 0; c < k; c++) {
        const double square = (double)H[c * k + c];
        if (!(square > 0) || !isfinite(square))
            continue;
        logs += log(square);
        sum += square;
        active++;
    }
    const double limit = active > 0 ? OUTLIER * exp(logs / (double)active) : 0;
    for (int64_t c = 0; c < k; c++) {
        const double square = (double)H[c * k + c];
        if (!(square > limit) || !isfinite(square))
            continue;
        large += square;
        out.count++;
    }
    out.share = sum > 0 ? large / sum : 0;
    return out;
}
