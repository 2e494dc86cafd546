/* The calibration runner: see calib.h. */
#include "calib/calib.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "graph/acts.h"
#include "graph/forward.h"
#include "linalg/linalg.h"

struct calib {
    const struct model *m;
    const struct calib_tokens *tokens;
    const llmq_context *ctx;
    struct acts x;     /* residual stream [T, hidden] */
    struct acts mid;   /* input of o, then of down */
    struct acts start; /* copy of x for calib_rewind; of no rows unless asked for */
    struct forward forward;
    struct arena *scratch;
    float *x_buf, *mid_buf; /* one batch, when the stores are files */
    float *normed;          /* [max_rows, hidden] */
    double *sum;            /* [k, k] upper triangle of X^T X */
    float *H;               /* [k, k]; scratch of the accumulation until it is finished */
    int64_t max_rows, max_width;
    const struct block *block;
    enum block_stage next; /* the stage calib_stage expects */
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
        if (calib_stage_width(c, s) > widest)
            widest = calib_stage_width(c, s);
    return widest;
}

static int64_t total_tokens(const struct calib_tokens *t) {
    return t->offsets[t->count];
}

static int64_t longest_window(const struct calib_tokens *t) {
    int64_t longest = 0;
    for (int64_t i = 0; i < t->count; i++)
        if (t->offsets[i + 1] - t->offsets[i] > longest)
            longest = t->offsets[i + 1] - t->offsets[i];
    return longest;
}

struct calib_memory calib_memory(const struct model_config *c, const struct calib_tokens *tokens) {
    uint64_t rows = (uint64_t)batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    uint64_t k = (uint64_t)widest_stage(c), mid = (uint64_t)forward_mid_width(c);
    uint64_t hidden = (uint64_t)c->hidden, total = (uint64_t)total_tokens(tokens);
    return (struct calib_memory){
        .fixed = k * k * (sizeof(double) + sizeof(float)) + rows * hidden * sizeof(float) +
                 forward_bytes(c, (int64_t)rows, longest_window(tokens)),
        .activations = total * (hidden + mid) * sizeof(float),
    };
}

/* --- creation
 * -------------------------------------------------------------------------------------------------
 */

static enum llmq_status embed(struct calib *c, llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        int64_t begin = b.offsets[0], rows = batch_rows(&b);
        float *x = acts_target(&c->x, begin, c->x_buf);
        LLMQ_TRY(model_embed(c->m, t->ids + begin, rows, x, err));
        LLMQ_TRY(acts_store(&c->x, begin, rows, x, err));
    }
cleanup:
    return status;
}

static enum llmq_status alloc_scratch(struct calib *c, bool spilled, llmq_error *err) {
    const struct model_config *config = &c->m->config;
    size_t rows = (size_t)c->max_rows, k = (size_t)c->max_width, hidden = (size_t)config->hidden;
    size_t mid = (size_t)forward_mid_width(config);
    enum llmq_status status = arena_create("calibration", &c->scratch, err);
    if (status != LLMQ_OK)
        return status;
    c->normed = arena_alloc(c->scratch, rows * hidden, sizeof(float), err);
    c->sum = arena_alloc(c->scratch, k * k, sizeof(double), err);
    c->H = arena_alloc(c->scratch, k * k, sizeof(float), err);
    if (spilled) {
        c->x_buf = arena_alloc(c->scratch, rows * hidden, sizeof(float), err);
        c->mid_buf = arena_alloc(c->scratch, rows * mid, sizeof(float), err);
    }
    bool complete = c->normed && c->sum && c->H && (!spilled || (c->x_buf && c->mid_buf));
    return complete ? LLMQ_OK : LLMQ_E_MEMORY;
}

enum llmq_status calib_create(const struct model *m, const struct calib_tokens *tokens,
                              const char *spill_dir, const llmq_context *ctx, struct calib **out,
                              llmq_error *err) {
    const struct model_config *config = &m->config;
    int64_t total = total_tokens(tokens);
    enum llmq_status status = LLMQ_OK;
    struct calib *c = calloc(1, sizeof *c);
    if (!c)
        return error_memory(err, "calibration");
    c->m = m;
    c->tokens = tokens;
    c->ctx = ctx;
    c->max_rows = batch_max_rows(tokens->offsets, tokens->count, BATCH_ROWS);
    c->max_width = widest_stage(config);
    c->start.file.fd = -1;
    LLMQ_TRY(acts_create(total, config->hidden, spill_dir, &c->x, err));
    LLMQ_TRY(acts_create(total, forward_mid_width(config), spill_dir, &c->mid, err));
    LLMQ_TRY(forward_create(config, c->max_rows, longest_window(tokens), &c->forward, err));
    LLMQ_TRY(alloc_scratch(c, spill_dir != NULL, err));
    LLMQ_TRY(embed(c, err));
    *out = c;
cleanup:
    if (status != LLMQ_OK)
        calib_free(&c);
    return status;
}

