/* SPDX-License-Identifier: Apache-2.0 */
/* See mixers.h. */
#include "graph/mixers.h"

#include <math.h>

#include "base/int64.h"
#include "graph/activate.h"
#include "graph/carry.h"
#include "graph/delta.h"
#include "graph/scan.h"
#include "graph/selective.h"

/* In the order of models/graph_params.c. */
enum { SCAN_A_LOG, SCAN_D, SCAN_DT_BIAS };
enum { DELTA_A_LOG, DELTA_DT_BIAS };
enum { LRU_PARAMETER, LRU_INPUT, LRU_INPUT_BIAS, LRU_RECURRENT, LRU_RECURRENT_BIAS };

static struct scan scan_of(const struct graph *g, const struct graph_node *n) {
    const int64_t *dims = g->facts.dims;
    return (struct scan){.heads = dims[DIM_SSM_HEADS],
                         .groups = n->groups,
                         .width = n->width[0] / dims[DIM_SSM_HEADS],
                         .state = dims[DIM_SSM_STATE]};
}

/* Lightning attention is a scan: keys for B, queries for C, values for x. */
static struct scan lightning_of(const struct graph *g, const struct graph_node *n) {
    const int64_t heads = g->facts.dims[DIM_HEADS];
    return (struct scan){.heads = heads,
                         .groups = heads,
                         .width = n->width[0] / heads,
                         .state = g->width[n->in[0]] / heads};
}

static struct delta delta_of(const struct graph *g) {
    const int64_t *dims = g->facts.dims;
    return (struct delta){.key_heads = dims[DIM_DELTA_KEY_HEADS],
                          .value_heads = dims[DIM_DELTA_VALUE_HEADS],
                          .key = dims[DIM_DELTA_KEY],
                          .value = dims[DIM_DELTA_VALUE],
                          .scale = 1.0F / sqrtf((float)dims[DIM_DELTA_KEY])};
}

static struct selective selective_of(const struct graph *g, const struct graph_node *n) {
    return (struct selective){.channels = n->width[0], .state = g->facts.dims[DIM_SSM_STATE]};
}

static struct lru lru_of(const struct graph *g) {
    return (struct lru){.heads = g->facts.dims[DIM_HEADS], .width = g->facts.dims[DIM_LRU]};
}

static int64_t node_scratch(const struct graph *g, const struct graph_node *n, int64_t max_length) {
    if (n->row->op == OP_SCAN || n->row->op == OP_LIGHTNING) {
        const struct scan scan = n->row->op == OP_SCAN ? scan_of(g, n) : lightning_of(g, n);
        return 2 * scan.heads * max_length + scan_scratch(&scan, max_length);
    }
    if (n->row->op == OP_DELTA) {
        const struct delta delta = delta_of(g);
        return 2 * delta.value_heads * max_length + delta_scratch(&delta, max_length);
    }
    if (n->row->op == OP_SELECTIVE) {
        const struct selective selective = selective_of(g, n);
        return selective.channels * max_length + selective_scratch(&selective);
    }
    const struct lru lru = lru_of(g);
    return n->row->op == OP_LRU ? lru_scratch(&lru) : 0;
}

int64_t mixers_scratch(const struct graph *g, int64_t max_length) {
    int64_t most = 0;
    for (int i = 0; i < g->count; i++)
        most = max_i64(most, node_scratch(g, &g->node[i], max_length));
    return most;
}

int64_t mixers_carried(const struct graph *g, const struct graph_node *n) {
    if (n->row->op == OP_SCAN || n->row->op == OP_LIGHTNING) {
        const struct scan scan = n->row->op == OP_SCAN ? scan_of(g, n) : lightning_of(g, n);
        return scan.heads * scan.width * scan.state;
    }
    if (n->row->op == OP_DELTA) {
        const struct delta delta = delta_of(g);
        return delta.value_heads * delta.key * delta.value;
    }
    if (n->row->op == OP_SELECTIVE)
        return selective_states(n->width[0]) * g->facts.dims[DIM_SSM_STATE];
    return n->row->op == OP_LRU ? n->width[0] : 0;
}

/* What forth and back take: operations with the block's weights, and what they read of a sequence.
 * `steps` has room for the two arrays that are made of it. */
static struct scan scan_with(const struct step *s) {
    struct scan scan = scan_of(s->pass->block->graph, s->node);
    scan.skip = s->params->vector[SCAN_D];
    return scan;
}

static struct scan_steps scan_steps_of(const struct step *s, int64_t heads) {
    const double *numbers = s->pass->block->graph->facts.numbers;
    float *const *vector = s->params->vector;
    return (struct scan_steps){heads, vector[SCAN_DT_BIAS], vector[SCAN_A_LOG],
                               numbers[NUM_STEP_MIN], numbers[NUM_STEP_MAX]};
}

