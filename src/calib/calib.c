/* The calibration runner: see calib.h. */
#include "calib/calib.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "calib/moments.h"
#include "graph/passes.h"
#include "graph/stream.h"
#include "tensor/dtype.h"

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
    bool looking;                 /* a pass that only looks: one stream, no cross moments */
    const float *scales[V_COUNT]; /* of the original's inputs, see calib_scale_original */
    struct forward forward;
    struct arena *scratch;
    struct moment H;    /* [k, k] X^T X, the upper triangle */
    struct moment D, R; /* [k, k] and [hidden, k], paired only */
    float *diff;        /* [max_rows, max(k, hidden)] difference of the streams, paired only */
    int64_t max_rows, max_width;
    int64_t batches, held_tokens; /* no tokens are held back when there is one batch */
    int next;                     /* task of the block */
    uint64_t kept;                /* the values that have their homes now */
    bool peaks;
    struct calib_peak peak;
};

int64_t calib_widest(const struct blocks *blocks) {
    int64_t widest = 0;
    for (int kind = 0; kind < blocks->kind_count; kind++)
        for (int t = 0; t < blocks->kinds[kind].task_count; t++)
            widest = max_i64(widest, blocks->kinds[kind].width[blocks->kinds[kind].task[t].source]);
    return widest;
}

static int64_t total_tokens(const struct calib_tokens *t) {
    return t->offsets[t->count];
}

static int64_t longest_window(const struct calib_tokens *t) {
    int64_t longest = 0;
    for (int64_t i = 0; i < t->count; i++)
        longest = max_i64(longest, t->offsets[i + 1] - t->offsets[i]);
    return longest;
}

static struct forward_size size_of(const struct calib_tokens *tokens,
                                   const struct passes_needs *needs, enum llmq_compute compute) {
    return (struct forward_size){
        .max_rows = batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS),
        .max_length = longest_window(tokens),
        .width = needs->width,
        .compute = compute,
    };
}

enum llmq_status calib_memory(const struct model *m, const struct calib_tokens *tokens, bool paired,
                              enum llmq_compute compute, struct calib_memory *out,
                              llmq_error *err) {
    struct passes_needs needs;
    enum llmq_status status = passes_measure(m->blocks, &needs, err);
    if (status != LLMQ_OK)
        return status;
    const struct forward_size size = size_of(tokens, &needs, compute);
    const int64_t *width = needs.homes.width;
    int64_t kept = 0;
    for (int h = 1; h <= needs.homes.count; h++)
        kept += width[h];
    uint64_t rows = (uint64_t)size.max_rows, k = (uint64_t)calib_widest(m->blocks);
    uint64_t hidden = (uint64_t)m->config.hidden, streams = paired ? 2 : 1;
    uint64_t moment = sizeof(double) + sizeof(float) * (paired ? 2 : 1);
    uint64_t pair = (k + hidden) * k * moment + rows * (k > hidden ? k : hidden) * sizeof(float);
    uint64_t batch = rows * (uint64_t)(width[HOME_SOURCE] + width[HOME_STREAM]) * sizeof(float);
    *out = (struct calib_memory){
        .fixed = k * k * moment + streams * batch + (paired ? pair : 0) +
                 forward_bytes(&m->config, m->blocks, &size),
        .activations = streams * (uint64_t)total_tokens(tokens) * (uint64_t)kept * sizeof(float),
    };
    return LLMQ_OK;
}

/* --- creation --------------------------------------------------------------------------------- */

static enum llmq_status embed(struct calib *c, struct stream *stream, llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        int64_t begin = b.offsets[0], rows = batch_rows(&b);
        float *x = stream_target(stream, begin);
        LLMQ_TRY(model_embed(c->m, t->ids, &b, x, err));
        LLMQ_TRY(stream_put(stream, begin, rows, x, err));
    }
cleanup:
    return status;
}

