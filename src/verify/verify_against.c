/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing a checkpoint with its original: see verify.h.
 *
 * A packed module is judged by |W - W'|^2 / |W|^2, summed row by row in double. Everything else is
 * expected to be the original's, byte for byte. AWQ moves scales between linears and what feeds
 * them: these are found first (verify_fold.h), undone before W' is compared, and the vectors they
 * changed count as the original's. In families that llmq does not know they are not found: there a
 * large error of a module whose block has a changed vector says nothing. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "graph/draft_layers.h"
#include "graph/inventory.h"
#include "graph/tying.h"
#include "verify/verify_fold.h"
#include "verify/verify_reference.h"

/* Elements compared at a time. */
#define CHUNK ((int64_t)1 << 20)

/* Weights of another matrix are farther than their own size, and point elsewhere. Few bits and the
 * errors that methods move about may lead as far, but keep to the direction. */
#define IMPLAUSIBLE_ERROR  1.0
#define IMPLAUSIBLE_COSINE 0.3

struct sums {
    double difference, reference, product;
};

struct comparison {
    struct verify *v;
    struct verify original;
    struct verify_fold *folds; /* of every block; NULL: the family is not known */
    int64_t folds_count;
    struct verify_fold expert_folds; /* of one expert, ... */
    int64_t expert_block, expert;    /* ... this one of that block; -1: of none */
    struct sums total;
    bool *strange; /* [module_count] the module points elsewhere than the original's */
};

static void found(struct verify *v, const char *rule) {
    v->rule = verify_rule_find(rule);
}

/* --- modules ---------------------------------------------------------------------------------- */

/* What q stands for in the original's scale. */
static void decode_rows(const struct comparison *c, const char *module, const struct qlinear *q,
                        int64_t begin, int64_t end, float *out) {
    struct linear_place at = {0};
    qlinear_dequantize(q, begin, end, out);
    if (c->folds && blocks_find_linear(c->v->blocks, module, &at))
        verify_fold_undo(c->v, at.expert < 0 ? &c->folds[at.block] : &c->expert_folds, at, begin,
                         end - begin, out);
}

static enum llmq_status sum_errors(const struct comparison *cmp, const char *module,
                                   struct reference *r, const struct qlinear *q, struct sums *sums,
                                   llmq_error *err) {
    const int64_t rows = q->k < CHUNK ? CHUNK / q->k : 1;
    float *ours = malloc((size_t)(rows * q->k) * sizeof *ours);
    float *theirs = malloc((size_t)(rows * q->k) * sizeof *theirs);
    enum llmq_status status = ours && theirs ? LLMQ_OK : error_memory(err, "rows");
    if (status == LLMQ_OK)
        status = reference_prepare(r, q->n, q->k, err);
    *sums = (struct sums){0};
    for (int64_t begin = 0; status == LLMQ_OK && begin < q->n; begin += rows) {
        const int64_t end = begin + rows < q->n ? begin + rows : q->n;
        status = reference_rows(r, begin, end, q->k, theirs, err);
        if (status != LLMQ_OK)
            break;
        decode_rows(cmp, module, q, begin, end, ours);
        for (int64_t i = 0; i < (end - begin) * q->k; i++) {
            const double w = (double)theirs[i], d = w - (double)ours[i];
            sums->difference += d * d;
            sums->reference += w * w;
            sums->product += w * (double)ours[i];
        }
    }
    free(ours);
    free(theirs);
    return status;
}

static bool points_elsewhere(const struct sums *s) {
    const double own = s->difference - s->reference + 2 * s->product;
    return !(s->product >= IMPLAUSIBLE_COSINE * sqrt(s->reference * own));
}

/* The modules of an expert follow each other: its folds are found once. */
static enum llmq_status find_expert_folds(struct comparison *c, const char *module,
                                          llmq_error *err) {
    struct linear_place at = {0};
    if (!c->folds || !blocks_find_linear(c->v->blocks, module, &at) || at.expert < 0 ||
        (at.block == c->expert_block && at.expert == c->expert))
        return LLMQ_OK;
    verify_fold_free(&c->expert_folds);
    c->expert_block = at.block;
    c->expert = at.expert;
    return verify_fold_find_expert(c->v, &c->original, at, &c->folds[at.block], &c->expert_folds,
                                   err);
}