void calib_free(struct calib **c) {
    if (!*c)
        return;
    acts_free(&(*c)->x);
    acts_free(&(*c)->mid);
    acts_free(&(*c)->start);
    forward_free(&(*c)->forward);
    arena_free(&(*c)->scratch);
    free(*c);
    *c = NULL;
}

/* --- steps of a block on one batch: each leaves the stage's input X [rows, k] ----------------- */

struct step {
    struct calib *c;
    const struct batch *batch;
    int64_t begin, rows;
    float *x;
};

static enum llmq_status load_x(struct step *s, llmq_error *err) {
    return acts_load(&s->c->x, s->begin, s->rows, s->c->x_buf, &s->x, err);
}

static enum llmq_status step_attention_in(struct step *s, float **X, llmq_error *err) {
    struct calib *c = s->c;
    enum llmq_status status = load_x(s, err);
    if (status != LLMQ_OK)
        return status;
    forward_norm(&c->forward, c->block->attention_norm, s->x, s->rows, c->normed);
    *X = c->normed;
    return LLMQ_OK;
}

static enum llmq_status step_attention_out(struct step *s, float **X, llmq_error *err) {
    struct calib *c = s->c;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(step_attention_in(s, X, err));
    *X = acts_target(&c->mid, s->begin, c->mid_buf);
    LLMQ_TRY(forward_attention(&c->forward, c->block, s->batch, c->normed, *X, err));
    LLMQ_TRY(acts_store(&c->mid, s->begin, s->rows, *X, err));
cleanup:
    return status;
}

/* x += l(mid), stored. */
static enum llmq_status add_branch(struct step *s, enum linear_role role, llmq_error *err) {
    struct calib *c = s->c;
    float *mid = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(load_x(s, err));
    LLMQ_TRY(acts_load(&c->mid, s->begin, s->rows, c->mid_buf, &mid, err));
    LLMQ_TRY(forward_residual(&c->forward, &c->block->linears[role], mid, s->rows, s->x, err));
    LLMQ_TRY(acts_store(&c->x, s->begin, s->rows, s->x, err));
cleanup:
    return status;
}

static enum llmq_status step_mlp_in(struct step *s, float **X, llmq_error *err) {
    struct calib *c = s->c;
    enum llmq_status status = add_branch(s, LINEAR_O, err);
    if (status != LLMQ_OK)
        return status;
    forward_norm(&c->forward, c->block->mlp_norm, s->x, s->rows, c->normed);
    *X = c->normed;
    return LLMQ_OK;
}

static enum llmq_status step_mlp_out(struct step *s, float **X, llmq_error *err) {
    struct calib *c = s->c;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(load_x(s, err));
    forward_norm(&c->forward, c->block->mlp_norm, s->x, s->rows, c->normed);
    *X = acts_target(&c->mid, s->begin, c->mid_buf);
    LLMQ_TRY(forward_gated(&c->forward, c->block, c->normed, s->rows, *X, err));
    LLMQ_TRY(acts_store(&c->mid, s->begin, s->rows, *X, err));
cleanup:
    return status;
}

static enum llmq_status step_end(struct step *s, float **X, llmq_error *err) {
    *X = NULL;
    return add_branch(s, LINEAR_DOWN, err);
}

static enum llmq_status (*const steps[STAGE_COUNT + 1])(struct step *, float **, llmq_error *) = {
    [STAGE_ATTENTION_IN] = step_attention_in,
    [STAGE_ATTENTION_OUT] = step_attention_out,
    [STAGE_MLP_IN] = step_mlp_in,
    [STAGE_MLP_OUT] = step_mlp_out,
    [STAGE_COUNT] = step_end,
};

/* --- Hessian
 * ----------------------------------------------------------------------------------------------------
 */

/* A non-finite input shows on the diagonal of the sum at once; then find the window. */
static enum llmq_status check_finite(const struct step *s, const float *X, int64_t k,
                                     llmq_error *err) {
    const struct calib *c = s->c;
    bool finite = true;
    for (int64_t i = 0; i < k && finite; i++)
        finite = isfinite(c->sum[i * k + i]);
    if (finite)
        return LLMQ_OK;
    int64_t row = 0;
    for (int64_t i = 0; i < s->rows * k; i++) {
        row = i / k;
        if (!isfinite(X[i]) || fabsf(X[i]) > 1e18f) /* beyond that its square overflows */
            break;
    }
    int64_t window = 0;
    while (c->tokens->offsets[window + 1] <= s->begin + row)
        window++;
    return error_set(err, LLMQ_E_NUMERIC,
                     "block %" PRId64 ", %s: non-finite activation in calibration window %" PRId64
                     ", token %" PRId64,
                     c->block->index, stage_names[c->next], window,
                     s->begin + row - c->tokens->offsets[window]);
}

