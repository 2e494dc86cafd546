/* Moving columns, and sums of rows. */
#ifndef LLMQ_GRAPH_COLUMNS_H
#define LLMQ_GRAPH_COLUMNS_H

#include <stdbool.h>
#include <stdint.h>

/* A part of fused rows. Those lie in `groups` runs, each a piece of every part after the other. */
struct part {
    float *data; /* [rows, width]; of a split, NULL: nobody wants it */
    int64_t width;
    bool repeated; /* whole in every run, not cut into as many pieces as there are runs */
};

/* The parts of x [rows, sum of widths], none of which is repeated. They must not overlap x. */
void columns_split(const struct part *parts, int count, int64_t groups, int64_t rows,
                   const float *x);

/* out [rows, width of the runs together] = the parts, which it must not overlap. */
void columns_join(const struct part *parts, int count, int64_t groups, int64_t rows, float *out);

/* out[i] = x[i] within -bound and bound; NaN stays. `out` may be `x`. */
void columns_clip(float bound, int64_t count, const float *x, float *out);

/* x[i] = factor x[i]. */
void columns_scale(float factor, int64_t count, float *x);

/* out[i] = kept a[i] + factor b[i]. `out` may be `a` or `b`. */
void columns_add(float kept, float factor, int64_t count, const float *a, const float *b,
                 float *out);

/* x [length, width] += sines, and behind them cosines, of the positions from `first` on, of
 * frequencies from 1 down to 1/10000 in equal ratios (Vaswani et al., arXiv:1706.03762,
 * section 3.5; transformers, modeling_xglm.py). The last of an odd width stays. In float32. */
void columns_add_sinusoids(int64_t first, int64_t length, int64_t width, float *x);

#endif