static enum llmq_status compare_module(struct comparison *c, llmq_verify_module *m,
                                       llmq_error *err) {
    struct verify *v = c->v;
    struct reference r = {0};
    struct qlinear q = {0};
    struct sums sums = {0};
    enum llmq_status status = LLMQ_OK;
    LLMQ_TRY(reference_open(&c->original, m->name, &r, err));
    LLMQ_TRY(layout_load(v->tensors, v->layout, &v->layout_config, m->name, &q, err));
    if (!reference_fits(&r, q.n, q.k)) {
        found(v, "against-shape");
        verify_found(v, NULL, m->name, "is it the original of this checkpoint?",
                     "the original has no weight [%" PRId64 ", %" PRId64 "] of this name", q.n,
                     q.k);
        goto cleanup;
    }
    LLMQ_TRY(find_expert_folds(c, m->name, err));
    LLMQ_TRY(sum_errors(c, m->name, &r, &q, &sums, err));
    m->error = sums.reference > 0 ? sums.difference / sums.reference : sums.difference;
    if (!isfinite(m->error)) {
        found(v, "against-error");
        verify_found(v, NULL, m->name, NULL, "the original's weight holds NaN or infinity");
        goto cleanup;
    }
    c->strange[m - v->report->modules] = points_elsewhere(&sums);
    c->total.difference += sums.difference;
    c->total.reference += sums.reference;
cleanup:
    reference_close(&r);
    qlinear_free(&q);
    return status;
}

/* --- other tensors ---------------------------------------------------------------------------- */

/* More of the weights than 4 bits in blocks of 32 lose. */
#define ROUNDED_ERROR 0.05

