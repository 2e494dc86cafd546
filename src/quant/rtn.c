/* Round-to-nearest: each group's range sets its grid, each weight goes to the nearest code. The
 * cheapest method, and the one every other is compared with. */
#include <math.h>

#include "base/error.h"
#include "quant/grid.h"
#include "quant/quant.h"

static void quantize_group(const struct quant_grid *grid, const float *w, int64_t count,
                           uint8_t *codes, float *scale, uint8_t *zero) {
    float lo = 0, hi = 0, s = 0, z = 0, top = grid_max_code(grid);
    grid_range(w, count, &lo, &hi);
    grid_params(grid, lo, hi, &s, &z);
    for (int64_t i = 0; i < count; i++)
        codes[i] = (uint8_t)(int)(grid_level(w[i], s, z, top) + z);
    *scale = s;
    *zero = (uint8_t)(int)z;
}

enum llmq_status rtn_quantize(const struct quant_grid *grid, const float *W, int64_t n, int64_t k,
                              struct qlinear *q, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    *q = (struct qlinear){0};
    LLMQ_TRY(grid_check(grid, k, err));
    LLMQ_TRY(grid_check_weights(W, n, k, err));
    LLMQ_TRY(qlinear_alloc(n, k, grid->bits, grid->group, q, err));
    q->sym = grid->sym;
#pragma omp parallel for default(none) shared(grid, W, n, k, q) schedule(static)
    for (int64_t row = 0; row < n; row++)
        for (int64_t g = 0; g < q->groups; g++) {
            int64_t at = row * k + g * q->group, param = row * q->groups + g;
            quantize_group(grid, W + at, q->group, q->codes + at, q->scales + param,
                           q->zeros + param);
        }
cleanup:
    return status;
}
