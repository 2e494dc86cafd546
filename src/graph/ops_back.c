/* SPDX-License-Identifier: Apache-2.0 */
/* The way back through the operations of ops.c: see step_back.h. */
#include <omp.h>
#include <string.h>

#include "base/int64.h"
#include "graph/columns.h"
#include "graph/ops.h"
#include "graph/step_back.h"
#include "linalg/linalg.h"

static int64_t count_of(const struct step_back *b) {
    return b->step.rows * b->step.node->width[0];
}

/* --- norm ------------------------------------------------------------------------------------- */

int64_t norm_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length) {
    (void)g, (void)length;
    return 2 * rows * n->groups;
}

enum llmq_status back_norm(const struct step_back *b, llmq_error *err) {
    const struct norm_rule rule = ops_norm(&b->step);
    const struct norm_back back = {.x = b->step.in[0],
                                   .dy = b->out[0],
                                   .dx = b->in[0],
                                   .stats = b->scratch,
                                   .weight = b->sums.weight,
                                   .bias = b->sums.bias};
    (void)err;
    norm_back(&rule, b->step.rows, &back);
    return LLMQ_OK;
}

/* --- linear ----------------------------------------------------------------------------------- */

/* dx += g W */
static void multiply_back(const struct step_back *b) {
    const struct linear *l = &b->step.params->linear;
    linalg_gemm_nn(b->step.rows, l->k, l->n, 1, b->out[0], l->n, l->w, l->k, 1, b->in[0], l->k);
}

static enum llmq_status show(const struct step_back *b, llmq_error *err) {
    const struct linear *l = &b->step.params->linear;
    const struct block *block = b->step.pass->block;
    const struct linear_slope slope = {.block = block->index,
                                       .expert = block->expert,
                                       .node = b->node,
                                       .rows = b->step.rows,
                                       .n = l->n,
                                       .k = l->k,
                                       .row = b->row,
                                       .begin = b->begin,
                                       .x = b->step.in[0],
                                       .g = b->out[0]};
    return b->taps && b->taps->linear ? b->taps->linear(b->taps->c, &slope, err) : LLMQ_OK;
}

/* From the gradient towards what the node makes to that towards x W^T. */
static void scale_out(const struct step_back *b) {
    const double factor = b->step.node->factor;
    if (factor < 1 || factor > 1)
        columns_scale((float)factor, count_of(b), b->out[0]);
}

enum llmq_status back_linear(const struct step_back *b, llmq_error *err) {
    scale_out(b);
    enum llmq_status status = show(b, err);
    if (status == LLMQ_OK)
        multiply_back(b);
    return status;
}

/* --- columns ---------------------------------------------------------------------------------- */

enum llmq_status back_split(const struct step_back *b, llmq_error *err) {
    const struct graph_node *n = b->step.node;
    struct part parts[NODE_OUTPUTS] = {{0}};
    int count = 0;
    (void)err;
    for (; count < NODE_OUTPUTS && n->out[count] != V_NONE; count++) {
        parts[count] = (struct part){b->out[count], n->width[count], false};
        if (b->out[count])
            columns_scale((float)n->part_factor[count], b->step.rows * n->width[count],
                          b->out[count]);
    }
    columns_add_join(parts, count, n->groups, b->step.rows, b->in[0]);
    return LLMQ_OK;
}

enum llmq_status back_join(const struct step_back *b, llmq_error *err) {
    const struct graph_node *n = b->step.node;
    const struct graph *g = b->step.pass->block->graph;
    struct part parts[NODE_INPUTS];
    int count = 0;
    (void)err;
    for (; count < NODE_INPUTS && n->in[count] != V_NONE; count++)
        parts[count] =
            (struct part){b->in[count], g->width[n->in[count]], count > 0 && !n->row->dealt};
    columns_add_split(parts, count, n->groups, b->step.rows, b->out[0]);
    return LLMQ_OK;
}

/* --- rotation and attention ------------------------------------------------------------------- */