/* H = (2/T) (sum + its transpose), from the upper triangle. */
static void finish_hessian(struct calib *c, int64_t k) {
    double scale = 2.0 / (double)total_tokens(c->tokens);
    const double *sum = c->sum;
    float *H = c->H;
#pragma omp parallel for schedule(dynamic, 16) default(none) shared(k, sum, H, scale)
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++)
            H[i * k + j] = (float)(scale * (j >= i ? sum[i * k + j] : sum[j * k + i]));
}

/* --- the runner
 * --------------------------------------------------------------------------------------------------
 */

void calib_begin_block(struct calib *c, const struct block *block) {
    c->block = block;
    c->next = STAGE_ATTENTION_IN;
}

/* One pass over all batches. k = 0: no Hessian is wanted. */
static enum llmq_status run_stage(struct calib *c, enum block_stage stage, int64_t k,
                                  llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    const struct model_config *config = &c->m->config;
    enum llmq_status status = LLMQ_OK;
    if (stage == STAGE_ATTENTION_OUT || stage == STAGE_MLP_OUT)
        acts_set_width(&c->mid, calib_stage_width(config, stage));
    if (k > 0)
        memset(c->sum, 0, (size_t)(k * k) * sizeof *c->sum);
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        struct step s = {c, &b, b.offsets[0], batch_rows(&b), NULL};
        float *X = NULL;
        LLMQ_TRY(interrupt_check(c->ctx, err));
        LLMQ_TRY(steps[stage](&s, &X, err));
        if (k > 0) {
            linalg_syrk_accumulate(s.rows, k, X, k, c->sum, c->H);
            LLMQ_TRY(check_finite(&s, X, k, err));
        }
    }
cleanup:
    return status;
}

enum llmq_status calib_stage(struct calib *c, enum block_stage stage, const float **H, int64_t *k,
                             llmq_error *err) {
    assert(stage == c->next && stage < STAGE_COUNT);
    *k = calib_stage_width(&c->m->config, stage);
    enum llmq_status status = run_stage(c, stage, *k, err);
    if (status != LLMQ_OK)
        return status;
    finish_hessian(c, *k);
    c->next++;
    *H = c->H;
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
    return acts_create(c->x.rows, c->x.width, spill_dir, &c->start, err);
}

/* One batch at a time, through the batch buffer when the stores are files. */
static enum llmq_status copy_acts(struct calib *c, const struct acts *from, const struct acts *to,
                                  llmq_error *err) {
    const struct calib_tokens *t = c->tokens;
    enum llmq_status status = LLMQ_OK;
    for (struct batch b = {0}; batch_next(t->offsets, t->count, BATCH_ROWS, &b);) {
        int64_t begin = b.offsets[0], rows = batch_rows(&b);
        float *x = NULL, *target = acts_target(to, begin, c->x_buf);
        LLMQ_TRY(acts_load(from, begin, rows, c->x_buf, &x, err));
        if (x != target)
            memcpy(target, x, (size_t)(rows * from->width) * sizeof *x);
        LLMQ_TRY(acts_store(to, begin, rows, target, err));
    }
cleanup:
    return status;
}

enum llmq_status calib_mark_start(struct calib *c, llmq_error *err) {
    return copy_acts(c, &c->x, &c->start, err);
}

enum llmq_status calib_rewind(struct calib *c, llmq_error *err) {
    c->next = STAGE_ATTENTION_IN;
    return copy_acts(c, &c->start, &c->x, err);
}

int64_t calib_probe_rows(const struct calib *c) {
    struct batch b = {0};
    return batch_next(c->tokens->offsets, c->tokens->count, BATCH_ROWS, &b) ? batch_rows(&b) : 0;
}

enum llmq_status calib_probe(struct calib *c, float *in, float *out, llmq_error *err) {
    struct batch b = {0};
    float *x = NULL;
    (void)batch_next(c->tokens->offsets, c->tokens->count, BATCH_ROWS, &b);
    int64_t rows = batch_rows(&b);
    enum llmq_status status = acts_load(&c->start, 0, rows, c->x_buf, &x, err);
    if (status != LLMQ_OK)
        return status;
    memmove(in, x, (size_t)(rows * c->x.width) * sizeof *x);
    memmove(out, x, (size_t)(rows * c->x.width) * sizeof *x);
    acts_set_width(&c->mid, c->mid.max_width); /* its rows are not in use: see calib.h */
    return forward_block(&c->forward, c->block, &b, out, c->normed,
                         acts_target(&c->mid, 0, c->mid_buf), err);
}

uint64_t calib_start_bytes(const struct model_config *c, const struct calib_tokens *tokens) {
    return (uint64_t)total_tokens(tokens) * (uint64_t)c->hidden * sizeof(float);
}

enum llmq_status calib_residual(const struct calib *c, float *out, llmq_error *err) {
    float *rows = NULL;
    enum llmq_status status = acts_load(&c->x, 0, c->x.rows, out, &rows, err);
    if (status == LLMQ_OK && rows != out)
        memcpy(out, rows, (size_t)(c->x.rows * c->x.width) * sizeof *out);
    return status;
}