static enum llmq_status create_stream(struct calib *c, const struct passes_needs *needs,
                                      const char *spill_dir, struct stream *stream,
                                      llmq_error *err) {
    const struct stream_size size = {needs->homes, total_tokens(c->tokens), c->max_rows, spill_dir};
    enum llmq_status status = stream_create(&size, c->scratch, stream, err);
    if (status != LLMQ_OK)
        return status;
    acts_set_width(&stream->acts[HOME_RESIDUAL], c->m->config.hidden);
    return embed(c, stream, err);
}

/* Is batch `index` held back? */
static bool is_held(const struct calib *c, int64_t index) {
    int64_t every = min_i64(c->batches, HOLD_EVERY);
    return c->paired && c->batches > 1 && index % every == every - 1;
}

static void count_batches(struct calib *c) {
    const struct calib_tokens *t = c->tokens;
    int64_t index = 0;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);)
        c->batches++;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b); index++)
        if (is_held(c, index))
            c->held_tokens += batch_rows(&b);
}

static enum llmq_status alloc_moment(struct calib *c, int64_t rows, struct moment *out,
                                     llmq_error *err) {
    return moment_alloc((size_t)rows * (size_t)c->max_width, c->held_tokens > 0, c->scratch, out,
                        err);
}

static enum llmq_status create_pair(struct calib *c, const struct passes_needs *needs,
                                    const char *spill_dir, llmq_error *err) {
    int64_t hidden = c->m->config.hidden, width = max_i64(c->max_width, hidden);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(alloc_moment(c, c->max_width, &c->D, err));
    LLMQ_TRY(alloc_moment(c, hidden, &c->R, err));
    c->diff = arena_alloc(c->scratch, (size_t)c->max_rows * (size_t)width, sizeof(float), err);
    if (!c->diff)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(create_stream(c, needs, spill_dir, &c->original, err));
cleanup:
    return status;
}

enum llmq_status calib_create(const struct model *m, const struct calib_tokens *tokens,
                              const struct calib_options *options, const llmq_context *ctx,
                              struct calib **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct passes_needs needs;
    struct calib *c = calloc(1, sizeof *c);
    if (!c)
        return error_memory(err, "calibration");
    c->m = m;
    c->tokens = tokens;
    c->ctx = ctx;
    c->paired = options->paired;
    c->peaks = options->peaks;
    c->max_width = calib_widest(m->blocks);
    c->start.file.fd = -1;
    count_batches(c);
    LLMQ_TRY(passes_measure(m->blocks, &needs, err));
    LLMQ_TRY(arena_create("calibration", &c->scratch, err));
    const struct forward_size size = size_of(tokens, &needs, options->compute);
    c->max_rows = size.max_rows;
    LLMQ_TRY(forward_create(&m->config, m->blocks, &size, &c->forward, err));
    c->forward.tally = options->tally;
    LLMQ_TRY(alloc_moment(c, c->max_width, &c->H, err));
    LLMQ_TRY(create_stream(c, &needs, options->spill_dir, &c->quantized, err));
    if (c->paired)
        LLMQ_TRY(create_pair(c, &needs, options->spill_dir, err));
    *out = c;
cleanup:
    if (status != LLMQ_OK)
        calib_free(&c);
    return status;
}

void calib_free(struct calib **c) {
    if (!*c)
        return;
    stream_free(&(*c)->quantized);
    stream_free(&(*c)->original);
    acts_free(&(*c)->start);
    forward_free(&(*c)->forward);
    arena_free(&(*c)->scratch);
    free(*c);
    *c = NULL;
}

/* --- moments ---------------------------------------------------------------------------------- */

static const char *first_module(const struct graph *g, const struct graph_task *task) {
    int i = 0;
    while (!(task->nodes >> i & 1))
        i++;
    return g->node[i].row->name;
}

