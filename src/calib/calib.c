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
#include "calib/stream.h"
#include "linalg/linalg.h"
#include "tensor/dtype.h"

/* Of so many batches one is held back (the last, when there are fewer). */
#define HOLD_EVERY 8

/* A sum over all tokens: accumulated in double, handed out in float32. */
struct moment {
    double *sum; /* over the batches that are not held back */
    float *mean; /* also scratch of the accumulation until it is finished */
    float *held; /* over those held back, paired only */
};

struct calib {
    const struct model *m;
    const struct calib_tokens *tokens;
    const llmq_context *ctx;
    struct stream quantized; /* as the model quantized so far has it */
    struct stream original;  /* as the original model has it; unused unless paired */
    struct acts start;       /* copy of the quantized stream for calib_rewind */
    bool paired;
    bool looking;                     /* a pass that only looks: one stream, no cross moments */
    const float *scales[STAGE_COUNT]; /* of the original's inputs, see calib_scale_original */
    struct forward forward;
    struct arena *scratch;
    struct moment H;    /* [k, k] X^T X, the upper triangle */
    struct moment D, R; /* [k, k] and [hidden, k], paired only */
    float *diff;        /* [max_rows, max(k, hidden)] difference of the streams, paired only */
    int64_t max_rows, max_width;
    int64_t batches, held_tokens; /* no tokens are held back when there is one batch */
    enum block_stage next;        /* the stage calib_stage expects */
    bool peaks;
    struct calib_peak peak;
};

static const char *const stage_names[STAGE_COUNT] = {"attention input", "attention output",
                                                     "MLP input", "MLP output"};

int64_t calib_stage_width(const struct model_config *c, enum block_stage stage) {
    int64_t n = 0, k = 0;
    for (enum linear_role role = 0; role < LINEAR_COUNT; role++)
        if (c->family->linears[role].stage == stage)
            config_linear_shape(c, role, &n, &k);
    return k;
}

static int64_t widest_stage(const struct model_config *c) {
    int64_t widest = 0;
    for (enum block_stage s = 0; s < STAGE_COUNT; s++)
        widest = max_i64(widest, calib_stage_width(c, s));
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

struct calib_memory calib_memory(const struct model_config *c, const struct calib_tokens *tokens,
                                 bool paired, enum llmq_compute compute) {
    uint64_t rows = (uint64_t)batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    uint64_t k = (uint64_t)widest_stage(c), mid = (uint64_t)forward_mid_width(c);
    uint64_t hidden = (uint64_t)c->hidden, total = (uint64_t)total_tokens(tokens);
    uint64_t moment = sizeof(double) + sizeof(float) * (paired ? 2 : 1), streams = paired ? 2 : 1;
    uint64_t pair = (k + hidden) * k * moment + rows * (k > hidden ? k : hidden) * sizeof(float);
    return (struct calib_memory){
        .fixed = k * k * moment + streams * rows * hidden * sizeof(float) + (paired ? pair : 0) +
                 forward_bytes(c, (int64_t)rows, longest_window(tokens), compute),
        .activations = streams * total * (hidden + mid) * sizeof(float),
    };
}

/* --- creation
 * -------------------------------------------------------------------------------------------------
 */

static enum llmq_status embed(struct calib *c, struct stream *stream, llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        int64_t begin = b.offsets[0], rows = batch_rows(&b);
        float *x = stream_target(stream, begin);
        LLMQ_TRY(model_embed(c->m, t->ids + begin, rows, x, err));
        LLMQ_TRY(stream_put(stream, begin, rows, x, err));
    }
cleanup:
    return status;
}

static enum llmq_status create_stream(struct calib *c, const char *spill_dir, struct stream *stream,
                                      llmq_error *err) {
    enum llmq_status status = stream_create(&c->m->config, total_tokens(c->tokens), c->max_rows,
                                            spill_dir, c->scratch, stream, err);
    return status == LLMQ_OK ? embed(c, stream, err) : status;
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
    size_t count = (size_t)rows * (size_t)c->max_width;
    out->sum = arena_alloc(c->scratch, count, sizeof(double), err);
    out->mean = arena_alloc(c->scratch, count, sizeof(float), err);
    if (c->held_tokens > 0)
        out->held = arena_alloc(c->scratch, count, sizeof(float), err);
    return out->sum && out->mean && (out->held || c->held_tokens == 0) ? LLMQ_OK : LLMQ_E_MEMORY;
}

