/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a block, one after the other: see pass.h. Rows are a batch's tokens. */
#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/activate.h"
#include "graph/attention.h"
#include "graph/carry.h"
#include "graph/columns.h"
#include "graph/convolve.h"
#include "graph/index.h"
#include "graph/mixers.h"
#include "graph/norm.h"
#include "graph/ops.h"
#include "graph/pass.h"
#include "graph/router.h"
#include "graph/step_back.h"
#include "graph/token.h"
#include "kernels/bf16.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

/* --- norm ------------------------------------------------------------------------------------- */

/* Groups of a row, such as its heads, are normed each by itself. */
struct norm_rule ops_norm(const struct step *s) {
    const struct graph_node *n = s->node;
    const int64_t width = n->width[0] / n->groups, own = n->row->each ? n->width[0] : width;
    return (struct norm_rule){
        .kind = n->norm,
        .eps = n->eps,
        .groups = n->groups,
        .width = width,
        .each = n->row->each,
        .weight = norm_weight(n->norm, s->params->weight, own, s->pass->forward->norm_weight),
        .bias = s->params->bias};
}

static enum llmq_status run_norm(const struct step *s, llmq_error *err) {
    const struct norm_rule rule = ops_norm(s);
    (void)err;
    norm_rows(&rule, s->rows, s->in[0], s->out[0]);
    return LLMQ_OK;
}

static bool is_one(double factor) {
    return !(factor < 1) && !(factor > 1);
}

/* --- linear ----------------------------------------------------------------------------------- */

static void add_bias(const float *bias, int64_t rows, int64_t n, float *y) {
#pragma omp parallel for schedule(static) default(none) shared(bias, rows, n, y)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            y[r * n + i] += bias[i];
}

enum llmq_status ops_multiply(const struct step *s, enum llmq_compute compute, float *y,
                              llmq_error *err) {
    const struct linear *l = &s->params->linear;
    const struct forward *f = s->pass->forward;
    const float *x = s->in[0];
    if (l->packed) {
        enum llmq_status status = llmq_qmat_matmul(l->packed, x, s->rows, l->activations, y, err);
        if (status != LLMQ_OK)
            return status;
    } else if (compute == LLMQ_COMPUTE_BF16) {
        bf16_matmul(kernels_get(), s->rows, l->n, l->k, x, l->w, y, f->packed);
    } else {
        linalg_gemm_nt(s->rows, l->n, l->k, 1.0f, x, l->k, l->w, l->k, 0.0f, y, l->n);
    }
    if (!is_one(s->node->factor))
        columns_scale((float)s->node->factor, s->rows * l->n, y);
    if (l->bias)
        add_bias(l->bias, s->rows, l->n, y);
    return LLMQ_OK;
}

static enum llmq_status run_linear(const struct step *s, llmq_error *err) {
    return ops_multiply(s, s->pass->forward->compute, s->out[0], err);
}

static double linear_flops(const struct step *s) {
    const struct linear *l = &s->params->linear;
    return 2 * (double)s->rows * (double)l->n * (double)l->k;
}

/* --- columns ---------------------------------------------------------------------------------- */

static enum llmq_status run_split(const struct step *s, llmq_error *err) {
    struct part parts[NODE_OUTPUTS] = {{0}};
    int count = 0;
    (void)err;
    for (; count < NODE_OUTPUTS && s->node->out[count] != V_NONE; count++)
        parts[count] = (struct part){s->out[count], s->node->width[count], false};
    columns_split(parts, count, s->node->groups, s->rows, s->in[0]);
    for (int i = 0; i < count; i++)
        if (parts[i].data && !is_one(s->node->part_factor[i]))
            columns_scale((float)s->node->part_factor[i], s->rows * parts[i].width, parts[i].data);
    return LLMQ_OK;
}

static enum llmq_status run_join(const struct step *s, llmq_error *err) {
    const struct graph *g = s->pass->block->graph;
    struct part parts[NODE_INPUTS];
    int count = 0;
    (void)err;
    for (; count < NODE_INPUTS && s->node->in[count] != V_NONE; count++)
        parts[count] = (struct part){s->in[count], g->width[s->node->in[count]],
                                     count > 0 && !s->node->row->dealt};
    columns_join(parts, count, s->node->groups, s->rows, s->out[0]);
    return LLMQ_OK;
}