/* A non-finite input shows on the diagonal of the sum at once; then find the window. */
static enum llmq_status check_finite(const struct calib *c, const struct graph_task *task,
                                     const struct batch *batch, const float *X, bool held,
                                     llmq_error *err) {
    const int64_t k = c->quantized.block->graph->width[task->source];
    bool finite = true;
    for (int64_t i = 0; i < k && finite; i++)
        finite = held ? isfinite(c->H.held[i * k + i]) : isfinite(c->H.sum[i * k + i]);
    if (finite)
        return LLMQ_OK;
    int64_t row = 0, begin = batch->offsets[0];
    for (int64_t i = 0; i < batch_rows(batch) * k; i++) {
        row = i / k;
        if (!isfinite(X[i]) || fabsf(X[i]) > 1e18f) /* beyond that its square overflows */
            break;
    }
    int64_t window = 0;
    while (c->tokens->offsets[window + 1] <= begin + row)
        window++;
    return error_set(err, LLMQ_E_NUMERIC,
                     "block %" PRId64 ", input of %s: non-finite activation in calibration window "
                     "%" PRId64 ", token %" PRId64,
                     c->quantized.block->index, first_module(c->quantized.block->graph, task),
                     window, begin + row - c->tokens->offsets[window]);
}

/* Do both streams run? */
static bool pairing(const struct calib *c) {
    return c->paired && !c->looking;
}

/* What the stream lacks, as what the linear's output lacks before it is multiplied by the gain. */
static void divide(float *x, int64_t count, double gain) {
#pragma omp parallel for schedule(static) default(none) shared(x, count, gain)
    for (int64_t i = 0; i < count; i++)
        x[i] /= (float)gain;
}

/* D += (X_o - X)^T X and, where the linears add to a stream, R += (S_o - S)^T X. */
static void add_cross(struct calib *c, const struct graph_task *t, bool held, const struct pass *q,
                      const struct pass *o) {
    const struct graph *g = q->block->graph;
    const int64_t rows = batch_rows(q->batch), k = g->width[t->source], n = g->width[t->stream];
    const float *X = pass_value(q, t->source);
    moment_difference(pass_value(o, t->source), X, c->scales[t->source], rows, k, c->diff);
    moment_add_product(&c->D, held, rows, c->diff, k, X, k);
    if (t->stream == V_NONE)
        return;
    moment_difference(pass_value(o, t->stream), pass_value(q, t->stream), NULL, rows, n, c->diff);
    if (t->gain < 1 || t->gain > 1)
        divide(c->diff, rows * n, t->gain);
    moment_add_product(&c->R, held, rows, c->diff, n, X, k);
}

static double cross_flops(const struct calib *c, const struct graph_task *t, int64_t rows) {
    const struct graph *g = c->quantized.block->graph;
    const double k = (double)g->width[t->source], n = (double)g->width[t->stream];
    return pairing(c) ? 2 * (double)rows * (k + n) * k : 0;
}

static struct calib_moments finish_moments(struct calib *c, const struct graph_task *t) {
    const struct graph *g = c->quantized.block->graph;
    const struct moment_tokens tokens = {total_tokens(c->tokens), c->held_tokens};
    const int64_t k = g->width[t->source];
    moment_mirror(&c->H, k);
    moment_finish(&c->H, k * k, &tokens);
    struct calib_moments out = {.k = k, .H = c->H.mean};
    if (!pairing(c))
        return out;
    out.held_share = (double)c->held_tokens / (double)total_tokens(c->tokens);
    moment_finish(&c->D, k * k, &tokens);
    out.D = c->D.mean;
    out.H_held = c->H.held;
    out.D_held = c->D.held;
    if (t->stream == V_NONE)
        return out;
    moment_finish(&c->R, g->width[t->stream] * k, &tokens);
    out.R = c->R.mean;
    out.R_held = c->R.held;
    return out;
}

/* --- the runner ------------------------------------------------------------------------------- */

/* Nothing of the block was done yet: the streams are its input. */
static void start_over(struct calib *c) {
    c->next = 0;
    c->kept = VALUE_BIT(c->quantized.block->graph->input);
}

void calib_begin_block(struct calib *c, const struct block *block, const struct block *original) {
    assert(c->paired == (original != NULL));
    c->quantized.block = block;
    c->original.block = original;
    memset(c->scales, 0, sizeof c->scales);
    start_over(c);
}