static enum llmq_status create_pair(struct calib *c, const char *spill_dir, llmq_error *err) {
    int64_t hidden = c->m->config.hidden, width = max_i64(c->max_width, hidden);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(alloc_moment(c, c->max_width, &c->D, err));
    LLMQ_TRY(alloc_moment(c, hidden, &c->R, err));
    c->diff = arena_alloc(c->scratch, (size_t)c->max_rows * (size_t)width, sizeof(float), err);
    if (!c->diff)
        return LLMQ_E_MEMORY;
    LLMQ_TRY(create_stream(c, spill_dir, &c->original, err));
cleanup:
    return status;
}

enum llmq_status calib_create(const struct model *m, const struct calib_tokens *tokens,
                              const struct calib_options *options, const llmq_context *ctx,
                              struct calib **out, llmq_error *err) {
    const struct model_config *config = &m->config;
    enum llmq_status status = LLMQ_OK;
    struct calib *c = calloc(1, sizeof *c);
    if (!c)
        return error_memory(err, "calibration");
    c->m = m;
    c->tokens = tokens;
    c->ctx = ctx;
    c->paired = options->paired;
    c->peaks = options->peaks;
    c->max_rows = batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    c->max_width = widest_stage(config);
    c->start.file.fd = -1;
    count_batches(c);
    LLMQ_TRY(arena_create("calibration", &c->scratch, err));
    LLMQ_TRY(forward_create(config, c->max_rows, longest_window(tokens), options->compute,
                            &c->forward, err));
    c->forward.tally = options->tally;
    LLMQ_TRY(alloc_moment(c, c->max_width, &c->H, err));
    LLMQ_TRY(create_stream(c, options->spill_dir, &c->quantized, err));
    if (c->paired)
        LLMQ_TRY(create_pair(c, options->spill_dir, err));
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

/* A non-finite input shows on the diagonal of the sum at once; then find the window. */
static enum llmq_status check_finite(const struct calib *c, const struct batch *batch,
                                     const float *X, int64_t k, bool held, llmq_error *err) {
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
                     "block %" PRId64 ", %s: non-finite activation in calibration window %" PRId64
                     ", token %" PRId64,
                     c->quantized.block->index, stage_names[c->next], window,
                     begin + row - c->tokens->offsets[window]);
}

/* diff = a / scale - b, [rows, width], scale [width] or NULL for 1. */
static void difference(const float *a, const float *b, const float *scale, int64_t rows,
                       int64_t width, float *diff) {
#pragma omp parallel for schedule(static) default(none) shared(a, b, scale, rows, width, diff)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = r * width; i < (r + 1) * width; i++)
            diff[i] = (scale ? a[i] / scale[i - r * width] : a[i]) - b[i];
}

/* m += A^T X over the rows of a batch, A [rows, width], X [rows, k]. */
static void add_product(const struct moment *m, bool held, int64_t rows, const float *A,
                        int64_t width, const float *X, int64_t k) {
    if (held)
        linalg_gemm_tn(width, k, rows, 1, A, width, X, k, 1, m->held, k);
    else
        linalg_gemm_tn_accumulate(rows, width, k, A, width, X, k, m->sum, m->mean);
}

static void add_square(const struct moment *m, bool held, int64_t rows, const float *X, int64_t k) {
    if (held)
        add_product(m, held, rows, X, k, X, k);
    else
        linalg_syrk_accumulate(rows, k, X, k, m->sum, m->mean);
}

/* Do both streams run? */
static bool pairing(const struct calib *c) {
    return c->paired && !c->looking;
}

/* D += (X_o - X)^T X and, where the stage adds to the residual stream, R += (S_o - S)^T X. */
static void add_cross(struct calib *c, enum block_stage stage, bool held, int64_t rows, int64_t k,
                      const struct stage_rows *q, const struct stage_rows *o) {
    int64_t hidden = c->m->config.hidden;
    difference(o->X, q->X, c->scales[stage], rows, k, c->diff);
    add_product(&c->D, held, rows, c->diff, k, q->X, k);
    if (!stage_is_output(stage))
        return;
    difference(o->S, q->S, NULL, rows, hidden, c->diff);
    add_product(&c->R, held, rows, c->diff, hidden, q->X, k);
}

static double cross_flops(const struct calib *c, enum block_stage stage, int64_t rows, int64_t k) {
    int64_t width = stage_is_output(stage) ? k + c->m->config.hidden : k;
    return pairing(c) ? 2 * (double)rows * (double)width * (double)k : 0;
}

