/* The state of a calibration, shared by the files that carry it out. Not for use outside src/calib.
 */
#ifndef LLMQ_CALIB_CALIB_PRIVATE_H
#define LLMQ_CALIB_CALIB_PRIVATE_H

#include "calib/calib.h"
#include "calib/experts.h"
#include "calib/moments.h"
#include "graph/stream.h"

/* Of so many batches one is held back (the last, when there are fewer). */
#define HOLD_EVERY 8

struct calib {
    const struct model *m;
    const struct calib_tokens *tokens;
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
    struct moment H;    /* [k, k] X^T X, the upper triangle */
    struct moment D, R; /* [k, k] and [hidden, k], paired only */
    float *tile;        /* scratch of the moments */
    float *diff;        /* [max_rows, max(k, hidden)] difference of the streams, paired only */
    int64_t max_rows, max_width;
    int64_t batches, held_tokens; /* no tokens are held back when there is one batch */
    struct block *block;          /* the quantized stream's */
    struct block *other;          /* the original's, paired only */
    int next;                     /* task of the block */
    struct value_set kept;        /* the values that have their homes now */
    struct expert_turn turn;      /* of the block's experts */
    int64_t expert_tokens;
    bool peaks;
    struct calib_peak peak;
};

/* --- calib.c ---------------------------------------------------------------------------------- */

int64_t calib_total_tokens(const struct calib_tokens *t);

/* Do both streams run? */
bool calib_pairing(const struct calib *c);

/* Is batch `index` held back? */
bool calib_is_held(const struct calib *c, int64_t index);

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
    const float *X, *X_o; /* [rows, k] */
    const float *S, *S_o; /* [rows, n] */
    const float *scale;   /* [k] what X_o is divided by, or NULL */
    int64_t rows;
    bool held;
};

/* Begin the sums of a task of `g`. */
void moments_begin(struct calib *c, const struct graph *g, const struct graph_task *t);

/* Add H; then D and R. Between the two the caller may look whether the sums are finite. */
void moments_add_square(struct calib *c, int64_t k, const struct task_rows *rows);
void moments_add_cross(struct calib *c, const struct graph *g, const struct graph_task *t,
                       const struct task_rows *rows);

/* Is the diagonal of H finite so far? */
bool moments_finite(const struct calib *c, int64_t k, bool held);

/* Sums over `tokens` to what is handed out. */
struct calib_moments moments_finish(struct calib *c, const struct graph *g,
                                    const struct graph_task *t, const struct moment_tokens *tokens);

/* The largest magnitudes of rows, for calib_peak. */
void moments_note_peaks(struct calib *c, const struct graph *g, const struct graph_task *t,
                        const struct task_rows *rows);

/* The module of a task's first linear. */
const char *moments_first_module(const struct graph *g, const struct graph_task *task);

#endif
