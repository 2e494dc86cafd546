/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of block outputs: see outputs.h. Until a block is finished its mean and spread hold sums
 * of values and of their squares. */
#include "eval/outputs.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"

/* Tokens sampled: as many as fit the bytes, between these. */
#define SAMPLE_BYTES ((int64_t)64 << 20)
#define SAMPLE_LEAST 16
#define SAMPLE_MOST  256

static int64_t sample_size(const struct model *m, int64_t tokens) {
    const int64_t row = m->config.blocks * m->config.stream * (int64_t)sizeof(float);
    int64_t size = SAMPLE_BYTES / max_i64(row, 1);
    size = size < SAMPLE_LEAST ? SAMPLE_LEAST : min_i64(size, SAMPLE_MOST);
    return min_i64(size, tokens);
}

uint64_t outputs_bytes(const struct model *m, int64_t tokens) {
    const uint64_t blocks = (uint64_t)m->config.blocks;
    const uint64_t sampled = (uint64_t)sample_size(m, tokens);
    return blocks * (sampled * (uint64_t)m->config.stream * sizeof(float) +
                     sizeof(llmq_block_output) + sizeof(double)) +
           (uint64_t)tokens * sizeof(llmq_block_output) +
           sampled * (sizeof(double) + sizeof(int64_t));
}

bool outputs_comparable(const struct model *a, const struct model *b) {
    return a->config.blocks == b->config.blocks && a->config.stream == b->config.stream;
}

/* Room for the block at hand, which all that are against this one use after it. */
static enum llmq_status create_rows(struct arena *arena, struct outputs *out, llmq_error *err) {
    const size_t sampled = (size_t)out->sampled;
    out->row = arena_alloc(arena, (size_t)out->tokens, sizeof *out->row, err);
    out->error = arena_zalloc(arena, sampled, sizeof *out->error, err);
    out->sample = arena_alloc(arena, sampled, sizeof *out->sample, err);
    if (!out->row || !out->error || !out->sample)
        return LLMQ_E_MEMORY;
    for (int64_t i = 0; i < out->sampled; i++)
        out->sample[i] = (2 * i + 1) * out->tokens / (2 * out->sampled);
    return LLMQ_OK;
}

enum llmq_status outputs_create(const struct model *m, int64_t tokens,
                                const struct outputs *against, struct arena *arena,
                                struct outputs *out, llmq_error *err) {
    const size_t blocks = (size_t)m->config.blocks;
    *out = (struct outputs){.blocks = m->config.blocks,
                            .tokens = tokens,
                            .width = m->config.stream,
                            .sampled = sample_size(m, tokens),
                            .against = against};
    out->block = arena_zalloc(arena, blocks, sizeof *out->block, err);
    out->errors = arena_zalloc(arena, blocks, sizeof *out->errors, err);
    if (!out->block || !out->errors)
        return LLMQ_E_MEMORY;
    for (size_t b = 0; b < blocks; b++)
        out->block[b] = (llmq_block_output){.least = HUGE_VAL, .most = -HUGE_VAL};
    if (against) {
        out->row = against->row;
        out->error = against->error;
        out->sample = against->sample;
        return LLMQ_OK;
    }
    if (create_rows(arena, out, err) != LLMQ_OK)
        return LLMQ_E_MEMORY;
    const size_t row = (size_t)out->width * sizeof *out->kept;
    out->kept = arena_alloc(arena, blocks * (size_t)out->sampled, row, err);
    return out->kept ? LLMQ_OK : LLMQ_E_MEMORY;
}

/* --- ranges ----------------------------------------------------------------------------------- */

static llmq_block_output row_figures(const float *x, int64_t width) {
    llmq_block_output row = {.least = HUGE_VAL, .most = -HUGE_VAL};
    for (int64_t i = 0; i < width; i++) {
        const double v = (double)x[i];
        if (!isfinite(x[i])) {
            row.nan += isnan(x[i]) ? 1 : 0;
            row.infinite += isnan(x[i]) ? 0 : 1;
            continue;
        }
        row.least = v < row.least ? v : row.least;
        row.most = v > row.most ? v : row.most;
        row.mean += v;
        row.spread += v * v;
    }
    return row;
}

static void add_row(llmq_block_output *sum, const llmq_block_output *row) {
    sum->least = fmin(sum->least, row->least);
    sum->most = fmax(sum->most, row->most);
    sum->mean += row->mean;
    sum->spread += row->spread;
    sum->nan += row->nan;
    sum->infinite += row->infinite;
}

/* Sums become means. */
static void finish_block(const struct outputs *o, llmq_block_output *b) {
    const double count = (double)(o->tokens * o->width - b->nan - b->infinite);
    if (!(count > 0)) {
        b->least = b->most = 0;
        return;
    }
    b->mean /= count;
    b->spread = sqrt(fmax(b->spread / count - b->mean * b->mean, 0));
}

/* --- the sample ------------------------------------------------------------------------------- */

/* |x - y|^2 / |y|^2 */
static double relative_error(const float *x, const float *y, int64_t width) {
    double error = 0, norm = 0;
    for (int64_t i = 0; i < width; i++) {
        const double d = (double)x[i] - (double)y[i];
        error += d * d;
        norm += (double)y[i] * (double)y[i];
    }
    return error == 0 ? 0 : error / norm;
}

static void note_sample(struct outputs *o, int64_t block, int64_t begin, int64_t rows,
                        const float *x) {
    for (int64_t i = 0; i < o->sampled; i++) {
        const int64_t token = o->sample[i], at = (block * o->sampled + i) * o->width;
        if (token < begin || token >= begin + rows)
            continue;
        const float *row = x + (token - begin) * o->width;
        if (o->kept)
            memcpy(o->kept + at, row, (size_t)o->width * sizeof *row);
        else
            o->error[i] = relative_error(row, o->against->kept + at, o->width);
    }
}

void outputs_note(struct outputs *o, int64_t block, int64_t begin, int64_t rows, const float *x) {
    const int64_t width = o->width;
    llmq_block_output *row = o->row + begin;
#pragma omp parallel for schedule(static) default(none) shared(x, rows, width, row)
    for (int64_t i = 0; i < rows; i++)
        row[i] = row_figures(x + i * width, width);
    note_sample(o, block, begin, rows, x);
}

enum llmq_status outputs_finish(struct outputs *o, int64_t block, const struct parts *parts,
                                const llmq_context *ctx, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(parts_gather(parts, o->row, sizeof *o->row, ctx, err));
    if (o->against)
        LLMQ_TRY(
            parts_gather_some(parts, o->sample, o->sampled, o->error, sizeof *o->error, ctx, err));
    for (int64_t t = 0; t < o->tokens; t++)
        add_row(&o->block[block], &o->row[t]);
    for (int64_t i = 0; o->against && i < o->sampled; i++)
        o->errors[block] += o->error[i];
    finish_block(o, &o->block[block]);
cleanup:
    return status;
}