/* --- rotation and attention: sequence by sequence --------------------------------------------- */

enum llmq_status ops_rotate(const struct step *s, bool back, const float *x, float *out,
                            llmq_error *err) {
    struct forward *f = s->pass->forward;
    const struct graph_node *n = s->node;
    const struct batch *b = s->pass->batch;
    const trait_set traits = s->pass->block->graph->traits;
    const bool local = (traits & T_WINDOW) && (traits & T_LOCAL_ROPE);
    const struct rope rope = rope_of(f->config, local);
    const struct rope_heads heads = {n->groups, n->width[0] / n->groups, n->skip,
                                     ((traits & T_BACKWARDS) != 0) != back,
                                     (traits & T_INTERLEAVED) && !n->row->halves};
    struct rope_table *table = &f->rope[local];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        enum llmq_status status =
            rope_table_prepare(&rope, max_i64(carry_length(f), length), table, err);
        if (status != LLMQ_OK)
            return status;
        const struct rope_table rest = rope_table_from(table, carry_past(f));
        rope_rotate(&rest, &heads, length, x + begin * n->width[0], out + begin * n->width[0]);
    }
    return LLMQ_OK;
}

static enum llmq_status run_rope(const struct step *s, llmq_error *err) {
    return ops_rotate(s, false, s->in[0], s->out[0], err);
}

struct attention ops_attention(const struct step *s) {
    const struct forward *f = s->pass->forward;
    const struct graph *g = s->pass->block->graph;
    const int64_t *dims = g->facts.dims;
    const double *numbers = g->facts.numbers;
    const int64_t width = g->width[s->node->in[0]] / dims[DIM_HEADS];
    const float scale =
        numbers[NUM_ATTN_SCALE] > 0 ? (float)numbers[NUM_ATTN_SCALE] : 1.0f / sqrtf((float)width);
    const bool heated = (g->traits & T_HEATED) && numbers[NUM_FLOOR] > 0;
    return (struct attention){
        .heads = dims[DIM_HEADS],
        .kv_heads = dims[DIM_KV_HEADS],
        .width = width,
        .value_width = g->width[s->node->in[2]] / dims[DIM_KV_HEADS],
        .window = g->traits & T_WINDOW ? dims[DIM_WINDOW] : 0,
        .chunk = g->traits & T_CHUNKED ? dims[DIM_CHUNK] : 0,
        .scale = scale * (float)(numbers[NUM_ATTN_GAIN] * numbers[NUM_KEY]),
        .gain = (float)numbers[NUM_VALUES],
        .cap = (float)numbers[NUM_SOFT_CAP],
        .temperature = heated ? numbers[NUM_TEMPERATURE] : 0,
        .floor = numbers[NUM_FLOOR],
        .first = numbers[NUM_FIRST],
        .sinks = s->params->sinks,
        .slopes = g->traits & T_ALIBI ? f->slopes : NULL,
        .slopes_before_scale = (g->traits & T_ALIBI_SCALED) != 0,
    };
}

struct attention ops_attention_of(const struct step *s, int64_t begin) {
    struct attention attention = ops_attention(s);
    const int64_t width = s->pass->block->graph->width[s->node->in[3]];
    if (s->node->in[3] == V_NONE)
        return attention;
    if (s->node->row->lifts) {
        attention.lift = s->in[3] + begin * width;
    } else {
        attention.choices = width;
        attention.choice = s->in[3] + begin * width;
    }
    return attention;
}

/* Of longer sequences a token sees but the keys that are lifted most. */
static enum llmq_status check_lifted(const struct step *s, int64_t length, llmq_error *err) {
    const int64_t most = s->pass->block->graph->facts.dims[DIM_LIFTED];
    if (!s->node->row->lifts || length <= most)
        return LLMQ_OK;
    error_set(err, LLMQ_E_UNSUPPORTED,
              "block %" PRId64 ": a sequence of %" PRId64 " tokens, of which the model sees but "
              "%" PRId64 " that it chooses: llmq has no part for the choice",
              s->pass->block->index, length, most);
    error_hint(err, "take shorter sequences: --seqlen %" PRId64, most);
    return LLMQ_E_UNSUPPORTED;
}