enum llmq_status back_rope(const struct step_back *b, llmq_error *err) {
    enum llmq_status status = ops_rotate(&b->step, true, b->out[0], b->out[0], err);
    if (status == LLMQ_OK)
        columns_add_to(1, count_of(b), b->out[0], b->in[0]);
    return status;
}

static int64_t tile_room(int64_t length) {
    return ATTENTION_BACK_TILES * ATTENTION_TILE * (length + 1);
}

/* Tiles of every thread; gradients towards the sinks of every sequence. */
int64_t attention_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                       int64_t length) {
    (void)n;
    return omp_get_max_threads() * tile_room(length) + rows * g->facts.dims[DIM_HEADS];
}

/* One key-value head of one sequence. */
static void attend_back(const struct step_back *b, int64_t sequence, int64_t kv_head, float *sinks,
                        float *scratch) {
    const struct graph *g = b->step.pass->block->graph;
    const struct graph_node *n = b->step.node;
    const int64_t q = g->width[n->in[0]], k = g->width[n->in[1]], v = g->width[n->in[2]];
    int64_t length = 0, begin = batch_sequence(b->step.pass->batch, sequence, &length);
    const struct attention attention = ops_attention_of(&b->step, begin);
    const struct attention_back back = {
        .q = b->step.in[0] + begin * q,
        .k = b->step.in[1] + begin * k,
        .v = b->step.in[2] + begin * v,
        .dy = b->out[0] + begin * n->width[0],
        .dq = b->in[0] + begin * q,
        .dk = b->in[1] + begin * k,
        .dv = b->in[2] + begin * v,
        .sinks = sinks + sequence * attention.heads,
        .dlift = attention.lift ? b->in[3] + begin * attention.kv_heads : NULL};
    attention_back(&attention, length, kv_head, &back, scratch);
}

enum llmq_status back_attention(const struct step_back *b, llmq_error *err) {
    const int64_t *dims = b->step.pass->block->graph->facts.dims;
    const int64_t heads = dims[DIM_HEADS], kv_heads = dims[DIM_KV_HEADS];
    const int64_t sequences = b->step.pass->batch->sequences, work = sequences * kv_heads;
    const int64_t tiles = tile_room(b->step.pass->forward->max_length);
    float *sinks = b->scratch, *rest = sinks + sequences * heads;
    (void)err;
#pragma omp parallel for schedule(dynamic) default(none)                                           \
    shared(b, kv_heads, work, tiles, sinks, rest)
    for (int64_t i = 0; i < work; i++)
        attend_back(b, i / kv_heads, i % kv_heads, sinks, rest + omp_get_thread_num() * tiles);
    for (int64_t i = 0; b->sums.sinks && i < sequences * heads; i++)
        b->sums.sinks[i % heads] += (double)sinks[i];
    return LLMQ_OK;
}

int64_t differ_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                    int64_t length) {
    (void)g, (void)length;
    return rows * n->groups;
}

enum llmq_status back_differ(const struct step_back *b, llmq_error *err) {
    const struct differ differ = ops_differ(&b->step);
    struct differ_back back = {.a = b->step.in[0],
                               .b = b->step.in[1],
                               .dy = b->out[0],
                               .da = b->in[0],
                               .db = b->in[1],
                               .scratch = b->scratch};
    (void)err;
    for (int v = 0; v < DIFFER_VECTORS; v++)
        back.vector[v] = b->sums.vector[v];
    differ_back(&differ, b->step.rows, &back);
    return LLMQ_OK;
}

/* --- convolution ------------------------------------------------------------------------------ */

/* What the activation reads, and the gradient towards that. */
int64_t conv_room(const struct graph *g, const struct graph_node *n, int64_t rows, int64_t length) {
    (void)g, (void)length;
    return n->act == ACT_NONE ? 0 : 2 * rows * n->width[0];
}

