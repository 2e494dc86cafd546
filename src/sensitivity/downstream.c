/* SPDX-License-Identifier: Apache-2.0 */
/* What the error of one part alone does to all that follows: see study.h.
 *
 * Each block is run from its input, which is kept, once with every part and setting in the place of
 * the original weights; for the divergence then all blocks behind it and the output head. What the
 * head reads without any error is kept to compare with. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/int64.h"
#include "base/log.h"
#include "eval/divergence.h"
#include "eval/room.h"
#include "sensitivity/study.h"

struct downstream {
    struct study *study;
    struct model model; /* the run's, edited */
    struct weight_edit edit;
    const llmq_part_settings *part; /* whose weights are replaced; NULL: none are */
    int setting;
    struct eval_job job;
    struct walk *walk;
    struct acts start, next, made; /* of a block: input, output, output with an error */
    struct acts reference;         /* what the head reads */
    float *rows[3];                /* ROWS of each of the former, where they are in files */
};

enum { ROWS = 256 };

/* --- the edit --------------------------------------------------------------------------------- */

static enum llmq_status replace(void *of, struct linear_place at, float *w, llmq_error *err) {
    const struct downstream *d = of;
    const int64_t linear = d->part ? study_linear(d->study, at) : -1;
    const int64_t first = d->model.blocks->first[at.block];
    (void)err;
    if (linear < 0 || study_part(d->study, linear) != d->part)
        return LLMQ_OK;
    const int64_t index = (linear - first) * LLMQ_CANDIDATES_MOST + d->setting;
    const struct qlinear *q = &d->study->codes[index];
    qlinear_dequantize(q, 0, q->n, w);
    return LLMQ_OK;
}

/* --- room ------------------------------------------------------------------------------------- */

static struct eval_job job_of(const struct study *s, const struct model *m) {
    return (struct eval_job){.m = m,
                             .corpus = &s->measured,
                             .numbers = {LOAD_PLAIN, LLMQ_COMPUTE_F32},
                             .ctx = s->run.ctx,
                             .name = "original: ",
                             .spill_dir = s->spills_forth ? s->spill_dir : NULL,
                             .total = m->config.blocks};
}

/* The most that the codes of a block take, with all settings. */
static uint64_t codes_bytes(const struct study *s) {
    const struct blocks *blocks = s->run.model.blocks;
    uint64_t most = 0;
    for (int64_t b = 0; b < blocks->count; b++) {
        uint64_t bytes = 0;
        for (int64_t i = blocks->first[b]; i < blocks->first[b + 1]; i++) {
            const llmq_part_settings *part = study_part(s, i);
            const struct quant_shape *shape = &s->run.plan.modules[i].shape;
            for (size_t c = 0; part && c < part->setting_count; c++) {
                const int64_t group = part->settings[c].group;
                const int64_t groups = group > 0 ? shape->k / group : 1;
                bytes += (uint64_t)shape->n * (uint64_t)(shape->k + 5 * groups);
            }
        }
        most = max_u64(most, bytes);
    }
    return most;
}

enum llmq_status downstream_bytes(const struct study *s, uint64_t *bytes, llmq_error *err) {
    const struct eval_job job = job_of(s, &s->run.model);
    const uint64_t store =
        (uint64_t)s->measured.tokens_used * (uint64_t)s->run.model.config.stream * sizeof(float);
    struct eval_room room;
    const enum llmq_status status = eval_room(&job, &room, err);
    if (status == LLMQ_OK)
        *bytes = codes_bytes(s) + room.blocks + room.stream + 2 * room.head + 4 * store;
    return status;
}

static enum llmq_status create_stores(struct downstream *d, llmq_error *err) {
    const int64_t tokens = d->study->measured.tokens_used, stream = d->model.config.stream;
    struct acts *stores[] = {&d->start, &d->next, &d->made};
    enum llmq_status status = LLMQ_OK;
    for (int i = 0; i < 3; i++) {
        LLMQ_TRY(acts_create(tokens, stream, d->job.spill_dir, stores[i], err));
        d->rows[i] = malloc((size_t)ROWS * (size_t)stream * sizeof *d->rows[i]);
        if (!d->rows[i])
            LLMQ_TRY(error_memory(err, "the outputs of a block"));
    }
cleanup:
    return status;
}

