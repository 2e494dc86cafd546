/* Finding, folding, proving and storing: see block_fold.h. */
#include "pipeline/block_fold.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "graph/forward.h"
#include "models/fold.h"
#include "pipeline/run.h"
#include "quant/awq.h"

/* --- what is stored in its own type ----------------------------------------------------------- */

/* The producer's vector that the file keeps: a norm's weight or a linear's bias. */
struct anchor {
    char name[MODEL_NAME_MAX];
    enum dtype dtype;
    int64_t count;
    float *values; /* in the block; NULL when no block was given */
};

static float *norm_weight(const struct block *block, enum value v) {
    return block->node[block->graph->producer[v]].weight;
}

static const struct linear *linear_of(const struct model *m, const struct block *block,
                                      enum linear_role role) {
    return &block->node[block_role_node(block->graph, m->config.family, role)].linear;
}

/* False: nothing the fold of this stage changes is kept in its own type. */
static bool anchor_of(const struct model *m, int64_t index, enum block_stage stage,
                      const struct block *block, struct anchor *out) {
    const struct family *f = m->config.family;
    const struct family_fold *fold = &f->folds[stage];
    *out = (struct anchor){.count = fold_channels(&m->config, stage)};
    switch (fold->producer) {
    case FOLD_ATTENTION_NORM:
        model_block_tensor_name(m, index, f->attention_norm, "", out->name);
        out->values = block ? norm_weight(block, V_ATTN_IN) : NULL;
        break;
    case FOLD_MLP_NORM:
        model_block_tensor_name(m, index, f->mlp_norm, "", out->name);
        out->values = block ? norm_weight(block, V_MLP_IN) : NULL;
        break;
    case FOLD_LINEAR:
        if (!config_linear_bias(&m->config, fold->linear))
            return false;
        model_linear_name(m, index, fold->linear, ".bias", out->name);
        out->values = block ? linear_of(m, block, fold->linear)->bias : NULL;
        break;
    case FOLD_NONE:
    default:
        return false;
    }
    const struct st_tensor *t = st_find(m->tensors, out->name);
    out->dtype = t ? t->dtype : DTYPE_F32;
    return t != NULL;
}

/* The values in the type of the file; the caller frees. */
static void *encode(const struct anchor *a, size_t *bytes, llmq_error *err) {
    *bytes = (size_t)a->count * (dtype_bits(a->dtype) / 8);
    void *data = malloc(*bytes);
    if (!data) {
        (void)error_memory(err, a->name);
    } else if (a->dtype == DTYPE_F64) {
        for (int64_t i = 0; i < a->count; i++)
            ((double *)data)[i] = (double)a->values[i];
    } else {
        dtype_from_f32(a->dtype, a->values, (size_t)a->count, data);
    }
    return data;
}

/* Let the values be what the file will say. */
static enum llmq_status round_anchor(const struct anchor *a, llmq_error *err) {
    size_t bytes = 0;
    void *data = encode(a, &bytes, err);
    if (!data)
        return LLMQ_E_MEMORY;
    dtype_to_f32(a->dtype, data, (size_t)a->count, a->values);
    free(data);
    return LLMQ_OK;
}

bool block_fold_changes(const struct model *m, const char *tensor) {
    struct anchor a;
    for (int64_t b = 0; b < m->config.blocks; b++)
        for (enum block_stage s = 0; s < STAGE_COUNT; s++)
            if (anchor_of(m, b, s, NULL, &a) && strcmp(a.name, tensor) == 0)
                return true;
    return false;
}

