/* The forward pass: see forward.h. */
#include "graph/forward.h"

#include <omp.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/attention.h"
#include "kernels/bf16.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

int64_t batch_rows(const struct batch *b) {
    return b->offsets[b->sequences] - b->offsets[0];
}

bool batch_next(const int64_t *offsets, int64_t count, int64_t max_rows, struct batch *b) {
    const int64_t *begin = b->offsets ? b->offsets + b->sequences : offsets;
    int64_t left = count - (begin - offsets), take = 1;
    if (left <= 0)
        return false;
    while (take < left && begin[take + 1] - begin[0] <= max_rows)
        take++;
    *b = (struct batch){begin, take};
    return true;
}

int64_t batch_max_rows(const int64_t *offsets, int64_t count, int64_t max_rows) {
    int64_t most = 0;
    for (struct batch b = {0}; batch_next(offsets, count, max_rows, &b);)
        most = max_i64(most, batch_rows(&b));
    return most;
}

int64_t forward_mid_width(const struct model_config *c) {
    return max_i64(c->heads * c->head_dim, c->intermediate);
}

/* Columns of the widest linear. */
static int64_t widest_input(const struct model_config *c) {
    return max_i64(forward_mid_width(c), c->hidden);
}

/* --- scratch ---------------------------------------------------------------------------------- */

static float *alloc_rows(struct forward *f, int64_t rows, int64_t width, llmq_error *err) {
    return arena_alloc(f->arena, (size_t)rows * (size_t)width, sizeof(float), err);
}

enum llmq_status forward_create(const struct model_config *config, int64_t max_rows,
                                int64_t max_length, enum llmq_compute compute, struct forward *out,
                                llmq_error *err) {
    const struct model_config *c = config;
    enum llmq_status status = LLMQ_OK;
    *out = (struct forward){
        .config = c, .compute = compute, .max_rows = max_rows, .max_length = max_length};
    LLMQ_TRY(arena_create("forward pass", &out->arena, err));
    out->q = alloc_rows(out, max_rows, c->heads * c->head_dim, err);
    out->k = alloc_rows(out, max_rows, c->kv_heads * c->head_dim, err);
    out->v = alloc_rows(out, max_rows, c->kv_heads * c->head_dim, err);
    out->up = alloc_rows(out, max_rows, c->intermediate, err);
    out->branch = alloc_rows(out, max_rows, c->hidden, err);
    out->scores = alloc_rows(out, (int64_t)omp_get_max_threads() * ATTENTION_TILE, max_length, err);
    if (!out->q || !out->k || !out->v || !out->up || !out->branch || !out->scores) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    if (compute == LLMQ_COMPUTE_BF16) {
        out->packed =
            arena_alloc(out->arena, bf16_scratch_bytes(max_rows, widest_input(c)), 1, err);
        if (!out->packed) {
            status = LLMQ_E_MEMORY;
            goto cleanup;
        }
    }
    LLMQ_TRY(rope_table_prepare(c, max_length, &out->rope, err));
cleanup:
    if (status != LLMQ_OK)
        forward_free(out);
    return status;
}

void forward_free(struct forward *f) {
    arena_free(&f->arena);
    rope_table_free(&f->rope);
    *f = (struct forward){0};
}

uint64_t forward_bytes(const struct model_config *c, int64_t max_rows, int64_t max_length,
                       enum llmq_compute compute) {
    int64_t per_row = (c->heads + 2 * c->kv_heads) * c->head_dim + c->intermediate + c->hidden;
    int64_t scores = (int64_t)omp_get_max_threads() * ATTENTION_TILE * max_length;
    int64_t rope = max_length * c->head_dim;
    uint64_t packed =
        compute == LLMQ_COMPUTE_BF16 ? bf16_scratch_bytes(max_rows, widest_input(c)) : 0;
    return (uint64_t)(max_rows * per_row + scores + rope) * sizeof(float) + packed;
}

/* --- operations ------------------------------------------------------------------------------- */

void forward_norm(const struct forward *f, const float *weight, const float *x, int64_t rows,
                  float *out) {
    const struct llmq_kernels *kernels = kernels_get();
    int64_t width = f->config->hidden;
    double eps = f->config->norm_eps;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(kernels, weight, x, rows, out, width, eps)
    for (int64_t r = 0; r < rows; r++)
        kernels->rmsnorm_row(x + r * width, weight, eps, width, out + r * width);
    tally_read(f->tally, TALLY_ELEMENTWISE, 0);
}

static void add_bias(const float *bias, int64_t rows, int64_t n, float *y) {
#pragma omp parallel for schedule(static) default(none) shared(bias, rows, n, y)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            y[r * n + i] += bias[i];
}

enum llmq_status forward_linear(const struct forward *f, const struct linear *l, const float *x,
                                int64_t rows, float *y, llmq_error *err) {
    if (l->packed) {
        enum llmq_status status = llmq_qmat_matmul(l->packed, x, rows, l->activations, y, err);
        if (status != LLMQ_OK)
            return status;
    } else if (f->compute == LLMQ_COMPUTE_BF16) {
        bf16_matmul(kernels_get(), rows, l->n, l->k, x, l->w, y, f->packed);
    } else {
        linalg_gemm_nt(rows, l->n, l->k, 1.0f, x, l->k, l->w, l->k, 0.0f, y, l->n);
    }
    if (l->bias)
        add_bias(l->bias, rows, l->n, y);
    return LLMQ_OK;
}