enum llmq_status back_conv(const struct step_back *b, llmq_error *err) {
    const struct filter filter = ops_filter(&b->step);
    const struct batch *batch = b->step.pass->batch;
    const float *dy = b->out[0];
    (void)err;
    if (b->step.node->act != ACT_NONE) {
        float *x = b->scratch, *dx = x + count_of(b);
        ops_convolve(&b->step, x);
        memset(dx, 0, (size_t)count_of(b) * sizeof *dx);
        activate_back(b->step.node->act, count_of(b), x, dy, dx);
        dy = dx;
    }
    for (int64_t i = 0; i < batch->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(batch, i, &length) * filter.width;
        const struct filter_back back = {.x = b->step.in[0] + begin,
                                         .dy = dy + begin,
                                         .dx = b->in[0] + begin,
                                         .weight = b->sums.weight,
                                         .bias = b->sums.bias};
        convolve_back(&filter, length, &back);
    }
    return LLMQ_OK;
}

/* --- entry by entry --------------------------------------------------------------------------- */

enum llmq_status back_clip(const struct step_back *b, llmq_error *err) {
    (void)err;
    columns_clip_back(ops_bound(&b->step), count_of(b), b->step.in[0], b->out[0], b->in[0]);
    return LLMQ_OK;
}

enum llmq_status back_act(const struct step_back *b, llmq_error *err) {
    (void)err;
    if (b->step.node->act != ACT_XIELU) {
        activate_back(b->step.node->act, count_of(b), b->step.in[0], b->out[0], b->in[0]);
        return LLMQ_OK;
    }
    const struct xielu curve = ops_xielu(&b->step);
    activate_xielu_back(&curve, count_of(b), b->step.in[0], b->out[0], b->in[0]);
    return LLMQ_OK;
}

enum llmq_status back_glu(const struct step_back *b, llmq_error *err) {
    const struct glu glu = ops_glu(&b->step);
    const struct glu_back back = {b->step.in[0], b->step.in[1], b->out[0], b->in[0], b->in[1]};
    (void)err;
    glu_back(&glu, b->step.rows, &back);
    return LLMQ_OK;
}

enum llmq_status back_add(const struct step_back *b, llmq_error *err) {
    (void)err;
    columns_add_to((float)b->step.node->stream_factor, count_of(b), b->out[0], b->in[0]);
    columns_add_to((float)b->step.node->factor, count_of(b), b->out[0], b->in[1]);
    return LLMQ_OK;
}

enum llmq_status back_scale(const struct step_back *b, llmq_error *err) {
    const float *x = b->step.in[0], *dy = b->out[0];
    (void)err;
    if (b->step.node->row->each) {
        const struct columns_weigh_back back = {b->step.params->weight, x, dy, b->in[0],
                                                b->sums.weight};
        columns_weigh_back(b->step.rows, b->step.node->width[0], &back);
        return LLMQ_OK;
    }
    columns_add_to(b->step.params->weight[0], count_of(b), dy, b->in[0]);
    for (int64_t i = 0; b->sums.weight && i < count_of(b); i++)
        *b->sums.weight += (double)x[i] * (double)dy[i];
    return LLMQ_OK;
}

enum llmq_status back_sum(const struct step_back *b, llmq_error *err) {
    const struct graph_node *n = b->step.node;
    (void)err;
    columns_total_back(n->groups, b->step.rows, b->step.pass->block->graph->width[n->in[0]],
                       b->out[0], b->in[0]);
    return LLMQ_OK;
}

/* --- router ----------------------------------------------------------------------------------- */

int64_t router_room(const struct graph *g, const struct graph_node *n, int64_t rows,
                    int64_t length) {
    (void)g, (void)length;
    return rows * n->width[0];
}

enum llmq_status back_router(const struct step_back *b, llmq_error *err) {
    const struct router router = ops_router(&b->step);
    enum llmq_status status = ops_multiply(&b->step, LLMQ_COMPUTE_F32, b->scratch, err);
    if (status != LLMQ_OK)
        return status;
    router_back(&router, b->step.rows, b->scratch, b->out[0]);
    scale_out(b);
    multiply_back(b);
    return LLMQ_OK;
}
