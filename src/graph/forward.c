/* Scratch: see forward.h. */
#include "graph/forward.h"

#include <omp.h>

#include "base/error.h"
#include "base/int64.h"
#include "graph/attention.h"
#include "kernels/bf16.h"

/* Columns of the widest linear. */
static int64_t widest_input(const struct blocks *blocks) {
    int64_t widest = 0;
    for (int kind = 0; kind < blocks->kind_count; kind++) {
        const struct graph *g = &blocks->kinds[kind];
        for (int i = 0; i < g->count; i++)
            if (g->node[i].row->op == OP_LINEAR)
                widest = max_i64(widest, g->width[g->node[i].in[0]]);
    }
    return widest;
}

static size_t packed_bytes(const struct blocks *blocks, const struct forward_size *size) {
    return size->compute == LLMQ_COMPUTE_BF16
               ? bf16_scratch_bytes(size->max_rows, widest_input(blocks))
               : 0;
}

static int64_t score_rows(void) {
    return (int64_t)omp_get_max_threads() * ATTENTION_TILE;
}

static float *alloc_rows(struct forward *f, int64_t rows, int64_t width, llmq_error *err) {
    return arena_alloc(f->arena, (size_t)rows * (size_t)width, sizeof(float), err);
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
    out->values = alloc_rows(out, size->max_rows, size->width, err);
    out->scores = alloc_rows(out, score_rows(), size->max_length, err);
    if (packed)
        out->packed = arena_alloc(out->arena, packed, 1, err);
    if (!out->values || !out->scores || (packed && !out->packed)) {
        status = LLMQ_E_MEMORY;
        goto cleanup;
    }
    LLMQ_TRY(rope_table_prepare(config, size->max_length, &out->rope, err));
cleanup:
    if (status != LLMQ_OK)
        forward_free(out);
    return status;
}

void forward_free(struct forward *f) {
    arena_free(&f->arena);
    rope_table_free(&f->rope);
    *f = (struct forward){0};
}

uint64_t forward_bytes(const struct model_config *c, const struct blocks *blocks,
                       const struct forward_size *size) {
    const int64_t entries = size->max_rows * size->width + score_rows() * size->max_length +
                            size->max_length * c->facts.dims[DIM_ROT];
    return (uint64_t)entries * sizeof(float) + packed_bytes(blocks, size);
}
