/* SPDX-License-Identifier: Apache-2.0 */
/* See curvature.h. */
#include "graph/curvature.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hugemem.h"
#include "base/int64.h"
#include "graph/backward.h"
#include "linalg/linalg.h"
#include "tensor/dtype.h"

#define CURVATURE ".output_curvature"
#define GRADIENTS ".output_gradients"
#define WEIGHTS   ".token_weights"
#define SHARD     (UINT64_C(5) << 30) /* bytes of a file */

/* --- places ----------------------------------------------------------------------------------- */

/* The linears of a block that have entries: its own, then those of the first of its experts. */
struct places {
    int count;
    struct linear_place at[2 * GRAPH_NODES];
};

static void add_places(const struct curvature_job *job, const struct graph *g, int64_t block,
                       int64_t expert, struct places *out) {
    for (int i = 0; g && i < g->linear_count; i++) {
        const struct linear_place at = {block, g->linear[i], expert};
        if (!job->wants || job->wants(job->c, at))
            out->at[out->count++] = at;
    }
}

static struct places places_of(const struct curvature_job *job, int64_t block) {
    const struct graph *g = model_graph(job->m, block);
    struct places out = {0};
    add_places(job, g, block, -1, &out);
    add_places(job, g->body, block, 0, &out);
    return out;
}

/* Experts share what is the first one's. */
static struct linear_place shared(struct linear_place at) {
    at.expert = at.expert < 0 ? -1 : 0;
    return at;
}

static int64_t width_of(const struct model *m, struct linear_place at) {
    int64_t n = 0, k = 0;
    blocks_linear_shape(m->blocks, at, &n, &k);
    return n;
}

static int64_t tokens_of(const struct curvature_job *job) {
    return job->offsets[job->count] - job->offsets[0];
}

/* What is kept of a linear: rows of gradients [rows, n], at most, or 0 rows: B [n, n]. */
struct kept {
    int64_t n, rows;
};

static struct kept kept_of(const struct curvature_job *job, struct linear_place at) {
    const struct graph *g = model_graph(job->m, at.block);
    const int64_t n = width_of(job->m, at);
    const int64_t rows = tokens_of(job) * (at.expert < 0 ? 1 : g->facts.dims[DIM_TOP_K]);
    return (struct kept){n,
                         rows * (int64_t)sizeof(uint16_t) < n * (int64_t)sizeof(float) ? rows : 0};
}

/* --- room ------------------------------------------------------------------------------------- */

struct curvature_bytes curvature_bytes(const struct curvature_job *job, bool spilled) {
    const uint64_t tokens = (uint64_t)tokens_of(job);
    const struct backward_bytes pass = backward_bytes(job->m, job->offsets, job->count, spilled);
    struct curvature_bytes out = {.spilled = pass.file};
    uint64_t most = 0, halves = 0;
    for (int64_t b = 0; b < job->m->config.blocks; b++) {
        const struct places places = places_of(job, b);
        uint64_t block = 0;
        for (int i = 0; i < places.count; i++) {
            const struct kept kept = kept_of(job, places.at[i]);
            const uint64_t n = (uint64_t)kept.n, rows = (uint64_t)kept.rows;
            block += tokens * sizeof(float);
            block += rows > 0 ? 0 : n * (n + 1) / 2 * sizeof(double);
            out.reading = max_u64(out.reading, rows * n * sizeof(float));
            halves = max_u64(halves, rows * n * sizeof(uint16_t));
            out.file += rows > 0 ? rows * n * sizeof(uint16_t) : n * n * sizeof(float);
            out.file += tokens * sizeof(float);
        }
        most = max_u64(most, block);
    }
    out.memory = pass.memory + most + halves + linalg_accumulate_floats() * sizeof(float);
    return out;
}

/* --- collecting ------------------------------------------------------------------------------- */

struct sums {
    double *B; /* the packed upper triangle of order n; NULL: rows are put as they come */
    float *weights;
    struct kept kept;
    int64_t rows; /* that were seen */
};

