/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch: see forward.h. */
#include "graph/forward.h"

#include <omp.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/attention.h"
#include "graph/mixers.h"
#include "kernels/bf16.h"

static int64_t widest_input_of(const struct graph *g, enum op op) {
    int64_t widest = 0;
    for (int i = 0; g && i < g->count; i++)
        if (g->node[i].row->op == op)
            widest = max_i64(widest, g->width[g->node[i].in[0]]);
    return widest;
}

/* The widest of what nodes of one kind read, in blocks and in their experts: the columns of a
 * linear, or a norm's row. */
static int64_t widest_input(const struct blocks *blocks, enum op op) {
    int64_t widest = 0;
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        const struct graph *g = &blocks->kinds[kind];
        widest = max_i64(widest, widest_input_of(g, op));
        widest = max_i64(widest, widest_input_of(g->body, op));
    }
    return widest;
}

static size_t packed_bytes(const struct blocks *blocks, const struct forward_size *size) {
    return size->compute == LLMQ_COMPUTE_BF16
               ? bf16_scratch_bytes(size->max_rows, widest_input(blocks, OP_LINEAR))
               : 0;
}

static int64_t score_count(const struct forward_size *size) {
    return (int64_t)omp_get_max_threads() * ATTENTION_TILE * (size->max_length + 1);
}

static int64_t mixer_count(const struct blocks *blocks, const struct forward_size *size) {
    int64_t most = 0;
    for (int kind = 0; kind < blocks->kind_count; kind++)
        most = max_i64(most, mixers_scratch(&blocks->kinds[kind], size->max_length));
    return most;
}

/* Rotary tables that the blocks need: none, one, or another one for windowed layers. */
static int rope_count(const struct model_config *c, const struct blocks *blocks) {
    if (widest_input(blocks, OP_ROPE) == 0)
        return 0;
    return c->facts.traits & T_LOCAL_ROPE ? 2 : 1;
}

static enum llmq_status alloc_floats(struct forward *f, int64_t count, float **out,
                                     llmq_error *err) {
    *out = arena_alloc(f->arena, (size_t)count, sizeof(float), err);
    return *out ? LLMQ_OK : LLMQ_E_MEMORY;
}

enum llmq_status forward_create(const struct model_config *config, const struct blocks *blocks,
                                const struct forward_size *size, struct forward *out,
                                llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    const size_t packed = packed_bytes(blocks, size);
    *out = (struct forward){.config = config,
                            .compute = size->compute,
                            .max_rows = size->max_rows,
                            .max_length = size->max_length};
    LLMQ_TRY(arena_create("forward pass", &out->arena, err));
    LLMQ_TRY(alloc_floats(out, size->max_rows * size->width, &out->values, err));
    LLMQ_TRY(alloc_floats(out, score_count(size), &out->scores, err));
    LLMQ_TRY(alloc_floats(out, widest_input(blocks, OP_NORM), &out->norm_weight, err));
    LLMQ_TRY(alloc_floats(out, config->facts.dims[DIM_HEADS], &out->slopes, err));
    LLMQ_TRY(alloc_floats(out, mixer_count(blocks, size), &out->mixer, err));
    attention_slopes(config->facts.dims[DIM_HEADS], out->slopes);
    if (packed) {
        out->packed = arena_alloc(out->arena, packed, 1, err);
        status = out->packed ? LLMQ_OK : LLMQ_E_MEMORY;
    }
    for (int i = 0; status == LLMQ_OK && i < rope_count(config, blocks); i++) {
        const struct rope rope = rope_of(config, i == 1);
        status = rope_table_prepare(&rope, size->max_length, &out->rope[i], err);
    }
cleanup:
    if (status != LLMQ_OK)
        forward_free(out);
    return status;
}

void forward_free(struct forward *f) {
    arena_free(&f->arena);
    for (int i = 0; i < 2; i++)
        rope_table_free(&f->rope[i]);
    *f = (struct forward){0};
}

uint64_t forward_bytes(const struct model_config *c, const struct blocks *blocks,
                       const struct forward_size *size) {
    const int64_t entries = size->max_rows * size->width + score_count(size) +
                            widest_input(blocks, OP_NORM) + c->facts.dims[DIM_HEADS] +
                            mixer_count(blocks, size) +
                            rope_count(c, blocks) * size->max_length * c->facts.dims[DIM_ROT];
    return (uint64_t)entries * sizeof(float) + packed_bytes(blocks, size);
}
