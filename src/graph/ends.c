/* SPDX-License-Identifier: Apache-2.0 */
/* The model's ends at work: see model.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/columns.h"
#include "graph/model_private.h"
#include "graph/norm.h"

/* --- rows of the embedding and the head ------------------------------------------------------- */

/* Rows [begin, end) of a tensor of `hidden` columns. */
static enum llmq_status read_rows(const struct model *m, const struct st_tensor *t, int64_t begin,
                                  int64_t end, float *out, llmq_error *err) {
    const int64_t width = m->config.hidden;
    return st_read_part_f32(m->tensors, t, (uint64_t)(begin * width),
                            (size_t)((end - begin) * width), out, err);
}

enum llmq_status model_head_rows(const struct model *m, int64_t begin, int64_t end, float *out,
                                 llmq_error *err) {
    const struct family *f = m->config.family;
    return read_rows(m, st_find(m->tensors, m->config.tied ? f->embedding : f->head), begin, end,
                     out, err);
}

enum llmq_status model_head_bias(const struct model *m, float *out, llmq_error *err) {
    char module[FAMILY_NAME_MAX], name[FAMILY_NAME_MAX + 8];
    (void)snprintf(name, sizeof name, "%s.bias", ends_head_module(m->config.family, module));
    return st_read_f32(m->tensors, st_find(m->tensors, name), out, err);
}

/* --- norms ------------------------------------------------------------------------------------ */

static enum llmq_status read_vector(const struct model *m, const char *module, const char *suffix,
                                    float **out, llmq_error *err) {
    char name[FAMILY_NAME_MAX];
    (void)snprintf(name, sizeof name, "%s%s", module, suffix);
    *out = malloc((size_t)m->config.hidden * sizeof **out);
    return *out ? model_read_vector(m, st_find(m->tensors, name), *out, err)
                : error_memory(err, "a norm's weight");
}

/* A norm over whole rows, with what it was read into. */
struct end_norm {
    struct norm_rule rule;
    float *weight, *bias, *made;
};

static void end_norm_free(struct end_norm *n) {
    free(n->weight);
    free(n->bias);
    free(n->made);
}

static enum llmq_status end_norm_read(const struct model *m, const char *module, enum norm kind,
                                      struct end_norm *out, llmq_error *err) {
    const int64_t hidden = m->config.hidden;
    enum llmq_status status = LLMQ_OK;
    *out = (struct end_norm){.made = malloc((size_t)hidden * sizeof *out->made)};
    if (!out->made)
        LLMQ_TRY(error_memory(err, "a norm's weight"));
    if (norm_has_weight(kind))
        LLMQ_TRY(read_vector(m, module, ".weight", &out->weight, err));
    if (norm_has_bias(kind))
        LLMQ_TRY(read_vector(m, module, ".bias", &out->bias, err));
    out->rule = (struct norm_rule){.kind = kind,
                                   .eps = m->config.facts.numbers[NUM_EPS],
                                   .groups = 1,
                                   .width = hidden,
                                   .weight = norm_weight(kind, out->weight, hidden, out->made),
                                   .bias = out->bias};
cleanup:
    return status;
}

enum llmq_status model_apply_norm(const struct model *m, const char *module, enum norm kind,
                                  int64_t rows, float *x, llmq_error *err) {
    struct end_norm norm;
    enum llmq_status status = end_norm_read(m, module, kind, &norm, err);
    if (status == LLMQ_OK)
        norm_rows(&norm.rule, rows, x, x);
    end_norm_free(&norm);
    return status;
}

enum llmq_status model_final_norm(const struct model *m, int64_t rows, float *x, llmq_error *err) {
    columns_resize(rows, m->config.stream, m->config.hidden, x);
    return model_apply_norm(m, m->config.family->final_norm, ends_last_norm(&m->config), rows, x,
                            err);
}

enum llmq_status model_final_norm_back(const struct model *m, int64_t rows,
                                       const struct norm_back *b, llmq_error *err) {
    struct end_norm norm;
    struct norm_back back = *b;
    enum llmq_status status =
        end_norm_read(m, m->config.family->final_norm, ends_last_norm(&m->config), &norm, err);
    memset(b->dx, 0, (size_t)(rows * m->config.hidden) * sizeof *b->dx);
    back.weight = norm_has_weight(norm.rule.kind) ? b->weight : NULL;
    back.bias = norm_has_bias(norm.rule.kind) ? b->bias : NULL;
    if (status == LLMQ_OK)
        norm_back(&norm.rule, rows, &back);
    end_norm_free(&norm);
    return status;
}

/* --- embedding -------------------------------------------------------------------------------- */

static void scale(double factor, int64_t count, float *x) {
    for (int64_t i = 0; i < count && factor != 1; i++)
        x[i] *= (float)factor;
}

/* x [length, hidden] += the learned positions of a sequence, of which `past` tokens came before. */
static enum llmq_status add_positions(const struct model *m, int64_t past, int64_t length, float *x,
                                      llmq_error *err) {
    const struct family *f = m->config.family;
    const int64_t hidden = m->config.hidden;
    if (past + length > m->config.max_positions) {
        error_set(err, LLMQ_E_INPUT,
                  "%s: a sequence of %" PRId64 " tokens: the model has %" PRId64 " positions",
                  m->dir, past + length, m->config.max_positions);
        error_hint(err, "take shorter sequences: --seqlen %" PRId64, m->config.max_positions);
        return LLMQ_E_INPUT;
    }
    float *rows = malloc((size_t)(length * hidden) * sizeof *rows);
    if (!rows)
        return error_memory(err, "positions");
    const int64_t begin = f->position_offset + past;
    enum llmq_status status =
        read_rows(m, st_find(m->tensors, f->positions), begin, begin + length, rows, err);
    for (int64_t i = 0; status == LLMQ_OK && i < length * hidden; i++)
        x[i] += rows[i];
    free(rows);
    return status;
}

enum llmq_status model_embed_from(const struct model *m, const int32_t *ids, const struct batch *b,
                                  int64_t past, float *out, llmq_error *err) {
    const struct family *f = m->config.family;
    const struct st_tensor *t = st_find(m->tensors, f->embedding);
    const int64_t hidden = m->config.hidden, rows = batch_rows(b), begin = b->offsets[0];
    enum llmq_status status = LLMQ_OK;
    for (int64_t i = 0; i < rows; i++) {
        const int32_t id = ids[begin + i];
        LLMQ_TRY(read_rows(m, t, id, id + 1, out + i * hidden, err));
    }
    scale(m->config.facts.numbers[NUM_EMBED], rows * hidden, out);
    for (int64_t s = 0; f->sinusoids && s < b->sequences; s++)
        columns_add_sinusoids(f->position_offset + past, b->offsets[s + 1] - b->offsets[s], hidden,
                              out + (b->offsets[s] - begin) * hidden);
    for (int64_t s = 0; f->positions && s < b->sequences; s++)
        LLMQ_TRY(add_positions(m, past, b->offsets[s + 1] - b->offsets[s],
                               out + (b->offsets[s] - begin) * hidden, err));
    if (f->embedding_norm)
        LLMQ_TRY(
            model_apply_norm(m, f->embedding_norm, ends_first_norm(&m->config), rows, out, err));
    columns_resize(rows, hidden, m->config.stream, out); /* nothing is kept yet */
cleanup:
    return status;
}

enum llmq_status model_embed(const struct model *m, const int32_t *ids, const struct batch *b,
                             float *out, llmq_error *err) {
    return model_embed_from(m, ids, b, 0, out, err);
}
