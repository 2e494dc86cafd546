/* See mixers.h. */
#include "graph/mixers.h"

#include <math.h>

#include "base/int64.h"
#include "graph/activate.h"
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

enum llmq_status run_scan(const struct step *s, llmq_error *err) {
    const struct graph *g = s->pass->block->graph;
    const double *numbers = g->facts.numbers;
    const struct batch *b = s->pass->batch;
    float *const *vector = s->params->vector;
    struct scan scan = scan_of(g, s->node);
    const struct scan_steps steps = {scan.heads, vector[SCAN_DT_BIAS], vector[SCAN_A_LOG],
                                     numbers[NUM_STEP_MIN], numbers[NUM_STEP_MAX]};
    const int64_t x = scan.heads * scan.width, bc = scan.groups * scan.state;
    (void)err;
    scan.skip = vector[SCAN_D];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *decay = s->pass->forward->mixer, *gain = decay + scan.heads * length;
        const struct scan_input in = {s->in[0] + begin * x, s->in[1] + begin * bc,
                                      s->in[2] + begin * bc, decay, gain};
        scan_steps(&steps, length, s->in[3] + begin * scan.heads, decay, gain);
        scan_sequence(&scan, length, &in, gain + scan.heads * length, s->out[0] + begin * x);
    }
    return LLMQ_OK;
}

enum llmq_status run_selective(const struct step *s, llmq_error *err) {
    const struct batch *b = s->pass->batch;
    struct selective selective = selective_of(s->pass->block->graph, s->node);
    const int64_t channels = selective.channels, state = selective.state;
    (void)err;
    selective.A_log = s->params->vector[SCAN_A_LOG];
    selective.D = s->params->vector[SCAN_D];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *step = s->pass->forward->mixer;
        const struct selective_input in = {s->in[0] + begin * channels, s->in[1] + begin * state,
                                           s->in[2] + begin * state, step};
        activate(ACT_SOFTPLUS, length * channels, s->in[3] + begin * channels, step);
        selective_sequence(&selective, length, &in, step + length * channels,
                           s->out[0] + begin * channels);
    }
    return LLMQ_OK;
}

/* With the block's weights. */
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
    const struct lru lru = lru_with(s);
    const int64_t width = s->node->width[0];
    (void)err;
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

enum llmq_status run_delta(const struct step *s, llmq_error *err) {
    const struct graph *g = s->pass->block->graph;
    const struct batch *b = s->pass->batch;
    const struct delta delta = delta_of(g);
    const struct scan_steps steps = {delta.value_heads, s->params->vector[DELTA_DT_BIAS],
                                     s->params->vector[DELTA_A_LOG], 0, (double)INFINITY};
    const int64_t heads = delta.value_heads, value = s->node->width[0];
    const int64_t key = delta.key_heads * delta.key;
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *decay = s->pass->forward->mixer, *beta = decay + heads * length;
        const struct delta_input in = {s->in[0] + begin * key, s->in[1] + begin * key,
                                       s->in[2] + begin * value, decay, beta};
        scan_steps(&steps, length, s->in[4] + begin * heads, decay, beta);
        find_betas(heads, length, g->traits & T_BETA_TWICE ? 2 : 1, s->in[3] + begin * heads, beta);
        delta_sequence(&delta, length, &in, beta + heads * length, s->out[0] + begin * value);
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

enum llmq_status run_lightning(const struct step *s, llmq_error *err) {
    const struct batch *b = s->pass->batch;
    const struct scan scan = lightning_of(s->pass->block->graph, s->node);
    const int64_t key = scan.heads * scan.state, value = scan.heads * scan.width;
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        float *decay = s->pass->forward->mixer, *gain = decay + scan.heads * length;
        const struct scan_input in = {s->in[2] + begin * value, s->in[1] + begin * key,
                                      s->in[0] + begin * key, decay, gain};
        find_decays(s, scan.heads, length, decay, gain);
        scan_sequence(&scan, length, &in, gain + scan.heads * length, s->out[0] + begin * value);
    }
    return LLMQ_OK;
}

/* --- the way back ----------------------------------------------------------------------------- */

int64_t scan_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length) {
    const struct scan scan = scan_of(g, n);
    (void)rows;
    return 4 * scan.heads * length + scan_back_scratch(&scan, length);
}

