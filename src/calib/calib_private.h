/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a calibration, shared by the files that carry it out. Not for use outside src/calib.
 */
#ifndef LLMQ_CALIB_CALIB_PRIVATE_H
#define LLMQ_CALIB_CALIB_PRIVATE_H

#include "calib/calib.h"
#include "calib/experts.h"
#include "calib/moments.h"
#include "calib/share.h"
#include "graph/passes.h"
#include "graph/stream.h"

/* Of so many tokens one is held back, or fewer: at most so many rows. */
enum { HOLD_EVERY = 16, HELD_ROWS = 4096 };

/* Rows of a task's linears that are held back. */
struct held_rows {
    int64_t count, most;
    float *X, *lack;    /* [most, k] */
    float *stream_lack; /* [most, n] */
};

struct calib {
    const struct model *m;
    const struct calib_tokens *tokens; /* of all ranks */
    struct share share;                /* this rank's; rows of streams are those of share.own */
    const llmq_context *ctx;
    struct stream quantized; /* as the model quantized so far has it */
    struct stream original;  /* as the original model has it; unused unless paired */
    struct acts start;       /* copy of the quantized stream for calib_rewind */
    bool paired;
    bool folds;                   /* blocks are looked at before they are quantized */
    bool looking;                 /* a pass that only looks: one stream, no cross moments */
    const float *scales[V_COUNT]; /* of the original's inputs, see calib_scale_original */
    struct forward forward;
    struct arena *scratch;
    struct moment H;       /* X^T X, a packed upper triangle of order k */
    struct moment D, R;    /* see moments_measure, paired only */
    struct held_rows held; /* of the task at hand */
    float *tile;           /* scratch of the moments */
    float *diff;           /* [max_rows, max(k, hidden)] difference of the streams, paired only */
    float *product;        /* [max_rows, n] of that with weights, paired only */
    int64_t max_rows;
    bool holds;              /* are rows held back? */
    struct block *block;     /* the quantized stream's */
    struct block *other;     /* the original's, paired only */
    int next;                /* task of the block */
    struct value_set kept;   /* the values that have their homes now */
    struct expert_turn turn; /* of the block's experts */
    int64_t expert_tokens;
    bool peaks;
    struct calib_peak peak;
    struct token_weighing weighing;
    float *weight;    /* [tokens] roots of the weights of the task at hand; NULL: none is weighed */
    float *gradient;  /* [tokens with gradients] of a linear */
    float *gradients; /* [tokens with gradients] of the task's linears */
    float *place;     /* [places] powers of weights by a token's place in its window */
    int64_t places;   /* of the longest window */
    float *root;      /* [max_rows] those of an expert's rows */
    float *weighed;   /* [max_rows, k] the rows at hand, each times its root */
};

/* --- room.c ----------------------------------------------------------------------------------- */

/* How much room the passes over a model's blocks take. */
struct calib_room {
    struct passes_needs needs;
    struct expert_room experts;
    struct forward_size size;
};
int64_t calib_longest_window(const struct calib_tokens *t);
LLMQ_NODISCARD enum llmq_status calib_measure(const struct model *m,
                                              const struct calib_tokens *tokens,
                                              enum llmq_compute compute, struct calib_room *out,
                                              llmq_error *err);

/* --- calib.c ---------------------------------------------------------------------------------- */

/* Do both streams run? */
bool calib_pairing(const struct calib *c);

/* Nothing of the block was done yet: the streams are its input. */
void calib_start_over(struct calib *c);

/* Before a stream's first batch of a pass: what the pass runs is loaded. */
LLMQ_NODISCARD enum llmq_status calib_begin_pass(struct calib *c, struct stream *s,
                                                 const struct schedule *schedule, llmq_error *err);

/* After a pass: weights that none from what is kept to the block's end runs are given back. */
LLMQ_NODISCARD enum llmq_status calib_drop_weights(struct calib *c, llmq_error *err);