static void clear_moment(const struct moment *m, int64_t count) {
    if (m->sum)
        memset(m->sum, 0, (size_t)count * sizeof *m->sum);
    if (m->held)
        memset(m->held, 0, (size_t)count * sizeof *m->held);
}

/* Only the upper triangle of the sum of squares is formed. */
static void mirror_upper(int64_t k, double *sum) {
#pragma omp parallel for schedule(dynamic, 16) default(none) shared(k, sum)
    for (int64_t i = 1; i < k; i++)
        for (int64_t j = 0; j < i; j++)
            sum[i * k + j] = sum[j * k + i];
}

/* Sums to means of 2ab: over all tokens, and over those held back. */
static void finish_moment(const struct calib *c, const struct moment *m, int64_t count) {
    double all = 2.0 / (double)total_tokens(c->tokens);
    const double *sum = m->sum;
    float *mean = m->mean, *held = m->held;
    float part = c->held_tokens > 0 ? (float)(2.0 / (double)c->held_tokens) : 0;
#pragma omp parallel for schedule(static) default(none) shared(count, mean, sum, held, all, part)
    for (int64_t i = 0; i < count; i++) {
        mean[i] = (float)(all * (sum[i] + (held ? (double)held[i] : 0)));
        if (held)
            held[i] *= part;
    }
}

static struct calib_moments finish_moments(struct calib *c, enum block_stage stage, int64_t k) {
    mirror_upper(k, c->H.sum);
    finish_moment(c, &c->H, k * k);
    struct calib_moments out = {.k = k, .H = c->H.mean};
    if (!pairing(c))
        return out;
    out.held_share = (double)c->held_tokens / (double)total_tokens(c->tokens);
    finish_moment(c, &c->D, k * k);
    out.D = c->D.mean;
    out.H_held = c->H.held;
    out.D_held = c->D.held;
    if (!stage_is_output(stage))
        return out;
    finish_moment(c, &c->R, c->m->config.hidden * k);
    out.R = c->R.mean;
    out.R_held = c->R.held;
    return out;
}

/* --- the runner
 * --------------------------------------------------------------------------------------------------
 */

void calib_begin_block(struct calib *c, const struct block *block, const struct block *original) {
    assert(c->paired == (original != NULL));
    c->quantized.block = block;
    c->original.block = original;
    memset(c->scales, 0, sizeof c->scales);
    c->next = STAGE_ATTENTION_IN;
}

void calib_scale_original(struct calib *c, enum block_stage stage, const float *scales) {
    c->scales[stage] = scales;
}

struct calib_peak calib_peak(const struct calib *c) {
    return c->peak;
}

static void note_peak(struct calib *c, const float *x, int64_t count, const char *where) {
    const float most = x ? dtype_peak(DTYPE_F32, x, (size_t)count) : 0;
    if (most > c->peak.value)
        c->peak = (struct calib_peak){most, c->quantized.block->index, where};
}

static void note_peaks(struct calib *c, enum block_stage stage, int64_t rows, int64_t k,
                       const struct stage_rows *q) {
    if (!c->peaks || k == 0)
        return;
    note_peak(c, q->S, rows * c->m->config.hidden, "residual stream");
    note_peak(c, q->X, rows * k, stage_names[stage]);
}

/* One batch of a stage, both streams. k = 0: no moments are wanted. */
static enum llmq_status run_batch(struct calib *c, enum block_stage stage, int64_t k,
                                  const struct batch *batch, bool held, llmq_error *err) {
    struct stage_rows q = {0}, o = {0};
    int64_t rows = batch_rows(batch);
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(stream_step(&c->quantized, &c->forward, stage, batch, &q, err));
    if (pairing(c))
        LLMQ_TRY(stream_step(&c->original, &c->forward, stage, batch, &o, err));
    note_peaks(c, stage, rows, k, &q);
    if (k == 0)
        return LLMQ_OK;
    add_square(&c->H, held, rows, q.X, k);
    tally_read(c->forward.tally, TALLY_MOMENTS, (double)rows * (double)k * (double)k);
    LLMQ_TRY(check_finite(c, batch, q.X, k, held, err));
    if (pairing(c))
        add_cross(c, stage, held, rows, k, &q, &o);
    tally_read(c->forward.tally, TALLY_MOMENTS, cross_flops(c, stage, rows, k));
cleanup:
    return status;
}

