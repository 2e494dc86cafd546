/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration: runs the calibration tokens through the blocks, round by round (models/graph.h), and
 * hands out the moments of what the linears of a round read, the Hessian first of all.
 *
 * Pull interface. The caller loads a block, asks for one task after the other, and may change the
 * weights of a task's linears before it asks for the next: what follows then sees the changed
 * weights. So quantizing each task when its Hessian is at hand gives true-sequential,
 * quantized-input propagation in one pass, every linear computed once:
 *
 *     calib_begin_block(c, &block, original)
 *     while calib_next(c, &task): quantize the linears of the task in place
 *     calib_end_block(c)
 *
 * Paired, a second stream shows the same tokens to the original model, so that the errors made so
 * far are known: the cross moments D and R are accumulated like H.
 *
 * In memory, for each stream: what a block keeps between its rounds, for Llama the residual stream
 * [T, hidden] and one intermediate [T, max(heads x head_dim, intermediate)] (in files when
 * spilled); the moments of one task, scratch for one batch. */
#ifndef LLMQ_CALIB_CALIB_H
#define LLMQ_CALIB_CALIB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/tally.h"
#include "graph/block.h"
#include "llmq/compute.h"
#include "llmq/context.h"
#include "llmq/error.h"

struct calib;
struct st_set;

/* Calibration tokens: window i is ids[offsets[i] .. offsets[i+1]). */
struct calib_tokens {
    const int32_t *ids;
    const int64_t *offsets; /* [count + 1], offsets[0] = 0 */
    int64_t count;
    int64_t held; /* the last so many windows are those that are held back; 0: some of all are */
};

/* Tokens of all windows; of those that are fitted to, for all that calibration knows before. */
int64_t calib_total_tokens(const struct calib_tokens *t);
int64_t calib_fitted_tokens(const struct calib_tokens *t);

/* How much each token counts in the moments of a task: with the second moments of the gradients at
 * its linears' outputs (graph/curvature.h), each of mean 1, added up, to a power; then of mean 1
 * and WEIGHT_MOST at most. Where gradients are of some tokens, each counts as those at its place of
 * a window do on average (calib/places.h). Blocks behind the model's last have no gradients: their
 * tokens count alike.
 */
struct token_weighing {
    const struct st_set *curvature;
    double power;           /* 0: all count 1 */
    const int64_t *offsets; /* gradients are of windows [offsets[i], offsets[i + 1]), each the first
                               tokens of one; NULL: of all tokens */
    int64_t count;          /* of these windows */
};

struct calib_options {
    bool paired;               /* run the original model's stream beside the quantized one's */
    bool hold_back;            /* keep some tokens out of the moments: see struct calib_held */
    const char *spill_dir;     /* keep activations in unlinked files there; NULL: in memory */
    enum llmq_compute compute; /* of the forward pass; moments are float32 always */
    struct tally *tally;       /* the caller's, to put times down, or NULL */
    bool peaks;                /* look for the largest activation, see calib_peak */
    int ranks;             /* that calib_memory deals batches to; calib_create: those there are */
    int64_t expert_tokens; /* that an expert is calibrated on, at least */
    struct token_weighing weighing;
};

/* Embed the tokens. `m`, `tokens` and `ctx` must outlive the result. Release with calib_free. */
LLMQ_NODISCARD enum llmq_status calib_create(const struct model *m,
                                             const struct calib_tokens *tokens,
                                             const struct calib_options *options,
                                             const llmq_context *ctx, struct calib **out,
                                             llmq_error *err);
void calib_free(struct calib **c);

/* Start on a block loaded PLAIN and, when paired, the same block with its original weights (else
 * NULL); both stay the caller's and must live until calib_end_block. What a pass or a task takes
 * and is not loaded yet is loaded then, and given back once no pass runs it any more (block_need).
 * Experts are loaded as their turn comes, each once, from the models that the blocks are of. */
void calib_begin_block(struct calib *c, struct block *block, struct block *original);

/* Rows that the moments leave out, for judging what was fitted on the others: those of the windows
 * that are for it or, without such, about a sixteenth of the tokens, at most 4096, of windows
 * spread over the corpus. */
struct calib_held {
    int64_t count;            /* 0: none */
    const float *X;           /* [count, k] */
    const float *square;      /* [k, k] X^T X; NULL where calib_squares_held says no */
    const float *lack;        /* [count, k] X_o - X; NULL unless paired */
    const float *stream_lack; /* [count, n] S_o - S; NULL unless paired and there is a stream */
};

/* What a task's linears are quantized against: second moments of their input X [T, k], of what it
 * lacks of the original model's input X_o, and of what the stream S [T, n] that they add to lacks.
 * Valid until the next call; what is not const may be overwritten. */
