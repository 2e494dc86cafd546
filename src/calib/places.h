/* SPDX-License-Identifier: Apache-2.0 */
/* What a token's place in its window says of how much it counts: all later tokens attend to the
 * first ones, and many models keep their attention on the very first when it has nowhere to go
 * (Xiao et al. 2024, "Efficient Streaming Language Models with Attention Sinks"). */
#ifndef LLMQ_CALIB_PLACES_H
#define LLMQ_CALIB_PLACES_H

#include <stdint.h>

/* Expected at place p of a window: `first` at 0, exp(level) p^slope behind it. */
struct place_trend {
    double first, level, slope;
};

/* Of x >= 0 [offsets[count]], the values of window i from offsets[i] on: the mean at place 0, and a
 * line of least squares through the logarithms of the means of octaves of places. */
struct place_trend place_trend_fit(const float *x, const int64_t *offsets, int64_t count);

double place_trend_at(const struct place_trend *t, int64_t place);

#endif