enum llmq_status downstream_create(struct study *s, struct downstream **out, llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    struct downstream *d = *out = calloc(1, sizeof *d);
    if (!d)
        return error_memory(err, "the model's outputs");
    d->study = s;
    d->model = s->run.model;
    d->edit = (struct weight_edit){.c = d, .apply = replace};
    d->model.edit = &d->edit;
    d->job = job_of(s, &d->model);
    d->start = d->next = d->made = d->reference = (struct acts){.file = {.fd = -1}};
    LLMQ_TRY(create_stores(d, err));
    if (s->options->estimate == LLMQ_ESTIMATE_KL)
        LLMQ_TRY(eval_hidden(&d->job, &d->reference, err));
    LLMQ_TRY(walk_create(&d->job, &d->walk, err));
cleanup:
    if (status != LLMQ_OK)
        downstream_free(out);
    return status;
}

void downstream_free(struct downstream **d) {
    if (!*d)
        return;
    walk_free(&(*d)->walk);
    acts_free(&(*d)->start);
    acts_free(&(*d)->next);
    acts_free(&(*d)->made);
    acts_free(&(*d)->reference);
    for (int i = 0; i < 3; i++)
        free((*d)->rows[i]);
    free(*d);
    *d = NULL;
}

/* --- costs ------------------------------------------------------------------------------------ */

static double difference(const float *a, const float *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return sum;
}

/* |made - next|^2 / |next - start|^2 */
static enum llmq_status block_error(struct downstream *d, double *out, llmq_error *err) {
    const struct acts *stores[] = {&d->start, &d->next, &d->made};
    double error = 0, added = 0;
    enum llmq_status status = LLMQ_OK;
    for (int64_t at = 0; at < d->next.rows; at += ROWS) {
        const int64_t rows = min_i64(ROWS, d->next.rows - at), count = rows * d->next.width;
        float *x[3];
        for (int i = 0; i < 3; i++)
            LLMQ_TRY(acts_load(stores[i], at, rows, d->rows[i], &x[i], err));
        error += difference(x[2], x[1], count);
        added += difference(x[1], x[0], count);
    }
    *out = added > 0 ? error / added : 0;
cleanup:
    return status;
}

/* Mean over the predicted tokens: a window's last entry is 0. */
static enum llmq_status mean_divergence(struct downstream *d, double *out, llmq_error *err) {
    const struct corpus *c = &d->study->measured;
    const struct acts *hidden[2] = {&d->reference, NULL};
    const struct eval_pair pair = {
        .model = &d->model, .reference = &d->model, .corpus = c, .ctx = d->job.ctx};
    struct divergence found = {0};
    enum llmq_status status = LLMQ_OK;
    double sum = 0;
    LLMQ_TRY(walk_finish(d->walk, &hidden[1], err));
    LLMQ_TRY(eval_divergence_of(&pair, hidden, &found, err));
    for (int64_t t = 0; t < c->tokens_used; t++)
        sum += found.kl[t];
    *out = sum / (double)(c->tokens_used - c->count);
cleanup:
    divergence_free(&found);
    return status;
}

static enum llmq_status cost_of(struct downstream *d, int64_t block, llmq_setting *setting,
                                llmq_error *err) {
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(walk_restore(d->walk, &d->start, err));
    LLMQ_TRY(walk_block(d->walk, block, err));
    if (d->study->options->estimate == LLMQ_ESTIMATE_BLOCK) {
        LLMQ_TRY(walk_save(d->walk, &d->made, err));
        LLMQ_TRY(block_error(d, &setting->cost, err));
        goto cleanup;
    }
    for (int64_t b = block + 1; b < d->model.config.blocks; b++)
        LLMQ_TRY(walk_block(d->walk, b, err));
    LLMQ_TRY(mean_divergence(d, &setting->cost, err));
cleanup:
    return status;
}

/* The part of a linear, if it is the part's first. */
static llmq_part_settings *part_beginning(const struct study *s, int64_t linear) {
    llmq_part_settings *part = study_part(s, linear);
    return part && strcmp(part->modules[0], s->run.plan.modules[linear].name) == 0 ? part : NULL;
}

enum llmq_status downstream_block(struct downstream *d, int64_t block, llmq_error *err) {
    struct study *s = d->study;
    const int64_t *first = d->model.blocks->first;
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(walk_save(d->walk, &d->start, err));
    LLMQ_TRY(walk_block(d->walk, block, err));
    LLMQ_TRY(walk_save(d->walk, &d->next, err));
    for (int64_t i = first[block]; i < first[block + 1]; i++) {
        llmq_part_settings *part = part_beginning(s, i);
        for (int c = 0; part && c < (int)part->setting_count; c++) {
            log_progress(s->run.ctx, s->done++, s->steps, "%s, %d bits", part->modules[0],
                         part->settings[c].bits);
            d->part = part;
            d->setting = c;
            LLMQ_TRY(cost_of(d, block, &part->settings[c], err));
            d->part = NULL;
        }
    }
    LLMQ_TRY(walk_restore(d->walk, &d->next, err));
cleanup:
    d->part = NULL;
    return status;
}