static enum llmq_status run_attention(const struct step *s, llmq_error *err) {
    const struct forward *f = s->pass->forward;
    const struct graph *g = s->pass->block->graph;
    const struct batch *b = s->pass->batch;
    const int64_t q = g->width[s->node->in[0]], k = g->width[s->node->in[1]],
                  v = g->width[s->node->in[2]], out = s->node->width[0];
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        const struct attention attention = ops_attention_of(s, begin);
        enum llmq_status status = check_lifted(s, carry_past(f) + length, err);
        if (status != LLMQ_OK)
            return status;
        if (f->carry)
            carry_attend(s, attention);
        else
            attention_sequence(&attention, length, s->in[0] + begin * q, s->in[1] + begin * k,
                               s->in[2] + begin * v, f->scores, f->max_length + 1,
                               s->out[0] + begin * out);
    }
    return LLMQ_OK;
}

struct differ ops_differ(const struct step *s) {
    const struct graph *g = s->pass->block->graph;
    struct differ d = {.groups = s->node->groups,
                       .width = s->node->width[0] / s->node->groups,
                       .block = s->pass->block->index,
                       .eps = s->node->eps,
                       .size = g->facts.dims[DIM_HEAD]};
    for (int v = 0; v < DIFFER_VECTORS; v++)
        d.vector[v] = s->params->vector[v];
    return d;
}

static enum llmq_status run_differ(const struct step *s, llmq_error *err) {
    const struct differ differ = ops_differ(s);
    (void)err;
    differ_rows(&differ, s->rows, s->in[0], s->in[1], s->out[0]);
    return LLMQ_OK;
}

static struct index index_of(const struct step *s) {
    return (struct index){.heads = s->node->groups,
                          .width = s->pass->block->graph->width[s->node->in[1]],
                          .top = s->node->width[0]};
}

static enum llmq_status run_index(const struct step *s, llmq_error *err) {
    const struct forward *f = s->pass->forward;
    const struct batch *b = s->pass->batch;
    const struct index index = index_of(s);
    (void)err;
    if (f->carry) {
        carry_choose(s, index);
        return LLMQ_OK;
    }
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        const struct index_input in = {s->in[0] + begin * index.heads * index.width,
                                       s->in[1] + begin * index.width,
                                       s->in[2] + begin * index.heads};
        index_sequence(&index, length, &in, f->scores, f->max_length + 1,
                       s->out[0] + begin * index.top);
    }
    return LLMQ_OK;
}

/* Half of a product with [length, length], for each head; none where all keys are seen. */
static double index_flops(const struct step *s) {
    const struct batch *b = s->pass->batch;
    const struct index index = index_of(s);
    double sum = 0;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0;
        (void)batch_sequence(b, i, &length);
        if (length > index.top)
            sum += (double)length * (double)length * (double)(index.heads * index.width);
    }
    return sum;
}

/* Causal attention over a whole sequence: half of two products with [length, length]. */
static double attention_flops(const struct step *s) {
    const struct batch *b = s->pass->batch;
    const int64_t widths = s->pass->block->graph->width[s->node->in[0]] + s->node->width[0];
    double sum = 0;
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0;
        (void)batch_sequence(b, i, &length);
        sum += (double)length * (double)length * (double)widths;
    }
    return sum;
}

struct filter ops_filter(const struct step *s) {
    return (struct filter){s->node->width[0], s->pass->block->graph->facts.dims[DIM_CONV],
                           s->params->weight, s->params->bias};
}

void ops_convolve(const struct step *s, float *out) {
    const struct filter filter = ops_filter(s);
    const struct batch *b = s->pass->batch;
    if (s->pass->forward->carry) {
        convolve_onward(&filter, s->rows, s->in[0], carry_of(s), out);
        return;
    }
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t length = 0, begin = batch_sequence(b, i, &length);
        convolve_sequence(&filter, length, s->in[0] + begin * filter.width,
                          out + begin * filter.width);
    }
}

static enum llmq_status run_conv(const struct step *s, llmq_error *err) {
    const int64_t width = s->node->width[0];
    (void)err;
    ops_convolve(s, s->out[0]);
    if (s->node->act != ACT_NONE)
        activate(s->node->act, s->rows * width, s->out[0], s->out[0]);
    return LLMQ_OK;
}

