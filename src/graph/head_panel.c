/* SPDX-License-Identifier: Apache-2.0 */
/* See head_panel.h. */
#include "graph/head_panel.h"

#include <math.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "linalg/linalg.h"

static bool has_bias(const struct model *m) {
    return (m->config.facts.traits & T_HEAD_BIAS) != 0;
}

static enum llmq_status read_bias(struct head_panel *h, struct arena *arena, llmq_error *err) {
    h->bias = arena_alloc(arena, (size_t)h->m->config.vocab, sizeof *h->bias, err);
    return h->bias ? model_head_bias(h->m, h->bias, err) : LLMQ_E_MEMORY;
}

enum llmq_status head_panel_create(const struct model *m, int64_t columns, struct arena *arena,
                                   struct head_panel *out, llmq_error *err) {
    const int64_t hidden = m->config.hidden;
    char name[MODEL_NAME_MAX];
    enum llmq_status status = LLMQ_OK;
    *out = (struct head_panel){.m = m};
    out->weights = arena_alloc(arena, (size_t)(columns * hidden), sizeof *out->weights, err);
    if (!out->weights)
        return LLMQ_E_MEMORY;
    if (has_bias(m))
        LLMQ_TRY(read_bias(out, arena, err));
    if (model_head_packed(m))
        LLMQ_TRY(model_load_qlinear(m, model_head_name(m, name), m->config.vocab, hidden,
                                    &out->packed, err));
cleanup:
    return status;
}

void head_panel_free(struct head_panel *h) {
    qlinear_free(&h->packed);
}

uint64_t head_panel_bytes(const struct model *m, int64_t columns) {
    const int64_t biases = has_bias(m) ? m->config.vocab : 0;
    return (uint64_t)(columns * m->config.hidden + biases) * sizeof(float);
}

enum llmq_status head_panel_load(struct head_panel *h, int64_t first, int64_t columns,
                                 llmq_error *err) {
    h->first = first;
    h->columns = columns;
    if (!h->packed.codes)
        return model_head_rows(h->m, first, first + columns, h->weights, err);
    qlinear_dequantize(&h->packed, first, first + columns, h->weights);
    return LLMQ_OK;
}

static void finish_logits(const struct head_panel *h, int64_t rows, float *logits) {
    const float cap = (float)h->m->config.facts.numbers[NUM_FINAL_CAP];
    const float *bias = h->bias ? h->bias + h->first : NULL;
    const int64_t columns = h->columns;
    if (!bias && !(cap > 0))
        return;
#pragma omp parallel for schedule(static) default(none) shared(logits, bias, cap, rows, columns)
    for (int64_t r = 0; r < rows; r++) {
        float *row = logits + r * columns;
        for (int64_t i = 0; bias && i < columns; i++)
            row[i] += bias[i];
        if (cap > 0)
            kernels_get()->soft_cap(row, columns, cap);
    }
}

void head_panel_logits(const struct head_panel *h, int64_t rows, const float *x, float *logits) {
    const int64_t hidden = h->m->config.hidden;
    linalg_gemm_nt(rows, h->columns, hidden, (float)h->m->config.facts.numbers[NUM_LOGITS], x,
                   hidden, h->weights, hidden, 0.0f, logits, h->columns);
    finish_logits(h, rows, logits);
}

/* log(exp(a) + exp(b)) */
static double log_add(double a, double b) {
    const double high = a > b ? a : b, low = a > b ? b : a;
    return high + log1p(exp(low - high));
}

double head_panel_fold(const struct head_panel *h, double lse, const float *logits) {
    const double part = kernels_get()->logsumexp_row(logits, h->columns);
    return h->first == 0 ? part : log_add(lse, part);
}
