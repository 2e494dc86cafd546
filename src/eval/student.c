/* SPDX-License-Identifier: Apache-2.0 */
/* See student.h. */
#include "eval/student.h"

#include <math.h>

/* The continued fraction of I_x(a, b), evaluated from the front as Lentz does: value is the product
 * of up[k] / down[k] so far. */
struct fraction {
    double up, down, value;
};

static double not_zero(double x) {
    return fabs(x) < 1e-300 ? 1e-300 : x;
}

static double add_term(struct fraction *f, double term) {
    f->down = 1 / not_zero(1 + term * f->down);
    f->up = not_zero(1 + term / f->up);
    const double factor = f->up * f->down;
    f->value *= factor;
    return factor;
}

/* I_x(a, b) for x < (a + 1) / (a + b + 2), where it converges fast. */
static double beta_fraction(double a, double b, double x) {
    enum { MOST_TERMS = 1000 };
    struct fraction f = {.up = 1, .down = 1 / not_zero(1 - (a + b) * x / (a + 1))};
    f.value = f.down;
    for (int m = 1; m < MOST_TERMS; m++) {
        add_term(&f, m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)));
        const double factor =
            add_term(&f, -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)));
        if (fabs(factor - 1) < 1e-16)
            break;
    }
    return f.value * exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a;
}

double student_two_sided(double t, double freedom) {
    const double a = freedom / 2, b = 0.5, x = freedom / (freedom + t * t);
    if (!(fabs(t) > 0))
        return isnan(t) ? t : 1;
    if (!(x > 0))
        return 0;
    return x < (a + 1) / (a + b + 2) ? beta_fraction(a, b, x) : 1 - beta_fraction(b, a, 1 - x);
}