/* --- entry by entry --------------------------------------------------------------------------- */

static const double *numbers_of(const struct step *s) {
    return s->pass->forward->config->facts.numbers;
}

float ops_bound(const struct step *s) {
    return (float)numbers_of(s)[NUM_CLIP];
}

static enum llmq_status run_clip(const struct step *s, llmq_error *err) {
    (void)err;
    columns_clip(ops_bound(s), s->rows * s->node->width[0], s->in[0], s->out[0]);
    return LLMQ_OK;
}

struct xielu ops_xielu(const struct step *s) {
    float *const *vector = s->params->vector;
    return (struct xielu){*vector[0], *vector[1], *vector[2], *vector[3]};
}

static enum llmq_status run_act(const struct step *s, llmq_error *err) {
    (void)err;
    const int64_t count = s->rows * s->node->width[0];
    if (s->node->act != ACT_XIELU) {
        activate(s->node->act, count, s->in[0], s->out[0]);
        return LLMQ_OK;
    }
    const struct xielu curve = ops_xielu(s);
    activate_xielu(&curve, count, s->in[0], s->out[0]);
    return LLMQ_OK;
}

struct glu ops_glu(const struct step *s) {
    return (struct glu){.act = s->node->act,
                        .gain = (float)s->node->factor,
                        .limit = (float)numbers_of(s)[NUM_GLU_LIMIT],
                        .slope = (float)numbers_of(s)[NUM_GLU_SLOPE],
                        .width = s->node->width[0],
                        .gate_width = s->pass->block->graph->width[s->node->in[0]]};
}

static enum llmq_status run_glu(const struct step *s, llmq_error *err) {
    const struct glu glu = ops_glu(s);
    (void)err;
    glu_rows(&glu, s->rows, s->in[0], s->in[1], s->out[0]);
    return LLMQ_OK;
}

static enum llmq_status run_scale(const struct step *s, llmq_error *err) {
    const float factor = s->params->weight[0], *x = s->in[0];
    const int64_t count = s->rows * s->node->width[0];
    float *out = s->out[0];
    (void)err;
    if (s->node->row->each) {
        columns_weigh(s->rows, s->node->width[0], s->params->weight, x, out);
        return LLMQ_OK;
    }
#pragma omp parallel for simd schedule(static) default(none) shared(factor, x, count, out)
    for (int64_t i = 0; i < count; i++)
        out[i] = factor * x[i];
    return LLMQ_OK;
}

static enum llmq_status run_sum(const struct step *s, llmq_error *err) {
    (void)err;
    columns_total(s->node->groups, s->rows, s->pass->block->graph->width[s->node->in[0]], s->in[0],
                  s->out[0]);
    return LLMQ_OK;
}

static enum llmq_status run_add(const struct step *s, llmq_error *err) {
    (void)err;
    columns_add((float)s->node->stream_factor, (float)s->node->factor, s->rows * s->node->width[0],
                s->in[0], s->in[1], s->out[0]);
    return LLMQ_OK;
}

/* --- of the tokens ---------------------------------------------------------------------------- */

static enum llmq_status run_token(const struct step *s, llmq_error *err) {
    const struct pass *p = s->pass;
    if (!p->forward->ids)
        return error_set(err, LLMQ_E_UNSUPPORTED, "a pass that does not know its tokens");
    return token_rows(p->block->model, p->block->index, p->forward->ids + p->batch->offsets[0],
                      s->rows, s->out[0], err);
}

static enum llmq_status run_embedding(const struct step *s, llmq_error *err) {
    const struct pass *p = s->pass;
    if (!p->forward->ids)
        return error_set(err, LLMQ_E_UNSUPPORTED, "a pass that does not know its tokens");
    return model_embed_from(p->block->model, p->forward->ids, p->batch, carry_past(p->forward),
                            s->out[0], err);
}

/* --- experts ---------------------------------------------------------------------------------- */

