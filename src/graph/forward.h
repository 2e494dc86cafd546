/* The forward pass of a decoder block, in stages: float32, but for the products with plain weights,
 * which may be bfloat16 (llmq/compute.h).
 *
 * A batch is some whole sequences, their rows one after the other. Every operation is a function
 * of the batch alone and spreads its work over OpenMP threads by rows, tiles or heads, so that
 * results depend neither on the number of threads nor on the other batches.
 *
 *   residual x -> attention_norm -> q, k, v -> rope -> attention -> o -> + x
 *              -> mlp_norm -> gate, up -> silu(gate) * up -> down -> + x */
#ifndef LLMQ_GRAPH_FORWARD_H
#define LLMQ_GRAPH_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/tally.h"
#include "graph/model.h"
#include "graph/rope.h"
#include "llmq/compute.h"
#include "llmq/error.h"

/* Sequences of a batch: sequence i has rows [offsets[i], offsets[i+1]), offsets[0] may be any
 * number (offsets are absolute in a corpus); row 0 of the batch is offsets[0]. */
struct batch {
    const int64_t *offsets;
    int64_t sequences;
};

int64_t batch_rows(const struct batch *b);

/* The next batch of a corpus: as many whole sequences as fit `max_rows` rows, at least one.
 * offsets [count + 1]. Start with a zeroed batch; false when the corpus is done. */
bool batch_next(const int64_t *offsets, int64_t count, int64_t max_rows, struct batch *b);

/* Rows a batch is filled up to by default: enough for BLAS to run at full speed. */
#define BATCH_ROWS 4096

/* Rows of the largest batch that batch_next makes with `max_rows`. */
int64_t batch_max_rows(const int64_t *offsets, int64_t count, int64_t max_rows);

/* Scratch for batches up to a size. */
struct forward {
    const struct model_config *config;
    enum llmq_compute compute;
    int64_t max_rows, max_length;
    struct arena *arena;
    struct rope_table rope;
    float *q, *k, *v;    /* [max_rows, heads or kv_heads x head_dim] */
    float *up;           /* [max_rows, intermediate] */
    float *branch;       /* [max_rows, hidden]: what is added to the residual stream */
    float *scores;       /* [threads, ATTENTION_TILE, max_length] */
    void *packed;        /* operands of a product in bfloat16, or NULL */
    struct tally *tally; /* the caller's, to put times down; NULL: nobody asks */
};

/* Prepare for batches of at most max_rows rows and sequences of at most max_length tokens.
 * `config` must outlive the result. BF16 takes kernels that have it (kernels/bf16.h). Release with
 * forward_free. */
LLMQ_NODISCARD enum llmq_status forward_create(const struct model_config *config, int64_t max_rows,
                                               int64_t max_length, enum llmq_compute compute,
                                               struct forward *out, llmq_error *err);
void forward_free(struct forward *f); /* accepts a zeroed struct */

/* Bytes forward_create allocates. */
uint64_t forward_bytes(const struct model_config *config, int64_t max_rows, int64_t max_length,
                       enum llmq_compute compute);

/* out [rows, hidden] = RMSNorm(x [rows, hidden]) * weight (Zhang & Sennrich, arXiv:1910.07467). */
void forward_norm(const struct forward *f, const float *weight, const float *x, int64_t rows,
                  float *out);

/* y [rows, n] = x [rows, k] W^T + bias, plain or packed. */
LLMQ_NODISCARD enum llmq_status forward_linear(const struct forward *f, const struct linear *l,
                                               const float *x, int64_t rows, float *y,
                                               llmq_error *err);

/* From the normalised stream to the input of o: in [rows, hidden], out [rows, heads x head_dim]. */
LLMQ_NODISCARD enum llmq_status forward_attention(struct forward *f, const struct block *block,
                                                  const struct batch *batch, const float *in,
                                                  float *out, llmq_error *err);

/* From the normalised stream to the input of down: in [rows, hidden], out [rows, intermediate]. */
LLMQ_NODISCARD enum llmq_status forward_gated(struct forward *f, const struct block *block,
                                              const float *in, int64_t rows, float *out,
                                              llmq_error *err);

/* x [rows, hidden] += l(in). */
LLMQ_NODISCARD enum llmq_status forward_residual(struct forward *f, const struct linear *l,
                                                 const float *in, int64_t rows, float *x,
                                                 llmq_error *err);

/* The whole block: x [rows, hidden] in place. `normed` [rows, hidden] and `mid` [rows,
 * max(heads x head_dim, intermediate)] are scratch of the caller. */
LLMQ_NODISCARD enum llmq_status forward_block(struct forward *f, const struct block *block,
                                              const struct batch *batch, float *x, float *normed,
                                              float *mid, llmq_error *err);

/* Width of `mid`. */
int64_t forward_mid_width(const struct model_config *config);

#endif