void calib_scale_original(struct calib *c, enum value source, const float *scales) {
    c->scales[source] = scales;
}

struct calib_peak calib_peak(const struct calib *c) {
    return c->peak;
}

static void note_peak(struct calib *c, const float *x, int64_t count, const char *module) {
    const float most = dtype_peak(DTYPE_F32, x, (size_t)count);
    if (most > c->peak.value)
        c->peak = (struct calib_peak){most, c->quantized.block->index, module};
}

static void note_peaks(struct calib *c, const struct graph_task *t, const struct pass *p) {
    const struct graph *g = p->block->graph;
    const int64_t rows = batch_rows(p->batch);
    if (!c->peaks)
        return;
    note_peak(c, pass_value(p, t->source), rows * g->width[t->source], first_module(g, t));
    if (t->stream != V_NONE)
        note_peak(c, pass_value(p, t->stream), rows * g->width[t->stream], NULL);
}

/* One batch, both streams, and the moments of `task`, which may be NULL. */
static enum llmq_status run_batch(struct calib *c, const struct schedule *schedule,
                                  const struct graph_task *task, const struct batch *batch,
                                  bool held, llmq_error *err) {
    struct pass q = {0}, o = {0};
    const int64_t rows = batch_rows(batch);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(stream_pass(&c->quantized, &c->forward, schedule, batch, &q, err));
    if (pairing(c))
        LLMQ_TRY(stream_pass(&c->original, &c->forward, schedule, batch, &o, err));
    if (!task)
        return LLMQ_OK;
    const int64_t k = q.block->graph->width[task->source];
    const float *X = pass_value(&q, task->source);
    moment_add_square(&c->H, held, rows, X, k);
    tally_read(c->forward.tally, TALLY_MOMENTS, (double)rows * (double)k * (double)k);
    LLMQ_TRY(check_finite(c, task, batch, X, held, err));
    note_peaks(c, task, &q);
    if (pairing(c))
        add_cross(c, task, held, &q, &o);
    tally_read(c->forward.tally, TALLY_MOMENTS, cross_flops(c, task, rows));
cleanup:
    return status;
}

/* A pass over all batches. */
static enum llmq_status run_pass(struct calib *c, const struct schedule *schedule,
                                 const struct graph_task *task, llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    stream_begin_pass(&c->quantized, schedule);
    if (pairing(c))
        stream_begin_pass(&c->original, schedule);
    int64_t index = 0;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b); index++) {
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(run_batch(c, schedule, task, &b, pairing(c) && is_held(c, index), err));
    }
cleanup:
    return status;
}

static void clear_moments(struct calib *c, const struct graph_task *t) {
    const struct graph *g = c->quantized.block->graph;
    const int64_t k = g->width[t->source];
    moment_clear(&c->H, k * k);
    moment_clear(&c->D, k * k);
    moment_clear(&c->R, k * g->width[t->stream]);
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
}

enum llmq_status calib_next(struct calib *c, const struct graph_task **task,
                            struct calib_moments *out, llmq_error *err) {
    const struct graph *g = c->quantized.block->graph;
    struct schedule schedule;
    enum llmq_status status = LLMQ_OK;
    *task = NULL;
    if (c->next == g->task_count)
        return LLMQ_OK;
    const struct graph_task *t = &g->task[c->next];
    LLMQ_TRY(passes_to_task(g, t, c->kept, &schedule, err));
    clear_moments(c, t);
    LLMQ_TRY(run_pass(c, &schedule, t, err));
    *out = finish_moments(c, t);
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
    c->kept = schedule_kept(g, t->round);
    c->next++;
    *task = t;
cleanup:
    return status;
}

enum llmq_status calib_end_block(struct calib *c, llmq_error *err) {
    const struct graph *g = c->quantized.block->graph;
    struct schedule schedule;
    enum llmq_status status = passes_to_end(g, c->kept, &schedule, err);
    if (status != LLMQ_OK)
        return status;
    c->next = g->task_count;
    c->kept = VALUE_BIT(g->output);
    return run_pass(c, &schedule, NULL, err);
}