static struct scan_input scan_input_of(const struct step *s, const struct scan *scan, int64_t begin,
                                       int64_t length, float *steps) {
    const int64_t x = begin * scan->heads * scan->width, bc = begin * scan->groups * scan->state;
    const struct scan_steps rule = scan_steps_of(s, scan->heads);
    float *gain = steps + scan->heads * length;
    scan_steps(&rule, length, s->in[3] + begin * scan->heads, steps, gain);
    return (struct scan_input){s->in[0] + x, s->in[1] + bc, s->in[2] + bc, steps, gain};
}

enum llmq_status run_scan(const struct step *s, llmq_error *err) {
    const struct batch *b = s->pass->batch;
    struct scan scan = scan_with(s);
    (void)err;
    scan.carried = carry_of(s);
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *steps = s->pass->forward->mixer;
        const struct scan_input in = scan_input_of(s, &scan, begin, length, steps);
        scan_sequence(&scan, length, &in, steps + 2 * scan.heads * length,
                      s->out[0] + begin * scan.heads * scan.width);
    }
    return LLMQ_OK;
}

static struct selective selective_with(const struct step *s) {
    struct selective selective = selective_of(s->pass->block->graph, s->node);
    selective.A_log = s->params->vector[SCAN_A_LOG];
    selective.D = s->params->vector[SCAN_D];
    return selective;
}

static struct selective_input selective_input_of(const struct step *s, const struct selective *of,
                                                 int64_t begin, int64_t length, float *step) {
    const int64_t x = begin * of->channels, bc = begin * of->state;
    activate(ACT_SOFTPLUS, length * of->channels, s->in[3] + x, step);
    return (struct selective_input){s->in[0] + x, s->in[1] + bc, s->in[2] + bc, step};
}

enum llmq_status run_selective(const struct step *s, llmq_error *err) {
    const struct batch *b = s->pass->batch;
    struct selective selective = selective_with(s);
    (void)err;
    selective.carried = carry_of(s);
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *step = s->pass->forward->mixer;
        const struct selective_input in = selective_input_of(s, &selective, begin, length, step);
        selective_sequence(&selective, length, &in, step + length * selective.channels,
                           s->out[0] + begin * selective.channels);
    }
    return LLMQ_OK;
}

static struct lru lru_with(const struct step *s) {
    float *const *vector = s->params->vector;
    struct lru lru = lru_of(s->pass->block->graph);
    lru.parameter = vector[LRU_PARAMETER];
    lru.input = vector[LRU_INPUT];
    lru.input_bias = vector[LRU_INPUT_BIAS];
    lru.recurrent = vector[LRU_RECURRENT];
    lru.recurrent_bias = vector[LRU_RECURRENT_BIAS];
    return lru;
}

enum llmq_status run_lru(const struct step *s, llmq_error *err) {
    const struct batch *b = s->pass->batch;
    struct lru lru = lru_with(s);
    const int64_t width = s->node->width[0];
    (void)err;
    lru.carried = carry_of(s);
    lru.past = carry_past(s->pass->forward);
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        lru_sequence(&lru, length, s->in[0] + begin * width, s->pass->forward->mixer,
                     s->out[0] + begin * width);
    }
    return LLMQ_OK;
}

/* beta [heads, length] = most times the logistic function of x [length, heads]. */
static void find_betas(int64_t heads, int64_t length, double most, const float *x, float *beta) {
#pragma omp parallel for schedule(static) default(none) shared(heads, length, most, x, beta)
    for (int64_t h = 0; h < heads; h++)
        for (int64_t t = 0; t < length; t++)
            beta[h * length + t] = (float)(most / (1 + exp(-(double)x[t * heads + h])));
}

static double most_beta(const struct step *s) {
    return s->pass->block->graph->traits & T_BETA_TWICE ? 2 : 1;
}

static struct scan_steps delta_steps_of(const struct step *s, int64_t heads) {
    float *const *vector = s->params->vector;
    return (struct scan_steps){heads, vector[DELTA_DT_BIAS], vector[DELTA_A_LOG], 0,
                               (double)INFINITY};
}

static struct delta_input delta_input_of(const struct step *s, const struct delta *delta,
                                         int64_t begin, int64_t length, float *steps) {
    const int64_t heads = delta->value_heads;
    const int64_t qk = begin * delta->key_heads * delta->key, v = begin * s->node->width[0];
    const struct scan_steps rule = delta_steps_of(s, heads);
    float *beta = steps + heads * length;
    scan_steps(&rule, length, s->in[4] + begin * heads, steps, beta);
    find_betas(heads, length, most_beta(s), s->in[3] + begin * heads, beta);
    return (struct delta_input){s->in[0] + qk, s->in[1] + qk, s->in[2] + v, steps, beta};
}