struct collector {
    const struct curvature_job *job;
    struct st_writer *writer;
    struct arena *arena; /* of the block that is on its way */
    float *scratch;
    int64_t block; /* -1: none yet */
    int64_t tokens;
    struct places places;
    struct sums sums[2 * GRAPH_NODES];
};

static const char *name_of(const struct collector *c, struct linear_place at, const char *suffix,
                           char buf[FAMILY_NAME_MAX]) {
    return blocks_node_name(c->job->m->blocks, at, suffix, buf);
}

static enum llmq_status begin_block(struct collector *c, int64_t block, llmq_error *err) {
    c->block = block;
    c->places = places_of(c->job, block);
    for (int i = 0; i < c->places.count; i++) {
        struct sums *s = &c->sums[i];
        *s = (struct sums){.kept = kept_of(c->job, c->places.at[i])};
        const int64_t n = s->kept.n;
        if (s->kept.rows == 0)
            s->B = arena_zalloc(c->arena, (size_t)linalg_upper(n, n, n), sizeof *s->B, err);
        s->weights = arena_zalloc(c->arena, (size_t)c->tokens, sizeof *s->weights, err);
        if ((s->kept.rows == 0 && !s->B) || !s->weights)
            return LLMQ_E_MEMORY;
    }
    return LLMQ_OK;
}

/* The mean, both triangles, row by row. */
static enum llmq_status put_curvature(struct collector *c, const struct sums *s, const char *name,
                                      llmq_error *err) {
    const int64_t n = s->kept.n;
    const size_t bytes = (size_t)n * sizeof(float);
    const double share = 1 / (double)max_i64(s->rows, 1);
    enum llmq_status status = LLMQ_OK;
    float *row = malloc(bytes);
    if (!row)
        return error_memory(err, "a row of curvature");
    for (int64_t i = 0; status == LLMQ_OK && i < n; i++) {
        for (int64_t j = 0; j < n; j++)
            row[j] = (float)(share * s->B[linalg_upper(n, min_i64(i, j), max_i64(i, j))]);
        status = st_writer_put_part(c->writer, name, (uint64_t)i * bytes, row, bytes, err);
    }
    free(row);
    return status;
}

/* Further rows of gradients; NULL: of zeros. */
static enum llmq_status put_gradients(struct collector *c, struct sums *s, const char *name,
                                      const float *g, int64_t rows, llmq_error *err) {
    const size_t count = (size_t)(rows * s->kept.n), bytes = count * sizeof(uint16_t);
    const uint64_t at = (uint64_t)(s->rows * s->kept.n) * sizeof(uint16_t);
    uint16_t *halves = calloc(count, sizeof *halves);
    if (!halves)
        return error_memory(err, "gradients");
    if (g)
        dtype_from_f32(DTYPE_BF16, g, count, halves);
    const enum llmq_status status = st_writer_put_part(c->writer, name, at, halves, bytes, err);
    free(halves);
    return status;
}

/* What is kept of a linear is whole. */
static enum llmq_status end_place(struct collector *c, struct linear_place at, struct sums *s,
                                  llmq_error *err) {
    char name[FAMILY_NAME_MAX];
    if (s->B)
        return put_curvature(c, s, name_of(c, at, CURVATURE, name), err);
    const int64_t left = s->kept.rows - s->rows;
    return left > 0 ? put_gradients(c, s, name_of(c, at, GRADIENTS, name), NULL, left, err)
                    : LLMQ_OK;
}

static enum llmq_status end_block(struct collector *c, llmq_error *err) {
    char name[FAMILY_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; c->block >= 0 && i < c->places.count; i++) {
        struct sums *s = &c->sums[i];
        LLMQ_TRY(end_place(c, c->places.at[i], s, err));
        LLMQ_TRY(st_writer_put(c->writer, name_of(c, c->places.at[i], WEIGHTS, name), s->weights,
                               (size_t)c->tokens * sizeof *s->weights, err));
    }
    arena_reset(c->arena);
    tally_read(c->job->tally, TALLY_WRITE, 0);
cleanup:
    return status;
}

