/* SPDX-License-Identifier: Apache-2.0 */
/* See places.h. */
#include "calib/places.h"

#include <math.h>

/* An octave is the places [2^i, 2^(i + 1)). */
enum { OCTAVES = 62 };

/* The logarithm of a mean of m values is off by 2 / sqrt(m) where these are twice as far apart as
 * they are large, which gradients of tokens are about; and by a quarter from a line if m is large.
 * A mean counts by what is left of both: m / (m + 64). */
#define OWN_VALUES 64.0

struct octave {
    double sum, places; /* of values, and of logarithms of their places */
    int64_t values;
};

static int octave_of(int64_t place) {
    int i = 0;
    while (place >> (i + 1) > 0)
        i++;
    return i;
}

/* level and slope by the octaves that have anything; slope 0 where one alone has. */
static void fit_line(const struct octave *octave, struct place_trend *t) {
    double weight = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int i = 0; i < OCTAVES; i++) {
        const double values = (double)octave[i].values;
        if (!(octave[i].sum > 0))
            continue;
        const double w = values / (values + OWN_VALUES);
        const double at = octave[i].places / values, mean = log(octave[i].sum / values);
        weight += w;
        x += w * at;
        y += w * mean;
        xx += w * at * at;
        xy += w * at * mean;
    }
    const double spread = weight * xx - x * x;
    t->slope = spread > 1e-9 * weight * weight ? (weight * xy - x * y) / spread : 0;
    t->level = weight > 0 ? (y - t->slope * x) / weight : 0;
}

struct place_trend place_trend_fit(const float *x, const int64_t *offsets, int64_t count) {
    struct octave octave[OCTAVES] = {{0}};
    struct place_trend t = {0};
    for (int64_t i = 0; i < count; i++) {
        t.first += (double)x[offsets[i]] / (double)count;
        for (int64_t place = 1; place < offsets[i + 1] - offsets[i]; place++) {
            struct octave *to = &octave[octave_of(place)];
            to->sum += (double)x[offsets[i] + place];
            to->places += log((double)place);
            to->values++;
        }
    }
    fit_line(octave, &t);
    return t;
}

double place_trend_at(const struct place_trend *t, int64_t place) {
    return place == 0 ? t->first : exp(t->level + t->slope * log((double)place));
}
