/* The moments of a task: see calib_private.h. */
#include <math.h>

#include "calib/calib_private.h"
#include "tensor/dtype.h"

const char *moments_first_module(const struct graph *g, const struct graph_task *task) {
    int i = 0;
    while (!(task->nodes >> i & 1))
        i++;
    return g->node[i].row->name;
}

void moments_begin(struct calib *c, const struct graph *g, const struct graph_task *t) {
    const int64_t k = g->width[t->source];
    moment_clear(&c->H, k * k);
    moment_clear(&c->D, k * k);
    moment_clear(&c->R, k * g->width[t->stream]);
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
}

void moments_add_square(struct calib *c, int64_t k, const struct task_rows *rows) {
    moment_add_square(&c->H, rows->held, rows->rows, rows->X, k);
    tally_read(c->forward.tally, TALLY_MOMENTS, (double)rows->rows * (double)k * (double)k);
}

bool moments_finite(const struct calib *c, int64_t k, bool held) {
    bool finite = true;
    for (int64_t i = 0; i < k && finite; i++)
        finite = held ? isfinite(c->H.held[i * k + i]) : isfinite(c->H.sum[i * k + i]);
    return finite;
}

/* What the stream lacks, as what the linear's output lacks before it is multiplied by the gain. */
static void divide(float *x, int64_t count, double gain) {
#pragma omp parallel for schedule(static) default(none) shared(x, count, gain)
    for (int64_t i = 0; i < count; i++)
        x[i] /= (float)gain;
}

/* D += (X_o - X)^T X and, where the linears add to a stream, R += (S_o - S)^T X. */
void moments_add_cross(struct calib *c, const struct graph *g, const struct graph_task *t,
                       const struct task_rows *rows) {
    const int64_t count = rows->rows, k = g->width[t->source], n = g->width[t->stream];
    if (!rows->X_o)
        return;
    moment_difference(rows->X_o, rows->X, rows->scale, count, k, c->diff);
    moment_add_product(&c->D, rows->held, count, c->diff, k, rows->X, k);
    if (rows->S) {
        moment_difference(rows->S_o, rows->S, NULL, count, n, c->diff);
        if (t->gain < 1 || t->gain > 1)
            divide(c->diff, count * n, t->gain);
        moment_add_product(&c->R, rows->held, count, c->diff, n, rows->X, k);
    }
    tally_read(c->forward.tally, TALLY_MOMENTS, 2 * (double)count * (double)(k + n) * (double)k);
}

struct calib_moments moments_finish(struct calib *c, const struct graph *g,
                                    const struct graph_task *t,
                                    const struct moment_tokens *tokens) {
    const int64_t k = g->width[t->source];
    moment_mirror(&c->H, k);
    struct calib_moments out = {.k = k, .H = moment_finish(&c->H, k * k, tokens)};
    if (!calib_pairing(c))
        return out;
    const bool held = tokens->held > 0;
    out.held_share = (double)tokens->held / (double)tokens->all;
    out.D = moment_finish(&c->D, k * k, tokens);
    out.H_held = held ? c->H.held : NULL;
    out.D_held = held ? c->D.held : NULL;
    if (t->stream == V_NONE)
        return out;
    out.R = moment_finish(&c->R, g->width[t->stream] * k, tokens);
    out.R_held = held ? c->R.held : NULL;
    return out;
}

static void note_peak(struct calib *c, const float *x, int64_t count, const char *module) {
    const float most = dtype_peak(DTYPE_F32, x, (size_t)count);
    if (most > c->peak.value)
        c->peak = (struct calib_peak){most, c->quantized.block->index, module};
}

void moments_note_peaks(struct calib *c, const struct graph *g, const struct graph_task *t,
                        const struct task_rows *rows) {
    if (!c->peaks)
        return;
    note_peak(c, rows->X, rows->rows * g->width[t->source], moments_first_module(g, t));
    if (rows->S)
        note_peak(c, rows->S, rows->rows * g->width[t->stream], NULL);
}
