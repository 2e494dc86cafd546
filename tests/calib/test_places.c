/* SPDX-License-Identifier: Apache-2.0 */
/* What a token's place says of how much it counts, from values that follow a rule. */
#include <math.h>
#include <stdlib.h>

#include "calib/places.h"
#include "support.h"

enum { WINDOWS = 3, MOST = 256 };

static const int64_t offsets[WINDOWS + 1] = {0, MOST, MOST + 64, MOST + 65};

/* Of windows of 256, 64 and 1 tokens: `first` at place 0, a p^b behind it, times `noise` or by it.
 */
static void fill(double first, double a, double b, double noise, float x[]) {
    unsigned state = 1;
    for (int w = 0; w < WINDOWS; w++)
        for (int64_t p = 0; p < offsets[w + 1] - offsets[w]; p++) {
            state = state * 1103515245U + 12345U;
            const double by = state >> 16 & 1 ? 1 + noise : 1 - noise;
            x[offsets[w] + p] = (float)(p == 0 ? first : a * pow((double)p, b) * by);
        }
}

/* Means of octaves are of a^b at different places than means of logarithms of these: a few parts in
 * a hundred. */
START_TEST(a_rule_is_found) {
    static const double slopes[] = {0, -0.4, -1, 0.3};
    float x[MOST + 65];
    for (size_t i = 0; i < sizeof slopes / sizeof *slopes; i++) {
        fill(50, 3, slopes[i], 0, x);
        const struct place_trend t = place_trend_fit(x, offsets, WINDOWS);
        ck_assert_double_eq_tol(place_trend_at(&t, 0), 50, 1e-5);
        for (int64_t p = 1; p < 2000; p = p * 3 / 2 + 1) { /* beyond all windows, too */
            const double wanted = 3 * pow((double)p, slopes[i]);
            ck_assert_double_eq_tol(place_trend_at(&t, p) / wanted, 1, 0.05);
        }
    }
}
END_TEST

/* Values nine times as large as others, by chance. */
START_TEST(chance_says_little) {
    float x[MOST + 65];
    fill(1, 1, 0, 0.8, x);
    const struct place_trend t = place_trend_fit(x, offsets, WINDOWS);
    ck_assert_double_le(fabs(t.slope), 0.1);
    ck_assert_double_eq_tol(place_trend_at(&t, 100), 1, 0.2);
}
END_TEST

START_TEST(what_is_missing_says_nothing) {
    static const int64_t one[] = {0, 1}, two[] = {0, 2};
    const float nothing[] = {0, 0}, some[] = {2, 5};
    struct place_trend t = place_trend_fit(some, one, 1); /* no place behind the first */
    ck_assert(place_trend_at(&t, 0) > 1.9 && isfinite(place_trend_at(&t, 7)));
    t = place_trend_fit(some, two, 1); /* one octave */
    ck_assert_double_eq_tol(place_trend_at(&t, 1), 5, 1e-5);
    ck_assert_double_eq_tol(place_trend_at(&t, 300), 5, 1e-5);
    t = place_trend_fit(nothing, two, 1);
    ck_assert(isfinite(place_trend_at(&t, 0)) && isfinite(place_trend_at(&t, 9)));
}
END_TEST

int main(void) {
    Suite *s = suite_create("places");
    TCase *t = tcase_create("places");
    tcase_add_test(t, a_rule_is_found);
    tcase_add_test(t, chance_says_little);
    tcase_add_test(t, what_is_missing_says_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}