/* Operations of the products in linears `first` to `last`. */
static double linear_flops(const struct block *b, enum linear_role first, enum linear_role last,
                           int64_t rows) {
    double weights = 0;
    for (enum linear_role role = first; role <= last; role++)
        weights += (double)b->linears[role].n * (double)b->linears[role].k;
    return 2 * weights * (double)rows;
}

/* Of causal attention over a whole sequence: half of two products with [length, length]. */
static double attention_flops(const struct model_config *c, int64_t length) {
    return 2 * (double)length * (double)length * (double)(c->heads * c->head_dim);
}

enum llmq_status forward_attention(struct forward *f, const struct block *block,
                                   const struct batch *batch, const float *in, float *out,
                                   llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct model_config *c = f->config;
    int64_t rows = batch_rows(batch), first = batch->offsets[0];
    LLMQ_TRY(forward_linear(f, &block->linears[LINEAR_Q], in, rows, f->q, err));
    LLMQ_TRY(forward_linear(f, &block->linears[LINEAR_K], in, rows, f->k, err));
    LLMQ_TRY(forward_linear(f, &block->linears[LINEAR_V], in, rows, f->v, err));
    tally_read(f->tally, TALLY_LINEAR, linear_flops(block, LINEAR_Q, LINEAR_V, rows));
    for (int64_t s = 0; s < batch->sequences; s++) {
        int64_t begin = batch->offsets[s] - first;
        int64_t length = batch->offsets[s + 1] - batch->offsets[s];
        LLMQ_TRY(rope_table_prepare(c, length, &f->rope, err));
        float *q = f->q + begin * c->heads * c->head_dim;
        float *k = f->k + begin * c->kv_heads * c->head_dim;
        const float *v = f->v + begin * c->kv_heads * c->head_dim;
        attention_rotate(c, &f->rope, block->q_norm, length, c->heads, q);
        attention_rotate(c, &f->rope, block->k_norm, length, c->kv_heads, k);
        tally_read(f->tally, TALLY_ELEMENTWISE, 0);
        attention_sequence(c, block->slides ? c->window : 0, length, q, k, v, f->scores,
                           f->max_length, out + begin * c->heads * c->head_dim);
        tally_read(f->tally, TALLY_ATTENTION, attention_flops(c, length));
    }
cleanup:
    return status;
}

enum llmq_status forward_gated(struct forward *f, const struct block *block, const float *in,
                               int64_t rows, float *out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const struct llmq_kernels *kernels = kernels_get();
    int64_t width = f->config->intermediate;
    const float *up = f->up;
    LLMQ_TRY(forward_linear(f, &block->linears[LINEAR_GATE], in, rows, out, err));
    LLMQ_TRY(forward_linear(f, &block->linears[LINEAR_UP], in, rows, f->up, err));
    tally_read(f->tally, TALLY_LINEAR, linear_flops(block, LINEAR_GATE, LINEAR_UP, rows));
#pragma omp parallel for schedule(static) default(none) shared(kernels, rows, width, out, up)
    for (int64_t r = 0; r < rows; r++)
        kernels->silu_mul(out + r * width, up + r * width, out + r * width, width);
    tally_read(f->tally, TALLY_ELEMENTWISE, 0);
cleanup:
    return status;
}

enum llmq_status forward_residual(struct forward *f, const struct linear *l, const float *in,
                                  int64_t rows, float *x, llmq_error *err) {
    enum llmq_status status = forward_linear(f, l, in, rows, f->branch, err);
    if (status != LLMQ_OK)
        return status;
    tally_read(f->tally, TALLY_LINEAR, 2 * (double)rows * (double)l->n * (double)l->k);
    int64_t count = rows * l->n;
    const float *branch = f->branch;
#pragma omp parallel for schedule(static) default(none) shared(count, x, branch)
    for (int64_t i = 0; i < count; i++)
        x[i] += branch[i];
    tally_read(f->tally, TALLY_ELEMENTWISE, 0);
    return LLMQ_OK;
}

enum llmq_status forward_block(struct forward *f, const struct block *block,
                               const struct batch *batch, float *x, float *normed, float *mid,
                               llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    int64_t rows = batch_rows(batch);
    forward_norm(f, block->attention_norm, x, rows, normed);
    LLMQ_TRY(forward_attention(f, block, batch, normed, mid, err));
    LLMQ_TRY(forward_residual(f, &block->linears[LINEAR_O], mid, rows, x, err));
    forward_norm(f, block->mlp_norm, x, rows, normed);
    LLMQ_TRY(forward_gated(f, block, normed, rows, mid, err));
    LLMQ_TRY(forward_residual(f, &block->linears[LINEAR_DOWN], mid, rows, x, err));
cleanup:
    return status;
}