/* --- accumulate.c: the moments of a task ------------------------------------------------------ */

/* Some rows of what a task's linears read and of the stream that they add to, as both models have
 * them; of the original NULL when one stream runs, S NULL where there is no such stream. */
struct task_rows {
    const float *X, *X_o;        /* [rows, k] */
    const float *S, *S_o;        /* [rows, n] */
    const float *scale;          /* [k] what X_o is divided by, or NULL */
    const struct params *params; /* of the graph's nodes */
    int64_t rows, held;          /* the last so many are held back; 0: no rows, others have some */
    const float *root;           /* [rows] of their weights; NULL: all count 1 */
    bool pair, streams;          /* are there X_o, and S? */
    const struct share *share;   /* the sums are of all ranks, in this ... */
    int64_t step;                /* ... step; NULL: of this one */
    int64_t held_begin;          /* where the rows that are held back have their place */
};

/* Entries of a task's moments, and of a row of what its linears read, of the stream that they add
 * to (0: there is none), and of what D is multiplied with where it is. */
struct moment_sizes {
    int64_t H, D, R, source, stream, product;
};
struct moment_sizes moments_measure(const struct graph *g, const struct graph_task *t);

/* The largest of any task of the blocks. */
struct moment_sizes moments_largest(const struct blocks *blocks);

/* --- token_weights.c -------------------------------------------------------------------------- */

/* Tokens that gradients are of. */
int64_t calib_weighing_tokens(const struct token_weighing *w, const struct calib_tokens *t);

/* Room for the weights, where tokens are weighed. */
LLMQ_NODISCARD enum llmq_status calib_weights_create(struct calib *c, int64_t width,
                                                     llmq_error *err);

/* c->weight for a task of `g`, of the block at hand, of its experts if `expert` >= 0. */
LLMQ_NODISCARD enum llmq_status calib_weigh(struct calib *c, const struct graph *g,
                                            const struct graph_task *t, int64_t expert,
                                            llmq_error *err);

/* x [rows, width] times the roots, in place of it or into `out`. */
void calib_scale_rows(const float *root, int64_t rows, int64_t width, const float *x, float *out);

/* --- accumulate.c, again ---------------------------------------------------------------------- */

/* Begin the sums of a task of `g`. */
void moments_begin(struct calib *c, const struct graph *g, const struct graph_task *t);

/* Add H; then D and R; then the rows are done. Between the first two the caller may look whether
 * the sums are finite. */
LLMQ_NODISCARD enum llmq_status moments_add_square(struct calib *c, int64_t k,
                                                   const struct task_rows *rows, llmq_error *err);
LLMQ_NODISCARD enum llmq_status moments_add_cross(struct calib *c, const struct graph *g,
                                                  const struct graph_task *t,
                                                  const struct task_rows *rows, llmq_error *err);
LLMQ_NODISCARD enum llmq_status moments_end_rows(struct calib *c, const struct graph *g,
                                                 const struct graph_task *t,
                                                 const struct task_rows *rows, llmq_error *err);

/* Are the diagonal of H and those of the rows that are held back finite so far? Of a sum over all
 * ranks: are the rows? */
bool moments_finite(const struct calib *c, int64_t k, const struct task_rows *rows);

/* Sums over `tokens`, less those held back, to what is handed out; of all ranks, or this one. */
LLMQ_NODISCARD enum llmq_status moments_finish(struct calib *c, const struct graph *g,
                                               const struct graph_task *t,
                                               const struct share *share, int64_t tokens,
                                               struct calib_moments *out, llmq_error *err);

/* The largest magnitudes of rows, for calib_peak. */
void moments_note_peaks(struct calib *c, const struct graph *g, const struct graph_task *t,
                        const struct task_rows *rows);

/* The module of a task's first linear. */
const char *moments_first_module(const struct graph *g, const struct graph_task *task);

#endif