/* One pass over all batches. */
static enum llmq_status run_stage(struct calib *c, enum block_stage stage, int64_t k,
                                  llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    int64_t width = stage < STAGE_COUNT ? calib_stage_width(&c->m->config, stage) : 0;
    stream_begin_stage(&c->quantized, stage, width);
    if (pairing(c))
        stream_begin_stage(&c->original, stage, width);
    clear_moment(&c->H, k * k);
    clear_moment(&c->D, k * k);
    clear_moment(&c->R, k * c->m->config.hidden);
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
    int64_t index = 0;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b); index++) {
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(run_batch(c, stage, k, &b, pairing(c) && is_held(c, index), err));
    }
cleanup:
    return status;
}

enum llmq_status calib_stage(struct calib *c, enum block_stage stage, struct calib_moments *out,
                             llmq_error *err) {
    assert(stage == c->next && stage < STAGE_COUNT);
    int64_t k = calib_stage_width(&c->m->config, stage);
    enum llmq_status status = run_stage(c, stage, k, err);
    if (status != LLMQ_OK)
        return status;
    *out = finish_moments(c, stage, k);
    tally_read(c->forward.tally, TALLY_MOMENTS, 0);
    c->next++;
    return LLMQ_OK;
}

enum llmq_status calib_end_block(struct calib *c, llmq_error *err) {
    for (; c->next <= STAGE_COUNT; c->next++) {
        if (c->next == STAGE_ATTENTION_IN)
            continue; /* without a Hessian it does nothing: the next stage starts from x */
        enum llmq_status status = run_stage(c, c->next, 0, err);
        if (status != LLMQ_OK)
            return status;
    }
    return LLMQ_OK;
}

/* --- doing a block twice -----------------------------------------------------------------------
 */

enum llmq_status calib_keep_start(struct calib *c, const char *spill_dir, llmq_error *err) {
    return acts_create(c->quantized.x.rows, c->quantized.x.width, spill_dir, &c->start, err);
}

/* One batch at a time, through the batch buffer when the stores are files. */
static enum llmq_status copy_acts(struct calib *c, const struct acts *from, const struct acts *to,
                                  llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        int64_t begin = b.offsets[0], rows = batch_rows(&b);
        float *x = NULL, *buffer = c->quantized.x_buf, *target = acts_target(to, begin, buffer);
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
    return copy_acts(c, &c->quantized.x, &c->start, err);
}

enum llmq_status calib_rewind(struct calib *c, llmq_error *err) {
    c->looking = false;
    c->next = STAGE_ATTENTION_IN;
    return copy_acts(c, &c->start, &c->quantized.x, err);
}

int64_t calib_probe_rows(const struct calib *c) {
    struct batch b = {0};
    return batch_next(c->tokens->offsets, c->tokens->count, BATCH_ROWS, &b) ? batch_rows(&b) : 0;
}

enum llmq_status calib_probe(struct calib *c, float *in, float *out, llmq_error *err) {
    struct stream *s = &c->quantized;
    struct batch b = {0};
    float *x = NULL;
    (void)batch_next(c->tokens->offsets, c->tokens->count, BATCH_ROWS, &b);
    int64_t rows = batch_rows(&b);
    enum llmq_status status = acts_load(&c->start, 0, rows, s->x_buf, &x, err);
    if (status != LLMQ_OK)
        return status;
    memmove(in, x, (size_t)(rows * s->x.width) * sizeof *x);
    memmove(out, x, (size_t)(rows * s->x.width) * sizeof *x);
    acts_set_width(&s->mid, s->mid.max_width); /* its rows are not in use: see calib.h */
    const enum llmq_compute compute = c->forward.compute;
    c->forward.compute =
        LLMQ_COMPUTE_F32; /* what is compared differs by less than bfloat16 rounds */
    status = forward_block(&c->forward, s->block, &b, out, s->normed,
                           acts_target(&s->mid, 0, s->mid_buf), err);
    c->forward.compute = compute;
    return status;
}

uint64_t calib_start_bytes(const struct model_config *c, const struct calib_tokens *tokens) {
    return (uint64_t)total_tokens(tokens) * (uint64_t)c->hidden * sizeof(float);
}

enum llmq_status calib_residual(const struct calib *c, float *out, llmq_error *err) {
    float *rows = NULL;
    enum llmq_status status = acts_load(&c->quantized.x, 0, c->quantized.x.rows, out, &rows, err);
    if (status == LLMQ_OK && rows != out)
        memcpy(out, rows, (size_t)(c->quantized.x.rows * c->quantized.x.width) * sizeof *out);
    return status;
}