static void add_weights(const struct linear_slope *s, int64_t first, float *weights) {
#pragma omp parallel for schedule(static) default(none) shared(s, first, weights)
    for (int64_t r = 0; r < s->rows; r++) {
        const float *g = s->g + r * s->n;
        weights[s->begin - first + (s->row ? s->row[r] : r)] += (float)linalg_dot(s->n, g, g);
    }
}

static enum llmq_status see(void *of, const struct linear_slope *s, llmq_error *err) {
    struct collector *c = of;
    const struct linear_place at = shared((struct linear_place){s->block, s->node, s->expert});
    char name[FAMILY_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    if (s->block != c->block) {
        LLMQ_TRY(end_block(c, err));
        LLMQ_TRY(begin_block(c, s->block, err));
    }
    for (int i = 0; i < c->places.count; i++) {
        if (c->places.at[i].node != at.node || c->places.at[i].expert != at.expert)
            continue;
        if (c->sums[i].B)
            linalg_syrk_accumulate(s->rows, s->n, s->g, s->n, c->sums[i].B, c->scratch);
        else
            LLMQ_TRY(
                put_gradients(c, &c->sums[i], name_of(c, at, GRADIENTS, name), s->g, s->rows, err));
        add_weights(s, c->job->offsets[0], c->sums[i].weights);
        c->sums[i].rows += s->rows;
    }
    tally_read(c->job->tally, TALLY_MOMENTS, 0);
cleanup:
    return status;
}

/* --- files ------------------------------------------------------------------------------------ */

static enum llmq_status add_specs(const struct collector *c, struct linear_place at,
                                  struct st_spec out[2], llmq_error *err) {
    const struct kept kept = kept_of(c->job, at);
    const uint64_t n = (uint64_t)kept.n;
    char *names = malloc((size_t)2 * FAMILY_NAME_MAX);
    if (!names)
        return error_memory(err, "names of curvatures");
    out[0] = (struct st_spec){
        .name = name_of(c, at, CURVATURE, names), .dtype = DTYPE_F32, .rank = 2, .shape = {n, n}};
    if (kept.rows > 0)
        out[0] = (struct st_spec){.name = name_of(c, at, GRADIENTS, names),
                                  .dtype = DTYPE_BF16,
                                  .rank = 2,
                                  .shape = {(uint64_t)kept.rows, n}};
    out[1] = (struct st_spec){.name = name_of(c, at, WEIGHTS, names + FAMILY_NAME_MAX),
                              .dtype = DTYPE_F32,
                              .rank = 1,
                              .shape = {(uint64_t)c->tokens}};
    return LLMQ_OK;
}

static enum llmq_status create_writer(struct collector *c, llmq_error *err) {
    const struct model *m = c->job->m;
    const size_t most = (size_t)m->config.blocks * 4 * GRAPH_NODES;
    struct st_spec *specs = calloc(most, sizeof *specs);
    size_t count = 0;
    enum llmq_status status = LLMQ_OK;
    if (!specs)
        return error_memory(err, "a list of curvatures");
    for (int64_t b = 0; b < m->config.blocks; b++) {
        const struct places places = places_of(c->job, b);
        for (int i = 0; i < places.count; i++, count += 2)
            LLMQ_TRY(add_specs(c, places.at[i], &specs[count], err));
    }
    LLMQ_TRY(st_writer_create(c->job->dir, specs, count, SHARD, &c->writer, err));
cleanup:
    for (size_t i = 0; i < count; i += 2)
        free((char *)(uintptr_t)specs[i].name);
    free(specs);
    return status;
}

enum llmq_status curvature_collect(const struct curvature_job *job, llmq_error *err) {
    struct collector c = {.job = job, .block = -1, .tokens = tokens_of(job)};
    const struct loss loss = {.kind = LOSS_DRAWN, .seed = job->seed};
    const struct backward_job pass = {.m = job->m,
                                      .ids = job->ids,
                                      .offsets = job->offsets,
                                      .count = job->count,
                                      .loss = &loss,
                                      .taps = {.c = &c, .linear = see},
                                      .spill_dir = job->spill_dir,
                                      .ctx = job->ctx,
                                      .tally = job->tally};
    struct backward_result out = {.loss = calloc((size_t)c.tokens, sizeof *out.loss)};
    enum llmq_status status = LLMQ_OK;
    c.scratch = malloc(linalg_accumulate_floats() * sizeof *c.scratch);
    if (!out.loss || !c.scratch)
        LLMQ_TRY(error_memory(err, "sums of curvatures"));
    LLMQ_TRY(arena_create("the curvature of a block", &c.arena, err));
    LLMQ_TRY(create_writer(&c, err));
    LLMQ_TRY(backward_run(&pass, &out, err));
    LLMQ_TRY(end_block(&c, err));
    LLMQ_TRY(st_writer_finish(&c.writer, err));
cleanup:
    st_writer_abort(&c.writer);
    arena_free(&c.arena);
    free(c.scratch);
    free(out.loss);
    return status;
}

/* --- reading ---------------------------------------------------------------------------------- */

static enum llmq_status read(const struct st_set *set, const char *name, int rank, int64_t side,
                             float *out, llmq_error *err) {
    const struct st_tensor *t = st_find(set, name);
    bool fits = t && t->dtype == DTYPE_F32 && t->rank == rank;
    for (int i = 0; fits && i < rank; i++)
        fits = t->shape[i] == (uint64_t)side;
    if (!fits)
        return error_set(err, LLMQ_E_INPUT, "%s: expected %d side(s) of %" PRId64 ", found %s",
                         name, rank, side, t ? "another tensor" : "none");
    return st_read_f32(set, t, out, err);
}

/* B of the rows of gradients that are kept in its place. */
static enum llmq_status read_rows(const struct st_set *set, const struct st_tensor *t, int64_t n,
                                  float *B, llmq_error *err) {
    if (t->dtype != DTYPE_BF16 || t->rank != 2 || t->shape[0] < 1 || t->shape[1] != (uint64_t)n)
        return error_set(err, LLMQ_E_INPUT, "%s: expected rows of %" PRId64, t->name, n);
    const int64_t rows = (int64_t)t->shape[0];
    float *G = huge_malloc((size_t)(rows * n) * sizeof *G);
    if (!G)
        return error_memory(err, "gradients");
    const enum llmq_status status = st_read_f32(set, t, G, err);
    if (status == LLMQ_OK)
        linalg_gemm_tn(n, n, rows, 1 / (float)rows, G, n, G, n, 0, B, n);
    for (int64_t i = 0; status == LLMQ_OK && i < n; i++)
        for (int64_t j = 0; j < i; j++)
            B[i * n + j] = B[j * n + i];
    free(G);
    return status;
}

static enum llmq_status read_curvature(const struct st_set *set, const struct model *m,
                                       struct linear_place at, float *B, llmq_error *err) {
    char name[FAMILY_NAME_MAX];
    const int64_t n = width_of(m, at);
    const struct st_tensor *rows = st_find(set, blocks_node_name(m->blocks, at, GRADIENTS, name));
    return rows ? read_rows(set, rows, n, B, err)
                : read(set, blocks_node_name(m->blocks, at, CURVATURE, name), 2, n, B, err);
}

enum llmq_status curvature_read(const struct st_set *set, const struct model *m,
                                struct linear_place at, const struct curvature_out *out,
                                llmq_error *err) {
    char name[FAMILY_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    at = shared(at);
    if (out->B)
        LLMQ_TRY(read_curvature(set, m, at, out->B, err));
    if (out->weights)
        LLMQ_TRY(read(set, blocks_node_name(m->blocks, at, WEIGHTS, name), 1, out->tokens,
                      out->weights, err));
cleanup:
    return status;
}
