/* SPDX-License-Identifier: Apache-2.0 */
/* GPTQ as the paper's Algorithm 1 reads, in double precision and without blocks: the explicit
 * inverse of H, the Cholesky factor of the inverse, one column after the other. Slow, plain, and
 * the measure of the real one. */
#ifndef LLMQ_TESTS_TEXTBOOK_H
#define LLMQ_TESTS_TEXTBOOK_H

#include <stdint.h>

#include "quant/quant.h"

struct textbook {
    int64_t k, group;
    enum act_order order;
    int64_t *column; /* [k] column processed at each position */
    double *H;       /* [k, k] as given */
    double *U;       /* [k, k] upper, U^T U = (H in processing order + damping)^-1 */
};

void textbook_init(struct textbook *t, const double *H, int64_t k, int64_t group,
                   enum act_order order, double damp);
void textbook_free(struct textbook *t);

/* One row by the textbook with its own choices, scales in double (for SCALE_F32 grids): its
 * codes [k], and dw H dw^T. */
double textbook_row(const struct textbook *t, const struct quant_grid *grid, const float *w,
                    uint8_t *codes);

/* What following another's choices showed. Gaps are relative to the row's largest weight, as are
 * float32 errors of its updated weights. */
struct textbook_trail {
    int64_t other_codes; /* codes that the textbook would have chosen otherwise */
    double code_gap;     /* how far from a tie the worst of them was */
    double zero_gap;     /* the same for zero points; negative when all agree */
    double scale_gap;    /* largest difference of a group's range */
};

/* Row `row` of q by the textbook, which adopts q's choice wherever it differs and goes on from
 * there: if q is a GPTQ result, all differences are rounding ties. Adds to `trail`. */
void textbook_follow(const struct textbook *t, const struct quant_grid *grid, const float *w,
                     const struct qlinear *q, int64_t row, struct textbook_trail *trail);

/* d H d^T in double with d = w - row of q. */
double textbook_error(const struct textbook *t, const float *w, const struct qlinear *q,
                      int64_t row);

#endif