struct router ops_router(const struct step *s) {
    const struct graph *g = s->pass->block->graph;
    const struct node *row = s->node->row;
    const int64_t *dims = g->facts.dims;
    return (struct router){
        .score = row->score,
        .group_score = row->group_score,
        .experts = s->node->width[0],
        .top_k = dims[DIM_TOP_K],
        .groups = dims[DIM_N_GROUPS] > 1 ? dims[DIM_N_GROUPS] : 1,
        .top_groups = dims[DIM_TOP_GROUPS],
        .renormalised = (g->traits & T_NORM_TOPK) != 0,
        .gain = g->facts.numbers[NUM_ROUTED],
        .choice_bias = s->params->choice_bias,
        .gains = s->params->vector[0],
        .rest = row->eps,
    };
}

/* Always in float32: another choice of experts is another model. */
static enum llmq_status run_router(const struct step *s, llmq_error *err) {
    const struct router router = ops_router(s);
    enum llmq_status status = ops_multiply(s, LLMQ_COMPUTE_F32, s->out[0], err);
    if (status == LLMQ_OK)
        router_weights(&router, s->rows, s->out[0]);
    return status;
}

/* Positions have no slope, nor has a choice. */
const struct op_code op_codes[OP_COUNT] = {
    [OP_NORM] = {run_norm, NULL, TALLY_ELEMENTWISE, back_norm, READS_INPUTS, norm_room},
    [OP_LINEAR] = {run_linear, linear_flops, TALLY_LINEAR, back_linear, READS_INPUTS, NULL},
    [OP_SPLIT] = {run_split, NULL, TALLY_ELEMENTWISE, back_split, READS_NOTHING, NULL},
    [OP_JOIN] = {run_join, NULL, TALLY_ELEMENTWISE, back_join, READS_NOTHING, NULL},
    [OP_ROPE] = {run_rope, NULL, TALLY_ELEMENTWISE, back_rope, READS_NOTHING, NULL},
    [OP_CLIP] = {run_clip, NULL, TALLY_ELEMENTWISE, back_clip, READS_INPUTS, NULL},
    [OP_ATTENTION] = {run_attention, attention_flops, TALLY_ATTENTION, back_attention, READS_INPUTS,
                      attention_room},
    [OP_INDEX] = {run_index, index_flops, TALLY_ATTENTION, NULL, READS_NOTHING, NULL},
    [OP_DIFFER] = {run_differ, NULL, TALLY_ATTENTION, back_differ, READS_INPUTS, differ_room},
    [OP_ACT] = {run_act, NULL, TALLY_ELEMENTWISE, back_act, READS_INPUTS, NULL},
    [OP_GLU] = {run_glu, NULL, TALLY_ELEMENTWISE, back_glu, READS_INPUTS, NULL},
    [OP_ADD] = {run_add, NULL, TALLY_ELEMENTWISE, back_add, READS_NOTHING, NULL},
    [OP_SCALE] = {run_scale, NULL, TALLY_ELEMENTWISE, back_scale, READS_INPUTS, NULL},
    [OP_SUM] = {run_sum, NULL, TALLY_ELEMENTWISE, back_sum, READS_NOTHING, NULL},
    [OP_TOKEN] = {run_token, NULL, TALLY_ELEMENTWISE, NULL, READS_NOTHING, NULL},
    [OP_EMBEDDING] = {run_embedding, NULL, TALLY_ELEMENTWISE, NULL, READS_NOTHING, NULL},
    [OP_CONV] = {run_conv, NULL, TALLY_ELEMENTWISE, back_conv, READS_INPUTS, conv_room},
    [OP_SCAN] = {run_scan, NULL, TALLY_SCAN, back_scan, READS_INPUTS, scan_room},
    [OP_DELTA] = {run_delta, NULL, TALLY_SCAN, back_delta, READS_INPUTS, delta_room},
    [OP_LIGHTNING] = {run_lightning, NULL, TALLY_SCAN, back_lightning, READS_INPUTS,
                      lightning_room},
    [OP_SELECTIVE] = {run_selective, NULL, TALLY_SCAN, back_selective, READS_INPUTS,
                      selective_room},
    [OP_LRU] = {run_lru, NULL, TALLY_SCAN, back_lru, READS_ALL, lru_room},
    [OP_ROUTER] = {run_router, linear_flops, TALLY_LINEAR, back_router, READS_INPUTS, router_room},
    [OP_EXPERTS] = {NULL, NULL, TALLY_LINEAR, NULL, READS_INPUTS, NULL},
};