/* --- doing a block twice -----------------------------------------------------------------------
 */

enum llmq_status calib_keep_start(struct calib *c, const char *spill_dir, llmq_error *err) {
    return acts_create(total_tokens(c->tokens), c->m->config.hidden, spill_dir, &c->start, err);
}

/* One batch at a time, through the batch buffer when the stores are files. */
static enum llmq_status copy_acts(struct calib *c, const struct acts *from, const struct acts *to,
                                  llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        int64_t begin = b.offsets[0], rows = batch_rows(&b);
        float *x = NULL, *buffer = c->quantized.buffer[HOME_RESIDUAL],
              *target = acts_target(to, begin, buffer);
        LLMQ_TRY(acts_load(from, begin, rows, buffer, &x, err));
        if (x != target)
            memcpy(target, x, (size_t)(rows * from->width) * sizeof *x);
        LLMQ_TRY(acts_store(to, begin, rows, target, err));
    }
cleanup:
    return status;
}

enum llmq_status calib_mark_start(struct calib *c, llmq_error *err) {
    c->looking = true;
    return copy_acts(c, &c->quantized.acts[HOME_RESIDUAL], &c->start, err);
}

enum llmq_status calib_rewind(struct calib *c, llmq_error *err) {
    c->looking = false;
    start_over(c);
    struct acts *x = &c->quantized.acts[HOME_RESIDUAL];
    acts_set_width(x, c->start.width);
    return copy_acts(c, &c->start, x, err);
}

int64_t calib_probe_rows(const struct calib *c) {
    struct batch b = {0};
    return batch_next(c->tokens->offsets, c->tokens->count, BATCH_ROWS, &b) ? batch_rows(&b) : 0;
}

enum llmq_status calib_probe(struct calib *c, float *in, float *out, llmq_error *err) {
    struct stream *s = &c->quantized;
    const struct graph *g = s->block->graph;
    struct batch b = {0};
    struct schedule schedule;
    enum llmq_status status = LLMQ_OK;
    float *x = NULL;
    (void)batch_next(c->tokens->offsets, c->tokens->count, BATCH_ROWS, &b);
    const int64_t rows = batch_rows(&b);
    LLMQ_TRY(acts_load(&c->start, 0, rows, s->buffer[HOME_RESIDUAL], &x, err));
    memmove(in, x, (size_t)(rows * c->start.width) * sizeof *x);
    memmove(out, x, (size_t)(rows * c->start.width) * sizeof *x);
    LLMQ_TRY(passes_to_end(g, VALUE_BIT(g->input), &schedule, err));
    struct pass p = {.forward = &c->forward, .schedule = &schedule, .block = s->block, .batch = &b};
    p.home[HOME_RESIDUAL] = out;
    for (int h = HOME_RESIDUAL + 1; h <= s->homes; h++) /* not in use: see calib.h */
        p.home[h] = acts_target(&s->acts[h], 0, s->buffer[h]);
    const enum llmq_compute compute = c->forward.compute;
    /* What is compared differs by less than bfloat16 rounds. */
    c->forward.compute = LLMQ_COMPUTE_F32;
    status = pass_run(&p, err);
    c->forward.compute = compute;
cleanup:
    return status;
}

uint64_t calib_start_bytes(const struct model *m, const struct calib_tokens *tokens) {
    return (uint64_t)total_tokens(tokens) * (uint64_t)m->config.hidden * sizeof(float);
}

enum llmq_status calib_residual(const struct calib *c, float *out, llmq_error *err) {
    const struct acts *x = &c->quantized.acts[HOME_RESIDUAL];
    float *rows = NULL;
    enum llmq_status status = acts_load(x, 0, x->rows, out, &rows, err);
    if (status == LLMQ_OK && rows != out)
        memcpy(out, rows, (size_t)(x->rows * x->width) * sizeof *out);
    return status;
}