enum llmq_status run_delta(const struct step *s, llmq_error *err) {
    const struct batch *b = s->pass->batch;
    struct delta delta = delta_of(s->pass->block->graph);
    (void)err;
    delta.carried = carry_of(s);
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *steps = s->pass->forward->mixer;
        const struct delta_input in = delta_input_of(s, &delta, begin, length, steps);
        delta_sequence(&delta, length, &in, steps + 2 * delta.value_heads * length,
                       s->out[0] + begin * s->node->width[0]);
    }
    return LLMQ_OK;
}

/* How much less of what came before there is at each token, as an exponent (Qin et al.,
 * arXiv:2401.04658, section 3; the factor of the block's depth: transformers, modeling_minimax.py,
 * MiniMaxLightningAttention.get_slope_rate). */
static double lightning_decay(const struct graph *g, int64_t block, int64_t head) {
    const double heads = (double)g->facts.dims[DIM_HEADS],
                 blocks = (double)g->facts.dims[DIM_LAYERS];
    const double depth = (double)block / (blocks - 1 + 1e-5);
    return -exp2(-8 * (double)(head + 1) / heads) * (1 - depth + 1e-5);
}

static void find_decays(const struct step *s, int64_t heads, int64_t length, float *decay,
                        float *gain) {
    for (int64_t h = 0; h < heads; h++) {
        const double fade = lightning_decay(s->pass->block->graph, s->pass->block->index, h);
        for (int64_t t = 0; t < length; t++) {
            decay[h * length + t] = (float)fade;
            gain[h * length + t] = 1;
        }
    }
}

static struct scan_input lightning_input_of(const struct step *s, const struct scan *scan,
                                            int64_t begin, int64_t length, float *steps) {
    const int64_t v = begin * scan->heads * scan->width, qk = begin * scan->heads * scan->state;
    float *gain = steps + scan->heads * length;
    find_decays(s, scan->heads, length, steps, gain);
    return (struct scan_input){s->in[2] + v, s->in[1] + qk, s->in[0] + qk, steps, gain};
}

enum llmq_status run_lightning(const struct step *s, llmq_error *err) {
    const struct batch *b = s->pass->batch;
    struct scan scan = lightning_of(s->pass->block->graph, s->node);
    (void)err;
    scan.carried = carry_of(s);
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *steps = s->pass->forward->mixer;
        const struct scan_input in = lightning_input_of(s, &scan, begin, length, steps);
        scan_sequence(&scan, length, &in, steps + 2 * scan.heads * length,
                      s->out[0] + begin * scan.heads * scan.width);
    }
    return LLMQ_OK;
}

/* --- the way back ----------------------------------------------------------------------------- */

/* Two arrays of steps, and their gradients. */
static int64_t room_of(const struct scan *scan, int64_t length) {
    return 4 * scan->heads * length + scan_back_scratch(scan, length);
}

int64_t scan_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length) {
    const struct scan scan = scan_of(g, n);
    (void)rows;
    return room_of(&scan, length);
}

enum llmq_status back_scan(const struct step_back *back, llmq_error *err) {
    const struct step *s = &back->step;
    const struct batch *b = s->pass->batch;
    const struct scan scan = scan_with(s);
    const struct scan_steps rule = scan_steps_of(s, scan.heads);
    const int64_t wide = scan.heads * scan.width, narrow = scan.groups * scan.state;
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = scan.heads * length;
        float *steps = back->scratch, *ddecay = steps + 2 * count;
        const int64_t x = begin * wide, bc = begin * narrow, dt = begin * scan.heads;
        const struct scan_input in = scan_input_of(s, &scan, begin, length, steps);
        const struct scan_back slopes = {
            back->out[0] + x, back->in[0] + x, back->in[1] + bc,         back->in[2] + bc,
            ddecay,           ddecay + count,  back->sums.vector[SCAN_D]};
        const struct scan_steps_back step_slopes = {s->in[3] + dt,
                                                    ddecay,
                                                    ddecay + count,
                                                    back->in[3] + dt,
                                                    back->sums.vector[SCAN_DT_BIAS],
                                                    back->sums.vector[SCAN_A_LOG]};
        scan_back(&scan, length, &in, &slopes, ddecay + 2 * count);
        scan_steps_back(&rule, length, &step_slopes);
    }
    return LLMQ_OK;
}

int64_t lightning_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                       int64_t length) {
    const struct scan scan = lightning_of(g, n);
    (void)rows;
    return room_of(&scan, length);
}