enum llmq_status block_fold_store(const struct run *run, const struct block *block, uint64_t *hash,
                                  llmq_error *err) {
    *hash = HASH_INIT;
    for (enum block_stage s = 0; s < STAGE_COUNT; s++) {
        struct anchor a;
        size_t bytes = 0;
        if (!anchor_of(&run->model, block->index, s, block, &a))
            continue;
        if (run->plan.gguf) /* holds every vector in float32; the values stay rounded */
            a.dtype = DTYPE_F32;
        void *data = encode(&a, &bytes, err);
        if (!data)
            return LLMQ_E_MEMORY;
        *hash = hash_bytes(*hash, data, bytes);
        enum llmq_status status = st_writer_put(run->writer, a.name, data, bytes, err);
        free(data);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

enum llmq_status block_fold_verify(const struct model *stored, int64_t block, uint64_t expected,
                                   llmq_error *err) {
    uint64_t hash = HASH_INIT;
    for (enum block_stage s = 0; s < STAGE_COUNT; s++) {
        struct anchor a;
        if (!anchor_of(stored, block, s, NULL, &a))
            continue;
        const struct st_tensor *t = st_find(stored->tensors, a.name);
        void *data = malloc((size_t)t->nbytes + 1);
        if (!data)
            return error_memory(err, a.name);
        enum llmq_status status = st_read(stored->tensors, t, 0, (size_t)t->nbytes, data, err);
        hash = hash_bytes(hash, data, (size_t)t->nbytes);
        free(data);
        if (status != LLMQ_OK)
            return status;
    }
    if (hash == expected)
        return LLMQ_OK;
    return error_set(err, LLMQ_E_CHECK,
                     "norms of block %" PRId64 ": what was read back differs from what was stored",
                     block);
}

/* --- folding ---------------------------------------------------------------------------------- */

static void multiply_columns(const struct model_config *c, enum block_stage stage,
                             const float *scales, struct linear *l) {
    for (int64_t row = 0; row < l->n; row++)
        for (int64_t i = 0; i < l->k; i++)
            l->w[row * l->k + i] *= scales[fold_channel(c, stage, i)];
}

static void divide_rows(const float *scales, struct linear *l) {
    for (int64_t row = 0; row < l->n; row++)
        for (int64_t i = 0; i < l->k; i++)
            l->w[row * l->k + i] /= scales[row];
}

enum llmq_status block_fold_apply(const struct model *m, enum block_stage stage,
                                  const float *scales, struct block *block, llmq_error *err) {
    const struct family_fold *fold = &m->config.family->folds[stage];
    struct anchor a;
    if (anchor_of(m, block->index, stage, block, &a)) {
        for (int64_t i = 0; i < a.count; i++)
            a.values[i] /= scales[i];
        enum llmq_status status = round_anchor(&a, err);
        if (status != LLMQ_OK)
            return status;
    }
    if (fold->producer == FOLD_LINEAR)
        divide_rows(scales, block_linear(block, m->config.family, fold->linear));
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++)
        if (fold->consumers & FOLD_ROLE(role))
            multiply_columns(&m->config, stage, scales,
                             block_linear(block, m->config.family, role));
    return LLMQ_OK;
}

/* --- finding the scales ----------------------------------------------------------------------- */

static int list_consumers(const struct run *run, const struct block *block, enum block_stage stage,
                          struct awq_consumer consumers[LINEAR_COUNT]) {
    int count = 0;
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++) {
        const struct plan_module *module = plan_module_of(&run->plan, block->index, role);
        const struct linear *l = linear_of(&run->model, block, role);
        if (run->model.config.family->folds[stage].consumers & FOLD_ROLE(role))
            consumers[count++] = (struct awq_consumer){l->w, l->n, run_grid(run, &module->shape)};
    }
    return count;
}

/* How far the rows of the linear that produces a stage's input may be divided; NULL: no limit. */
static enum llmq_status limit_rows(const struct run *run, const struct block *block,
                                   enum block_stage stage, const float **limit, llmq_error *err) {
    const struct family_fold *fold = &run->model.config.family->folds[stage];
    if (fold->producer != FOLD_LINEAR)
        return LLMQ_OK;
    const struct linear *l = linear_of(&run->model, block, fold->linear);
    struct quant_grid grid =
        run_grid(run, &plan_module_of(&run->plan, block->index, fold->linear)->shape);
    float *limits = arena_alloc(run->weights, (size_t)l->n, sizeof *limits, err);
    if (!limits)
        return LLMQ_E_MEMORY;
    awq_row_limits(&grid, l->w, l->n, l->k, limits);
    *limit = limits;
    return LLMQ_OK;
}

/* Scales of one stage with its Hessian, folded into the block. */
static enum llmq_status fold_stage(const struct run *run, struct block *block,
                                   enum block_stage stage, const float *H, struct block_fold *out,
                                   llmq_error *err) {
    const struct model_config *c = &run->model.config;
    struct awq_consumer consumers[LINEAR_COUNT];
    struct awq_outcome outcome;
    struct anchor anchor;
    int64_t k = block->graph->width[block->graph->task[stage].source];
    int64_t channels = fold_channels(c, stage);
    float *magnitude = arena_alloc(run->weights, (size_t)k, sizeof *magnitude, err);
    int64_t *channel = arena_alloc(run->weights, (size_t)k, sizeof *channel, err);
    float *scales = arena_alloc(run->weights, (size_t)channels, sizeof *scales, err);
    enum llmq_status status = LLMQ_OK;
    if (!magnitude || !channel || !scales)
        return LLMQ_E_MEMORY;
    for (int64_t i = 0; i < k; i++)
        channel[i] = fold_channel(c, stage, i);
    awq_magnitude(H, k, magnitude);
    struct awq_problem problem = {.k = k,
                                  .H = H,
                                  .magnitude = magnitude,
                                  .consumers = consumers,
                                  .count = list_consumers(run, block, stage, consumers),
                                  .channels = channels,
                                  .channel = channel};
    LLMQ_TRY(limit_rows(run, block, stage, &problem.limit, err));
    if (anchor_of(&run->model, block->index, stage, block, &anchor)) {
        problem.anchor = anchor.values;
        problem.anchor_dtype = anchor.dtype;
    }
    LLMQ_TRY(awq_search(&problem, scales, &outcome, err));
    if (!outcome.scaled)
        return LLMQ_OK;
    out->scales[stage] = scales;
    LLMQ_TRY(block_fold_apply(&run->model, stage, scales, block, err));
cleanup:
    return status;
}