struct calib_moments {
    int64_t k;
    const float *H; /* [k, k] (2/T) X^T X, full symmetric storage */
    const float *D; /* [k, k] (2/T) (X_o - X)^T X; NULL unless paired, or W D stands for it: */
    float *WD;      /* [n, k] W D of the task's linears, one below the other, where their n together
                       are at most k / 2 */
    float *R;       /* [n, k] (2/T) (S_o - S)^T X; NULL unless paired and there is such a stream */
    struct calib_held held;
};

/* Linears to be quantized against the same moments. */
struct calib_task {
    const struct graph_task *linears; /* NULL: the block has no further task */
    const struct graph *graph;        /* theirs: the block's, or the body of its experts */
    struct params *params;            /* of the graph's nodes, to be changed */
    int64_t expert;                   /* whose linears they are, -1: the block's own */
    bool look;                        /* of an expert, before its turn: see calib_keep_start */
    /* Of several ranks: the expert is this one's alone, and others have theirs at the same time.
     * And when a turn of experts, `expert` the first of them, has ended on all: `paused`, without
     * linears, but more may follow. */
    bool divided, paused;
    /* What the moments are of: all tokens, or those routed to the expert and, where these are fewer
     * than the options ask for, others of its layer beside them. */
    int64_t tokens, borrowed;
    struct calib_moments moments;
};

/* Advance to the block's next task and return its linears and moments.
 * Accumulated in float32 over at most 4096 tokens at a time and in double across them, in a fixed
 * order. LLMQ_E_NUMERIC names the block, module and window of a non-finite activation. */
LLMQ_NODISCARD enum llmq_status calib_next(struct calib *c, struct calib_task *out,
                                           llmq_error *err);

/* From the next expert of the block on each has its turn on one rank alone, as many at a time as
 * there are ranks; before, each on every rank. Between experts, or before the first. */
void calib_divide_experts(struct calib *c);

/* Finish the block: its output becomes the next block's input. Tasks not asked for are passed
 * over. Also the way to replay blocks that were quantized before (no calib_next in between). */
LLMQ_NODISCARD enum llmq_status calib_end_block(struct calib *c, llmq_error *err);

/* After calib_end_block of the block before it, and before the block of layer `draft` of those that
 * predict further tokens: the streams become what this reads. */
LLMQ_NODISCARD enum llmq_status calib_begin_draft(struct calib *c, int64_t draft, llmq_error *err);

/* Of what the output head reads, behind the last norm: second moments H [hidden, hidden] =
 * (2/T) X^T X, and the rows X [count, hidden] that they leave out (see struct calib_held). */
struct calib_head {
    float *H, *X;
    int64_t count;
};

/* After calib_end_block of the last block. Release with calib_head_free. LLMQ_E_NUMERIC. */
LLMQ_NODISCARD enum llmq_status calib_head_moments(const struct calib *c, struct calib_head *out,
                                                   llmq_error *err);
void calib_head_free(struct calib_head *head);

/* Bytes that it takes, its result included. */
uint64_t calib_head_bytes(const struct model *m, const struct calib_tokens *tokens);

/* The largest magnitude so far in the residual stream and in the inputs of linears, as the
 * quantized stream has them, and where it was; 0 unless the options ask for it. */
struct calib_peak {
    float value;
    int64_t block;
    const char *module; /* whose input, as "mlp.down_proj"; NULL: the residual stream */
};
struct calib_peak calib_peak(const struct calib *c);

/* --- doing a block twice: a pass that only looks, then the one that changes it
 *
 *     calib_keep_start(c)                                       once
 *     calib_begin_block(c, &block, original); calib_mark_start(c)
 *     while calib_next(c, &task)                                the first stream only
 *     calib_rewind(c)                                           the tasks start over
 */

/* Make room for a copy of the residual stream, in a file with `spill_dir`. Experts have no room for
 * two passes: each has its tasks twice, first those to look at (of what the expert itself makes),
 * without D and R, then those to be quantized. */
LLMQ_NODISCARD enum llmq_status calib_keep_start(struct calib *c, const char *spill_dir,
                                                 llmq_error *err);
/* What was folded into the block and not into its original: the original's `source`, what linears
 * read, is divided by scales [k] before it is compared. They must live until calib_end_block. */
void calib_scale_original(struct calib *c, enum value source, const float *scales);

/* What was folded into what all experts read: the columns of those that read it are multiplied by
 * scales [k] when an expert is loaded. They must live until calib_end_block. */
void calib_scale_experts(struct calib *c, const float *scales);

/* What was folded within the expert at hand, as calib_scale_original; `source` is its body's, and
 * the scales must live until the next expert. */
void calib_scale_expert(struct calib *c, enum value source, const float *scales);

/* Tokens that the last pass routed to an expert of the block. */
int64_t calib_expert_tokens(const struct calib *c, int64_t expert);