enum llmq_status back_lightning(const struct step_back *back, llmq_error *err) {
    const struct step *s = &back->step;
    const struct batch *b = s->pass->batch;
    const struct scan scan = lightning_of(s->pass->block->graph, s->node);
    const int64_t wide = scan.heads * scan.width, narrow = scan.heads * scan.state;
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = scan.heads * length;
        float *steps = back->scratch, *ddecay = steps + 2 * count;
        const int64_t v = begin * wide, qk = begin * narrow;
        const struct scan_input in = lightning_input_of(s, &scan, begin, length, steps);
        const struct scan_back slopes = {back->out[0] + v,
                                         back->in[2] + v,
                                         back->in[1] + qk,
                                         back->in[0] + qk,
                                         ddecay,
                                         ddecay + count,
                                         NULL};
        scan_back(&scan, length, &in, &slopes, ddecay + 2 * count);
    }
    return LLMQ_OK;
}

int64_t delta_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                   int64_t length) {
    const struct delta delta = delta_of(g);
    (void)n, (void)rows;
    return 4 * delta.value_heads * length + delta_back_scratch(&delta, length);
}

/* dx [length, heads] += the gradient through find_betas. */
static void betas_back(int64_t heads, int64_t length, double most, const float *beta,
                       const float *dbeta, float *dx) {
    for (int64_t h = 0; h < heads; h++)
        for (int64_t t = 0; t < length; t++) {
            const double open = (double)beta[h * length + t] / most;
            dx[t * heads + h] += (float)((double)dbeta[h * length + t] * most * open * (1 - open));
        }
}

enum llmq_status back_delta(const struct step_back *back, llmq_error *err) {
    const struct step *s = &back->step;
    const struct batch *b = s->pass->batch;
    const struct delta delta = delta_of(s->pass->block->graph);
    const int64_t heads = delta.value_heads, value = s->node->width[0];
    const int64_t key = delta.key_heads * delta.key;
    const struct scan_steps rule = delta_steps_of(s, heads);
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = heads * length;
        float *steps = back->scratch, *ddecay = steps + 2 * count, *dbeta = ddecay + count;
        const int64_t qk = begin * key, v = begin * value, step = begin * heads;
        const struct delta_input in = delta_input_of(s, &delta, begin, length, steps);
        const struct delta_back slopes = {back->out[0] + v, back->in[0] + qk, back->in[1] + qk,
                                          back->in[2] + v,  ddecay,           dbeta};
        const struct scan_steps_back step_slopes = {s->in[4] + step,
                                                    ddecay,
                                                    NULL,
                                                    back->in[4] + step,
                                                    back->sums.vector[DELTA_DT_BIAS],
                                                    back->sums.vector[DELTA_A_LOG]};
        delta_back(&delta, length, &in, &slopes, dbeta + count);
        scan_steps_back(&rule, length, &step_slopes);
        betas_back(heads, length, most_beta(s), in.beta, dbeta, back->in[3] + step);
    }
    return LLMQ_OK;
}

int64_t selective_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                       int64_t length) {
    const struct selective selective = selective_of(g, n);
    (void)rows;
    return 2 * selective.channels * length + selective_back_scratch(&selective, length);
}

enum llmq_status back_selective(const struct step_back *back, llmq_error *err) {
    const struct step *s = &back->step;
    const struct batch *b = s->pass->batch;
    const struct selective selective = selective_with(s);
    const int64_t channels = selective.channels, state = selective.state;
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = channels * length;
        float *step = back->scratch, *dstep = step + count;
        const int64_t x = begin * channels, bc = begin * state;
        const struct selective_input in = selective_input_of(s, &selective, begin, length, step);
        const struct selective_back slopes = {
            back->out[0] + x,         back->in[0] + x, back->in[1] + bc,
            back->in[2] + bc,         dstep,           back->sums.vector[SCAN_A_LOG],
            back->sums.vector[SCAN_D]};
        selective_back(&selective, length, &in, &slopes, dstep + count);
        activate_back(ACT_SOFTPLUS, count, s->in[3] + x, dstep, back->in[3] + x);
    }
    return LLMQ_OK;
}

int64_t lru_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length) {
    const struct lru lru = lru_of(g);
    (void)n, (void)rows, (void)length;
    return lru_back_scratch(&lru);
}

enum llmq_status back_lru(const struct step_back *back, llmq_error *err) {
    const struct step *s = &back->step;
    const struct batch *b = s->pass->batch;
    const struct lru lru = lru_with(s);
    const int64_t width = s->node->width[0];
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length) * width;
        const struct lru_back slopes = {s->in[0] + begin, s->out[0] + begin, back->out[0] + begin,
                                        back->in[0] + begin};
        lru_back(&lru, length, &slopes, back->scratch);
    }
    return LLMQ_OK;
}