/* --- the proof -------------------------------------------------------------------------------- */

enum llmq_status block_fold_compare(const float *in, const float *before, const float *after,
                                    int64_t count, double *difference, llmq_error *err) {
    double changed = 0, added = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)after[i] - (double)before[i], a = (double)before[i] - (double)in[i];
        changed += d * d;
        added += a * a;
    }
    *difference = changed == 0 ? 0 : sqrt(changed / added);
    if (*difference <= BLOCK_FOLD_LIMIT) /* false for NaN */
        return LLMQ_OK;
    return error_set(err, LLMQ_E_NUMERIC,
                     "the scales of activations changed the output by %.3g of what the block adds; "
                     "at most %g is rounding",
                     *difference, BLOCK_FOLD_LIMIT);
}

/* Bytes of the block's input and of its output before and after, on one batch. */
static size_t probe_floats(const struct run *run) {
    return (size_t)calib_probe_rows(run->calib) * (size_t)run->model.config.hidden;
}

/* The original's stream is not folded: tell the calibration how its inputs differ. */
static enum llmq_status scale_original(const struct run *run, const struct graph *g,
                                       const struct block_fold *fold, llmq_error *err) {
    const struct model_config *c = &run->model.config;
    for (enum block_stage s = 0; s < STAGE_COUNT; s++) {
        const enum value source = g->task[s].source;
        int64_t k = g->width[source];
        if (!fold->scales[s])
            continue;
        float *columns = arena_alloc(run->weights, (size_t)k, sizeof *columns, err);
        if (!columns)
            return LLMQ_E_MEMORY;
        for (int64_t i = 0; i < k; i++)
            columns[i] = fold->scales[s][fold_channel(c, s, i)];
        calib_scale_original(run->calib, source, columns);
    }
    return LLMQ_OK;
}

enum llmq_status block_fold_make(struct run *run, struct block *block, struct block_fold *out,
                                 llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    size_t count = probe_floats(run);
    float *probes = malloc(3 * count * sizeof *probes);
    float *in = probes, *before = probes + count, *after = probes + 2 * count;
    *out = (struct block_fold){0};
    if (!probes)
        return error_memory(err, "the proof of a fold");
    LLMQ_TRY(calib_mark_start(run->calib, err));
    LLMQ_TRY(calib_probe(run->calib, in, before, err));
    for (enum block_stage stage = 0; stage < STAGE_COUNT; stage++) {
        struct calib_moments moments = {0};
        const struct graph_task *task = NULL;
        LLMQ_TRY(interrupt_check(run->ctx, err));
        LLMQ_TRY(fold_check(&run->model.config, stage, err));
        LLMQ_TRY(calib_next(run->calib, &task, &moments, err));
        if (run->model.config.family->folds[stage].producer != FOLD_NONE)
            LLMQ_TRY(fold_stage(run, block, stage, moments.H, out, err));
        tally_read(&run->tally, TALLY_FOLD, 0);
    }
    LLMQ_TRY(calib_rewind(run->calib, err));
    LLMQ_TRY(calib_probe(run->calib, in, after, err));
    LLMQ_TRY(block_fold_compare(in, before, after, (int64_t)count, &out->difference, err));
    if (run->plan.paired)
        LLMQ_TRY(scale_original(run, block->graph, out, err));
cleanup:
    free(probes);
    return status == LLMQ_OK ? LLMQ_OK : error_prefix(err, status, "block %" PRId64, block->index);
}

uint64_t block_fold_bytes(const struct model *m, const struct calib_tokens *tokens) {
    uint64_t rows = (uint64_t)batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    return 3 * rows * (uint64_t)m->config.hidden * sizeof(float) +
           awq_search_bytes(calib_widest(m->blocks));
}

/* --- errors of the function before the fold --------------------------------------------------- */

