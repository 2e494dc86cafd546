/* The operations of a block, one after the other: see pass.h. Rows are a batch's tokens. */
#include "base/error.h"
#include "graph/attention.h"
#include "graph/pass.h"
#include "kernels/bf16.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

/* --- norm ------------------------------------------------------------------------------------- */

void op_rmsnorm(const float *x, const float *weight, double eps, int64_t rows, int64_t width,
                float *out) {
    const struct llmq_kernels *kernels = kernels_get();
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(kernels, x, weight, eps, rows, width, out)
    for (int64_t r = 0; r < rows; r++)
        kernels->rmsnorm_row(x + r * width, weight, eps, width, out + r * width);
}

/* Groups of a row, such as its heads, are normed like rows. */
static enum llmq_status run_norm(const struct step *s, llmq_error *err) {
    const struct graph_node *n = s->node;
    (void)err;
    op_rmsnorm(s->in[0], s->params->weight, n->eps, s->rows * n->groups, n->width[0] / n->groups,
               s->out[0]);
    return LLMQ_OK;
}

/* --- linear ----------------------------------------------------------------------------------- */

static void add_bias(const float *bias, int64_t rows, int64_t n, float *y) {
#pragma omp parallel for schedule(static) default(none) shared(bias, rows, n, y)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            y[r * n + i] += bias[i];
}

/* y [rows, n] = x [rows, k] W^T + bias, plain or packed. */
static enum llmq_status run_linear(const struct step *s, llmq_error *err) {
    const struct linear *l = &s->params->linear;
    const struct forward *f = s->pass->forward;
    const float *x = s->in[0];
    float *y = s->out[0];
    if (l->packed) {
        enum llmq_status status = llmq_qmat_matmul(l->packed, x, s->rows, l->activations, y, err);
        if (status != LLMQ_OK)
            return status;
    } else if (f->compute == LLMQ_COMPUTE_BF16) {
        bf16_matmul(kernels_get(), s->rows, l->n, l->k, x, l->w, y, f->packed);
    } else {
        linalg_gemm_nt(s->rows, l->n, l->k, 1.0f, x, l->k, l->w, l->k, 0.0f, y, l->n);
    }
    if (l->bias)
        add_bias(l->bias, s->rows, l->n, y);
    return LLMQ_OK;
}

static double linear_flops(const struct step *s) {
    const struct linear *l = &s->params->linear;
    return 2 * (double)s->rows * (double)l->n * (double)l->k;
}

/* --- rotation and attention: sequence by sequence --------------------------------------------- */

/* Sequence `i` of the batch: its first row and its length. */
static int64_t sequence_begin(const struct batch *b, int64_t i, int64_t *length) {
    *length = b->offsets[i + 1] - b->offsets[i];
    return b->offsets[i] - b->offsets[0];
}

static enum llmq_status run_rope(const struct step *s, llmq_error *err) {
    struct forward *f = s->pass->forward;
    const struct batch *b = s->pass->batch;
    const int64_t width = s->node->width[0];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = sequence_begin(b, i, &length);
        enum llmq_status status = rope_table_prepare(f->config, length, &f->rope, err);
        if (status != LLMQ_OK)
            return status;
        attention_rotate(&f->rope, length, s->node->groups, width / s->node->groups,
                         s->in[0] + begin * width, s->out[0] + begin * width);
    }
    return LLMQ_OK;
}

static enum llmq_status run_attention(const struct step *s, llmq_error *err) {
    const struct forward *f = s->pass->forward;
    const struct graph *g = s->pass->block->graph;
    const struct batch *b = s->pass->batch;
    const int64_t window = g->traits & T_WINDOW ? f->config->facts.dims[DIM_WINDOW] : 0;
    const int64_t q = g->width[s->node->in[0]], k = g->width[s->node->in[1]],
                  v = g->width[s->node->in[2]], out = s->node->width[0];
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = sequence_begin(b, i, &length);
        attention_sequence(f->config, window, length, s->in[0] + begin * q, s->in[1] + begin * k,
                           s->in[2] + begin * v, f->scores, f->max_length, s->out[0] + begin * out);
    }
    return LLMQ_OK;
}

/* Causal attention over a whole sequence: half of two products with [length, length]. */
static double attention_flops(const struct step *s) {
    const struct batch *b = s->pass->batch;
    double sum = 0;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0;
        (void)sequence_begin(b, i, &length);
        sum += 2 * (double)length * (double)length * (double)s->node->width[0];
    }
    return sum;
}

/* --- entry by entry --------------------------------------------------------------------------- */

/* out = silu(gate) up. */
static enum llmq_status run_glu(const struct step *s, llmq_error *err) {
    const struct llmq_kernels *kernels = kernels_get();
    const int64_t rows = s->rows, width = s->node->width[0];
    const float *gate = s->in[0], *up = s->in[1];
    float *out = s->out[0];
    (void)err;
#pragma omp parallel for schedule(static) default(none) shared(kernels, rows, width, gate, up, out)
    for (int64_t r = 0; r < rows; r++)
        kernels->silu_mul(gate + r * width, up + r * width, out + r * width, width);
    return LLMQ_OK;
}

static enum llmq_status run_add(const struct step *s, llmq_error *err) {
    const int64_t count = s->rows * s->node->width[0];
    const float *a = s->in[0], *b = s->in[1];
    float *out = s->out[0];
    (void)err;
#pragma omp parallel for schedule(static) default(none) shared(count, a, b, out)
    for (int64_t i = 0; i < count; i++)
        out[i] = a[i] + b[i];
    return LLMQ_OK;
}

const struct op_code op_codes[OP_COUNT] = {
    [OP_NORM] = {run_norm, NULL, TALLY_ELEMENTWISE},
    [OP_LINEAR] = {run_linear, linear_flops, TALLY_LINEAR},
    [OP_ROPE] = {run_rope, NULL, TALLY_ELEMENTWISE},
    [OP_ATTENTION] = {run_attention, attention_flops, TALLY_ATTENTION},
    [OP_GLU] = {run_glu, NULL, TALLY_ELEMENTWISE},
    [OP_ADD] = {run_add, NULL, TALLY_ELEMENTWISE},
};