enum llmq_status back_scan(const struct step_back *back, llmq_error *err) {
    const struct step *s = &back->step;
    const double *numbers = s->pass->block->graph->facts.numbers;
    const struct batch *b = s->pass->batch;
    float *const *vector = s->params->vector;
    struct scan scan = scan_of(s->pass->block->graph, s->node);
    const struct scan_steps steps = {scan.heads, vector[SCAN_DT_BIAS], vector[SCAN_A_LOG],
                                     numbers[NUM_STEP_MIN], numbers[NUM_STEP_MAX]};
    const int64_t wide = scan.heads * scan.width, narrow = scan.groups * scan.state;
    (void)err;
    scan.skip = vector[SCAN_D];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = scan.heads * length;
        float *decay = back->scratch, *gain = decay + count, *ddecay = gain + count;
        const int64_t x = begin * wide, bc = begin * narrow, dt = begin * scan.heads;
        const struct scan_input in = {s->in[0] + x, s->in[1] + bc, s->in[2] + bc, decay, gain};
        const struct scan_back slopes = {
            back->out[0] + x, back->in[0] + x, back->in[1] + bc,         back->in[2] + bc,
            ddecay,           ddecay + count,  back->sums.vector[SCAN_D]};
        const struct scan_steps_back step_slopes = {s->in[3] + dt,
                                                    ddecay,
                                                    ddecay + count,
                                                    back->in[3] + dt,
                                                    back->sums.vector[SCAN_DT_BIAS],
                                                    back->sums.vector[SCAN_A_LOG]};
        scan_steps(&steps, length, s->in[3] + dt, decay, gain);
        scan_back(&scan, length, &in, &slopes, ddecay + 2 * count);
        scan_steps_back(&steps, length, &step_slopes);
    }
    return LLMQ_OK;
}

int64_t lightning_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                       int64_t length) {
    const struct scan scan = lightning_of(g, n);
    (void)rows;
    return 4 * scan.heads * length + scan_back_scratch(&scan, length);
}

enum llmq_status back_lightning(const struct step_back *back, llmq_error *err) {
    const struct step *s = &back->step;
    const struct batch *b = s->pass->batch;
    const struct scan scan = lightning_of(s->pass->block->graph, s->node);
    const int64_t wide = scan.heads * scan.width, narrow = scan.heads * scan.state;
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = scan.heads * length;
        float *decay = back->scratch, *gain = decay + count, *ddecay = gain + count;
        const int64_t v = begin * wide, qk = begin * narrow;
        const struct scan_input in = {s->in[2] + v, s->in[1] + qk, s->in[0] + qk, decay, gain};
        const struct scan_back slopes = {back->out[0] + v,
                                         back->in[2] + v,
                                         back->in[1] + qk,
                                         back->in[0] + qk,
                                         ddecay,
                                         ddecay + count,
                                         NULL};
        find_decays(s, scan.heads, length, decay, gain);
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
    const struct graph *g = s->pass->block->graph;
    const struct batch *b = s->pass->batch;
    const struct delta delta = delta_of(g);
    const struct scan_steps steps = {delta.value_heads, s->params->vector[DELTA_DT_BIAS],
                                     s->params->vector[DELTA_A_LOG], 0, (double)INFINITY};
    const int64_t heads = delta.value_heads, value = s->node->width[0];
    const int64_t key = delta.key_heads * delta.key;
    const double most = g->traits & T_BETA_TWICE ? 2 : 1;
    (void)err;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = heads * length;
        float *decay = back->scratch, *beta = decay + count, *ddecay = beta + count,
              *dbeta = ddecay + count;
        const int64_t qk = begin * key, v = begin * value, step = begin * heads;
        const struct delta_input in = {s->in[0] + qk, s->in[1] + qk, s->in[2] + v, decay, beta};
        const struct delta_back slopes = {back->out[0] + v, back->in[0] + qk, back->in[1] + qk,
                                          back->in[2] + v,  ddecay,           dbeta};
        const struct scan_steps_back step_slopes = {s->in[4] + step,
                                                    ddecay,
                                                    NULL,
                                                    back->in[4] + step,
                                                    back->sums.vector[DELTA_DT_BIAS],
                                                    back->sums.vector[DELTA_A_LOG]};
        scan_steps(&steps, length, s->in[4] + step, decay, beta);
        find_betas(heads, length, most, s->in[3] + step, beta);
        delta_back(&delta, length, &in, &slopes, dbeta + count);
        scan_steps_back(&steps, length, &step_slopes);
        betas_back(heads, length, most, beta, dbeta, back->in[3] + step);
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
    struct selective selective = selective_of(s->pass->block->graph, s->node);
    const int64_t channels = selective.channels, state = selective.state;
    (void)err;
    selective.A_log = s->params->vector[SCAN_A_LOG];
    selective.D = s->params->vector[SCAN_D];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length), count = channels * length;
        float *step = back->scratch, *dstep = step + count;
        const int64_t x = begin * channels, bc = begin * state;
        const struct selective_input in = {s->in[0] + x, s->in[1] + bc, s->in[2] + bc, step};
        const struct selective_back slopes = {
            back->out[0] + x,         back->in[0] + x, back->in[1] + bc,
            back->in[2] + bc,         dstep,           back->sums.vector[SCAN_A_LOG],
            back->sums.vector[SCAN_D]};
        activate(ACT_SOFTPLUS, count, s->in[3] + x, step);
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
