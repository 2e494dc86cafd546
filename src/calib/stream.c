/* A stream of activations: see stream.h. */
#include "calib/stream.h"

#include "base/error.h"

enum llmq_status stream_create(const struct model_config *config, int64_t total, int64_t max_rows,
                               const char *spill_dir, struct arena *arena, struct stream *out,
                               llmq_error *err) {
    size_t rows = (size_t)max_rows, hidden = (size_t)config->hidden;
    int64_t mid = forward_mid_width(config);
    enum llmq_status status = LLMQ_OK;
    *out = (struct stream){0};
    LLMQ_TRY(acts_create(total, config->hidden, spill_dir, &out->x, err));
    LLMQ_TRY(acts_create(total, mid, spill_dir, &out->mid, err));
    out->normed = arena_alloc(arena, rows * hidden, sizeof(float), err);
    if (spill_dir) {
        out->x_buf = arena_alloc(arena, rows * hidden, sizeof(float), err);
        out->mid_buf = arena_alloc(arena, rows * (size_t)mid, sizeof(float), err);
    }
    if (!out->normed || (spill_dir && (!out->x_buf || !out->mid_buf)))
        status = LLMQ_E_MEMORY;
cleanup:
    if (status != LLMQ_OK)
        stream_free(out);
    return status;
}

void stream_free(struct stream *s) {
    acts_free(&s->x);
    acts_free(&s->mid);
    *s = (struct stream){0};
}

float *stream_target(const struct stream *s, int64_t begin) {
    return acts_target(&s->x, begin, s->x_buf);
}

enum llmq_status stream_put(const struct stream *s, int64_t begin, int64_t rows, const float *x,
                            llmq_error *err) {
    return acts_store(&s->x, begin, rows, x, err);
}

bool stage_is_output(enum block_stage stage) {
    return stage == STAGE_ATTENTION_OUT || stage == STAGE_MLP_OUT;
}

void stream_begin_stage(struct stream *s, enum block_stage stage, int64_t width) {
    if (stage_is_output(stage)) /* the intermediate changes hands */
        acts_set_width(&s->mid, width);
}

/* --- steps of a block on one batch ------------------------------------------------------------ */

struct step {
    struct stream *s;
    struct forward *forward;
    const struct batch *batch;
    int64_t begin, rows;
    float *x; /* the batch's residual stream */
};

/* Rows of the batch from and to a store, the time put down. */
static enum llmq_status load_rows(struct step *p, const struct acts *a, float *buf, float **rows,
                                  llmq_error *err) {
    enum llmq_status status = acts_load(a, p->begin, p->rows, buf, rows, err);
    tally_read(p->forward->tally, TALLY_SPILL, 0);
    return status;
}

static enum llmq_status store_rows(struct step *p, const struct acts *a, const float *rows,
                                   llmq_error *err) {
    enum llmq_status status = acts_store(a, p->begin, p->rows, rows, err);
    tally_read(p->forward->tally, TALLY_SPILL, 0);
    return status;
}

static enum llmq_status load_x(struct step *p, llmq_error *err) {
    return load_rows(p, &p->s->x, p->s->x_buf, &p->x, err);
}

static float *normed(struct step *p, const float *weight) {
    forward_norm(p->forward, weight, p->x, p->rows, p->s->normed);
    return p->s->normed;
}

static enum llmq_status step_attention_in(struct step *p, float **X, llmq_error *err) {
    enum llmq_status status = load_x(p, err);
    if (status == LLMQ_OK)
        *X = normed(p, p->s->block->attention_norm);
    return status;
}

static enum llmq_status step_attention_out(struct step *p, float **X, llmq_error *err) {
    struct stream *s = p->s;
    enum llmq_status status = LLMQ_OK;
    float *in = NULL;
    LLMQ_TRY(step_attention_in(p, &in, err));
    *X = acts_target(&s->mid, p->begin, s->mid_buf);
    LLMQ_TRY(forward_attention(p->forward, s->block, p->batch, in, *X, err));
    LLMQ_TRY(store_rows(p, &s->mid, *X, err));
cleanup:
    return status;
}

/* x += l(mid), stored. */
static enum llmq_status add_branch(struct step *p, enum linear_role role, llmq_error *err) {
    struct stream *s = p->s;
    float *mid = NULL;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(load_x(p, err));
    LLMQ_TRY(load_rows(p, &s->mid, s->mid_buf, &mid, err));
    LLMQ_TRY(forward_residual(p->forward, &s->block->linears[role], mid, p->rows, p->x, err));
    LLMQ_TRY(store_rows(p, &s->x, p->x, err));
cleanup:
    return status;
}

static enum llmq_status step_mlp_in(struct step *p, float **X, llmq_error *err) {
    enum llmq_status status = add_branch(p, LINEAR_O, err);
    if (status == LLMQ_OK)
        *X = normed(p, p->s->block->mlp_norm);
    return status;
}

static enum llmq_status step_mlp_out(struct step *p, float **X, llmq_error *err) {
    struct stream *s = p->s;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(load_x(p, err));
    *X = acts_target(&s->mid, p->begin, s->mid_buf);
    LLMQ_TRY(forward_gated(p->forward, s->block, normed(p, s->block->mlp_norm), p->rows, *X, err));
    LLMQ_TRY(store_rows(p, &s->mid, *X, err));
cleanup:
    return status;
}

static enum llmq_status step_end(struct step *p, float **X, llmq_error *err) {
    *X = NULL;
    return add_branch(p, LINEAR_DOWN, err);
}

static enum llmq_status (*const steps[STAGE_COUNT + 1])(struct step *, float **, llmq_error *) = {
    [STAGE_ATTENTION_IN] = step_attention_in,
    [STAGE_ATTENTION_OUT] = step_attention_out,
    [STAGE_MLP_IN] = step_mlp_in,
    [STAGE_MLP_OUT] = step_mlp_out,
    [STAGE_COUNT] = step_end,
};

enum llmq_status stream_step(struct stream *s, struct forward *forward, enum block_stage stage,
                             const struct batch *batch, struct stage_rows *out, llmq_error *err) {
    struct step p = {s, forward, batch, batch->offsets[0], batch_rows(batch), NULL};
    *out = (struct stage_rows){0};
    enum llmq_status status = steps[stage](&p, &out->X, err);
    out->S = p.x;
    return status;
}