static bool same_shape(const struct st_tensor *a, const struct st_tensor *b) {
    return a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

enum likeness { SAME, ROUNDED, DIFFERENT };

/* Bytes, or, where the dtypes differ, the original's values rounded. */
static enum llmq_status compare_bytes(const struct verify *v, const struct st_tensor *t,
                                      const struct verify *original, const struct st_tensor *o,
                                      enum likeness *out, llmq_error *err) {
    const size_t ours = dtype_bits(t->dtype) / 8, theirs = dtype_bits(o->dtype) / 8;
    const uint64_t count = t->nbytes / (ours ? ours : 1);
    unsigned char *a = malloc((size_t)CHUNK * 8), *b = malloc((size_t)CHUNK * 8);
    float *values = malloc((size_t)CHUNK * sizeof *values);
    enum llmq_status status = a && b && values ? LLMQ_OK : error_memory(err, "a buffer");
    const bool same_type = t->dtype == o->dtype && !t->plus_one;
    const bool comparable = same_type || (dtype_is_float(o->dtype) && t->dtype != DTYPE_F64);
    *out = t->rank == o->rank && comparable &&
                   memcmp(t->shape, o->shape, (size_t)t->rank * sizeof *t->shape) == 0
               ? (t->dtype == st_copy_dtype(o) ? SAME : ROUNDED)
               : DIFFERENT;
    for (uint64_t at = 0; status == LLMQ_OK && *out != DIFFERENT && at < count;
         at += (uint64_t)CHUNK) {
        const size_t part = (size_t)(count - at < (uint64_t)CHUNK ? count - at : (uint64_t)CHUNK);
        status = st_read(v->tensors, t, at * ours, part * ours, a, err);
        if (status == LLMQ_OK)
            status = st_read(original->tensors, o, at * theirs, part * theirs, b, err);
        if (status != LLMQ_OK)
            break;
        if (!same_type) {
            dtype_to_f32(o->dtype, b, part, values);
            for (size_t i = 0; t->plus_one && i < part; i++)
                values[i] = (values[i] + 1.0f) - 1.0f; /* as the file could keep it */
            dtype_from_f32(t->dtype, values, part, b);
        }
        *out = memcmp(a, b, part * ours) == 0 ? *out : DIFFERENT;
    }
    free(a);
    free(b);
    free(values);
    return status;
}

/* Is a tensor of codes that is read as numbers that of the original, rounded to nearest? */
static enum llmq_status compare_rounded(struct verify *v, const struct st_tensor *t,
                                        const struct verify *original, const struct st_tensor *o,
                                        llmq_error *err) {
    const uint64_t count = t->nbytes / sizeof(float);
    float *a = malloc((size_t)CHUNK * sizeof *a), *b = malloc((size_t)CHUNK * sizeof *b);
    enum llmq_status status = a && b ? LLMQ_OK : error_memory(err, "a buffer");
    struct sums sums = {0};
    for (uint64_t at = 0; status == LLMQ_OK && at < count; at += (uint64_t)CHUNK) {
        const size_t part = (size_t)(count - at < (uint64_t)CHUNK ? count - at : (uint64_t)CHUNK);
        status = st_read_part_f32(v->tensors, t, at, part, a, err);
        if (status == LLMQ_OK)
            status = st_read_part_f32(original->tensors, o, at, part, b, err);
        for (size_t i = 0; status == LLMQ_OK && i < part; i++) {
            const double d = (double)a[i] - (double)b[i];
            sums.difference += d * d;
            sums.reference += (double)b[i] * (double)b[i];
        }
    }
    free(a);
    free(b);
    if (status != LLMQ_OK || sums.difference <= ROUNDED_ERROR * sums.reference)
        return status;
    found(v, "against-kept");
    verify_found(v, verify_file_of(v, t), t->name, "is it the original of this checkpoint?",
                 "the error is %.3g of the original's", sums.difference / sums.reference);
    return LLMQ_OK;
}

static bool fold_explains(const struct comparison *c, const char *tensor) {
    int64_t block = 0;
    const char *rest = NULL;
    return c->folds && family_block_of(c->v->model.family, tensor, &block, &rest) &&
           block < c->folds_count && verify_fold_explains(c->v, &c->folds[block], block, tensor);
}

static const char *describe_change(const struct verify *v, const struct st_tensor *t,
                                   enum likeness likeness) {
    const size_t len = strlen(t->name), tail = strlen(".weight");
    if (likeness == ROUNDED)
        return "changed: rounded to another dtype";
    if (t->rank > 1)
        return "differs from the original's";
    return v->norms_tuned && len > tail && strcmp(t->name + len - tail, ".weight") == 0
               ? "changed: its values were tuned (--tune norms)"
               : "changed: differs from the original's (tuned, or scales folded into it?)";
}

static enum llmq_status compare_kept(const struct comparison *c, const struct st_tensor *t,
                                     llmq_error *err) {
    struct verify *v = c->v;
    const struct st_tensor *o = st_find(c->original.tensors, t->name);
    enum likeness likeness = DIFFERENT;
    if (!o) {
        found(v, "against-added");
        verify_found(v, verify_file_of(v, t), t->name, NULL, "the original has no such tensor");
        return LLMQ_OK;
    }
    if (!dtype_is_float(t->dtype))
        return LLMQ_OK;
    if (dtype_block(st_stored_dtype(t)) > 1 && dtype_is_float(o->dtype) && same_shape(t, o))
        return compare_rounded(v, t, &c->original, o, err);
    enum llmq_status status = compare_bytes(v, t, &c->original, o, &likeness, err);
    const bool folded = status == LLMQ_OK && likeness == DIFFERENT && fold_explains(c, t->name);
    v->report->folded += folded;
    v->report->equal += likeness == SAME;
    v->report->changed += likeness != SAME && !folded;
    if (status != LLMQ_OK || likeness == SAME || folded)
        return status;
    found(v, likeness == ROUNDED || t->rank == 1 ? "against-changed" : "against-kept");
    verify_found(v, verify_file_of(v, t), t->name, NULL, "%s", describe_change(v, t, likeness));
    return LLMQ_OK;
}

/* Are all linears of one of the original's stacks there by themselves? */
static bool is_taken_apart(const struct verify *v, const struct verify *original,
                           const char *stack) {
    struct linear_place at;
    char name[FAMILY_NAME_MAX];
    int64_t index = 0;
    while (original->known && blocks_linear_in(original->blocks, stack, index, &at)) {
        if (!layout_has_module(v->tensors, v->layout,
                               blocks_node_name(original->blocks, at, "", name)) &&
            !st_find(v->tensors, blocks_node_name(original->blocks, at, ".weight", name)))
            return false;
        index++;
    }
    return index > 0;
}

static void find_missing(struct verify *v, const struct verify *original,
                         const struct st_tensor *o) {
    char module[LAYOUT_NAME_MAX];
    size_t len = 0;
    const char *dot = strrchr(o->name, '.');
    (void)snprintf(module, sizeof module, "%.*s", dot ? (int)(dot - o->name) : 0, o->name);
    const bool head = original->known && original->model.tied &&
                      strcmp(o->name, original->model.family->head) == 0;
    const enum tensor_use use =
        original->known ? inventory_use(original->blocks, original->layout, o) : USE_PART;
    const bool unused = use != USE_PART && (use != USE_BESIDE || v->layout == &layout_gguf);
    if (st_find(v->tensors, o->name) || !dtype_is_float(o->dtype) || head || unused ||
        layout_has_module(v->tensors, v->layout, module) ||
        layout_suffix(original->layout, o->name, &len) >= 0 || is_taken_apart(v, original, o->name))
        return;
    found(v, "against-missing");
    verify_found(v, NULL, o->name, "complete the checkpoint", "the original has this tensor");
}

static enum llmq_status compare_others(const struct comparison *c, llmq_error *err) {
    struct verify *v = c->v;
    enum llmq_status status = LLMQ_OK;
    size_t len = 0;
    for (size_t i = 0; i < st_count(v->tensors); i++) {
        LLMQ_TRY(interrupt_check(v->ctx, err));
        if (layout_suffix(v->layout, st_at(v->tensors, i)->name, &len) < 0)
            LLMQ_TRY(compare_kept(c, st_at(v->tensors, i), err));
    }
    for (size_t i = 0; i < st_count(c->original.tensors); i++)
        find_missing(v, &c->original, st_at(c->original.tensors, i));
cleanup:
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Length of a name up to and with its block's number: "model.layers.3." */
static size_t block_prefix(const char *name) {
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        const size_t digits = strspn(dot + 1, "0123456789");
        if (digits > 0 && dot[1 + digits] == '.')
            return (size_t)(dot - name) + digits + 2;
    }
    return 0;
}

/* Has a vector of the module's block changed? */
static bool block_changed(const struct verify *v, const char *module) {
    const size_t prefix = block_prefix(module);
    for (size_t i = 0; prefix > 0 && i < v->report->warnings.count; i++) {
        const llmq_finding *f = &v->report->warnings.items[i];
        if (strcmp(f->rule, "against-changed") == 0 && strncmp(f->tensor, module, prefix) == 0)
            return true;
    }
    return false;
}

static void judge_errors(const struct comparison *c) {
    struct verify *v = c->v;
    found(v, "against-error");
    for (size_t i = 0; i < v->report->module_count; i++) {
        const llmq_verify_module *m = &v->report->modules[i];
        if (isfinite(m->error) && m->error > IMPLAUSIBLE_ERROR && c->strange[i] &&
            !block_changed(v, m->name))
            verify_found(v, NULL, m->name, "is it the original of this checkpoint?",
                         "the error is %.3g of the weights: these are of another matrix", m->error);
    }
}

static enum llmq_status find_folds(struct comparison *c, llmq_error *err) {
    const struct verify *v = c->v;
    enum llmq_status status = LLMQ_OK;
    if (!v->known || !v->decodable || !c->original.known)
        return LLMQ_OK;
    const int64_t blocks = v->blocks->count;
    c->folds = calloc((size_t)blocks, sizeof *c->folds);
    if (!c->folds)
        return error_memory(err, "the folds of a model");
    for (; c->folds_count < blocks; c->folds_count++) {
        log_progress(v->ctx, c->folds_count, 2 * blocks, "comparing");
        LLMQ_TRY(interrupt_check(v->ctx, err));
        LLMQ_TRY(
            verify_fold_find(c->v, &c->original, c->folds_count, &c->folds[c->folds_count], err));
    }
cleanup:
    return status;
}

static enum llmq_status compare_modules(struct comparison *c, llmq_error *err) {
    const struct verify *v = c->v;
    llmq_verify_report *r = v->report;
    enum llmq_status status = LLMQ_OK;
    for (size_t i = 0; i < r->module_count; i++) {
        log_progress(v->ctx, (int64_t)(r->module_count + i), (int64_t)(2 * r->module_count),
                     "comparing");
        LLMQ_TRY(interrupt_check(v->ctx, err));
        if (r->modules[i].bits)
            LLMQ_TRY(compare_module(c, &r->modules[i], err));
    }
    if (c->total.reference > 0)
        r->error = c->total.difference / c->total.reference;
cleanup:
    return status;
}

/* A stored head that differs from the embedding is a tensor of the original, tied or not. */
static enum llmq_status settle_head(struct verify *original, llmq_error *err) {
    enum tying tying = TYING_PLAIN;
    if (!original->known)
        return LLMQ_OK;
    enum llmq_status status = tying_settle(original->model.family, original->model.tied,
                                           original->layout, original->tensors, &tying, err);
    original->model.tied = original->model.tied && tying != TYING_DIFFERS;
    return status;
}

/* Tensors are compared by name: those of a model inside of another may lie elsewhere, as GGUF files
 * do not say where they were. */
static enum llmq_status check_names(const struct comparison *c, llmq_error *err) {
    const struct verify *v = c->v, *o = &c->original;
    if (!v->known || !o->known || !v->model.wrapper || !o->model.wrapper ||
        strcmp(v->model.family->embedding, o->model.family->embedding) == 0)
        return LLMQ_OK;
    error_set(
        err, LLMQ_E_UNSUPPORTED,
        "--against %s: its model of text lies at %s, that of %s at %s: expected the same names",
        o->dir, o->model.family->embedding, v->dir, v->model.family->embedding);
    error_hint(err, "llmq compare compares what they compute");
    return LLMQ_E_UNSUPPORTED;
}

/* Layers that predict further tokens are packed here, and plain there. */
static enum llmq_status settle_drafts(const struct verify *v, struct verify *original,
                                      llmq_error *err) {
    const bool differ = v->known && original->known && v->model.drafts > original->model.drafts;
    llmq_error found = {0};
    enum llmq_status status =
        differ ? draft_layers_settle(&original->model, &original->blocks, original->tensors,
                                     original->layout, true, &found)
               : LLMQ_OK;
    return status == LLMQ_E_MEMORY ? error_memory(err, "the original's blocks") : LLMQ_OK;
}

enum llmq_status verify_compare(struct verify *v, const char *dir, llmq_error *err) {
    llmq_verify_report ignored = {0};
    struct comparison c = {
        .v = v, .original = {.dir = dir, .ctx = v->ctx, .report = &ignored}, .expert_block = -1};
    enum llmq_status status = LLMQ_OK;
    c.strange = calloc(v->report->module_count + 1, sizeof *c.strange);
    if (!c.strange)
        return error_memory(err, "the modules");
    LLMQ_TRY(verify_open(&c.original, err));
    LLMQ_TRY(check_names(&c, err));
    LLMQ_TRY(settle_head(&c.original, err));
    LLMQ_TRY(settle_drafts(v, &c.original, err));
    LLMQ_TRY(find_folds(&c, err));
    LLMQ_TRY(compare_modules(&c, err));
    LLMQ_TRY(compare_others(&c, err));
    judge_errors(&c);
cleanup:
    for (int64_t b = 0; b < c.folds_count; b++)
        verify_fold_free(&c.folds[b]);
    free(c.folds);
    verify_fold_free(&c.expert_folds);
    free(c.strange);
    verify_close(&c.original);
    llmq_verify_report_free(&ignored);
    return status;
}

/* Checked by verify_compare. */
const struct verify_rule verify_against_rules[] = {
    {"against-error", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "no module is farther from the original than its own size", NULL, NULL},
    {"against-shape", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "the original has a weight of the same shape for every packed module", NULL, NULL},
    {"against-fold", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "where scales were moved between linears and what feeds them, both sides agree", NULL, NULL},
    {"against-kept", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "matrices that are not packed are the original's, bit for bit", NULL, NULL},
    {"against-changed", VERIFY_WARNING, VERIFY_CONTENTS,
     "norms, biases and dtypes are the original's", NULL, NULL},
    {"against-added", VERIFY_WARNING, VERIFY_CONTENTS,
     "tensors that are not packed are in the original too", NULL, NULL},
    {"against-missing", VERIFY_VIOLATION, VERIFY_CONTENTS,
     "every tensor of the original is there, packed or not", NULL, NULL},
    {.id = NULL},
};