/* What was folded into the block while it is looked at: values that were made and kept before are
 * divided by the scales [fold->channels] where they lie. */
LLMQ_NODISCARD enum llmq_status calib_fold_kept(struct calib *c, const struct graph_fold *fold,
                                                const float *scales, llmq_error *err);

/* Bytes of that copy; activations, as in calib_memory. */
uint64_t calib_start_bytes(const struct model *m, const struct calib_tokens *tokens, int ranks);

/* Copy the residual stream at the start of a block, and go back to the copy. */
LLMQ_NODISCARD enum llmq_status calib_mark_start(struct calib *c, llmq_error *err);
LLMQ_NODISCARD enum llmq_status calib_rewind(struct calib *c, llmq_error *err);

/* Input and output [calib_probe_rows, stream] of the block as it is now, on the rank's first batch
 * (0 rows: it has none) of the marked stream, in float32 whatever the options say. Between
 * calib_mark_start and the first task or after calib_rewind; nothing changes. */
LLMQ_NODISCARD enum llmq_status calib_probe(struct calib *c, float *in, float *out,
                                            llmq_error *err);
int64_t calib_probe_rows(const struct calib *c);

/* The residual stream of the last finished block, for tests: [T, hidden] in `out`. */
LLMQ_NODISCARD enum llmq_status calib_residual(const struct calib *c, float *out, llmq_error *err);

/* Bytes in memory: what is always there (moments, batch scratch), the activations, and the buffers
 * that take their place when these are spilled. Weights are not counted. */
struct calib_memory {
    uint64_t fixed, activations, buffers;
};
LLMQ_NODISCARD enum llmq_status calib_memory(const struct model *m,
                                             const struct calib_tokens *tokens,
                                             const struct calib_options *options,
                                             struct calib_memory *out, llmq_error *err);

/* Bytes of a block's weights, of both streams, during the pass to each of its tasks and while the
 * task's linears are quantized; then (`solving` 0) during the pass to its end. `whole`: the
 * quantized stream's are all loaded before the first task. Those of experts are not counted. */
struct calib_weights {
    int count;
    struct {
        uint64_t passing, solving;
    } task[GRAPH_TASKS + 1];
};
LLMQ_NODISCARD enum llmq_status calib_weights(const struct graph *g, bool paired, bool whole,
                                              struct calib_weights *out, llmq_error *err);

/* Is W D formed, of the task's linears together [n, k], in the place of D [k, k]? It is where that
 * is no more work, and at most half of the size. */
bool calib_multiplies(const struct graph *g, const struct graph_task *t);

/* Operations of the cross moments of a task, for each token; rows that are held back, at most. */
double calib_cross_flops(const struct graph *g, const struct graph_task *t);
int64_t calib_held_most(const struct calib_tokens *t);

/* Is X^T X of `held` rows made as well, when paired? It is where linears that are judged by it,
 * each three times, take less with it than by the rows, and where there is room: D leaves half of
 * its. */
bool calib_squares_held(const struct graph *g, const struct graph_task *t, int64_t held);

/* --- of several ranks, for plans -------------------------------------------------------------- */

/* What falls to a rank of so many, where `most` rows are held back at most. */
struct calib_part {
    int rank, ranks;
    int64_t batches, tokens;          /* these, and theirs */
    int64_t terms;                    /* that it forms of each sum */
    int64_t held_messages, held_rows; /* that it sends of rows that are held back */
};
LLMQ_NODISCARD enum llmq_status calib_part_of(const struct calib_tokens *all, int64_t most,
                                              int rank, int ranks, struct calib_part *out,
                                              llmq_error *err);

/* Tokens of the rank that has most of them. */
int64_t calib_most_tokens(const struct calib_tokens *all, int ranks);

/* Add what the rank sends while the moments of a task are made, of two streams if they are a pair;
 * and those of the output head. */
struct ranks_traffic;
void calib_count_task(const struct calib_part *part, const struct graph *g,
                      const struct graph_task *t, bool pair, struct ranks_traffic *sent);

/* Those of a block's experts but the first `asked`, which every rank does: by the mean of tokens.
 */
LLMQ_NODISCARD enum llmq_status calib_count_experts(const struct calib_part *part,
                                                    const struct graph *g,
                                                    const struct calib_tokens *all, int64_t asked,
                                                    bool pair, struct ranks_traffic *sent,
                                                    llmq_error *err);

/* How many of `experts` behind these are the rank's. */
int64_t calib_own_experts(const struct calib_part *part, int64_t experts, int64_t asked);
void calib_count_head(const struct calib_part *part, int64_t hidden, struct ranks_traffic *sent);

/* In_features of a model's widest linears. */
int64_t calib_widest(const struct blocks *blocks);

#endif
