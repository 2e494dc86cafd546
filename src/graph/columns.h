/* SPDX-License-Identifier: Apache-2.0 */
/* Moving columns, and sums of rows; dx and dy are gradients towards x and towards what is made of
 * it. */
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

/* The same two, adding to what is there: the ways back of each other. One that is repeated gets the
 * sum of what is in its place in all runs; one without data is passed over. */
void columns_add_split(const struct part *parts, int count, int64_t groups, int64_t rows,
                       const float *x);
void columns_add_join(const struct part *parts, int count, int64_t groups, int64_t rows,
                      float *out);

/* x [rows, from] becomes [rows, to] in its place: the first columns of each row, and 0 behind those
 * that there were. */
void columns_resize(int64_t rows, int64_t from, int64_t to, float *x);

/* out[i] = x[i] within -bound and bound; NaN stays. `out` may be `x`. */
void columns_clip(float bound, int64_t count, const float *x, float *out);

/* dx[i] += dy[i] where x[i] is within -bound and bound: the way back. */
void columns_clip_back(float bound, int64_t count, const float *x, const float *dy, float *dx);

/* out [rows, groups] = the sum of each of the pieces that the rows of x [rows, width] lie in, and
 * the way back: dx += dy of the piece. */
void columns_total(int64_t groups, int64_t rows, int64_t width, const float *x, float *out);
void columns_total_back(int64_t groups, int64_t rows, int64_t width, const float *dy, float *dx);

/* out [rows, width] = x times the factor of its column; `out` may be `x`. And the way back: dx +=
 * dy times that, and slopes += the gradients towards the factors, NULL: nobody asks. */
void columns_weigh(int64_t rows, int64_t width, const float *factors, const float *x, float *out);
struct columns_weigh_back {
    const float *factors, *x, *dy;
    float *dx;
    double *slopes;
};
void columns_weigh_back(int64_t rows, int64_t width, const struct columns_weigh_back *b);

/* x[i] = factor x[i]. */
void columns_scale(float factor, int64_t count, float *x);

/* out[i] = kept a[i] + factor b[i]. `out` may be `a` or `b`. */
void columns_add(float kept, float factor, int64_t count, const float *a, const float *b,
                 float *out);

/* sum[i] += factor x[i]. */
void columns_add_to(float factor, int64_t count, const float *x, float *sum);

/* sum[i] += what the rows of x [rows, width] have in column i. */
void columns_sum(int64_t rows, int64_t width, const float *x, double *sum);

/* x [length, width] += sines, and behind them cosines, of the positions from `first` on, of
 * frequencies from 1 down to 1/10000 in equal ratios (Vaswani et al., arXiv:1706.03762,
 * section 3.5; transformers, modeling_xglm.py). The last of an odd width stays. In float32. */
void columns_add_sinusoids(int64_t first, int64_t length, int64_t width, float *x);

#endif