/* Scale of the module's input columns and of its output rows; NULL: 1. */
static void scales_of(const struct run *run, enum linear_role role, const float **columns,
                      const float **rows) {
    const struct family *f = run->model.config.family;
    *columns = run->fold.scales[f->linears[role].stage];
    *rows = NULL;
    for (enum block_stage s = 0; s < STAGE_COUNT; s++)
        if (f->folds[s].producer == FOLD_LINEAR && f->folds[s].linear == role)
            *rows = run->fold.scales[s];
}

/* Sum of the rows' errors; a folded row stands for an original one `rows[r]` times as large. */
static double sum_rows(const double *errors, const float *rows, int64_t n) {
    double sum = 0;
    for (int64_t r = 0; r < n; r++)
        sum += errors[r] * (rows ? (double)rows[r] * (double)rows[r] : 1);
    return sum;
}

/* W [n, k] := (W - what rounding to nearest makes of it), by column times the fold's scale: its
 * error in the folded inputs. importance [k] is scratch. */
static enum llmq_status rounding_error(const struct run *run, const struct plan_module *module,
                                       const float *H, float *importance, float *W,
                                       llmq_error *err) {
    const struct model_config *c = &run->model.config;
    const enum block_stage stage = c->family->linears[module->role].stage;
    const float *columns = run->fold.scales[stage];
    const int64_t n = module->shape.n, k = module->shape.k;
    struct quant_grid grid = run_grid(run, &module->shape);
    struct qlinear q = {0};
    quant_importance(H, k, importance);
    for (int64_t i = 0; columns && i < k; i++) {
        float scale = columns[fold_channel(c, stage, i)];
        importance[i] *= scale * scale;
    }
    enum llmq_status status = rtn_quantize(&grid, W, importance, n, k, &q, err);
    for (int64_t row = 0; status == LLMQ_OK && row < n; row++)
        for (int64_t i = 0; i < k; i++) {
            int64_t g = row * q.groups + i / q.group;
            float d =
                W[row * k + i] - (float)((int)q.codes[row * k + i] - (int)q.zeros[g]) * q.scales[g];
            W[row * k + i] = d * (columns ? columns[fold_channel(c, stage, i)] : 1);
        }
    qlinear_free(&q);
    return status;
}

/* tr of the errors of rounding the unfolded weights. */
static enum llmq_status plain_error(const struct run *run, const struct plan_module *module,
                                    const float *H, double *errors, double *sum, llmq_error *err) {
    enum { PANEL = 512 };
    const int64_t n = module->shape.n, k = module->shape.k;
    float *W = malloc((size_t)n * (size_t)k * sizeof *W);
    float *P = malloc((size_t)PANEL * QUANT_FORM_COLUMNS * sizeof *P);
    float *importance = malloc((size_t)k * sizeof *importance);
    enum llmq_status status = LLMQ_OK;
    if (!W || !P || !importance)
        LLMQ_TRY(error_memory(err, "a module's weights"));
    LLMQ_TRY(model_load_weight(&run->model, module->block, module->role, W, err));
    LLMQ_TRY(rounding_error(run, module, H, importance, W, err));
    for (int64_t at = 0; at < n; at += PANEL)
        quant_forms(W + at * k, n - at < PANEL ? n - at : PANEL, k, H, P, errors + at);
    *sum = sum_rows(errors, NULL, n);
cleanup:
    free(W);
    free(P);
    free(importance);
    return status;
}

enum llmq_status block_fold_outcome(const struct run *run, const struct plan_module *module,
                                    const float *W, const float *H, const struct qlinear *q,
                                    struct quant_outcome *outcome, llmq_error *err) {
    const float *columns = NULL, *rows = NULL;
    double plain = 0;
    scales_of(run, module->role, &columns, &rows);
    if (!columns && !rows)
        return LLMQ_OK;
    double *errors = malloc((size_t)q->n * sizeof *errors);
    double *norms = malloc((size_t)q->n * sizeof *norms);
    enum llmq_status status = LLMQ_OK;
    if (!errors || !norms)
        LLMQ_TRY(error_memory(err, "the errors of a module"));
    LLMQ_TRY(quant_row_errors(W, q, H, errors, norms, err));
    double norm = sum_rows(norms, rows, q->n), error = sum_rows(errors, rows, q->n);
    LLMQ_TRY(plain_error(run, module, H, errors, &plain, err));
    outcome->error = norm > 0 ? error / norm : 0;
    outcome->rtn_error = norm > 0 ? plain / norm : 0;
    if (columns)
        outcome->method = strcmp(outcome->method, "gptq") == 0 ? "awq+gptq" : "awq";
cleanup:
    free(errors);
    free(norms);
    return status;
}
